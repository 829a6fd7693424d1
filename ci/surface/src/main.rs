//! `surface VERSION THEIRS OURS [MISSING…]`: compares the public surface of two packages of one name and version, and fails if the
//! first one has what the second one has not.
//!
//! THEIRS and OURS are folders with what rustdoc (`doc.json`) and cargo (`metadata.json`) print of a package in JSON. A surface is a set of
//! lines: items by path and kind, signatures, fields, variants, implementations of traits, their associated types and constants, what
//! comes from `lock_api`, and the names of the features. Each MISSING is the beginning of lines that may be missing.

mod render;
mod walk;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [version, theirs, ours, missing @ ..] = &arguments[..] else { panic!("a version and two folders are needed") };
    let (theirs, ours) = (surface(Path::new(theirs), version), surface(Path::new(ours), version));
    let (on_purpose, lacking): (Vec<&String>, Vec<&String>) =
        theirs.difference(&ours).partition(|line| missing.iter().any(|beginning| line.starts_with(beginning)));
    println!("{} of {} lines are there", theirs.intersection(&ours).count(), theirs.len());
    for line in on_purpose {
        println!("  missing on purpose: {line}");
    }
    for line in &lacking {
        println!("  missing: {line}");
    }
    if lacking.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn surface(folder: &Path, version: &str) -> BTreeSet<String> {
    let mut lines = walk::lines(&read(&folder.join("doc.json")));
    assert!(lines.len() > 100, "these are too few lines: has the format of rustdoc's JSON changed? {lines:#?}");
    let metadata = read(&folder.join("metadata.json"));
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "parking_lot" && package["version"] == version);
    let package = package.expect("the package of this version");
    lines.extend(package["features"].as_object().expect("features").keys().map(|name| format!("feature {name}")));
    let dependencies = package["dependencies"].as_array().expect("dependencies");
    let lock_api = dependencies.iter().find(|dependency| dependency["name"] == "lock_api").expect("lock_api");
    lines.insert(format!("lock_api {}", lock_api["req"].as_str().expect("a requirement")));
    lines
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
