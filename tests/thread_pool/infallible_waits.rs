//! Deadlocks that are closed by a wait which can return no error: the end of a scope, the drop of a pool.

use std::thread;

use bowline::{Lock, TaskError, ThreadPoolExecutor};

use crate::support::{LIMIT, until_parked, within};

fn is_told(error: TaskError) -> bool {
    matches!(error, TaskError::Panicked(panic) if panic.message().starts_with("deadlock: "))
}

#[test]
fn all_tasks_that_a_scopes_end_is_deadlocked_with_are_told() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(3).thread_name_prefix("scoped").build();
        let lock = Lock::named("held by the scope's owner", ());
        let guard = lock.lock();
        let futures = pool.scope(|s| {
            let futures = [(); 3].map(|()| s.submit(|| drop(lock.lock())));
            (0..3).for_each(|number| until_parked(&format!("scoped_{number}")));
            futures
        });
        drop(guard);
        assert!(futures.into_iter().all(|future| is_told(future.result().unwrap_err())));
    });
}

#[test]
fn all_tasks_that_a_pools_drop_is_deadlocked_with_are_told_queued_ones_too() {
    within(LIMIT, || {
        static LOCK: Lock<()> = Lock::named("held by the pool's owner", ());
        let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("dropped").build();
        let guard = LOCK.lock();
        let futures: Vec<_> = (0..5).map(|_| pool.submit(|| drop(LOCK.lock()))).collect();
        (0..2).for_each(|number| until_parked(&format!("dropped_{number}")));
        drop(pool);
        drop(guard);
        assert!(futures.into_iter().all(|future| is_told(future.result().unwrap_err())));
    });
}

#[test]
fn a_value_is_preferred_to_a_panic_where_the_finder_can_return_neither() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("by value").build();
        let lock = Lock::named("held by another owner", ());
        let guard = lock.lock();
        let future = pool.scope(|s| {
            let future = s.submit(|| lock.acquire().map(drop).is_err());
            until_parked("by value_0");
            future
        });
        drop(guard);
        assert!(future.result().unwrap());
    });
}

#[test]
fn a_scopes_end_waits_for_a_lock_that_somebody_will_release() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("patient").build();
        let lock = Lock::new(());
        thread::scope(|outer| {
            let guard = lock.lock();
            let scope = outer.spawn(|| {
                pool.scope(|s| [(); 2].map(|()| s.submit(|| drop(lock.lock())))).map(|future| future.result().is_ok())
            });
            (0..2).for_each(|number| until_parked(&format!("patient_{number}")));
            drop(guard);
            assert_eq!(scope.join().unwrap(), [true, true]);
        });
    });
}
