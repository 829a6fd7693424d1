//! The end of a pool of processes: what becomes of its tasks, its workers and whoever waits for it.
//!
//! What pools of threads and of processes have in common is in `support/contract.rs`.

#![cfg(target_os = "linux")]

use std::thread;

use bowline::task::{Rejected, Status};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError, ThreadPoolExecutor};

use crate::support::folder::{Folder, begin, die, open, wait_for};
use crate::support::processes::is_gone;
use crate::support::workers::{Held, echo, lost_by, pool_of};
use crate::support::{LIMIT, in_fresh_process, stderr, wait_until, watchdog, within};

const NO_WAIT: ShutdownOptions = ShutdownOptions::new().wait(false);

fn sum(tasks: Vec<Future<u64>>) -> u64 {
    tasks.into_iter().map(|task| task.result().expect("a value")).sum()
}

#[test]
fn a_pool_that_was_shut_down_takes_no_task() {
    within(LIMIT, || {
        for was_used in [false, true] {
            let pool = pool_of(1);
            if was_used {
                assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
            }
            assert!(!pool.is_shutdown());
            assert!(pool.shutdown().is_complete() && pool.is_shutdown());
            let late = [
                pool.submit(echo::<u64>, (1,)),
                pool.submit_named("late", echo::<u64>, (1,)),
                pool.clone().submit(echo::<u64>, (1,)),
            ];
            for task in late {
                assert_eq!(task.status(), Status::Failed, "at once");
                let result = task.result();
                assert!(matches!(result, Err(TaskError::Rejected(Rejected::Shutdown))), "{result:?}");
            }
            let mapped: Vec<_> = pool.map(echo::<u64>, 0..3).collect();
            assert_eq!(mapped.len(), 3);
            assert!(mapped.iter().all(|result| matches!(result, Err(TaskError::Rejected(Rejected::Shutdown)))));
            assert_eq!((pool.worker_count(), pool.queued(), pool.worker_pids()), (0, 0, vec![]));
        }
    });
}

#[test]
fn a_shutdown_with_a_limit_that_is_complete_finds_every_task_done() {
    within(LIMIT, || {
        for _ in 0..100 {
            let pool = pool_of(2);
            let crash = pool.submit(|| std::process::exit(3), ());
            let tasks = [crash, pool.submit(|| (), ()), pool.submit(|| (), ())];
            let report = pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT));
            assert!(report.is_complete());
            assert!(tasks.iter().all(Future::done), "{tasks:?}");
        }
    });
}

#[test]
fn many_short_tasks_and_a_shutdown_at_once_all_end() {
    within(LIMIT, || {
        for workers in [1, 3] {
            let pool = pool_of(workers);
            let tasks: Vec<_> = (0..50).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            assert!(pool.shutdown().is_complete() && tasks.iter().all(Future::done));
            assert_eq!((pool.completed(), sum(tasks)), (50, 49 * 50 / 2));
        }
    });
}

#[test]
fn there_are_as_many_processes_as_tasks_and_none_is_left_after_a_shutdown() {
    within(LIMIT, || {
        let pool = pool_of(5);
        let held = Held::keep(&pool, 3);
        let pids = pool.worker_pids();
        assert_eq!((pids.len(), pool.worker_count(), pool.active_count()), (3, 3, 3));
        assert!(!pids.iter().any(|&pid| is_gone(pid)));
        held.release();
        assert!(pool.shutdown().is_complete());
        assert!(pids.into_iter().all(is_gone), "none is a zombie");
        assert_eq!((pool.worker_count(), pool.worker_pids(), pool.active_count()), (0, vec![], 0));
    });
}

#[test]
fn dropping_the_last_handle_waits_for_all_tasks_and_all_workers() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let clone = pool.clone();
        let held = Held::keep(&pool, 2);
        let pids = pool.worker_pids();
        let tasks: Vec<_> = (0..21).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        drop(clone);
        assert!(!pool.is_shutdown(), "there is another handle");
        thread::scope(|s| {
            let dropping = s.spawn(|| drop(pool));
            assert!(!tasks.iter().any(Future::done) && !dropping.is_finished());
            held.release();
            dropping.join().unwrap();
        });
        assert!(pids.into_iter().all(is_gone));
        assert!(tasks.iter().all(Future::done));
        assert_eq!(sum(tasks), 210);
    });
}

