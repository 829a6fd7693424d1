//! A system that refuses to start threads: no task is left behind without anybody to run it.

#![cfg(target_os = "linux")]

use std::error::Error;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use bowline::task::Rejected;
use bowline::thread_pool::{ShutdownOptions, WhenFull};
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor};

use super::calls::{REFUSAL, REFUSED};
use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, alone, spawn_named, until_parked, wait_until, within};

/// Runs `body` while the calling thread cannot start others; it calls `instead` each time.
fn refusing<R>(instead: impl FnMut() + 'static, body: impl FnOnce() -> R) -> R {
    REFUSAL.set(Some(Box::new(instead)));
    let result = body();
    REFUSAL.set(None);
    result
}

#[track_caller]
fn assert_no_thread<T: std::fmt::Debug>(task: Future<T>) {
    let error = task.result().unwrap_err();
    let TaskError::Rejected(rejected @ Rejected::NoThread(cause)) = &error else { panic!("{error:?}") };
    assert_eq!(cause.kind(), std::io::ErrorKind::WouldBlock);
    assert!(rejected.source().is_some() && error.to_string().contains("the executor has no thread"), "{error}");
}

#[test]
fn a_task_is_rejected_and_nothing_is_left_when_there_is_no_worker_at_all() {
    alone(|| {
        let pool = ThreadPoolExecutor::new(2);
        let owned = Arc::new(());
        let task = || {
            let owned = Arc::clone(&owned);
            move || drop(owned)
        };
        refusing(
            || (),
            || {
                for _ in 0..3 {
                    assert_no_thread(pool.submit(task()));
                }
                let error = pool.try_submit(task()).unwrap_err();
                assert!(matches!(error.reason(), Rejected::NoThread(_)));
                error.into_task()();
                pool.scope(|s| assert_no_thread(s.submit(task())));
                assert!(matches!(pool.map(|n| n, 0..3).next(), Some(Err(TaskError::Rejected(Rejected::NoThread(_))))));
            },
        );
        assert_eq!((pool.queued(), pool.worker_count(), Arc::strong_count(&owned)), (0, 0, 1));
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1, "the system gives threads again");
        assert!(REFUSED.load(SeqCst) >= 5, "the system was asked each time");
    });
}

#[test]
fn a_stack_that_the_system_does_not_have_is_no_thread() {
    within(LIMIT, || {
        // The real refusal: there are not so many addresses.
        let pool = ThreadPoolExecutor::builder().max_workers(2).stack_size(1 << 46).build();
        assert_no_thread(pool.submit(|| ()));
        assert_no_thread(pool.submit(|| ()));
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn nothing_is_left_when_many_submit_at_once_and_no_thread_can_be_had() {
    within(LIMIT, || {
        for round in 0..240 {
            let submitters = 3 + round % 6;
            let builder = ThreadPoolExecutor::builder().max_workers(1 + round % 4).stack_size(1 << 46);
            let pool = if round % 2 == 0 { builder.build() } else { builder.queue_capacity(2).build() };
            let barrier = Barrier::new(submitters);
            let futures: Vec<_> = thread::scope(|s| {
                let submit = || {
                    barrier.wait();
                    [(); 5].map(|()| pool.submit(|| ()))
                };
                let submitters: Vec<_> = (0..submitters).map(|_| s.spawn(submit)).collect();
                submitters.into_iter().flat_map(|submitter| submitter.join().unwrap()).collect()
            });
            assert_eq!((pool.queued(), pool.worker_count()), (0, 0));
            assert!(pool.shutdown().is_complete());
            drop(pool);
            assert!(futures.iter().all(|future| !future.cancel()), "it is done, and its pool is gone");
            futures.into_iter().for_each(assert_no_thread);
        }
    });
}

#[test]
fn a_destructor_that_waits_for_whoever_waits_for_a_worker_that_does_not_come_is_part_of_a_deadlock() {
    struct Needs(Arc<Lock<()>>, mpsc::Sender<bool>);
    impl Drop for Needs {
        fn drop(&mut self) {
            self.1.send(self.0.acquire().is_err()).unwrap();
        }
    }
    within(LIMIT, || {
        let (pool, gate, lock) = (ThreadPoolExecutor::new(1), Gate::default(), Arc::new(Lock::new(())));
        let (tell, told) = mpsc::channel();
        thread::scope(|s| {
            let submitter = submit_late(s, &pool, &gate);
            let needs = Needs(Arc::clone(&lock), tell);
            let first = pool.submit(move || drop(needs));
            let second = pool.submit(|| ());
            let waiter = spawn_named(s, "holds what a destructor needs", || {
                let _guard = lock.lock();
                matches!(second.result(), Err(TaskError::Deadlock(_)))
            });
            until_parked("holds what a destructor needs");
            gate.open();
            assert_no_thread(submitter.join().unwrap());
            let victims = [waiter.join().unwrap(), told.recv().unwrap()];
            assert_eq!(victims.into_iter().filter(|&victim| victim).count(), 1, "one of them is told, and both go on");
            assert_no_thread(first);
        });
        assert_eq!((pool.queued(), pool.worker_count()), (0, 0));
    });
}

#[test]
fn the_workers_that_there_are_run_the_tasks_for_which_no_other_can_be_started() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(4);
        let busy = Busy::keep(&pool, 1);
        let tasks: Vec<_> = refusing(|| (), || (0..10).map(|n| pool.submit(move || n)).collect());
        assert_eq!((pool.worker_count(), pool.queued()), (1, 10));
        busy.release();
        assert_eq!(tasks.into_iter().map(|task| task.result().unwrap()).sum::<i32>(), 45);
        assert_eq!(pool.worker_count(), 1, "a smaller pool");
        Busy::keep(&pool, 4).release();
        assert_eq!(pool.worker_count(), 4, "and as large as it may be when the system gives threads again");
    });
}

