//! Prints the circles of files in `src` that import each other, and fails if one has more than three files.
//!
//! A file imports another one if it names a path into that module: in a `use`, or beside code. A parent and its child count
//! for nothing: a folder's `mod.rs` names what the folder holds, and files of the folder may name what it holds together. A path
//! through a re-export leads to the file that has the item. Tests and models are left out.
//!
//! `rustc --edition 2024 ci/circles.rs -o target/circles && target/circles` (`ci/lint.sh` does so).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The maximum of files in a circle.
const MAX_FILES: usize = 3;

type Module = Vec<String>;

fn main() -> ExitCode {
    let mut sources = BTreeMap::new();
    collect(Path::new("src"), &mut Vec::new(), &mut sources);
    let modules: BTreeSet<Module> = sources.keys().cloned().collect();
    let exports = exports(&sources, &modules);
    let imports: Vec<(Module, BTreeSet<Module>)> =
        sources.iter().map(|(module, text)| (module.clone(), imports(module, text, &modules, &exports))).collect();
    let index: HashMap<&Module, usize> = imports.iter().enumerate().map(|(at, (module, _))| (module, at)).collect();
    let edges: Vec<Vec<usize>> =
        imports.iter().map(|(_, to)| to.iter().filter_map(|module| index.get(module).copied()).collect()).collect();
    let mut circles = circles(&edges);
    circles.retain(|circle| circle.len() > 1);
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    let mut fits = true;
    for circle in &circles {
        let mut names: Vec<String> = circle.iter().map(|&at| imports[at].0.join("::")).collect();
        names.sort();
        println!("{} files import each other: {}", circle.len(), names.join(", "));
        fits &= circle.len() <= MAX_FILES;
    }
    if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the modules below a folder, without comments and without what is compiled for tests.
fn collect(folder: &Path, module: &mut Module, sources: &mut BTreeMap<Module, String>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if name.contains("tests") || name.contains("model") {
            continue;
        }
        if path.is_dir() {
            module.push(name);
            collect(&path, module, sources);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "lib" {
            let mut its = module.clone();
            if name != "mod" {
                its.push(name);
            }
            sources.insert(its, code(&fs::read_to_string(&path).expect("a text")));
        }
    }
}

/// The text without comments, up to the unit tests.
fn code(text: &str) -> String {
    let lines =
        text.lines().take_while(|line| !line.starts_with("#[cfg(all(test") && !line.starts_with("#[cfg(test)]"));
    lines.map(|line| line.find("//").map_or(line, |at| &line[..at])).flat_map(|line| [line, "\n"]).collect()
}

/// The paths of the `use`s that come after `keyword`, with the groups taken apart.
fn uses<'t>(text: &'t str, is_export: bool) -> impl Iterator<Item = String> + 't {
    let words = text.match_indices("use ").filter(move |&(at, _)| {
        let before = text[..at].trim_end_matches(' ');
        let before = before.rsplit('\n').next().unwrap_or("").trim();
        let is_public = before.starts_with("pub");
        (before.is_empty() || is_public) && (!is_export || is_public)
    });
    words.flat_map(move |(at, word)| {
        let rest = &text[at + word.len()..];
        expand("", &rest[..rest.find(';').unwrap_or(0)])
    })
}

fn expand(prefix: &str, tree: &str) -> Vec<String> {
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, char) in tree.char_indices().chain([(tree.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = tree[start..at].trim();
                start = at + 1;
                match part.split_once('{') {
                    Some((head, rest)) => {
                        let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
                        paths.extend(expand(&format!("{prefix}{head}"), inner));
                    }
                    None if part.is_empty() => {}
                    None => paths.push(format!("{prefix}{part}")),
                }
            }
            _ => {}
        }
    }
    paths
}

/// The path from the crate's root that a path in this module means. `None` for a path into another crate.
fn absolute(module: &Module, path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let parts: Vec<&str> = path.split("::").map(|part| part.trim().split(' ').next().unwrap_or("")).collect();
    let mut at = module.clone();
    let rest = match parts[0] {
        "crate" => {
            at.clear();
            &parts[1..]
        }
        "self" => &parts[1..],
        "super" => {
            let ups = parts.iter().take_while(|&&part| part == "super").count();
            at.truncate(at.len().saturating_sub(ups));
            &parts[ups..]
        }
        first => {
            at.push(first.to_owned());
            if !modules.contains(&at) {
                return None;
            }
            &parts[1..]
        }
    };
    at.extend(rest.iter().map(|&part| part.to_owned()));
    Some(at)
}

type Exports = HashMap<(Module, String), Module>;

/// Which module an item that a module re-exports comes from.
fn exports(sources: &BTreeMap<Module, String>, modules: &BTreeSet<Module>) -> Exports {
    let mut exports = HashMap::new();
    for (module, text) in sources {
        for mut path in uses(text, true).filter_map(|path| absolute(module, &path, modules)) {
            let Some(item) = path.pop() else { continue };
            if modules.contains(&path) {
                exports.insert((module.clone(), item), path);
            }
        }
    }
    exports
}

/// The modules that a module's file imports.
fn imports(module: &Module, text: &str, modules: &BTreeSet<Module>, exports: &Exports) -> BTreeSet<Module> {
    let beside_code = ["crate::", "super::", "self::"].into_iter().flat_map(|start| {
        text.match_indices(start).map(|(at, _)| {
            let rest = &text[at..];
            rest[..rest.find(|char: char| !char.is_alphanumeric() && char != '_' && char != ':').unwrap_or(rest.len())]
                .to_owned()
        })
    });
    let paths =
        uses(text, false).chain(beside_code).filter_map(|path| absolute(module, path.trim_end_matches(':'), modules));
    let targets = paths.filter_map(|mut path| {
        let mut rest = Vec::new();
        while !modules.contains(&path) {
            rest.push(path.pop()?);
        }
        while let Some(next) = rest.last().and_then(|item| exports.get(&(path.clone(), item.clone()))) {
            if *next == path {
                break;
            }
            path = next.clone();
        }
        Some(path)
    });
    let is_family = |other: &Module| other.starts_with(module) || module.starts_with(other);
    targets.filter(|target| !is_family(target)).collect()
}

/// The strongly connected components (Tarjan, 1972).
fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    struct Search<'e> {
        edges: &'e [Vec<usize>],
        index: Vec<Option<usize>>,
        low: Vec<usize>,
        stack: Vec<usize>,
        count: usize,
        found: Vec<Vec<usize>>,
    }
    impl Search<'_> {
        fn visit(&mut self, at: usize) {
            (self.index[at], self.low[at]) = (Some(self.count), self.count);
            self.count += 1;
            self.stack.push(at);
            for &next in &self.edges[at] {
                match self.index[next] {
                    None => {
                        self.visit(next);
                        self.low[at] = self.low[at].min(self.low[next]);
                    }
                    Some(index) if self.stack.contains(&next) => self.low[at] = self.low[at].min(index),
                    Some(_) => {}
                }
            }
            if Some(self.low[at]) == self.index[at] {
                let place = self.stack.iter().position(|&other| other == at).expect("it is there");
                self.found.push(self.stack.split_off(place));
            }
        }
    }
    let none = vec![None; edges.len()];
    let mut search =
        Search { edges, index: none, low: vec![0; edges.len()], stack: Vec::new(), count: 0, found: Vec::new() };
    (0..edges.len()).for_each(|at| {
        if search.index[at].is_none() {
            search.visit(at)
        }
    });
    search.found
}
