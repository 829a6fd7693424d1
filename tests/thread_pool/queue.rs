//! A queue with a capacity: what a submitter is told, or made to do, when it is full.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bowline::task::Rejected;
use bowline::thread_pool::{ShutdownOptions, WhenFull};
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor};

use crate::support::gate::Busy;
use crate::support::{LIMIT, message, spawn_named, until_parked, within};

fn pool(when_full: WhenFull, capacity: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(1).queue_capacity(capacity).when_full(when_full).build()
}

/// A pool whose worker is busy and whose queue is full.
fn full(when_full: WhenFull, capacity: usize) -> (ThreadPoolExecutor, Busy, Vec<Future<usize>>) {
    let pool = pool(when_full, capacity);
    let busy = Busy::keep(&pool, 1);
    let queued: Vec<_> = (0..capacity).map(|n| pool.submit(move || n)).collect();
    assert_eq!(pool.queued(), capacity);
    (pool, busy, queued)
}

fn sum(tasks: Vec<Future<usize>>) -> usize {
    tasks.into_iter().map(|task| task.result().unwrap()).sum()
}

#[test]
fn a_capacity_of_nothing_panics() {
    for capacity in [0, 1 << 32] {
        let panic = std::panic::catch_unwind(|| drop(ThreadPoolExecutor::builder().queue_capacity(capacity)));
        assert_eq!(message(&*panic.unwrap_err()), "queue_capacity must be from 1 to 2^32 - 1");
    }
}

#[test]
fn a_submitter_waits_for_room_unless_told_otherwise() {
    within(LIMIT, || {
        assert_eq!(WhenFull::default(), WhenFull::Block);
        let (pool, busy, queued) = full(WhenFull::Block, 2);
        thread::scope(|s| {
            let submitter = spawn_named(s, "waits for room", || pool.submit(|| 10).result().unwrap());
            until_parked("waits for room");
            assert_eq!(pool.queued(), 2, "it is not in the queue");
            busy.release();
            assert_eq!(submitter.join().unwrap(), 10);
        });
        assert_eq!(sum(queued), 1);
    });
}

#[test]
fn a_cancelled_task_makes_room_at_once() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Block, 2);
        thread::scope(|s| {
            let submitter = spawn_named(s, "waits for a cancellation", || pool.submit(|| 10));
            until_parked("waits for a cancellation");
            assert!(queued[0].cancel());
            let task = submitter.join().unwrap();
            assert_eq!(pool.queued(), 2, "while the only worker is busy");
            busy.release();
            assert_eq!(task.result().unwrap(), 10);
        });
    });
}

#[test]
fn a_cancelled_task_takes_no_room_however_many_there_are() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Reject, 2);
        assert!(queued.iter().all(Future::cancel));
        for _ in 0..100 {
            let task = pool.submit(|| 0);
            assert!(task.cancel(), "{task:?}");
        }
        let tasks: Vec<_> = (0..2).map(|n| pool.submit(move || n)).collect();
        busy.release();
        assert_eq!(sum(tasks), 1);
    });
}

#[test]
fn tasks_run_in_their_order_however_many_between_them_are_cancelled() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for n in 0..300 {
            let order = Arc::clone(&order);
            drop(pool.submit(move || order.lock().unwrap().push(n)));
            let cancelled: Vec<_> = (0..n % 7).map(|_| pool.submit(|| unreachable!("cancelled"))).collect();
            assert!(cancelled.iter().all(Future::cancel));
        }
        assert_eq!(pool.queued(), 300);
        busy.release();
        drop(pool);
        assert!(order.lock().unwrap().iter().copied().eq(0..300));
    });
}

#[test]
fn a_full_queue_that_rejects_says_so_and_drops_the_closure() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Reject, 2);
        let owned = Arc::new(());
        let moved = Arc::clone(&owned);
        let error = pool.submit(move || drop(moved)).result().unwrap_err();
        assert!(matches!(error, TaskError::Rejected(Rejected::QueueFull)), "{error:?}");
        assert_eq!(error.to_string(), "the task was rejected: the executor's queue is full");
        assert_eq!(Arc::strong_count(&owned), 1);
        busy.release();
        assert_eq!(sum(queued), 1);
        assert_eq!(pool.submit(|| 5).result().unwrap(), 5, "there is room again");
    });
}

#[test]
fn a_task_that_the_caller_runs_is_as_good_as_any() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::CallerRuns, 1);
        let here = thread::current().id();
        let task = pool.submit(|| thread::current().id());
        assert!(task.done() && !task.cancel());
        assert_eq!(task.result().unwrap(), here);
        let panics: Future<()> = pool.submit(|| panic!("meant to, on the caller"));
        assert!(matches!(panics.result(), Err(TaskError::Panicked(panic)) if panic.message().starts_with("meant")));
        assert_eq!((pool.completed(), pool.panic_count()), (2, 1));
        // It runs as somebody else: it does not slip into what the caller holds.
        let lock = Arc::new(Lock::new(()));
        let guard = lock.lock();
        let wanted = Arc::clone(&lock);
        let blocked = pool.submit(move || wanted.acquire().is_err());
        assert!(blocked.result().unwrap(), "the caller waits for the task, which waits for the caller");
        drop(guard);
        busy.release();
        assert_eq!(sum(queued), 0);
        assert_ne!(pool.submit(|| thread::current().id()).result().unwrap(), here, "there is room again");
        assert!(pool.shutdown().is_complete());
        assert!(matches!(pool.submit(|| ()).result(), Err(TaskError::Rejected(Rejected::Shutdown))));
    });
}