#[test]
fn a_worker_that_waits_for_a_task_for_which_no_other_can_be_started_runs_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let own = pool.clone();
        let task = pool.submit(move || refusing(|| (), || own.submit(|| 5).result().unwrap()));
        assert_eq!((task.result().unwrap(), pool.worker_count()), (5, 1));
    });
}

/// A thread that submits, and is refused a worker when the gate opens. Returns when it has been asked.
fn submit_late<'s>(
    s: &'s thread::Scope<'s, '_>,
    pool: &'s ThreadPoolExecutor,
    gate: &Gate,
) -> thread::ScopedJoinHandle<'s, Future<()>> {
    let (asked, gate) = (Gate::default(), gate.clone());
    let tells = asked.clone();
    let submitter = s.spawn(move || {
        let refusal = move || {
            tells.open();
            gate.pass();
        };
        refusing(refusal, || pool.submit(|| ()))
    });
    asked.pass();
    submitter
}

#[test]
fn a_task_that_counted_on_a_worker_that_does_not_come_fails() {
    within(LIMIT, || {
        let (pool, gate) = (ThreadPoolExecutor::new(1), Gate::default());
        thread::scope(|s| {
            let submitter = submit_late(s, &pool, &gate);
            // Queued, since a worker is on its way; waited for, as it is to end.
            let queued: Vec<_> = (0..3).map(|_| pool.submit(|| ())).collect();
            let waits = pool.submit(|| ());
            let waiter = spawn_named(s, "waits for a task that no worker takes", || assert_no_thread(waits));
            until_parked("waits for a task that no worker takes");
            assert_eq!((pool.worker_count(), pool.queued()), (1, 5));
            gate.open();
            assert_no_thread(submitter.join().unwrap());
            queued.into_iter().for_each(assert_no_thread);
            waiter.join().unwrap();
        });
        assert_eq!((pool.worker_count(), pool.queued()), (0, 0));
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    });
}

#[test]
fn several_who_are_refused_at_once_leave_nothing() {
    within(LIMIT, || {
        let (pool, gates) = (ThreadPoolExecutor::new(3), [(); 3].map(|()| Gate::default()));
        thread::scope(|s| {
            let submitters = gates.each_ref().map(|gate| submit_late(s, &pool, gate));
            let queued = pool.submit(|| ());
            assert_eq!(pool.worker_count(), 3);
            gates.iter().for_each(Gate::open);
            submitters.into_iter().for_each(|submitter| assert_no_thread(submitter.join().unwrap()));
            assert_no_thread(queued);
        });
        assert_eq!((pool.worker_count(), pool.queued()), (0, 0));
    });
}

#[test]
fn a_submitter_that_waits_for_room_takes_that_of_one_who_is_refused() {
    within(LIMIT, || {
        let builder = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::Block);
        let (pool, gate) = (builder.build(), Gate::default());
        thread::scope(|s| {
            let submitter = submit_late(s, &pool, &gate);
            let names = ["waits for room that is given up", "waits for it, too"];
            let waiters = names.map(|name| spawn_named(s, name, || pool.submit(|| 2).result().unwrap()));
            names.iter().for_each(|name| until_parked(name));
            gate.open();
            assert_no_thread(submitter.join().unwrap());
            assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [2, 2]);
        });
    });
}

#[test]
fn a_pool_ends_while_a_worker_of_it_does_not_come() {
    within(LIMIT, || {
        let (pool, gate) = (ThreadPoolExecutor::new(1), Gate::default());
        thread::scope(|s| {
            let submitter = submit_late(s, &pool, &gate);
            let shutdown = spawn_named(s, "waits for the end of a worker that does not come", || pool.shutdown());
            until_parked("waits for the end of a worker that does not come");
            gate.open();
            assert_no_thread(submitter.join().unwrap());
            assert!(shutdown.join().unwrap().is_complete());
        });
    });
}

#[test]
fn cancelled_tasks_hold_up_nobody_who_is_refused() {
    within(LIMIT, || {
        let (pool, gate) = (ThreadPoolExecutor::new(1), Gate::default());
        thread::scope(|s| {
            let submitter = submit_late(s, &pool, &gate);
            let queued: Vec<_> = (0..3).map(|_| pool.submit(|| ())).collect();
            assert!(queued[0].cancel() && queued[2].cancel());
            let report = pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(true));
            assert_eq!(report.cancelled, 1);
            gate.open();
            assert_no_thread(submitter.join().unwrap());
            assert!(queued.iter().all(Future::cancelled));
        });
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn growing_in_vain_is_no_error() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let tasks: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
        refusing(|| (), || pool.set_max_workers(4));
        assert_eq!((pool.worker_count(), pool.max_workers(), pool.queued()), (1, 4, 3));
        busy.release();
        assert_eq!(tasks.into_iter().map(|task| task.result().unwrap()).sum::<i32>(), 3);
        wait_until(|| pool.active_count() == 0);
    });
}
