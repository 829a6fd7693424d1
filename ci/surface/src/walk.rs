//! The items of a crate.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::render::{Crate, list, text};

/// Returns a crate's surface. Whether an item is of the crate itself or comes from `parking_lot_core` is no part of it; what comes from
/// `lock_api` must be the very same.
pub(crate) fn lines(doc: &Value) -> BTreeSet<String> {
    let mut walk = Walk { of: Crate { doc }, lines: BTreeSet::new() };
    let root = walk.of.item(&doc["root"]).expect("the crate's root");
    walk.module(root, "parking_lot");
    walk.lines
}

struct Walk<'d> {
    of: Crate<'d>,
    lines: BTreeSet<String>,
}

impl<'d> Walk<'d> {
    fn module(&mut self, module: &'d Value, path: &str) {
        for id in list(&module["inner"]["module"]["items"]) {
            let item = self.of.item(id).expect("an item of a module");
            let import = &item["inner"]["use"];
            if import.is_null() {
                self.item(item, &format!("{path}::{}", text(&item["name"])));
                continue;
            }
            assert_eq!(import["is_glob"], false, "imports of everything are not followed");
            let path = format!("{path}::{}", text(&import["name"]));
            match self.of.item(&import["id"]) {
                Some(item) if item["crate_id"] == 0 => self.item(item, &path),
                _ => self.foreign(import, &path),
            }
        }
    }

    /// What another crate has.
    fn foreign(&mut self, import: &Value, path: &str) {
        let source = self.of.path(&import["id"]).unwrap_or_else(|| text(&import["source"]).to_owned());
        let kind = self.of.doc["paths"][import["id"].to_string()]["kind"].as_str().unwrap_or("crate").to_owned();
        self.lines.insert(format!("{kind} {path}"));
        if source.starts_with("lock_api") {
            self.lines.insert(format!("{path} is {source}"));
        }
    }

    fn item(&mut self, item: &'d Value, path: &str) {
        let (kind, inner) = item["inner"].as_object().and_then(|inner| inner.iter().next()).expect("what it is");
        match kind.as_str() {
            "module" => self.module(item, path),
            "type_alias" => {
                let alias = format!("{path} is {}", self.of.ty(&inner["type"]));
                let generics = self.of.generics(&inner["generics"]);
                self.lines.insert(format!("{alias} {generics}"));
            }
            "function" => _ = self.lines.insert(format!("{path}: {}", self.of.signature(inner, ""))),
            "struct" | "enum" | "union" => {
                self.lines.insert(format!("{path} has {}", self.of.generics(&inner["generics"])));
                let parts = list(&inner["variants"]).iter().chain(list(&inner["kind"]["plain"]["fields"]));
                for part in parts.filter_map(|id| self.of.item(id)) {
                    self.lines.insert(format!("{path}::{} {}", text(&part["name"]), part["inner"]));
                }
                for implementation in list(&inner["impls"]) {
                    self.implementation(&self.of.item(implementation).expect("its own")["inner"]["impl"], path);
                }
            }
            _ => {}
        }
        self.lines.insert(format!("{kind} {path}"));
    }

    fn implementation(&mut self, implementation: &'d Value, path: &str) {
        if !implementation["blanket_impl"].is_null() || implementation["is_negative"] == true {
            return;
        }
        let owner = self.of.ty(&implementation["for"]);
        let generics = self.of.generics(&implementation["generics"]);
        let place = match &implementation["trait"] {
            Value::Null => format!("{path} {generics}"),
            its => {
                let place = format!("{path}: {} for {owner} {generics}", self.of.reference(its));
                self.lines.insert(place.clone());
                place
            }
        };
        for item in list(&implementation["items"]).iter().filter_map(|id| self.of.item(id)) {
            let (name, inner) = (text(&item["name"]), &item["inner"]);
            // A trait's methods have the trait's signatures.
            if implementation["trait"].is_null() && inner.get("function").is_some() {
                let signature = self.of.signature(&inner["function"], &owner);
                self.lines.insert(format!("{place}: fn {name}: {signature}"));
            }
            if let Some(constant) = inner.get("assoc_const") {
                let its = self.of.ty(&constant["type"]).replace("Self", &owner);
                self.lines.insert(format!("{place}: const {name}: {its}"));
            }
            if let Some(alias) = inner.get("assoc_type") {
                self.lines.insert(format!("{place}: type {name} = {}", self.of.ty(&alias["type"])));
            }
        }
    }
}
