//! Worker processes and the wait-for graph: who waits for which process is shown, and no deadlock is made of it; within a
//! worker, locks and pools work, and deadlocks are found, as anywhere.

#![cfg(target_os = "linux")]

use std::sync::mpsc;
use std::thread;

use bowline::deadlock::{self, Edge};
use bowline::{Lock, ProcessPoolExecutor, RLock, TaskError, ThreadPoolExecutor, wait};

use crate::support::deadlocks::Reports;
use crate::support::folder::{Folder, open, pass, put};
use crate::support::workers::{Held, echo};
use crate::support::{LIMIT, alone, find_thread, spawn_named, until_parked, until_waiting, within};

#[test]
fn a_snapshot_shows_the_process_that_a_thread_waits_for() {
    alone(|| {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let folder = Folder::new();
        let task = pool.submit_named("thumbnail", pass, (folder.path(), 1, open()));
        folder.until_begun(1);
        let pid = pool.worker_pids()[0];
        thread::scope(|s| {
            spawn_named(s, "graph waiter", || task.result().unwrap());
            let waiter = until_waiting("graph waiter");
            let wait = waiter.waits_for().unwrap();
            assert_eq!((wait.process(), wait.resource().name()), (Some(pid), Some("thumbnail")));
            assert_eq!(wait.site().file(), file!());
            let graph = deadlock::snapshot();
            let text = format!("{graph:400}");
            let waits = format!("waits for task A 'thumbnail', which process {pid} runs");
            assert!(text.contains("thread 'graph waiter'") && text.contains(&waits), "{text}");
            let dot = graph.to_dot();
            assert!(dot.contains(&format!("for process {pid}")) && dot.contains("thumbnail"), "{dot}");
            let json = serde_json::to_value(&graph).unwrap();
            let edges = json["edges"].as_array().unwrap();
            let its = |edge: &&serde_json::Value| edge["kind"] == "waits" && edge["process"] == pid;
            let edge = edges.iter().find(its).unwrap_or_else(|| panic!("{json}"));
            let node = |end: &str| &json["nodes"][edge[end].as_u64().unwrap() as usize];
            assert_eq!(node("from")["name"], "graph waiter");
            assert!(node("to").to_string().contains("thumbnail"), "{json}");
            let weights = graph.graph().edge_weights();
            assert_eq!(
                weights.filter(|edge| matches!(edge, Edge::Waits { process: Some(id), .. } if *id == pid)).count(),
                1
            );
            folder.put("open");
        });
    });
}

#[test]
fn a_task_that_no_worker_has_begun_is_shown_without_a_process_until_one_has() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let folder = Folder::new();
        let held = Held::keep(&pool, 1);
        let ahead = pool.submit_named("ahead", pass, (folder.path(), 1, open()));
        let pid = pool.worker_pids()[0];
        thread::scope(|s| {
            spawn_named(s, "waits for the one ahead", || ahead.result().unwrap());
            let waiter = until_waiting("waits for the one ahead");
            let wait = waiter.waits_for().unwrap();
            assert_eq!((wait.process(), wait.resource().name()), (None, Some("ahead")));
            held.release();
            folder.until_begun(1);
            let waiter = find_thread("waits for the one ahead").unwrap();
            assert_eq!(waiter.waits_for().unwrap().process(), Some(pid));
            folder.put("open");
        });
    });
}

#[test]
fn a_holder_that_waits_for_a_process_is_no_deadlock_for_who_waits_for_its_lock() {
    alone(|| {
        let reports = Reports::about("process graph");
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let folder = Folder::new();
        let lock = Lock::named("process graph lock", 0);
        let task = pool.submit_named("process graph task", pass, (folder.path(), 1, open()));
        folder.until_begun(1);
        thread::scope(|s| {
            let holder = spawn_named(s, "process graph holder", || {
                let mut guard = lock.lock();
                *guard += task.result().unwrap();
            });
            until_parked("process graph holder");
            let other = spawn_named(s, "process graph other", || *lock.lock());
            until_parked("process graph other");
            let text = deadlock::snapshot().to_string();
            assert!(text.contains("process graph lock") && text.contains("process graph task"), "{text}");
            folder.put("open");
            holder.join().unwrap();
            assert_eq!(other.join().unwrap(), 1);
        });
        assert!(reports.take().is_empty());
    });
}

#[test]
fn threads_that_wait_for_a_pool_and_each_other_through_processes_are_no_deadlock() {
    alone(|| {
        let reports = Reports::about("process wait");
        let threads = ThreadPoolExecutor::new(1);
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let held = Held::keep(&pool, 1);
        // The only thread waits for a queued process task, somebody waits for that thread, and somebody for the pool's end.
        let own = pool.clone();
        let outer = threads.submit_named("process wait outer", move || own.submit(echo::<u64>, (1,)).result());
        thread::scope(|s| {
            let one = spawn_named(s, "process wait one", || {
                wait([&outer], bowline::ReturnWhen::AllCompleted, None).done.len()
            });
            crate::support::wait_until(|| pool.queued() == 1);
            let end = spawn_named(s, "process wait end", || pool.shutdown());
            until_parked("process wait one");
            until_parked("process wait end");
            held.release();
            assert_eq!(one.join().unwrap(), 1);
            let report = end.join().unwrap();
            assert!(report.is_complete() && report.deadlock.is_none());
        });
        assert_eq!(outer.result().unwrap().unwrap(), 1);
        assert!(reports.take().is_empty());
    });
}

