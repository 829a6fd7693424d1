//! The end of a pool of processes by force: what is killed, what is told, and that nothing is left.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::task::{Rejected, Status, WorkerExit};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, note, open, pass};
use crate::support::processes::{is_gone, stop};
use crate::support::workers::{Held, echo, lost, lost_by, only_worker, pool_of};
use crate::support::{LIMIT, alone, wait_until, within};

fn die(_: u64) -> u64 {
    std::process::abort()
}

fn is_killed<T>(result: &Result<T, TaskError>) -> bool {
    matches!(result, Err(TaskError::Rejected(Rejected::Killed)))
}

static TERMINATIONS: AtomicUsize = AtomicUsize::new(0);

/// A task: counts what comes of SIGTERM, and ends its process when something has come, and nothing more.
fn count_terminations(folder: String) {
    extern "C" fn count(_: libc::c_int) {
        TERMINATIONS.fetch_add(1, SeqCst);
    }
    // SAFETY:
    // - the handler does nothing but count.
    unsafe { libc::signal(libc::SIGTERM, count as *const () as libc::sighandler_t) };
    note(&folder, "counts", "here");
    while TERMINATIONS.load(SeqCst) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(30));
    note(&folder, "counted", &TERMINATIONS.load(SeqCst).to_string());
    std::process::exit(7);
}

#[test]
fn a_worker_is_terminated_by_one_signal_stopped_or_not() {
    alone(|| {
        for stops in [false, true] {
            let (pool, folder) = (pool_of(1), Folder::new());
            let task = pool.submit(count_terminations, (folder.path(),));
            folder.until("counts");
            if stops {
                stop(only_worker(&pool));
            }
            let _ = pool.terminate();
            assert_eq!(lost(task.result()).exit(), &WorkerExit::Code(7));
            assert_eq!(folder.lines("counted"), ["1"]);
        }
    });
}

#[test]
fn a_pool_that_was_killed_or_terminated_takes_no_task_and_its_workers_are_gone() {
    within(LIMIT, || {
        for kills in [false, true] {
            let pool = pool_of(2);
            Held::keep(&pool, 2).release();
            let pids = pool.worker_pids();
            assert_eq!(pids.len(), 2);
            let report = if kills { pool.kill() } else { pool.terminate() };
            assert!(report.is_complete() || !kills, "{report:?}");
            assert!(pool.is_shutdown() && is_killed(&pool.submit(echo::<u64>, (1,)).result()));
            assert!(pool.shutdown().is_complete());
            assert!(pids.into_iter().all(is_gone));
            assert!(is_killed(&pool.submit(echo::<u64>, (1,)).result()), "after the shutdown, too");
        }
    });
}

#[test]
fn shutdowns_drops_and_kills_at_once_all_return_and_leave_no_task_open() {
    within(LIMIT, || {
        for _ in 0..10 {
            let pool = pool_of(2);
            let tasks: Vec<_> = (0..20).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            thread::scope(|s| {
                let (one, two, three, four) = (pool.clone(), pool.clone(), pool.clone(), pool);
                s.spawn(move || assert!(one.shutdown().is_complete()));
                s.spawn(move || assert!(two.kill().is_complete()));
                s.spawn(move || drop(three.terminate()));
                s.spawn(move || drop(four));
            });
            assert!(tasks.iter().all(Future::done));
            for (n, task) in (0..).zip(tasks) {
                match task.result() {
                    Ok(value) => assert_eq!(value, n),
                    Err(TaskError::WorkerLost(_) | TaskError::Rejected(Rejected::Killed)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
}

#[test]
fn a_timed_shutdown_says_what_is_left_and_a_kill_may_follow() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let held = Held::keep(&pool, 2);
        let pids = pool.worker_pids();
        let queued: Vec<_> = (0..7).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        for timeout in [Duration::ZERO, Duration::from_millis(5)] {
            let report = pool.shutdown_with(ShutdownOptions::new().timeout(timeout));
            assert_eq!((report.is_complete(), report.workers, report.queued), (false, 2, 7));
            assert!(report.took >= timeout && report.deadlock.is_none());
        }
        let report = pool.kill();
        assert!(report.is_complete());
        assert_eq!((report.cancelled, report.queued, report.completed), (7, 0, 0));
        assert!(pids.iter().all(|&pid| is_gone(pid)));
        for task in queued {
            assert_eq!(task.status(), Status::Failed);
            assert!(is_killed(&task.result()));
        }
        let mut losers = Vec::new();
        for result in held.results() {
            let lost = lost(result);
            assert_eq!(lost.exit(), &WorkerExit::Signal { number: 9, core_dumped: false });
            assert_eq!(lost.task(), "hold");
            losers.push(lost.pid());
        }
        losers.sort_unstable();
        let mut pids = pids;
        pids.sort_unstable();
        assert_eq!(losers, pids);
    });
}

#[test]
fn a_terminated_pool_ends_its_tasks_by_sigterm_and_fails_what_is_queued() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let held = Held::keep(&pool, 2);
        let queued: Vec<_> = (0..5).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        let report = pool.terminate();
        assert_eq!((report.cancelled, report.queued), (5, 0));
        assert!(queued.into_iter().all(|task| is_killed(&task.result())));
        assert!(held.results().into_iter().all(|result| lost_by(result) == libc::SIGTERM));
        assert!(pool.shutdown().is_complete());
    });
}

