//! A result with several owners: each gets a clone of it, as often as it asks, and it is dropped with the last owner.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bowline::task::Status;
use bowline::{Promise, SharedFuture, TaskError, ThreadPoolExecutor, promise};

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, spawn_named, until_parked, within};

fn in_each_state() -> ([SharedFuture<u32>; 5], [Promise<u32>; 2]) {
    let [pending, running, cancelled, failed, finished] = std::array::from_fn(|_| promise::<u32>());
    assert!(running.0.set_running());
    assert!(cancelled.1.cancel());
    failed.0.set_exception(TaskError::BrokenPromise).unwrap();
    finished.0.set_result(42).unwrap();
    let futures = [pending.1, running.1, cancelled.1, failed.1, finished.1];
    (futures.map(bowline::Future::shared), [pending.0, running.0])
}

#[test]
fn every_owner_sees_how_far_the_task_has_come() {
    let (futures, _promises) = in_each_state();
    let states = [Status::Pending, Status::Running, Status::Cancelled, Status::Failed, Status::Finished];
    for futures in [futures.clone(), futures] {
        assert_eq!(futures.each_ref().map(SharedFuture::status), states);
        assert_eq!(futures.each_ref().map(SharedFuture::done), [false, false, true, true, true]);
        assert_eq!(futures.each_ref().map(SharedFuture::running), [false, true, false, false, false]);
        assert_eq!(futures.each_ref().map(SharedFuture::cancelled), [false, false, true, false, false]);
        let waited = futures.each_ref().map(|future| future.wait_timeout(Duration::ZERO));
        assert_eq!(waited, [false, false, true, true, true]);
    }
}

#[test]
fn a_shared_result_is_there_as_often_as_it_is_asked_for() {
    let (futures, _promises) = in_each_state();
    for _ in 0..3 {
        let [pending, running, cancelled, failed, finished] = &futures;
        for future in [pending, running] {
            assert!(matches!(future.result_timeout(Duration::ZERO), Err(TaskError::Timeout)));
            assert!(future.try_result().is_none());
        }
        for result in [cancelled.result(), cancelled.clone().result(), cancelled.try_result().unwrap()] {
            assert!(matches!(result, Err(TaskError::Cancelled)));
        }
        assert!(matches!(failed.exception(), Some(TaskError::BrokenPromise)));
        assert!(matches!(failed.result(), Err(TaskError::BrokenPromise)));
        assert!(finished.exception().is_none());
        for result in [finished.result(), finished.clone().result(), finished.result_timeout(Duration::ZERO)] {
            assert_eq!(result.unwrap(), 42);
        }
    }
}

#[test]
fn one_owner_s_cancellation_is_everybody_s() {
    within(LIMIT, || {
        let (promise, future) = promise::<u32>();
        let future = future.shared();
        let other = future.clone();
        thread::scope(|s| {
            let waiter = spawn_named(s, "other owner", || other.result());
            until_parked("other owner");
            assert!(future.cancel());
            assert!(matches!(waiter.join().unwrap(), Err(TaskError::Cancelled)));
        });
        assert!(promise.set_result(1).is_err());
    });
}

#[test]
fn all_owners_that_sleep_are_woken_and_each_has_the_result() {
    const OWNERS: usize = 5;
    within(LIMIT, || {
        let (promise, future) = promise::<String>();
        let future = future.shared();
        thread::scope(|s| {
            let owner = |at: usize| {
                let future = future.clone();
                spawn_named(s, &format!("owner {at}"), move || future.result())
            };
            let owners: Vec<_> = (0..OWNERS).map(owner).collect();
            (0..OWNERS).for_each(|at| until_parked(&format!("owner {at}")));
            promise.set_result("for all".to_owned()).unwrap();
            for owner in owners {
                assert_eq!(owner.join().unwrap().unwrap(), "for all");
            }
        });
    });
}

#[test]
fn dropping_some_owners_takes_nothing_from_the_others() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let first = pool
            .submit(move || {
                theirs.pass();
                42
            })
            .shared();
        let [second, third] = [first.clone(), first.clone()];
        drop(first);
        gate.open();
        assert_eq!(second.result().unwrap(), 42);
        drop(second);
        assert_eq!(third.result().unwrap(), 42);
    });
}

#[test]
fn a_result_is_dropped_with_its_last_owner() {
    let witness = Arc::new(());
    let (promise, future) = promise();
    let first = future.shared();
    let second = first.clone();
    promise.set_result(Arc::clone(&witness)).unwrap();
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(first);
    assert_eq!(Arc::strong_count(&witness), 2);
    drop(second.result().unwrap());
    drop(second);
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn a_result_that_comes_after_the_last_owner_went_is_dropped_at_once() {
    let witness = Arc::new(());
    let (promise, future) = promise();
    let first = future.shared();
    drop((first.clone(), first));
    promise.set_result(Arc::clone(&witness)).unwrap();
    assert_eq!(Arc::strong_count(&witness), 1);
}

#[test]
fn a_result_is_cloned_for_those_who_ask_and_for_nobody_else() {
    static CLONES: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Clone for Counted {
        fn clone(&self) -> Self {
            CLONES.fetch_add(1, SeqCst);
            Self
        }
    }

    let (promise, future) = promise();
    let future = future.shared();
    assert!(promise.set_result(Counted).is_ok());
    let others = [future.clone(), future.clone()];
    future.wait().unwrap();
    assert!(others[0].exception().is_none());
    assert_eq!(CLONES.load(SeqCst), 0);
    assert!(others[1].result().is_ok() && future.try_result().unwrap().is_ok());
    assert_eq!(CLONES.load(SeqCst), 2);
}

#[test]
fn callbacks_of_all_owners_run_in_order_even_after_the_owner_went() {
    let list = Arc::new(Mutex::new(Vec::new()));
    let (promise, future) = promise();
    let future = future.shared();
    for number in 0..3 {
        let list = Arc::clone(&list);
        future.clone().add_done_callback(move |_| list.lock().unwrap().push(number));
    }
    promise.set_result(()).unwrap();
    assert_eq!(*list.lock().unwrap(), [0, 1, 2]);
}

#[test]
fn tasks_share_the_result_of_another_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let config = pool.submit(|| vec![1, 2, 3]).shared();
        let sums: Vec<_> = (0..20)
            .map(|n| {
                let config = config.clone();
                pool.submit(move || config.result().unwrap().iter().sum::<u32>() + n)
            })
            .collect();
        for (n, sum) in (0..).zip(sums) {
            assert_eq!(sum.result().unwrap(), 6 + n);
        }
    });
}
