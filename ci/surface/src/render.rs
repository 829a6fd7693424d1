//! Types and signatures as text, the same for the same, wherever they are defined in their crate and however that names them.

use std::collections::BTreeSet;

use serde_json::Value;

/// What rustdoc prints of a crate.
#[derive(Clone, Copy)]
pub(crate) struct Crate<'d> {
    pub(crate) doc: &'d Value,
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl<'d> Crate<'d> {
    pub(crate) fn item(self, id: &Value) -> Option<&'d Value> {
        self.doc["index"].get(id.to_string())
    }

    /// Returns an item's path: of its own ones, which have different modules and the same names, the crate and the name.
    pub(crate) fn path(self, id: &Value) -> Option<String> {
        let summary = self.doc["paths"].get(id.to_string())?;
        let parts: Vec<&str> = list(&summary["path"]).iter().map(text).collect();
        match (summary["crate_id"] == 0, &parts[..]) {
            (true, [its, .., name]) => Some(format!("{its}::{name}")),
            _ => Some(parts.join("::")),
        }
    }

    /// Returns a path with arguments, such as a trait's.
    pub(crate) fn reference(self, its: &Value) -> String {
        let path = self.path(&its["id"]).unwrap_or_else(|| text(&its["path"]).to_owned());
        path + &self.arguments(&its["args"])
    }

    fn arguments(self, its: &Value) -> String {
        if let Some(call) = its.get("parenthesized") {
            return format!("({}) -> {}", self.types(list(&call["inputs"])), self.ty(&call["output"]));
        }
        let Some(its) = its.get("angle_bracketed") else { return String::new() };
        let arguments = list(&its["args"]).iter().map(|argument| match argument {
            Value::Object(kinds) => match kinds.iter().next().map(|(kind, inner)| (kind.as_str(), inner)) {
                Some(("type", ty)) => self.ty(ty),
                Some(("lifetime", lifetime)) => text(lifetime).to_owned(),
                Some(("const", constant)) => text(&constant["expr"]).to_owned(),
                _ => argument.to_string(),
            },
            _ => argument.to_string(),
        });
        let constraints = list(&its["constraints"]).iter().map(Value::to_string);
        match arguments.chain(constraints).collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            some => format!("<{}>", some.join(", ")),
        }
    }

    fn types(self, types: &[Value]) -> String {
        types.iter().map(|ty| self.ty(ty)).collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn ty(self, ty: &Value) -> String {
        let Some((kind, inner)) = ty.as_object().and_then(|ty| ty.iter().next()) else { return "()".to_owned() };
        match kind.as_str() {
            "resolved_path" => self.reference(inner),
            "generic" | "primitive" => text(inner).to_owned(),
            "tuple" => format!("({})", self.types(list(inner))),
            "slice" => format!("[{}]", self.ty(inner)),
            "borrowed_ref" => {
                let mutable = if inner["is_mutable"] == true { "mut " } else { "" };
                format!("&{} {mutable}{}", text(&inner["lifetime"]), self.ty(&inner["type"]))
            }
            "qualified_path" => self.associated(inner).unwrap_or_else(|| {
                let (its, of) = (self.ty(&inner["self_type"]), self.reference(&inner["trait"]));
                format!("<{its} as {of}>::{}", text(&inner["name"]))
            }),
            _ => ty.to_string(),
        }
    }

    /// Returns what stands for a path such as `<Type as Trait>::Name`, if the type is the crate's own.
    fn associated(self, path: &Value) -> Option<String> {
        let owner = self.item(&path["self_type"]["resolved_path"]["id"])?;
        let its = self.reference(&path["trait"]);
        let implementations = list(&owner["inner"]["struct"]["impls"]).iter().filter_map(|id| self.item(id));
        let implementation = implementations.map(|item| &item["inner"]["impl"]).find(|implementation| {
            !implementation["trait"].is_null() && self.reference(&implementation["trait"]) == its
        })?;
        let mut items = list(&implementation["items"]).iter().filter_map(|id| self.item(id));
        let item = items.find(|item| item["name"] == path["name"])?;
        Some(self.ty(&item["inner"]["assoc_type"]["type"]))
    }

    /// Returns a function's signature without the names of its parameters. `owner` stands for `Self`.
    pub(crate) fn signature(self, function: &Value, owner: &str) -> String {
        let (header, signature) = (&function["header"], &function["sig"]);
        let words: String = ["const", "unsafe", "async"]
            .into_iter()
            .filter(|word| header[format!("is_{word}")] == true)
            .flat_map(|word| [word, " "])
            .collect();
        let inputs: Vec<String> = list(&signature["inputs"]).iter().map(|input| self.ty(&input[1])).collect();
        let output = self.ty(&signature["output"]);
        let whole = format!("{words}fn({}) -> {output} {}", inputs.join(", "), self.generics(&function["generics"]));
        if owner.is_empty() { whole } else { whole.replace("Self", owner) }
    }

    /// Returns parameters with their defaults, and what is asked of them, wherever that stands.
    pub(crate) fn generics(self, generics: &Value) -> String {
        let mut bounds = BTreeSet::new();
        let mut names = Vec::new();
        for parameter in list(&generics["params"]) {
            let (name, kind) = (text(&parameter["name"]), &parameter["kind"]);
            let default = match (&kind["type"]["default"], &kind["const"]["default"]) {
                (Value::Null, Value::Null) => String::new(),
                (Value::Null, constant) => format!(" = {}", text(constant)),
                (ty, _) => format!(" = {}", self.ty(ty)),
            };
            names.push(format!("{name}{default}"));
            bounds.extend(list(&kind["type"]["bounds"]).iter().map(|bound| format!("{name}: {}", self.bound(bound))));
        }
        for predicate in list(&generics["where_predicates"]) {
            match predicate.get("bound_predicate") {
                Some(its) => {
                    let ty = self.ty(&its["type"]);
                    bounds.extend(list(&its["bounds"]).iter().map(|bound| format!("{ty}: {}", self.bound(bound))));
                }
                None => _ = bounds.insert(predicate.to_string()),
            }
        }
        let bounds: Vec<String> = bounds.into_iter().collect();
        format!("<{}> where {}", names.join(", "), bounds.join(", "))
    }

    fn bound(self, bound: &Value) -> String {
        match bound.get("trait_bound") {
            Some(its) => format!("{} {}", text(&its["modifier"]), self.reference(&its["trait"])),
            None => bound.to_string(),
        }
    }
}
