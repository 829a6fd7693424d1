//! The wait until a pool is at rest, which leaves it open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock::Kind;
use bowline::thread_pool::ShutdownOptions;
use bowline::{Lock, TaskError, ThreadPoolExecutor};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, spawn_named, until_parked, until_waiting, within};

fn pool(name: &str, workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name).build()
}

#[test]
fn a_pool_that_was_joined_has_done_all_of_its_tasks_and_takes_others() {
    within(LIMIT, || {
        let (pool, called) = (ThreadPoolExecutor::new(3), Arc::new(AtomicUsize::new(0)));
        for round in 1..=50 {
            let futures: Vec<_> = (0..20)
                .map(|n| {
                    let (future, called) = (pool.submit(move || n), Arc::clone(&called));
                    future.add_done_callback(move |_| _ = called.fetch_add(1, SeqCst));
                    future
                })
                .collect();
            pool.join();
            assert!(futures.iter().all(bowline::Future::done));
            // A callback runs where the task ran, or on the thread that adds it.
            assert_eq!(called.load(SeqCst), 20 * round);
            assert_eq!((pool.queued(), pool.active_count()), (0, 0));
        }
    });
}

#[test]
fn a_pool_at_rest_is_joined_at_once_before_its_first_task_and_after_its_end() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        pool.join();
        assert!(pool.join_timeout(Duration::ZERO));
        pool.submit(|| 1).result().unwrap();
        pool.shutdown();
        pool.join();
        assert!(pool.acquire_join().is_ok() && pool.join_timeout(Duration::ZERO));
    });
}

#[test]
fn a_join_waits_for_what_tasks_submit_and_for_a_pool_that_is_shut_down_meanwhile() {
    within(LIMIT, || {
        let (pool, done) = (ThreadPoolExecutor::new(2), Arc::new(AtomicUsize::new(0)));
        fn chain(pool: &ThreadPoolExecutor, left: usize, done: &Arc<AtomicUsize>) {
            let (same, done) = (pool.clone(), Arc::clone(done));
            drop(pool.submit(move || {
                if left > 0 {
                    chain(&same, left - 1, &done);
                }
                done.fetch_add(1, SeqCst);
            }));
        }
        chain(&pool, 99, &done);
        pool.join();
        assert_eq!(done.load(SeqCst), 100);
        let busy = Busy::keep(&pool, 2);
        thread::scope(|s| {
            let joiner = spawn_named(s, "rest-joiner", || pool.join());
            until_parked("rest-joiner");
            _ = pool.shutdown_with(ShutdownOptions::new().wait(false));
            busy.release();
            joiner.join().unwrap();
        });
    });
}

#[test]
fn a_join_ends_when_the_last_queued_task_is_cancelled_or_run_by_a_waiter() {
    within(LIMIT, || {
        for _ in 0..200 {
            let pool = ThreadPoolExecutor::new(1);
            let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n)).collect();
            thread::scope(|s| {
                let canceller = s.spawn(|| futures.iter().rev().filter(|future| future.cancel()).count());
                pool.join();
                assert!(canceller.join().unwrap() <= 4);
            });
            pool.join();
            assert!(futures.iter().all(bowline::Future::done));
        }
    });
}

#[test]
fn a_join_with_a_limit_says_whether_the_pool_came_to_rest() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        assert!(!pool.join_timeout(Duration::from_millis(5)));
        let waiter = thread::spawn({
            let pool = pool.clone();
            move || pool.join_timeout(LIMIT)
        });
        busy.release();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_task_that_joins_its_own_pool_is_told_that_it_waits_for_itself() {
    within(LIMIT, || {
        let pool = pool("self-joiner", 2);
        let same = pool.clone();
        let deadlock = pool.submit(move || same.acquire_join().unwrap_err()).result().unwrap();
        assert_eq!(deadlock.report().kind(), Kind::Relock, "{}", deadlock.report());
        let same = pool.clone();
        let TaskError::Panicked(panic) = pool.submit(move || same.join()).result().unwrap_err() else { panic!() };
        assert!(panic.to_string().contains("self-joiner"), "{panic}");
        let same = pool.clone();
        assert!(!pool.submit(move || same.join_timeout(Duration::from_millis(5))).result().unwrap());
        pool.join();
    });
}

#[test]
fn a_task_that_wants_what_the_joiner_holds_is_a_deadlock_and_one_of_them_is_told() {
    within(LIMIT, || {
        let (pool, lock) = (pool("joined-holder", 2), Arc::new(Lock::new(())));
        let held = lock.lock();
        let wanted = Arc::clone(&lock);
        let task = pool.submit(move || wanted.acquire().is_err());
        let joined = pool.acquire_join();
        drop(held);
        assert_eq!(usize::from(joined.is_err()) + usize::from(task.result().unwrap()), 1);
        pool.join();
    });
}

#[test]
fn two_pools_whose_tasks_join_each_other_are_a_deadlock() {
    within(LIMIT, || {
        let (one, two) = (pool("each-one", 1), pool("each-two", 1));
        let gate = Gate::default();
        let joins = |of: &ThreadPoolExecutor, other: &ThreadPoolExecutor| {
            let (gate, other) = (gate.clone(), other.clone());
            of.submit(move || {
                gate.pass();
                other.acquire_join().err().map(|deadlock| deadlock.report().kind())
            })
        };
        let (first, second) = (joins(&one, &two), joins(&two, &one));
        crate::support::wait_until(|| first.running() && second.running());
        gate.open();
        let told: Vec<_> = [first, second].into_iter().filter_map(|task| task.result().unwrap()).collect();
        assert_eq!(told, [Kind::Cycle]);
    });
}