#[test]
fn the_end_of_a_scope_is_the_end_of_its_pool() {
    within(LIMIT, || {
        let (task, pid) = {
            let pool = pool_of(1);
            let task = pool.submit(echo::<u64>, (7,));
            wait_until(|| pool.worker_pids().len() == 1 || task.done());
            (task, pool.worker_pids()[0])
        };
        assert!(task.done() && is_gone(pid));
        assert_eq!(task.result().unwrap(), 7);
    });
}

#[test]
fn a_shutdown_that_does_not_wait_leaves_workers_that_end_by_themselves() {
    within(LIMIT, || {
        let pool = pool_of(3);
        let held = Held::keep(&pool, 3);
        let pids = pool.worker_pids();
        let tasks: Vec<_> = (0..12).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        assert!(!pool.shutdown_with(NO_WAIT).is_complete());
        held.release();
        assert_eq!(sum(tasks), 66);
        wait_until(|| pool.worker_count() == 0);
        assert!(pids.into_iter().all(is_gone), "each is reaped before it is not counted any more");
    });
}

#[test]
fn a_kill_of_a_pool_without_tasks_returns_at_once() {
    within(LIMIT, || {
        assert_eq!(pool_of(4).kill().workers, 0);
        assert_eq!(pool_of(4).terminate().workers, 0);
    });
}

#[test]
fn a_shutdown_may_be_repeated_as_a_kill_by_any_handle() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let other = pool.clone();
        let task = pool.submit(echo::<u64>, (1,));
        for _ in 0..3 {
            assert!(pool.shutdown().is_complete() && other.shutdown_with(NO_WAIT.cancel_pending(true)).is_complete());
            assert!(pool.kill().is_complete() && other.terminate().is_complete());
        }
        drop(pool);
        assert!(other.is_shutdown() && other.shutdown().is_complete());
        assert_eq!(task.result().unwrap(), 1);
    });
}

#[test]
fn a_timed_shutdown_that_is_long_enough_is_complete() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let task = pool.submit(echo::<u64>, (3,));
        assert!(pool.shutdown_with(ShutdownOptions::new().timeout(LIMIT * 2)).is_complete());
        assert_eq!(task.result().unwrap(), 3);
    });
}