/// In a worker: asks again for what it holds.
fn lock_twice() -> u64 {
    let lock = Lock::named("held by this very task", 1);
    let first = lock.lock();
    *first + *lock.lock()
}

/// In a worker: two threads take two locks in opposite orders, one of them as a task of a thread pool.
fn cross() -> Vec<String> {
    let (a, b) = (Lock::named("cross a", ()), Lock::named("cross b", ()));
    let met = std::sync::Barrier::new(2);
    let take = |first: &Lock<()>, second: &Lock<()>| {
        let _first = first.lock();
        met.wait();
        second.acquire().map(drop).map_err(|error| error.to_string())
    };
    let results = thread::scope(|s| {
        let other = s.spawn(|| take(&b, &a));
        [take(&a, &b), other.join().unwrap()]
    });
    results.into_iter().filter_map(Result::err).collect()
}

/// In a worker: two tasks that wait for each other.
fn wait_for_each_other() -> String {
    let pool = ThreadPoolExecutor::new(2);
    let (send, receive) = mpsc::channel::<bowline::SharedFuture<String>>();
    let text = |result: Result<String, TaskError>| result.unwrap_or_else(|error| error.to_string());
    let first = pool.submit(move || text(receive.recv().unwrap().result())).shared();
    let own = first.clone();
    let second = pool.submit(move || text(own.result())).shared();
    send.send(second.clone()).unwrap();
    format!("{}\n{}", text(first.result()), text(second.result()))
}

#[test]
fn a_deadlock_inside_a_worker_comes_back_as_the_tasks_panic_or_error() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let Err(TaskError::Panicked(panic)) = pool.submit(lock_twice, ()).result() else { panic!("a panic") };
        assert!(panic.message().contains("deadlock") && panic.message().contains("held by this very task"), "{panic}");
        assert!(panic.message().contains(file!()) && panic.message().contains("thread 'main'"), "{panic}");
        let victims = pool.submit(cross, ()).result().unwrap();
        assert_eq!(victims.len(), 1, "{victims:?}");
        assert!(victims[0].contains("cross a") && victims[0].contains("cross b"), "{victims:?}");
        let text = pool.submit(wait_for_each_other, ()).result().unwrap();
        assert!(text.contains("deadlock"), "{text}");
        // The worker is none the worse for it.
        assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
        assert_eq!((pool.worker_count(), pool.completed()), (1, 4));
    });
}

/// In a worker: a sum by the threads of a pool under a lock.
fn sum_in_threads(most: u64) -> u64 {
    let pool = ThreadPoolExecutor::new(3);
    let (sum, again) = (Lock::new(0), RLock::new(()));
    pool.scope(|s| {
        for n in 0..most {
            let (sum, again) = (&sum, &again);
            drop(s.submit(move || {
                let _outer = again.lock();
                let _inner = again.lock();
                *sum.lock() += n;
            }));
        }
    });
    let mapped: u64 = pool.map(|n| n, 0..most).map(Result::unwrap).sum();
    assert_eq!(mapped, *sum.lock());
    mapped
}

/// In a worker: a sum by the workers of a pool of its own.
fn sum_in_processes(most: u64) -> u64 {
    let pool = ProcessPoolExecutor::new(2).expect("a pool in a worker");
    pool.map(echo::<u64>, 0..most).chunk_size(3).map(Result::unwrap).sum()
}

/// In a worker: what its wait-for graph says of a thread that waits for a process of its own.
fn snapshot_of_nested(folder: String) -> (String, u32) {
    let pool = ProcessPoolExecutor::new(1).expect("a pool in a worker");
    let task = pool.submit_named("inner", pass, (folder.clone(), 1, open()));
    let text = thread::scope(|s| {
        spawn_named(s, "waits in a worker", || task.result().expect("a value"));
        crate::support::wait_until(|| {
            find_thread("waits in a worker")
                .is_some_and(|thread| thread.waits_for().is_some_and(|wait| wait.process().is_some()))
        });
        let text = deadlock::snapshot().to_string();
        put(&folder, "open");
        text
    });
    (text, pool.worker_pids()[0])
}

#[test]
fn locks_and_pools_work_inside_of_a_worker() {
    alone(|| {
        let pool = ProcessPoolExecutor::new(2).unwrap();
        let [first, second] = [50, 60].map(|most| pool.submit(sum_in_threads, (most,)));
        assert_eq!((first.result().unwrap(), second.result().unwrap()), (49 * 25, 59 * 30));
        let [first, second] = [5, 6].map(|most| pool.submit(sum_in_processes, (most,)));
        assert_eq!((first.result().unwrap(), second.result().unwrap()), (10, 15));
        // The same worker, again.
        assert_eq!(pool.submit(sum_in_threads, (3,)).result().unwrap(), 3);
        let folder = Folder::new();
        let (text, pid) = pool.submit(snapshot_of_nested, (folder.path(),)).result().unwrap();
        assert!(
            text.replace("\n    ", " ").contains(&format!("waits for task A 'inner', which process {pid} runs")),
            "{text}"
        );
        assert!(!deadlock::snapshot().to_string().contains("waits in a worker"), "it is another process");
    });
}
