//! The executable is replaced while its pool runs, or a worker is to be another program.
//!
//! The programs are copies of this binary, in a folder of their own. Whoever starts a process while somebody else writes an
//! executable keeps that open for a moment, and nobody can run it: each test runs alone.

#![cfg(target_os = "linux")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use bowline::task::{Rejected, StartError, StartFailure};
use bowline::{ProcessPoolExecutor, TaskError};

use crate::support::folder::Folder;
use crate::support::programs::{Program, hear, say};
use crate::support::{LIMIT, alone, skipped, watchdog};

/// What is in this build of the program.
fn signature(n: u64) -> (u32, u64, PathBuf) {
    (process::id(), n.wrapping_mul(0x9e37_79b9_7f4a_7c15), std::env::current_exe().unwrap_or_default())
}

/// A pool that loses its worker when it is told that the executable is another.
fn program() {
    let _watchdog = watchdog(LIMIT);
    let pool = ProcessPoolExecutor::new(1).expect("a pool");
    let mut workers = Vec::new();
    for n in 0..3 {
        let (worker, value, path) = pool.submit(signature, (n,)).result().expect("a worker of the same build");
        let own = signature(n);
        assert_eq!((value, path), (own.1, own.2), "the worker runs another program");
        workers.push(worker);
        say("done");
        hear();
        assert!(matches!(pool.submit(|| -> () { process::exit(1) }, ()).result(), Err(TaskError::WorkerLost(_))));
    }
    workers.dedup();
    assert_eq!(workers.len(), 3);
    // A pool that was made after it.
    let other = ProcessPoolExecutor::new(1).expect("a pool");
    assert_eq!(other.submit(signature, (7,)).result().expect("a worker").1, signature(7).1);
    say("all done");
}

/// A copy of this binary in this folder.
fn copy(folder: &Folder) -> PathBuf {
    let copy = PathBuf::from(folder.file("program"));
    fs::copy(std::env::current_exe().expect("the path of this binary"), &copy).expect("a copy");
    copy
}

/// Runs the program from a copy, which `replace` does something to before its worker is started again.
#[track_caller]
fn assert_survives(test: &str, mut replace: impl FnMut(&Folder, &Path)) {
    alone(|| {
        let folder = Folder::new();
        let copy = copy(&folder);
        let mut program = Program::start(Program::command_of(copy.clone(), test));
        for _ in 0..3 {
            program.until("done");
            replace(&folder, &copy);
            program.tell("replaced");
        }
        program.until("all done");
        program.until_ended_well();
    });
}

#[test]
fn workers_are_still_the_same_program_after_another_was_put_in_its_place() {
    let test = "workers_are_still_the_same_program_after_another_was_put_in_its_place";
    if Program::is_this(test) {
        return program();
    }
    assert_survives(test, |folder, copy| {
        let new = folder.file("new");
        fs::copy("/bin/sh", &new).expect("another program");
        fs::rename(&new, copy).expect("a replacement");
    });
}

#[test]
fn workers_are_still_the_same_program_after_it_was_removed() {
    let test = "workers_are_still_the_same_program_after_it_was_removed";
    if Program::is_this(test) {
        return program();
    }
    assert_survives(test, |_, copy| drop(fs::remove_file(copy)));
}

/// Why there is no worker that is this program.
#[track_caller]
fn start_error(program: &Path) -> StartError {
    let builder = ProcessPoolExecutor::builder().max_workers(1).worker_exe(program);
    let pool = builder.build().expect("a pool");
    match pool.submit(signature, (1,)).result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// Where the linker's build id is in an executable. `None` if it has none.
fn build_id(executable: &[u8]) -> Option<std::ops::Range<usize>> {
    // A note: lengths of its name and of the id, its type, its name.
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    let at = executable.windows(note.len()).position(|window| window == note)? + note.len();
    Some(at..at + 20)
}

#[test]
fn a_worker_of_another_build_is_refused_and_the_error_says_which_builds() {
    alone(|| {
        let folder = Folder::new();
        let path = copy(&folder);
        let mut bytes = fs::read(&path).expect("a copy");
        let Some(id) = build_id(&bytes) else {
            return skipped("this binary has no build id");
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let own = hex(&bytes[id.clone()]);
        bytes[id.clone()].iter_mut().for_each(|byte| *byte ^= 0xff);
        let theirs = hex(&bytes[id]);
        fs::write(&path, bytes).expect("another build");

        let error = start_error(&path);
        assert!(matches!(error.failure(), StartFailure::OtherProgram(_)), "{error:?}");
        assert_eq!(error.program(), path);
        let text = error.to_string();
        // The beginnings tell them apart.
        let parts = [path.to_str().expect("text"), "another program", &own[..8], &theirs[..8]];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    });
}

#[test]
fn a_worker_of_the_same_build_may_be_another_file() {
    alone(|| {
        let folder = Folder::new();
        let path = copy(&folder);
        let builder = ProcessPoolExecutor::builder().max_workers(1).worker_exe(&path);
        let pool = builder.build().expect("a pool");
        let (_, value, exe) = pool.submit(signature, (3,)).result().unwrap();
        assert_eq!((value, exe), (signature(3).1, path));
    });
}

#[test]
fn a_worker_program_that_is_none_says_how_it_ended_and_is_not_started_for_ever() {
    alone(|| {
        let folder = Folder::new();
        let starts = folder.file("starts");
        let script = folder.file("script");
        fs::write(&script, format!("#!/bin/sh\necho >>'{starts}'\nexit 5\n")).expect("a script");
        Command::new("chmod").arg("+x").arg(&script).status().expect("chmod");
        let text = start_error(script.as_ref()).to_string();
        assert!(text.contains("terminated abruptly with exit code 5 before it was ready"), "{text}");
        assert_eq!(folder.lines("starts").len(), 3);

        let missing = start_error(folder.file("missing").as_ref());
        assert!(matches!(missing.failure(), StartFailure::Spawn(_)), "{missing:?}");
        assert!(missing.source().unwrap().to_string().contains("No such file"), "{missing:?}");
        let no_program = start_error(starts.as_ref());
        assert!(no_program.source().unwrap().to_string().contains("Permission denied"), "{no_program:?}");
    });
}