#[test]
fn try_submit_never_waits_and_gives_the_closure_back() {
    within(LIMIT, || {
        for when_full in [WhenFull::Block, WhenFull::Reject, WhenFull::CallerRuns] {
            let (pool, busy, queued) = full(when_full, 1);
            let text = "kept".to_owned();
            let error = pool.try_submit(move || text).unwrap_err();
            assert!(matches!(error.reason(), Rejected::QueueFull), "{when_full:?}: {error:?}");
            assert_eq!(error.into_task()(), "kept");
            busy.release();
            assert_eq!(sum(queued), 0);
            assert_eq!(pool.try_submit(|| 3).unwrap().result().unwrap(), 3);
        }
    });
}

#[test]
fn submit_timeout_waits_so_long_and_gives_the_closure_back() {
    within(LIMIT, || {
        for when_full in [WhenFull::Block, WhenFull::Reject, WhenFull::CallerRuns] {
            let (pool, busy, queued) = full(when_full, 1);
            for timeout in [Duration::ZERO, Duration::from_millis(10)] {
                let (start, text) = (Instant::now(), "kept".to_owned());
                let error = pool.submit_timeout(move || text, timeout).unwrap_err();
                assert!(start.elapsed() >= timeout);
                assert!(matches!(error.reason(), Rejected::Timeout), "{when_full:?}: {error:?}");
                assert_eq!(error.into_task()(), "kept");
            }
            thread::scope(|s| {
                let submitter = spawn_named(s, "waits a while", || pool.submit_timeout(|| 4, LIMIT * 2));
                until_parked("waits a while");
                busy.release();
                assert_eq!(submitter.join().unwrap().unwrap().result().unwrap(), 4);
            });
            assert_eq!(sum(queued), 0);
        }
    });
}

#[test]
fn a_submitter_that_waits_is_told_of_a_shutdown() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Block, 1);
        let names = ["is told first", "is told second", "is told third"];
        thread::scope(|s| {
            let submitters = names.map(|name| spawn_named(s, name, || pool.submit(|| 0).result()));
            names.iter().for_each(|name| until_parked(name));
            let _ = pool.shutdown_with(ShutdownOptions::new().wait(false));
            for submitter in submitters {
                let result = submitter.join().unwrap();
                assert!(matches!(result, Err(TaskError::Rejected(Rejected::Shutdown))), "{result:?}");
            }
        });
        busy.release();
        assert_eq!(sum(queued), 0);
    });
}

#[test]
fn a_submitter_that_gives_up_leaves_the_room_to_the_next() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Block, 1);
        thread::scope(|s| {
            let patient = spawn_named(s, "waits on", || pool.submit(|| 7).result().unwrap());
            until_parked("waits on");
            assert!(pool.submit_timeout(|| 0, Duration::from_millis(2)).is_err());
            busy.release();
            assert_eq!(patient.join().unwrap(), 7);
        });
        assert_eq!(sum(queued), 0);
    });
}

#[test]
fn a_queue_is_never_longer_than_its_capacity() {
    within(LIMIT, || {
        const CAPACITY: usize = 3;
        let pool =
            ThreadPoolExecutor::builder().max_workers(2).queue_capacity(CAPACITY).when_full(WhenFull::Block).build();
        let (barrier, most) = (Barrier::new(4), AtomicUsize::new(0));
        let total: usize = thread::scope(|s| {
            let submit = |_| {
                s.spawn(|| {
                    barrier.wait();
                    let task = |n| {
                        let task = pool.submit(move || n);
                        most.fetch_max(pool.queued(), SeqCst);
                        task
                    };
                    sum((0..300).map(task).collect())
                })
            };
            let submitters: Vec<_> = (0..4).map(submit).collect();
            submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum()
        });
        assert_eq!(total, 4 * 300 * 299 / 2);
        assert!((1..=CAPACITY).contains(&most.load(SeqCst)), "{most:?}");
    });
}

#[test]
fn a_task_that_fills_its_own_queue_is_told_of_the_deadlock() {
    within(LIMIT, || {
        let pool = pool(WhenFull::Block, 1);
        let own = pool.clone();
        let task = pool.submit_named("fills the queue", move || {
            let first = own.submit(|| 1);
            let second = own.submit(|| 2).result();
            (first.result(), second)
        });
        let (first, second) = task.result().unwrap();
        assert_eq!(first.unwrap(), 1, "what was taken runs");
        let Err(TaskError::Rejected(Rejected::Deadlock(deadlock))) = second else { panic!("{second:?}") };
        assert!(deadlock.to_string().contains("fills the queue"), "{deadlock}");
        assert_eq!(pool.submit(|| 3).result().unwrap(), 3, "the pool goes on");
    });
}

#[test]
fn a_task_may_wait_for_room_that_another_worker_makes() {
    within(LIMIT, || {
        let builder = ThreadPoolExecutor::builder().max_workers(2).queue_capacity(1).when_full(WhenFull::Block);
        let pool = builder.thread_name_prefix("room").build();
        let busy = Busy::keep(&pool, 1);
        let own = pool.clone();
        let fills = pool.submit(move || sum((0..10).map(|n| own.submit(move || n)).collect()));
        until_parked("room_1");
        busy.release();
        assert_eq!(fills.result().unwrap(), 45);
    });
}

#[test]
fn more_workers_make_room_for_those_who_wait() {
    within(LIMIT, || {
        let (pool, busy, queued) = full(WhenFull::Block, 1);
        thread::scope(|s| {
            let submitter = spawn_named(s, "waits for a worker", || pool.submit(|| 8).result().unwrap());
            until_parked("waits for a worker");
            pool.set_max_workers(2);
            assert_eq!(submitter.join().unwrap(), 8);
        });
        assert_eq!(sum(queued), 0);
        busy.release();
    });
}
