//! What a worker does not take over from the program that starts it, and how its start and its end are waited for.

#![cfg(target_os = "linux")]

use std::mem::MaybeUninit;
use std::time::Duration;

use bowline::ProcessPoolExecutor;
use bowline::task::WorkerExit;

use crate::support::folder::{Folder, open, pass};
use crate::support::workers::{idle_pool, lost};
use crate::support::{LIMIT, on_another_thread, within};

/// Blocks all signals that can be blocked, for the calling thread.
fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY:
    // - the set is filled before it is read.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), std::ptr::null_mut())
    };
    assert_eq!(blocked, 0);
}

/// The signals that the calling process blocks, as a number in base 16.
fn blocked() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).expect("a line");
    blocked.trim().to_owned()
}

#[test]
fn signals_that_the_submitter_blocks_are_not_blocked_in_its_workers() {
    within(LIMIT, || {
        on_another_thread(|| {
            block_signals();
            assert_eq!(idle_pool(1).submit(blocked, ()).result().unwrap(), "0000000000000000");
        });
    });
}

#[test]
fn a_pool_that_is_terminated_ends_its_tasks_though_the_submitter_blocks_signals() {
    within(LIMIT, || {
        on_another_thread(|| {
            block_signals();
            let (pool, folder) = (idle_pool(1), Folder::new());
            let task = pool.submit(pass, (folder.path(), 0, open()));
            folder.until_begun(0);
            let _ = pool.terminate();
            let lost = lost(task.result());
            let exit = WorkerExit::Signal { number: libc::SIGTERM, core_dumped: false };
            assert_eq!(lost.exit(), &exit, "{lost}");
            assert!(pool.shutdown().is_complete());
        });
    });
}

#[test]
fn a_worker_has_as_long_to_get_up_as_is_wanted_for_ever_included() {
    within(LIMIT, || {
        for limit in [Duration::MAX, Duration::MAX / 2, Duration::from_secs(u64::from(u32::MAX))] {
            let pool = ProcessPoolExecutor::builder().max_workers(1).start_timeout(limit).build().unwrap();
            assert_eq!(pool.submit(u64::pow, (2, 3)).result().unwrap(), 8);
        }
    });
}

/// A task that ends its worker.
fn exit() {
    std::process::exit(7)
}

#[test]
fn tasks_that_end_their_worker_do_not_delay_each_other_more_and_more() {
    // A pause that grows to a second would make that more than half a minute.
    within(LIMIT / 4, || {
        let pool = idle_pool(1);
        let tasks: Vec<_> = (0..40).map(|_| pool.submit(exit, ())).collect();
        for task in tasks {
            assert_eq!(lost(task.result()).exit(), &WorkerExit::Code(7));
        }
        assert_eq!(pool.submit(u64::pow, (2, 3)).result().unwrap(), 8);
    });
}
