//! Futures and pools in the wait-for graph: what is live is never reported, what is stuck is, and everything ends.

use std::sync::Arc;

use loom::thread;

use super::{Pool, Watched, explore};
use crate::deadlock::Kind;
use crate::primitive::{Ingredient, events, remove};
use crate::{Future, ReturnWhen, TaskError, promise, wait};

/// Returns a task that locks; the task returns whether it got a deadlock instead.
fn lock_once(lock: &Arc<Watched>) -> impl FnOnce() -> bool + Send + 'static {
    let lock = Arc::clone(lock);
    move || lock.acquire().is_err()
}

#[test]
fn a_holder_that_waits_for_a_task_that_ends_is_on_no_cycle() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let other = thread::spawn(lock_once(&lock));
        let future = pool.submit(|| 7);
        assert_eq!(future.result().expect("a false alarm"), 7);
        let unparks = events().unparks;
        drop(held);
        assert!(!other.join().unwrap(), "a false alarm");
        pool.end();
        unparks > 0
    });
}

#[test]
fn a_task_that_ends_between_two_waits_for_one_lock_is_on_no_cycle() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let first = pool.submit(lock_once(&lock));
        let held = lock.lock();
        let unparks = events().unparks;
        // The task waits for the lock, or has had it, or is to come: it is waited for without the lock.
        drop(held);
        let second = pool.submit(lock_once(&lock));
        assert!(!first.result().expect("a false alarm"), "a false alarm");
        assert!(!second.result().expect("a false alarm"), "a false alarm");
        pool.end();
        events().unparks > unparks
    });
}

#[test]
fn a_holder_that_waits_for_a_task_that_wants_its_lock_is_a_deadlock_once() {
    explore(3, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let future = pool.submit(lock_once(&lock));
        let victims = match future.result() {
            Ok(was_victim) => usize::from(was_victim),
            Err(TaskError::Deadlock(deadlock)) => {
                assert!(matches!(deadlock.report().kind(), Kind::Cycle | Kind::Starvation));
                1
            }
            Err(error) => panic!("{error}"),
        };
        drop(held);
        pool.end();
        assert_eq!(victims, 1);
        true
    });
}

#[test]
fn tasks_that_wait_for_each_other_on_two_workers_are_reported_once() {
    explore(1, || mutual_tasks(false));
}

#[test]
fn tasks_that_wait_for_each_other_on_one_thread_are_reported_once() {
    explore(1, || mutual_tasks(true));
}

/// Two tasks that wait for each other. Returns whether one of them was run by the other, in place (or not).
fn mutual_tasks(in_place: bool) -> bool {
    let pool = Pool::new(2);
    let (promise, kept) = promise::<crate::SharedFuture<_>>();
    let me = || thread::current().id();
    let first = pool.submit(move || (kept.result().unwrap().wait().is_err(), me())).shared();
    let second: Future<(bool, _)> = pool.submit({
        let first = first.clone();
        move || (first.wait().is_err(), me())
    });
    let second = second.shared();
    assert!(promise.set_result(second.clone()).is_ok());
    pool.end();
    let (first, second) = (first.result().unwrap(), second.result().unwrap());
    assert_eq!(usize::from(first.0) + usize::from(second.0), 1, "one of them is the victim");
    (first.1 == second.1) == in_place
}

#[test]
fn a_task_that_no_worker_can_come_to_is_a_deadlock_once() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let first = pool.submit(lock_once(&lock));
        let second = pool.submit(|| ());
        let (starved, kind) = match second.result() {
            Ok(()) => (false, None),
            Err(TaskError::Deadlock(deadlock)) => (true, Some(deadlock.report().kind())),
            Err(error) => panic!("{error}"),
        };
        drop(held);
        pool.end();
        assert_eq!(usize::from(starved) + usize::from(first.result().unwrap()), 1);
        kind == Some(Kind::Starvation)
    });
}

#[test]
fn a_worker_that_is_being_started_is_counted_on() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(2);
        let held = lock.lock();
        let first = pool.submit(lock_once(&lock));
        let second = pool.submit(|| 7);
        assert_eq!(second.result().expect("a false alarm"), 7);
        let waited = events().unparks > 0;
        drop(held);
        pool.end();
        assert!(!first.result().unwrap(), "a false alarm");
        waited
    });
}

#[test]
fn a_worker_that_somebody_else_starts_is_counted_on() {
    explore(2, || started_by_somebody_else(None));
}

/// A task waits for another that only a second worker can run (a wait for the first runs nothing in place), while a
/// thread outside starts that worker. Returns whether the task had to wait.
pub(super) fn started_by_somebody_else(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::new(2);
    let first = pool.submit({
        let pool = pool.handle();
        move || {
            let future = [pool.submit(|| ())];
            drop(pool);
            wait(&future, ReturnWhen::FirstCompleted, None).deadlock.is_none()
        }
    });
    let second = pool.submit(|| ());
    pool.end();
    assert!(first.result().unwrap(), "a false alarm");
    second.result().unwrap();
    events().unparks > 1
}

