//! The barrier: every generation ends once, in one way for all of it, and its threads learn of it.
//!
//! A generation has those that wait, which all do the same, and the last to arrive; an abort or a limit that is over is one
//! thread more. Two parties and that one are every pair of steps that can meet; three parties have two waiters to be told.

use std::sync::Arc;

use loom::thread;

use super::{explore, explore_at_most};
use crate::Barrier;
use crate::primitive::{Ingredient, events, let_time_pass, remove, soon};

fn barrier(barrier: Barrier) -> Arc<Barrier> {
    // loom's mutex is made on first use: here, before the barrier is shared.
    assert_eq!(barrier.n_waiting(), 0);
    Arc::new(barrier)
}

/// A value for each party, which it writes before it arrives and the others read after the pass.
struct Values([loom::cell::UnsafeCell<u32>; 2]);

// SAFETY:
// - loom checks the accesses.
unsafe impl Sync for Values {}
// SAFETY:
// - as above.
unsafe impl Send for Values {}

/// Two parties pass twice. Returns whether one of them was parked.
fn two_generations(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let barrier = barrier(Barrier::new(2));
    let values = Arc::new(Values([0, 1].map(|_| loom::cell::UnsafeCell::new(0))));
    let run = |barrier: &Barrier, values: &Values, me: usize| {
        // SAFETY:
        // - written before the first pass, and read between the two; loom checks that.
        values.0[me].with_mut(|value| unsafe { *value = 1 });
        let first = barrier.wait().unwrap();
        // SAFETY:
        // - as above.
        values.0[1 - me].with(|value| assert_eq!(unsafe { *value }, 1));
        let second = barrier.wait().unwrap();
        [first, second].map(|pass| (pass.index(), pass.is_leader()))
    };
    let other = thread::spawn({
        let (barrier, values) = (Arc::clone(&barrier), Arc::clone(&values));
        move || run(&barrier, &values, 1)
    });
    let mine = run(&barrier, &values, 0);
    let others = other.join().unwrap();
    for (mine, other) in mine.into_iter().zip(others) {
        assert!(matches!([mine, other], [(0, false), (1, true)] | [(1, true), (0, false)]));
    }
    events().unparks > 0
}

#[test]
fn a_barrier_is_passed_again_and_again_by_all_of_a_generation() {
    explore(2, || two_generations(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_a_pass_is_not_noticed() {
    explore(2, || two_generations(Some(Ingredient::ValidatedAnnouncement)));
}

#[test]
fn all_of_three_parties_pass() {
    explore_at_most(2, || {
        let barrier = barrier(Barrier::new(3));
        let others = [0, 1].map(|_| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || barrier.wait().unwrap().index())
        });
        let mut indices = vec![barrier.wait().unwrap().index()];
        indices.extend(others.map(|other| other.join().unwrap()));
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
        events().unparks > 1
    });
}

#[test]
fn an_abort_that_races_the_last_arrival_breaks_all_or_none() {
    explore(3, || {
        let barrier = barrier(Barrier::new(2));
        let other = thread::spawn({
            let barrier = Arc::clone(&barrier);
            move || barrier.wait().is_ok()
        });
        let aborts = thread::spawn({
            let barrier = Arc::clone(&barrier);
            move || barrier.abort()
        });
        let passed = barrier.wait().is_ok();
        assert_eq!(other.join().unwrap(), passed);
        aborts.join().unwrap();
        assert!(barrier.is_broken() && barrier.n_waiting() == 0);
        passed && events().unparks > 0
    });
}

#[test]
fn a_limit_that_races_the_last_arrival_breaks_all_or_none() {
    explore(3, || {
        let barrier = barrier(Barrier::new(2));
        let timed = thread::spawn({
            let barrier = Arc::clone(&barrier);
            move || barrier.wait_until(soon()).map_err(|broken| broken.timed_out())
        });
        let time = thread::spawn(let_time_pass);
        let passed = barrier.wait_until(soon());
        let timed = timed.join().unwrap();
        time.join().unwrap();
        // One of the two times out, and the other learns of it or comes too late; or both pass.
        assert_eq!(passed.is_ok(), timed.is_ok());
        assert_eq!(barrier.is_broken(), timed.is_err());
        timed == Err(true) && events().timeouts > 0
    });
}

#[test]
fn a_reset_ends_one_generation_and_the_next_one_passes() {
    explore_at_most(2, || {
        let barrier = barrier(Barrier::new(2));
        let other = thread::spawn({
            let barrier = Arc::clone(&barrier);
            move || {
                // Broken by the reset, or passed with the other party.
                let first = barrier.wait().is_ok();
                if !first {
                    barrier.wait().unwrap();
                }
                first
            }
        });
        barrier.reset();
        barrier.wait().unwrap();
        let first = other.join().unwrap();
        assert!(!barrier.is_broken());
        !first
    });
}
