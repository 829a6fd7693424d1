//! A pool in a shared library, in a program that is not Rust and knows nothing of it: Python.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::library::library;
use crate::support::processes::{has_ended, kill};
use crate::support::programs::Program;
use crate::support::{LIMIT, skipped, wait_until, within};

/// Python, without whatever finds it, and the library `tests/process_library/lib.rs`. `None`, and a word about that, where one
/// of them is not to be had.
fn python_and_library() -> Option<(PathBuf, PathBuf)> {
    let mut python = Command::new("python3");
    python.args(["-c", "import ctypes, sys; print(sys.executable, end='')"]);
    let Some(output) = python.output().ok().filter(|output| output.status.success()) else {
        skipped("there is no python3 with ctypes");
        return None;
    };
    let python = PathBuf::from(String::from_utf8(output.stdout).expect("a path that is text"));
    let library = library("process_library")?;
    Some((python, library))
}

/// Python, with a script that loads the library, says that it does, and calls a function of it. `worker` is what a worker does
/// that has loaded it.
fn script(python: &Path, library: &Path, call: &str, worker: &str) -> Command {
    let load = format!("import ctypes; library = ctypes.CDLL({:?})", library.to_str().expect("a path that is text"));
    let arguments = format!("{:?}, b'-c', {:?}.encode()", python.to_str().expect("text"), format!("{load}; {worker}"));
    let arguments = arguments.replacen(", b'-c'", ".encode(), b'-c'", 1);
    let call = call.replace("WORKER", &arguments);
    let mut command = Command::new(python);
    command.args(["-c", &format!("{load}; print('said: main', flush=True); {call}")]);
    command
}

#[test]
fn a_library_in_a_foreign_program_says_that_it_needs_a_worker_program_and_starts_nothing() {
    within(2 * LIMIT, || {
        let Some((python, library)) = python_and_library() else { return };
        let mut program = Program::start(script(&python, &library, "library.print_why_not()", ""));
        program.until("main");
        let error = program.until("no pool:");
        let names = [&python, &library].map(|path| path.file_name().and_then(|name| name.to_str()).expect("text"));
        assert!(error.contains("worker_exe") && names.iter().all(|name| error.contains(name)), "{error}");
        program.until_ended_well();
        assert!(program.said().is_empty(), "{:?}", program.said());
    });
}

#[test]
fn a_library_in_a_foreign_program_has_workers_that_load_it_and_run_threads() {
    within(2 * LIMIT, || {
        let Some((python, library)) = python_and_library() else { return };
        let call = "library.print_square(WORKER)";
        let mut program = Program::start(script(&python, &library, call, "library.serve(); print('said: main')"));
        program.until("main");
        assert_eq!(program.until("square"), "144");
        program.until_ended_well();
        assert!(program.said().is_empty(), "{:?}", program.said());
    });
}

#[test]
fn a_library_whose_worker_program_does_not_serve_says_so() {
    within(2 * LIMIT, || {
        let Some((python, library)) = python_and_library() else { return };
        let mut program = Program::start(script(&python, &library, "library.print_square(WORKER)", ""));
        let error = program.until("no square:");
        let ended = "tried 3 times: it terminated abruptly with exit code 0 before it was ready";
        assert!(error.contains("python") && error.contains(ended), "{error}");
        program.until_ended_well();
    });
}

#[test]
fn a_librarys_workers_die_with_the_foreign_program() {
    within(2 * LIMIT, || {
        let Some((python, library)) = python_and_library() else { return };
        let mut program = Program::start(script(&python, &library, "library.wait_for_ever(WORKER)", "library.serve()"));
        let worker = program.until_process("ready");
        assert!(!has_ended(worker));
        kill(program.pid());
        wait_until(|| has_ended(worker));
        assert!(program.is_gone_within(Duration::from_secs(1)));
    });
}