/// A pool whose workers, from the second on, or all, lock this before their first task.
fn initialised_with(name: &str, lock: &Arc<Lock<()>>, workers: usize, first: usize) -> ThreadPoolExecutor {
    let (lock, started) = (Arc::clone(lock), AtomicUsize::new(0));
    let initializer = move || {
        if started.fetch_add(1, SeqCst) >= first {
            drop(lock.lock());
        }
    };
    let builder = ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name);
    builder.initializer(initializer).build()
}

#[test]
fn a_worker_that_is_stuck_before_its_first_task_is_not_waited_for() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(()));
        let pool = initialised_with("no-alarm", &lock, 2, 1);
        let held = lock.lock();
        let busy = Busy::keep(&pool, 1);
        let second = pool.submit(|| 7);
        until_parked("no-alarm_1"); // in the initializer
        let joiner = thread::current().name().expect("a test has a name").to_owned();
        let opener = thread::spawn(move || {
            until_waiting(&joiner);
            // Judged by now, if it is wrong to name that worker.
            thread::sleep(Duration::from_millis(20));
            busy.release();
        });
        let joined = pool.acquire_join();
        drop(held);
        opener.join().unwrap();
        assert!(joined.is_ok(), "{}", joined.unwrap_err());
        assert_eq!(second.result().unwrap(), 7);
    });
}

#[test]
fn a_queue_that_no_worker_will_come_to_is_a_deadlock_of_the_joiner() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::new(()));
        let pool = initialised_with("no-comer", &lock, 1, 0);
        let held = lock.lock();
        let task = pool.submit(|| 7);
        // The initializer would panic if it were told; the joiner closes the circle once that waits.
        until_parked("no-comer_0");
        let deadlock = pool.acquire_join().unwrap_err();
        assert_eq!(deadlock.report().kind(), Kind::Starvation, "{}", deadlock.report());
        drop(held);
        pool.join();
        assert!(task.done());
    });
}

#[test]
fn a_pool_is_joined_from_runtimes_and_from_tasks_of_others() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let batch = |pool: &ThreadPoolExecutor| {
            let futures: Vec<_> = (0..10).map(|n| pool.submit(move || n)).collect();
            pool.join();
            assert!(futures.iter().all(bowline::Future::done));
            futures
        };
        let current = tokio::runtime::Builder::new_current_thread().build().unwrap();
        current.block_on(async {
            for (n, future) in batch(&pool).into_iter().enumerate() {
                assert_eq!(future.await.unwrap(), n);
            }
        });
        let local = tokio::task::LocalSet::new();
        let same = pool.clone();
        local.block_on(&current, async move {
            let joined = tokio::task::spawn_local(async move { batch(&same).len() });
            assert_eq!(joined.await.unwrap(), 10);
        });
        let several = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let joins: Vec<_> = (0..4)
            .map(|_| {
                let pool = pool.clone();
                several.spawn(async move { batch(&pool).len() })
            })
            .collect();
        for joined in joins {
            assert_eq!(several.block_on(joined).unwrap(), 10);
        }
        // A task of another pool, inside of an executor that runs on its worker.
        let (outer, same) = (ThreadPoolExecutor::new(1), pool.clone());
        let task = outer.submit(move || futures::executor::block_on(async { batch(&same).len() }));
        assert_eq!(task.result().unwrap(), 10);
        // And of the same pool: an executor does not hide whose task it is.
        let same = pool.clone();
        let task = pool.submit(move || futures::executor::block_on(async { same.acquire_join().is_err() }));
        assert!(task.result().unwrap());
    });
}

#[test]
fn those_who_join_while_others_submit_all_return() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(3);
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..2000 {
                    let futures: Vec<_> = (0..8).map(|n| pool.submit(move || n)).collect();
                    futures.into_iter().for_each(|future| assert!(future.result().is_ok()));
                }
            });
            (0..3).for_each(|_| _ = s.spawn(|| (0..50).for_each(|_| pool.join())));
        });
    });
}

#[test]
fn a_report_of_a_join_speaks_of_tasks_and_of_what_the_joiner_holds() {
    within(LIMIT, || {
        for queued in [1, 2] {
            let (pool, lock) = (pool("joined tasks", 1), Arc::new(Lock::named("wanted", ())));
            let held = lock.lock();
            for _ in 0..queued {
                let lock = Arc::clone(&lock);
                drop(pool.submit(move || drop(lock.acquire())));
            }
            // Then the joiner closes the circle.
            until_waiting("joined tasks_0");
            let deadlock = pool.acquire_join().unwrap_err();
            drop(held);
            let text = deadlock.report().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("waits for the tasks of ") && !text.contains("room in the queue"), "{text}");
            assert!(text.contains("A = ThreadPoolExecutor 'joined tasks', made at"), "it has a letter: {text}");
            assert!(text.contains("before waiting for the tasks of A"), "{text}");
            pool.join();
        }
    });
}
