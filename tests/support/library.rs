//! Shared libraries of tests: examples of this package that no person runs.

use std::path::PathBuf;
use std::process::Command;

use super::{skipped, stderr};

/// The library that this example is, built as this binary was. `None`, and a word about that, where there is no cargo.
pub(crate) fn library(example: &str) -> Option<PathBuf> {
    // The binary is in `target/PROFILE/deps`. What `cargo test` has built is not built again.
    let binary = std::env::current_exe().expect("the path of this binary");
    let folder = binary.ancestors().nth(2).expect("a folder for the profile");
    let profile = folder.file_name().and_then(|name| name.to_str()).expect("a profile");
    let profile = if profile == "debug" { "dev" } else { profile };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--quiet", "--offline", "--example", example, "--profile", profile]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", folder.parent().expect("a target folder"));
    let Ok(output) = cargo.output() else {
        skipped("there is no cargo");
        return None;
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let library = folder.join(format!("examples/lib{example}.so"));
    assert!(library.exists(), "cargo has built no {}", library.display());
    Some(library)
}
