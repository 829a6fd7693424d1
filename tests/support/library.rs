//! Shared libraries of tests: examples of this package that no person runs.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{skipped, stderr};

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const RTLD_NOW: c_int = 2;

/// A function of this library.
#[track_caller]
pub(crate) fn function(library: &Path, name: &str) -> *mut c_void {
    let path = CString::new(library.to_str().expect("text")).unwrap();
    // SAFETY:
    // - the library does nothing as it is loaded that a program may not do.
    let library = unsafe { dlopen(path.as_ptr(), RTLD_NOW) };
    assert!(!library.is_null(), "{path:?} is built");
    let name = CString::new(name).unwrap();
    // SAFETY:
    // - the library is loaded, and the name a C string.
    let function = unsafe { dlsym(library, name.as_ptr()) };
    assert!(!function.is_null());
    function
}

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
