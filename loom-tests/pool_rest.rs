//! A pool at rest: whoever waits for that, and workers that are idle, end idle, or are found idle by the next task.

use std::time::Duration;

use loom::thread;

use super::thread_pool::assert_enough_workers;
use super::{Pool, explore, explore_at_most};
use crate::primitive::{Ingredient, events, remove};
use crate::{ThreadPoolExecutor, promise};

#[test]
fn whoever_joins_a_pool_finds_its_tasks_done_and_the_pool_open() {
    explore(2, || {
        let pool = Pool::new(1);
        let future = pool.submit(|| 7);
        pool.join();
        assert!(future.done(), "it joined too early");
        let unparks = events().unparks;
        assert_eq!(pool.submit(|| 8).result().unwrap(), 8);
        pool.end();
        unparks > 0
    });
}

#[test]
fn a_join_that_races_a_submission_waits_for_it_or_came_before() {
    explore(2, || {
        let pool = Pool::new(1);
        let first = pool.submit(|| 1);
        let submitter = thread::spawn({
            let pool = pool.handle();
            move || pool.submit(|| 2)
        });
        pool.join();
        assert!(first.done(), "it joined too early");
        let second = submitter.join().unwrap();
        let was_done = second.done();
        pool.join();
        assert!(second.done(), "it joined too early");
        pool.end();
        !was_done
    });
}

#[test]
fn a_join_hears_of_a_task_that_is_cancelled() {
    explore(2, || cancelled_while_joined(None));
}

/// The only task is cancelled while its pool is joined. Returns whether the joiner slept, and the task was cancelled.
pub(super) fn cancelled_while_joined(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::new(1);
    assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    let future = pool.submit(|| 2);
    let canceller = thread::spawn(move || future.cancel());
    pool.join();
    let slept = events().unparks > 0;
    let cancelled = canceller.join().unwrap();
    pool.end();
    slept && cancelled
}

#[test]
fn a_join_waits_for_a_callback_that_is_added_as_the_task_ends() {
    explore(2, || joined_while_a_callback_is_added(None));
}

/// A callback is added to the last task while its pool is joined: its worker may have rested by then, and is busy again.
/// Returns whether the joiner slept.
pub(super) fn joined_while_a_callback_is_added(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::new(1);
    let future = pool.submit(|| 1).shared();
    let adder = thread::spawn({
        let future = future.clone();
        move || drop(future.add_done_callback(|_| ()))
    });
    pool.join();
    assert!(future.done(), "it joined too early");
    let slept = events().unparks > 0;
    adder.join().unwrap();
    pool.end();
    slept
}

#[test]
fn two_who_join_both_hear_of_the_rest() {
    explore(2, || {
        let pool = Pool::new(1);
        let future = pool.submit(|| 1);
        let other = thread::spawn({
            let pool = pool.handle();
            move || pool.join()
        });
        pool.join();
        assert!(future.done(), "it joined too early");
        other.join().unwrap();
        let unparks = events().unparks;
        pool.end();
        unparks > 1
    });
}

#[test]
fn a_submit_after_a_result_finds_its_worker_idle() {
    explore(2, || submitted_after_a_result(None));
}

/// A task is submitted by whoever has the result of the one before. Returns whether that one had to be waited for.
pub(super) fn submitted_after_a_result(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::new(2);
    assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    let slept = events().unparks > 0;
    assert_eq!(pool.submit(|| 2).result().unwrap(), 2);
    assert_eq!(pool.worker_count(), 1, "a second worker");
    pool.end();
    slept
}

#[test]
fn a_callback_keeps_its_worker_busy() {
    explore_at_most(1, || {
        let pool = Pool::new(2);
        let first = pool.submit(|| 1);
        let (called, awaited) = promise();
        let same = pool.handle();
        // Submits while it keeps the first worker.
        first.add_done_callback(move |_| {
            let inner = same.submit(|| 2);
            assert!(called.set_result(inner).is_ok());
        });
        assert_eq!(awaited.result().unwrap().result().unwrap(), 2);
        assert_enough_workers(&pool);
        let two = pool.worker_count() == 2;
        pool.end();
        two
    });
}

#[test]
fn a_worker_that_ends_idle_leaves_no_task_behind() {
    explore(2, || ended_idle(None));
}

/// A task is submitted while the only worker ends because nothing is queued. Returns whether another worker ran it.
pub(super) fn ended_idle(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let pool = Pool::of(ThreadPoolExecutor::builder().max_workers(1).keep_alive(Duration::ZERO).build());
    let me = || thread::current().id();
    let first = pool.submit(me).result().unwrap();
    let second = pool.submit(me).result().unwrap();
    pool.end();
    first != second
}
