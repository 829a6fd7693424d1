//! Workers that serve for a while: another one takes the place of a worker that has run enough tasks, is too old, has too much
//! memory, or has nothing to run.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::process_pool::Blob;
use bowline::task::Rejected;
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::processes::{is_gone, until_gone};
use crate::support::workers::{Held, builder, echo, lost_by, pid};
use crate::support::{LIMIT, wait_until, within};

fn pids(pool: &ProcessPoolExecutor, tasks: usize) -> Vec<u32> {
    (0..tasks).map(|_| pool.submit(pid, ()).result().unwrap()).collect()
}

#[test]
fn a_worker_runs_as_many_tasks_as_it_may_and_another_one_is_there_by_then() {
    within(LIMIT, || {
        let pool = builder(1).max_tasks_per_worker(3).build().unwrap();
        let pids = pids(&pool, 30);
        for three in pids.chunks(3) {
            assert!(three.iter().all(|pid| *pid == three[0]), "{pids:?}");
        }
        let mut workers = pids.clone();
        workers.dedup();
        assert_eq!(workers.len(), 10, "{pids:?}");
        workers[..9].iter().for_each(|&worker| until_gone(worker));
    });
}

#[test]
fn a_worker_that_takes_the_place_of_another_begins_with_fresh_statics() {
    static RAN: AtomicU32 = AtomicU32::new(0);
    fn count() -> (u32, u32) {
        (std::process::id(), RAN.fetch_add(1, SeqCst))
    }
    within(LIMIT, || {
        // What this process counts is its own: a worker is no fork of it.
        RAN.store(100, SeqCst);
        let pool = builder(1).max_tasks_per_worker(2).build().unwrap();
        let ran: Vec<_> = (0..10).map(|_| pool.submit(count, ()).result().unwrap()).collect();
        assert!(ran.iter().map(|(_, counted)| *counted).eq([0, 1].into_iter().cycle().take(10)), "{ran:?}");
        assert!(ran.chunks(2).all(|two| two[0].0 == two[1].0), "{ran:?}");
        assert_eq!(RAN.load(SeqCst), 100);
    });
}

#[test]
fn no_task_is_lost_however_often_workers_are_replaced() {
    within(LIMIT, || {
        for (workers, max) in [(1, 1), (2, 1), (3, 2), (2, 7)] {
            let pool = builder(workers).max_tasks_per_worker(max).build().unwrap();
            let tasks: Vec<_> = (0..60).map(|n| pool.submit(|n: u64| (n, std::process::id()), (n,))).collect();
            let mut ran = BTreeMap::<u32, u64>::new();
            for (task, n) in tasks.into_iter().zip(0..) {
                let (value, pid) = task.result().unwrap();
                assert_eq!(value, n);
                *ran.entry(pid).or_default() += 1;
            }
            assert!(ran.values().all(|&tasks| tasks <= max), "{ran:?}");
            assert!(pool.worker_count() <= 2 * workers, "no more than one for each that retires");
        }
    });
}

#[test]
fn what_is_queued_when_the_pool_ends_runs_in_workers_that_are_replaced_still() {
    within(LIMIT, || {
        let pool = builder(3).max_tasks_per_worker(1).build().unwrap();
        let tasks: Vec<_> = (0..6).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        assert!(pool.shutdown().is_complete());
        tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));

        let pool = builder(1).max_tasks_per_worker(1).build().unwrap();
        let tasks: Vec<_> = (0..6).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        let report = pool.shutdown_with(ShutdownOptions::new().wait(false));
        assert!(!report.is_complete() || tasks.iter().all(Future::done));
        tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
    });
}

#[test]
fn what_is_queued_runs_in_workers_that_are_replaced_though_nobody_has_the_pool_any_more() {
    within(LIMIT, || {
        let pool = builder(1).max_tasks_per_worker(1).build().unwrap();
        let held = Held::keep(&pool, 1);
        let tasks: Vec<_> = (0..6).map(|n| pool.submit(|n: u64| (n, std::process::id()), (n,))).collect();
        assert!(!pool.shutdown_with(ShutdownOptions::new().wait(false)).is_complete());
        drop(pool);
        held.release();
        let mut workers = Vec::new();
        for (task, n) in tasks.into_iter().zip(0..) {
            let (value, worker) = task.result().unwrap();
            assert_eq!(value, n);
            workers.push(worker);
        }
        workers.dedup();
        assert_eq!(workers.len(), 6);
        workers.into_iter().for_each(until_gone);
    });
}