#[test]
fn a_pool_that_is_ended_while_its_workers_start_ends() {
    within(LIMIT, || {
        for round in 0..12 {
            let pool = pool_of(3);
            let tasks: Vec<_> = (0..5).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            match round % 4 {
                0 => drop(pool.kill()),
                1 => drop(pool.terminate()),
                2 => drop(pool.shutdown_with(NO_WAIT.cancel_pending(true))),
                _ => {}
            }
            drop(pool);
            assert!(tasks.iter().all(Future::done));
            for (n, task) in (0..).zip(tasks) {
                match task.result() {
                    Ok(value) => assert_eq!(value, n),
                    Err(TaskError::WorkerLost(_) | TaskError::Rejected(Rejected::Killed)) if round % 4 < 2 => {}
                    Err(TaskError::Cancelled) if round % 4 == 2 => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    });
}

#[test]
fn a_crash_after_a_shutdown_costs_one_task_and_the_queued_ones_run() {
    within(LIMIT, || {
        for waits in [false, true] {
            let pool = pool_of(1);
            let folder = Folder::new();
            let crash = pool.submit(die, (folder.path(), 0, open()));
            let tasks: Vec<_> = (0..6).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            folder.until_begun(0);
            let _ = pool.shutdown_with(NO_WAIT);
            thread::scope(|s| {
                let shutdown = waits.then(|| s.spawn(|| pool.shutdown()));
                folder.put("open");
                if let Some(shutdown) = shutdown {
                    assert!(shutdown.join().unwrap().is_complete() && crash.done());
                }
            });
            assert_eq!(lost_by(crash.result()), libc::SIGABRT);
            assert_eq!(sum(tasks), 15);
            wait_until(|| pool.worker_count() == 0);
        }
    });
}

#[test]
fn a_task_of_a_thread_pool_may_drop_the_last_handle_or_shut_it_down() {
    within(LIMIT, || {
        let threads = ThreadPoolExecutor::new(1);
        for drops in [false, true] {
            let pool = pool_of(1);
            let task = pool.submit(echo::<u64>, (1,));
            let ending = threads.submit(move || {
                let inner = pool.submit(echo::<u64>, (2,));
                if drops {
                    drop(pool)
                } else {
                    assert!(pool.shutdown().is_complete())
                }
                inner.result()
            });
            assert_eq!(ending.result().unwrap().unwrap(), 2);
            assert!(task.done());
        }
    });
}

#[test]
fn a_submission_that_races_a_shutdown_is_run_or_rejected() {
    within(LIMIT, || {
        for _ in 0..10 {
            let pool = pool_of(1);
            let folder = Folder::new();
            pool.submit(echo::<u64>, (0,)).result().unwrap();
            let tasks = thread::scope(|s| {
                let submit = || (0..40).map(|n| pool.submit(begin, (folder.path(), n))).collect::<Vec<_>>();
                let submitting = s.spawn(submit);
                wait_until(|| pool.completed() > 3 || submitting.is_finished());
                assert!(pool.shutdown().is_complete());
                submitting.join().unwrap()
            });
            let results: Vec<_> = tasks.into_iter().map(Future::result).collect();
            let ran = results.iter().take_while(|result| result.is_ok()).count();
            let rejected = |result| matches!(result, &Err(TaskError::Rejected(Rejected::Shutdown)));
            assert!(results[ran..].iter().all(rejected), "{results:?}");
            assert_eq!(folder.begun(), (0..ran as u64).collect::<Vec<_>>());
        }
    });
}

/// Read by [`said`].
fn say(folder: String, text: String) {
    wait_for(&folder, "open");
    println!("said: {text}");
}

/// What was said, by processes that ended well and wrote nothing to standard error.
#[track_caller]
fn said(output: &std::process::Output) -> Vec<String> {
    assert!(output.status.success(), "{:?}: {}", output.status, stderr(output));
    assert_eq!(stderr(output), "");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| Some(line.split_once("said: ")?.1.to_owned())).collect()
}

/// A program that makes a pool, ends as `end` says, and opens the gate meanwhile.
fn program(name: &str, end: impl FnOnce(&ProcessPoolExecutor, Future<()>) + Send) -> Option<Vec<String>> {
    let body = || {
        let _watchdog = watchdog(LIMIT / 2);
        let folder = Folder::new();
        let path = folder.path();
        thread::scope(|s| {
            s.spawn(|| {
                let pool = ProcessPoolExecutor::new(1).unwrap();
                let task = pool.submit(say, (path.clone(), "apple".to_owned()));
                drop(pool.submit(say, (path, "pear".to_owned())));
                end(&pool, task);
                folder.put("open");
            });
        });
    };
    in_fresh_process(name, &[], body).as_ref().map(said)
}

#[test]
fn a_program_that_ends_right_after_a_submit_runs_the_tasks_as_its_pool_is_dropped() {
    let name = "a_program_that_ends_right_after_a_submit_runs_the_tasks_as_its_pool_is_dropped";
    if let Some(said) = program(name, |_, _| ()) {
        assert_eq!(said, ["apple", "pear"]);
    }
}

#[test]
fn a_program_that_ends_after_a_shutdown_without_waiting_does_not_wait_in_the_drop() {
    let name = "a_program_that_ends_after_a_shutdown_without_waiting_does_not_wait_in_the_drop";
    if let Some(said) = program(name, |pool, _| drop(pool.shutdown_with(NO_WAIT))) {
        // Whatever its workers had come to when they ended with it.
        assert!(["apple", "pear"].starts_with(&said.iter().map(String::as_str).collect::<Vec<_>>()), "{said:?}");
    }
}

#[test]
fn a_program_that_ends_after_it_cancelled_its_tasks_runs_only_what_was_begun() {
    let name = "a_program_that_ends_after_it_cancelled_its_tasks_runs_only_what_was_begun";
    let end = |pool: &ProcessPoolExecutor, first: Future<()>| {
        wait_until(|| first.running());
        let report = pool.shutdown_with(NO_WAIT.cancel_pending(true));
        assert_eq!(report.cancelled, 1);
    };
    if let Some(said) = program(name, end) {
        // The one that was begun is not waited for, after a shutdown without waiting.
        assert!(said.is_empty() || said == ["apple"], "{said:?}");
    }
}

#[test]
fn a_program_that_ends_after_a_kill_says_nothing() {
    let name = "a_program_that_ends_after_a_kill_says_nothing";
    if let Some(said) = program(name, |pool, _| assert!(pool.kill().is_complete())) {
        assert!(said.is_empty(), "{said:?}");
    }
}