#[test]
fn full_a_wait_for_all_whose_tasks_want_the_waiters_lock_is_broken_for_one() {
    explore(2, all_want_the_waiters_lock);
}

/// The waiter holds what both of its tasks want: it is the victim, or else each of the tasks that comes to want it.
fn all_want_the_waiters_lock() -> bool {
    let lock = Watched::new();
    let pool = Pool::new(2);
    let held = lock.lock();
    let futures = [pool.submit(lock_once(&lock)), pool.submit(lock_once(&lock))];
    let set = wait(&futures, ReturnWhen::AllCompleted, None);
    let waiter = set.deadlock.is_some();
    let all_done = set.not_done.is_empty();
    assert!(waiter || all_done, "it ends with one or the other");
    drop(held);
    pool.end();
    let tasks = futures.map(|future| future.result().unwrap());
    // A wait that gets a deadlock was part of one.
    assert!(waiter || tasks == [true, true], "nobody let go of the lock: {tasks:?}");
    waiter && tasks == [false, false]
}

#[test]
fn the_last_alternative_to_a_deadlock_completes_it() {
    explore(2, || last_alternative(None));
}

/// One of two tasks ends with a value, the other wants a lock of the waiter for a first exception: this is known only
/// when the first has ended. Returns whether a thread had parked.
pub(super) fn last_alternative(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let pool = Pool::new(1);
    let (kept, future) = promise::<bool>();
    let held = lock.lock();
    let futures = [pool.submit(lock_once(&lock)), future];
    let keeper = thread::spawn(move || assert!(kept.set_result(false).is_ok()));
    let set = wait(&futures, ReturnWhen::FirstException, None);
    let waiter = set.deadlock.is_some();
    drop(held);
    keeper.join().unwrap();
    pool.end();
    let [task, _] = futures;
    assert_eq!(usize::from(waiter) + usize::from(task.result().unwrap()), 1);
    events().unparks > 0
}

#[test]
fn a_shutdown_that_waits_for_who_waits_for_the_caller_is_a_deadlock_once() {
    explore(3, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let future = pool.submit(lock_once(&lock));
        let report = pool.shutdown();
        drop(held);
        assert_eq!(report.is_complete(), report.deadlock.is_none());
        pool.end();
        assert_eq!(usize::from(report.deadlock.is_some()) + usize::from(future.result().unwrap()), 1);
        report.deadlock.is_some()
    });
}

#[test]
fn a_submitter_who_holds_what_the_only_worker_wants_is_told_that_there_will_be_no_room() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::of(crate::ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build());
        let held = lock.lock();
        let first = pool.submit(lock_once(&lock));
        let second = pool.submit(|| ());
        let third = pool.submit(|| ());
        drop(held);
        pool.end();
        // Nobody, or the task, or one of the submissions: `second` if the worker had come no further, `third` otherwise.
        let refused = [second, third].into_iter().filter(|future| future.exception().is_some()).count();
        assert_eq!(refused + usize::from(first.result().unwrap()), 1);
        refused == 1
    });
}

#[test]
fn full_room_that_somebody_else_takes_was_no_way_out() {
    explore(2, || room_taken(None));
}

/// A submitter waits for room and holds what the worker wants; a third one takes the room that there was for a moment.
/// Returns whether the submitter waited.
pub(super) fn room_taken(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let pool = Pool::of(crate::ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build());
    let held = lock.lock();
    let first = pool.submit(lock_once(&lock));
    let other = thread::spawn({
        let pool = pool.handle();
        move || drop(pool.submit(|| ()))
    });
    let second = pool.submit(|| ());
    let waited = events().unparks > 0;
    drop(held);
    other.join().unwrap();
    pool.end();
    assert!(usize::from(second.exception().is_some()) + usize::from(first.result().unwrap()) <= 1);
    waited
}

#[test]
fn a_scope_that_cannot_fail_lets_a_task_of_it_be_the_victim() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let future = pool.scope(|scope| scope.submit(lock_once(&lock)));
        drop(held);
        assert!(future.result().unwrap(), "the scope waits for its task, which waits for the scope's thread");
        pool.end();
        events().unparks > 0
    });
}

#[test]
fn a_holder_that_joins_the_pool_of_a_task_that_wants_its_lock_is_a_deadlock_once() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let future = pool.submit(lock_once(&lock));
        let joined = pool.acquire_join();
        drop(held);
        let victims = usize::from(joined.is_err()) + usize::from(future.result().unwrap());
        assert_eq!(victims, 1);
        pool.end();
        joined.is_err()
    });
}

#[test]
fn a_holder_that_joins_a_pool_whose_task_ends_is_on_no_cycle() {
    explore(2, || {
        let lock = Watched::new();
        let pool = Pool::new(1);
        let held = lock.lock();
        let other = thread::spawn(lock_once(&lock));
        let future = pool.submit(|| 7);
        assert!(pool.acquire_join().is_ok() && future.done(), "a false alarm");
        let unparks = events().unparks;
        drop(held);
        assert!(!other.join().unwrap(), "a false alarm");
        pool.end();
        unparks > 0
    });
}