/// A task that does not end at SIGTERM.
fn withstand(folder: String) -> u64 {
    // SAFETY:
    // - SIGTERM may be ignored; this process is this task's.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    pass(folder, 1, open())
}

#[test]
fn a_task_that_withstands_a_termination_ends_with_its_value_or_by_a_kill() {
    alone(|| {
        for kills in [false, true] {
            let pool = pool_of(1);
            let folder = Folder::new();
            let task = pool.submit(withstand, (folder.path(),));
            folder.until_begun(1);
            let report = pool.terminate();
            assert_eq!((report.workers, report.is_complete()), (1, false), "it does not wait");
            assert!(!pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_millis(1))).is_complete());
            assert!(task.running());
            if kills {
                assert!(pool.kill().is_complete());
                assert_eq!(lost_by(task.result()), libc::SIGKILL);
            } else {
                folder.put("open");
                assert_eq!(task.result().unwrap(), 1);
                assert!(pool.shutdown().is_complete());
            }
        }
    });
}

#[test]
fn a_pool_whose_workers_crashed_can_be_ended_in_any_way() {
    within(LIMIT, || {
        for end in [ProcessPoolExecutor::kill, ProcessPoolExecutor::terminate, ProcessPoolExecutor::shutdown] {
            let pool = pool_of(2);
            let crashes: Vec<_> = (0..2).map(|n| pool.submit(die, (n,))).collect();
            for crash in crashes {
                assert_eq!(lost_by(crash.result()), libc::SIGABRT);
            }
            let _ = end(&pool);
            assert!(pool.shutdown().is_complete() && pool.is_shutdown());
            // While they are crashing.
            let pool = ProcessPoolExecutor::new(2).unwrap();
            let crashes: Vec<_> = (0..4).map(|n| pool.submit(die, (n,))).collect();
            wait_until(|| crashes.iter().any(Future::done));
            let _ = end(&pool);
            assert!(pool.shutdown().is_complete());
            assert!(crashes.into_iter().all(|crash| crash.done() && crash.result().is_err()));
        }
    });
}

#[test]
fn tasks_that_are_failed_by_a_kill_are_not_cancelled_too() {
    within(LIMIT, || {
        for _ in 0..10 {
            let pool = pool_of(1);
            let held = Held::keep(&pool, 1);
            let tasks: Vec<_> = (0..2000).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            let cancelled = thread::scope(|scope| {
                let cancels = || {
                    wait_until(|| pool.is_shutdown());
                    tasks.iter().rev().filter(|task| task.cancel()).count()
                };
                let canceller = scope.spawn(cancels);
                assert!(pool.kill().is_complete());
                canceller.join().unwrap()
            });
            assert_eq!((cancelled, pool.queued()), (0, 0));
            assert_eq!(held.results().into_iter().map(lost_by).collect::<Vec<_>>(), [libc::SIGKILL]);
            assert!(tasks.iter().all(Future::done));
        }
    });
}