#[test]
fn a_pool_that_is_killed_replaces_no_worker() {
    within(LIMIT, || {
        for _ in 0..10 {
            let pool = builder(2).max_tasks_per_worker(1).build().unwrap();
            let tasks: Vec<_> = (0..20).map(|n| pool.submit(echo::<u64>, (n,))).collect();
            tasks[0].wait().unwrap();
            assert!(pool.kill().is_complete());
            assert_eq!(pool.worker_count(), 0);
            for task in tasks {
                match task.result() {
                    Ok(_) | Err(TaskError::WorkerLost(_) | TaskError::Rejected(Rejected::Killed)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        // While workers retire, and their successors are up.
        let pool = builder(2).max_tasks_per_worker(1).build().unwrap();
        let held = Held::keep(&pool, 2);
        let queued: Vec<_> = (0..5).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        wait_until(|| pool.worker_pids().len() == 4);
        let workers = pool.worker_pids();
        assert!(pool.kill().is_complete());
        assert_eq!((pool.worker_count(), pool.worker_pids()), (0, Vec::new()));
        assert!(workers.into_iter().all(is_gone));
        assert!(held.results().into_iter().all(|result| lost_by(result) == libc::SIGKILL));
        for task in queued {
            let error = task.result().unwrap_err();
            assert!(error.to_string().contains("forcefully shut down"), "{error}");
        }
    });
}

#[test]
fn a_worker_that_is_too_old_ends_after_its_task_or_while_it_has_none() {
    within(LIMIT, || {
        let pool = builder(1).max_worker_age(Duration::from_millis(40)).build().unwrap();
        let first = pids(&pool, 1)[0];
        let nap = pool.submit(|| (thread::sleep(Duration::from_millis(60)), std::process::id()), ());
        let ((), napped) = nap.result().unwrap();
        assert_ne!(pool.submit(pid, ()).result().unwrap(), napped, "it is too old for another");
        until_gone(first);
        let idle = pids(&pool, 1)[0];
        until_gone(idle);
        assert_eq!(pids(&pool, 1).len(), 1, "and is replaced when there is a task");
    });
}

#[test]
fn workers_that_have_nothing_to_run_end_and_come_back() {
    within(LIMIT, || {
        let pool = builder(3).idle_timeout(Duration::from_millis(20)).build().unwrap();
        for _ in 0..3 {
            let held = Held::keep(&pool, 3);
            assert_eq!(pool.worker_count(), 3);
            held.release();
            wait_until(|| pool.worker_count() == 0);
            assert!(pool.worker_pids().is_empty());
        }
        // One that runs something is not idle.
        let held = Held::keep(&pool, 1);
        let worker = pool.worker_pids();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(pool.worker_pids(), worker);
        held.release();
    });
}

static LEAKED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A task: leaks so much memory.
fn leak(bytes: usize) -> u32 {
    LEAKED.lock().unwrap().push(std::hint::black_box(vec![1; bytes]));
    // A look comes after 5 ms.
    thread::sleep(Duration::from_millis(6));
    pid()
}

#[test]
fn a_worker_that_leaks_is_replaced_and_one_that_does_not_is_kept() {
    within(LIMIT, || {
        let pool = builder(1).max_worker_growth(24 << 20).build().unwrap();
        let pids: Vec<_> = (0..12).map(|_| pool.submit(leak, (10 << 20,)).result().unwrap()).collect();
        let mut workers = pids.clone();
        workers.dedup();
        assert!(workers.len() >= 3 && workers.len() < 12, "{pids:?}");
        let calm: Vec<_> = (0..8).map(|_| pool.submit(leak, (100,)).result().unwrap()).collect();
        assert_eq!(calm[2..].iter().filter(|pid| **pid != calm[7]).count(), 0, "{calm:?}");
    });
}

#[test]
fn long_messages_are_no_growth() {
    fn long(bytes: usize) -> serde_bytes::ByteBuf {
        thread::sleep(Duration::from_millis(6));
        serde_bytes::ByteBuf::from(vec![1; bytes])
    }
    within(LIMIT, || {
        // Glibc keeps what is freed, otherwise.
        let frees = builder(1).worker_env("MALLOC_MMAP_THRESHOLD_", "131072");
        let pool = frees.max_worker_growth(24 << 20).build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        for _ in 0..10 {
            assert_eq!(pool.submit(long, (20 << 20,)).result().unwrap().len(), 20 << 20);
            thread::sleep(Duration::from_millis(6));
            assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        }
    });
}

#[test]
fn memory_that_a_worker_has_when_it_is_ready_or_shares_with_others_is_not_what_it_leaks() {
    static KEPT: Mutex<Vec<Blob>> = Mutex::new(Vec::new());
    const MANY: usize = 40 << 20;
    fn fill() {
        LEAKED.lock().unwrap().push(std::hint::black_box(vec![1; MANY]));
    }
    fn keep(table: Blob) -> u32 {
        assert!(table.iter().all(|&byte| byte == 1));
        KEPT.lock().unwrap().push(table);
        pid()
    }
    within(LIMIT, || {
        let pool = builder(1).max_worker_growth(MANY as u64 / 2).initializer(fill, ()).build().unwrap();
        let worker = pool.submit(leak, (100,)).result().unwrap();
        let table = Blob::from_bytes(&vec![1; MANY]).unwrap();
        assert_eq!(pool.submit(keep, (table,)).result().unwrap(), worker);
        for _ in 0..3 {
            assert_eq!(pool.submit(leak, (100,)).result().unwrap(), worker);
        }
    });
}

#[test]
fn no_more_tasks_run_at_a_time_than_there_may_be_workers() {
    within(LIMIT, || {
        let pool = builder(2).max_tasks_per_worker(1).build().unwrap();
        let held = Held::keep(&pool, 2);
        let more: Vec<_> = (0..5).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        // The successors are up, and have nothing to run.
        wait_until(|| pool.worker_pids().len() == 4);
        thread::sleep(Duration::from_millis(20));
        assert_eq!((pool.active_count(), pool.worker_pids().len(), pool.queued()), (2, 4, 5));
        held.release();
        more.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
    });
}
