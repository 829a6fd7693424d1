//! Builds the C and C++ libraries of this program: one static, one shared.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    cc::Build::new().cpp(true).file("native/global.cc").define("NAME(x)", "static_##x").compile("before_main_static");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo's"));
    let library = folder.join("libbefore_main_shared.so");
    let compiler = cc::Build::new().cpp(true).get_compiler();
    let mut build = Command::new(compiler.path());
    build.args(["-shared", "-fPIC", "-DNAME(x)=shared_##x", "native/global.cc", "-o"]).arg(&library);
    assert!(build.status().expect("a compiler").success());
    println!("cargo::rustc-link-search=native={}", folder.display());
    println!("cargo::rustc-link-lib=dylib=before_main_shared");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
    println!("cargo::rerun-if-changed=native/global.cc");
}
