//! What a worker calls when it starts and ends, which worker it is, and what the pool counts.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use bowline::thread_pool::{Metrics, RunTimeHistogram, WhenFull, worker_index};
use bowline::{Lock, ThreadPoolExecutor};
use static_assertions::assert_impl_all;

use crate::support::gate::Busy;
use crate::support::{LIMIT, until_parked, wait_until, within};

assert_impl_all!(Metrics: Send, Sync, Clone, std::fmt::Debug);
assert_impl_all!(RunTimeHistogram: Send, Sync, Clone, Eq, std::fmt::Debug);

#[test]
fn workers_that_live_at_a_time_have_different_indexes_below_the_largest_maximum() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(4).keep_alive(Duration::from_micros(30)).build();
        let (taken, max) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(AtomicUsize::new(0)));
        for round in 0..300 {
            pool.set_max_workers(1 + round % 4);
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let (taken, max) = (Arc::clone(&taken), Arc::clone(&max));
                    pool.submit(move || {
                        let index = worker_index().expect("a worker");
                        assert!(taken.lock().unwrap().insert(index), "two workers with index {index}");
                        max.fetch_max(index, SeqCst);
                        thread::yield_now();
                        assert_eq!(worker_index(), Some(index));
                        assert!(taken.lock().unwrap().remove(&index));
                    })
                })
                .collect();
            tasks.into_iter().for_each(|task| task.result().unwrap());
            thread::sleep(Duration::from_micros(round as u64 % 60));
        }
        assert!(max.load(SeqCst) < 4);
        assert_eq!(worker_index(), None);
    });
}

#[test]
fn a_task_in_place_has_the_index_of_its_worker_and_one_on_its_submitter_has_none() {
    within(LIMIT, || {
        let builder = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1);
        let pool = builder.when_full(WhenFull::CallerRuns).build();
        let same = pool.clone();
        let nested = pool.submit(move || (worker_index(), same.submit(worker_index).result().unwrap()));
        assert_eq!(nested.result().unwrap(), (Some(0), Some(0)));
        let busy = Busy::keep(&pool, 1);
        let queued = pool.submit(worker_index);
        assert_eq!(pool.submit(worker_index).result().unwrap(), None);
        busy.release();
        assert_eq!(queued.result().unwrap(), Some(0));
    });
}

#[test]
fn each_worker_calls_the_hooks_once_around_all_of_its_tasks_and_panics_in_them_end_nothing() {
    within(LIMIT, || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str, panics: bool| {
            let log = Arc::clone(&log);
            move || {
                log.lock().unwrap().push((what, worker_index()));
                assert!(!panics, "on purpose");
            }
        };
        for panics in [false, true] {
            let builder = ThreadPoolExecutor::builder().max_workers(1).initializer(note("initializer", false));
            let pool = builder.on_worker_start(note("start", panics)).on_worker_end(note("end", panics)).build();
            for _ in 0..3 {
                pool.submit(note("task", false)).result().unwrap();
            }
            assert!(pool.shutdown().is_complete());
            let zero = Some(0);
            let tasks = [("task", zero); 3];
            let wanted = [&[("initializer", zero), ("start", zero)], &tasks[..], &[("end", None)]].concat();
            assert_eq!(std::mem::take(&mut *log.lock().unwrap()), wanted);
        }
    });
}

#[test]
fn a_hook_that_waits_holds_up_neither_a_join_nor_the_other_workers() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(()));
        let (wanted, started) = (Arc::clone(&lock), AtomicUsize::new(0));
        let start = move || {
            if started.fetch_add(1, SeqCst) == 1 {
                drop(wanted.lock());
            }
        };
        let builder = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("hook-waits");
        let pool = builder.on_worker_start(start).build();
        let held = lock.lock();
        pool.submit(|| ()).result().unwrap();
        assert_eq!(pool.prestart(1), 1);
        until_parked("hook-waits_1");
        let tasks: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
        assert!(pool.acquire_join().is_ok(), "a false alarm");
        assert!(tasks.iter().all(bowline::Future::done));
        drop(held);
    });
}

#[test]
fn the_metrics_count_what_ran_wherever_it_ran() {
    within(LIMIT, || {
        let builder = ThreadPoolExecutor::builder().max_workers(2).queue_capacity(1).run_times(true);
        let pool = builder.when_full(WhenFull::CallerRuns).keep_alive(Duration::from_millis(1)).build();
        let both = Arc::new(Barrier::new(2));
        let meet = || {
            let both = Arc::clone(&both);
            pool.submit(move || both.wait().is_leader())
        };
        let met = [meet(), meet()];
        met.into_iter().for_each(|task| assert!(task.result().is_ok()));
        assert!(pool.submit(|| panic!("on purpose")).exception().is_some());
        let same = pool.clone();
        pool.submit(move || same.submit(|| thread::sleep(Duration::from_millis(3))).result())
            .result()
            .unwrap()
            .unwrap();
        let before = pool.metrics();
        // Counted before they are done: so are those of callbacks, and of results that nobody takes.
        assert_eq!((before.completed, before.panicked, before.run_times.unwrap().count()), (5, 1, 5));
        // One after the other: the queue has room for one.
        let busy = [Busy::keep(&pool, 1), Busy::keep(&pool, 1)];
        drop(pool.submit(|| ()));
        pool.submit(|| ()).result().unwrap(); // here
        assert_eq!((pool.metrics().active, pool.metrics().queued), (2, 1));
        busy.into_iter().for_each(Busy::release);
        pool.join();
        wait_until(|| pool.worker_count() == 0);
        let after = pool.metrics();
        assert_eq!((after.workers, after.active, after.queued, after.max_workers, after.largest_size), (0, 0, 0, 2, 2));
        let times = after.run_times.unwrap();
        assert_eq!((after.completed, times.count()), (9, 9));
        let long: u64 =
            times.buckets().filter(|(end, _)| *end > Duration::from_millis(3)).map(|(_, count)| count).sum();
        assert!(long >= 2, "{times:?}");
    });
}
