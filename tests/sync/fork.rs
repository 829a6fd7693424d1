//! A process that forked and did not exec: no place for locks, but whoever locks there must not wait for what the fork
//! left behind.

#![cfg(target_os = "linux")]

use std::sync::mpsc;
use std::thread;

use bowline::Lock;

use crate::support::{alone, this_os_id, wait_until};

/// Within which the forked process ends, in seconds: it is killed then.
const LIMIT: u32 = 20;

/// Whether this thread of the calling process runs no more. The first thread stays listed for as long as the process.
fn has_ended(os_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{os_id}/stat"));
    stat.map_or(true, |stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z')))
}

/// Forks. In the child calls `body`, and ends the thread that called this; in the parent returns how the child ended.
fn fork(body: impl FnOnce()) -> Option<i32> {
    // SAFETY:
    // - the child uses what a thread of its own may use: glibc keeps its allocator and its threads usable.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY:
            // - no preconditions; nobody asks for this signal, so that it kills.
            unsafe { libc::alarm(LIMIT) };
            body();
            None
        }
        child => {
            let mut status = 0;
            // SAFETY:
            // - `status` is a place to write to.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            Some(status)
        }
    }
}

#[test]
fn a_thread_that_forked_and_ends_leaves_nothing_that_a_later_thread_waits_for() {
    alone(|| {
        let (ended, ending) = mpsc::channel();
        crate::support::foreign::run(move || {
            // This thread has its context from the parent.
            drop(Lock::new(()).lock());
            let status = fork(|| {
                let forked = this_os_id();
                thread::spawn(move || {
                    wait_until(|| has_ended(forked));
                    let lock = Lock::new(0);
                    thread::scope(|s| {
                        for _ in 0..4 {
                            s.spawn(|| *lock.lock() += 1);
                        }
                    });
                    // SAFETY:
                    // - no preconditions.
                    unsafe { libc::_exit(*lock.lock()) };
                });
            });
            if let Some(status) = status {
                ended.send(status).unwrap();
            }
        });
        let status = ending.recv().unwrap();
        assert!(libc::WIFEXITED(status), "ended by signal {}", libc::WTERMSIG(status));
        assert_eq!(libc::WEXITSTATUS(status), 4);
    });
}
