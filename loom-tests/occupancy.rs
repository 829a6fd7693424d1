//! The pool's word alone: its transitions come one after the other, and no thread that sleeps beside the queue is
//! forgotten.
//!
//! Two threads suffice where a transition races with another one: each is a read-modify-write of the one word, so that a third
//! thread adds no order that two of the three do not have already.

use std::num::NonZeroU32;
use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;

use super::explore;
use crate::thread_pool::{Counts, Occupancy, Sleepers, Was};

const MAX_WORKERS: usize = 1;

/// Two submitters admit a task each. Returns how often one of them had to look again, and the counts in the end.
fn both_admit(decides_anew: bool) -> (usize, Counts) {
    let pool = Arc::new(Occupancy::new());
    // loom's atomic is made on first use: here, before it is shared.
    assert_eq!(pool.read().workers(), 0);
    let admit = move |pool: &Occupancy| {
        let (mut seen, mut retries) = (pool.peek(), 0);
        let mut starts = seen.would_be_short(MAX_WORKERS);
        while let Err(now) = pool.try_admit(seen, starts) {
            (seen, retries) = (now, retries + 1);
            if decides_anew {
                starts = seen.would_be_short(MAX_WORKERS);
            }
        }
        retries
    };
    let other = thread::spawn({
        let pool = Arc::clone(&pool);
        move || admit(&pool)
    });
    let retries = admit(&pool);
    (retries + other.join().unwrap(), pool.read())
}

#[test]
fn a_worker_is_counted_in_the_step_that_needs_it_and_only_there() {
    explore(3, || {
        let (retries, counts) = both_admit(true);
        assert_eq!((counts.queued(), counts.idle(), counts.workers()), (2, 1, 1));
        retries > 0
    });
}

#[test]
#[should_panic(expected = "more workers than there may be")]
fn without_growth_decided_in_the_same_step_there_are_too_many_workers() {
    explore(3, || {
        let (retries, counts) = both_admit(false);
        assert!(!counts.has_too_many(MAX_WORKERS), "more workers than there may be");
        retries > 0
    });
}

#[test]
fn whoever_leaves_a_closed_pool_leaves_no_task_behind() {
    explore(3, || {
        let pool = Arc::new(Occupancy::new());
        // A worker, which is idle.
        assert!(pool.try_add_worker(pool.read()));
        let submitter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let mut seen = pool.peek();
                while !seen.is_closed() {
                    match pool.try_admit(seen, false) {
                        Ok(_) => return true,
                        Err(now) => seen = now,
                    }
                }
                false
            }
        });
        let closer = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.close().is_closed()
        });
        let seen = pool.peek();
        let left = seen.is_over() && pool.try_leave(seen, Was::Idle).is_ok();
        let admitted = submitter.join().unwrap();
        assert!(!closer.join().unwrap());
        let counts = pool.read();
        assert_eq!(counts.queued(), u64::from(admitted));
        assert!(!(left && admitted), "a task is left behind");
        assert_eq!(counts.workers(), u64::from(!left));
        left
    });
}

/// A submitter that waits for room while a task is taken out of the full queue. Returns whether it slept, and whether it sleeps
/// in the end.
fn waits_for_room(validates: bool) -> (bool, bool) {
    let capacity = NonZeroU32::new(1);
    let pool = Arc::new(Occupancy::new());
    assert!(pool.try_admit(pool.read(), true).unwrap().is_full(capacity));
    // Whether the submitter is in the parking queue, under that queue's lock.
    let asleep = Arc::new(Mutex::new(false));
    let waiter = thread::spawn({
        let (pool, asleep) = (Arc::clone(&pool), Arc::clone(&asleep));
        move || {
            let announced = pool.announce(Sleepers::Submitters, |counts| !counts.has_room(capacity));
            let mut asleep = asleep.lock().unwrap();
            let counts = pool.peek();
            let is_valid = counts.has(Sleepers::Submitters) && !counts.has_room(capacity);
            *asleep = announced && (is_valid || !validates);
            *asleep
        }
    });
    if pool.begin(Was::Idle).has(Sleepers::Submitters) {
        *asleep.lock().unwrap() = false;
        pool.clear(Sleepers::Submitters);
    }
    let slept = waiter.join().unwrap();
    let asleep = *asleep.lock().unwrap();
    (slept, asleep)
}

#[test]
fn a_submitter_that_waits_for_room_hears_of_it() {
    explore(3, || {
        let (slept, asleep) = waits_for_room(true);
        assert!(!asleep, "it sleeps beside room");
        slept
    });
}

#[test]
#[should_panic(expected = "it sleeps beside room")]
fn without_validation_a_submitter_sleeps_beside_room() {
    explore(3, || {
        let (slept, asleep) = waits_for_room(false);
        assert!(!asleep, "it sleeps beside room");
        slept
    });
}
