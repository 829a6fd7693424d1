//! The wait-for graph on SIGQUIT: printed, and the process goes on.
//!
//! The test sends the signal to a process of its own.

#![cfg(unix)]

use std::ffi::c_int;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::thread;

use bowline::Lock;
use bowline::deadlock;

use crate::support::{LIMIT, in_fresh_process, spawn_named, stderr, until_waiting, within};

unsafe extern "C" {
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn dup(file: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
}

const SIGQUIT: c_int = 3;
const STDERR: c_int = 2;

fn quit_self() {
    let me = c_int::try_from(std::process::id()).unwrap();
    // SAFETY:
    // - a system call that touches no memory; the signal has a handler.
    assert_eq!(unsafe { kill(me, SIGQUIT) }, 0);
}

/// Sends SIGQUIT to this process, and returns what that wrote to standard error before `last` appeared.
fn printed_on_quit(last: &str) -> String {
    let (reader, writer) = std::io::pipe().unwrap();
    // SAFETY:
    // - system calls on descriptors that are open; the standard library does not cache this one.
    let before = unsafe { dup(STDERR) };
    // SAFETY: as above.
    assert!(before >= 0 && unsafe { dup2(writer.as_raw_fd(), STDERR) } == STDERR);
    quit_self();
    let mut text = String::new();
    let mut reader = BufReader::new(reader);
    while !text.contains(last) {
        assert_ne!(reader.read_line(&mut text).unwrap(), 0);
    }
    // SAFETY: as above.
    assert_eq!(unsafe { dup2(before, STDERR) }, STDERR);
    text
}

#[test]
fn a_process_that_is_told_to_quit_prints_who_waits_for_what_and_goes_on() {
    let body = || {
        within(LIMIT / 2, || {
            deadlock::dump_on_signal().unwrap();
            let lock = Lock::named("coveted", 0);
            let guard = lock.lock();
            thread::scope(|s| {
                spawn_named(s, "covets", || *lock.lock() += 1);
                until_waiting("covets");
                for _ in 0..3 {
                    let text = printed_on_quit("thread 'covets' waits for 'coveted' (Lock<i32>), at ");
                    assert!(text.contains("  holds 'coveted' (Lock<i32>), which thread 'covets' waits for"), "{text}");
                    assert!(text.contains(file!()), "{text}");
                    assert!(until_waiting("covets").waits_for().is_some(), "it waits on");
                }
                drop(guard);
            });
            assert_eq!(lock.into_inner(), 1);
            assert_eq!(printed_on_quit("\n"), "nothing waits\n");
        });
        eprintln!("went on");
    };
    let name = "a_process_that_is_told_to_quit_prints_who_waits_for_what_and_goes_on";
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    assert!(output.status.success() && stderr(&output).contains("went on"), "{}", stderr(&output));
}
