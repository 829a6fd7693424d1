//! The lock word: exclusion, publication, no lost wake-up, hand-over, time-outs.

use std::sync::Arc;

use loom::thread;

use super::{Watched, explore};
use crate::primitive::{Ingredient, events, let_time_pass, remove};

/// Two threads under one lock. Returns whether a thread had to park.
fn two_threads(removed: Option<Ingredient>) -> bool {
    two_threads_under(Watched::new(), removed)
}

fn two_threads_under(lock: Arc<Watched>, removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let other = thread::spawn({
        let lock = lock.clone();
        move || drop(lock.lock())
    });
    drop(lock.lock());
    other.join().unwrap();
    assert_eq!(lock.lock().value(), 3);
    assert!(!lock.raw.has_waiters(), "nobody waits: the word is clean");
    events().unparks > 0
}

#[test]
fn what_was_done_under_the_lock_is_seen_under_the_lock() {
    explore(3, || two_threads(None));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_the_next_owner_sees_too_little() {
    explore(3, || two_threads(Some(Ingredient::ReleaseOnUnlock)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_a_wake_up_is_lost() {
    explore(3, || two_threads(Some(Ingredient::ValidatedAnnouncement)));
}

/// The word of a lock with a rank has one more bit, which is set for good: all of this goes by the cold paths.
#[test]
fn a_lock_with_a_rank_publishes_and_wakes() {
    explore(3, || two_threads_under(Watched::ranked(), None));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_the_next_owner_of_a_lock_with_a_rank_sees_too_little() {
    explore(3, || two_threads_under(Watched::ranked(), Some(Ingredient::ReleaseOnUnlock)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_a_wake_up_of_a_lock_with_a_rank_is_lost() {
    explore(3, || two_threads_under(Watched::ranked(), Some(Ingredient::ValidatedAnnouncement)));
}

#[test]
fn three_threads_all_get_their_turn() {
    three_take_turns(Watched::new);
}

#[test]
fn three_threads_all_get_their_turn_with_a_lock_that_has_a_rank() {
    three_take_turns(Watched::ranked);
}

fn three_take_turns(new: fn() -> Arc<Watched>) {
    explore(2, move || {
        let lock = new();
        let others = [0, 1].map(|_| {
            let lock = lock.clone();
            thread::spawn(move || drop(lock.lock()))
        });
        drop(lock.lock());
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(lock.lock().value(), 4);
        events().unparks > 1
    });
}

#[test]
fn a_fair_unlock_hands_over_to_whoever_is_parked() {
    hands_over(Watched::new);
}

#[test]
fn a_fair_unlock_hands_a_lock_with_a_rank_over_to_whoever_is_parked() {
    hands_over(Watched::ranked);
}

fn hands_over(new: fn() -> Arc<Watched>) {
    explore(3, move || {
        let lock = new();
        let guard = lock.lock();
        let others = [0, 1].map(|_| {
            let lock = lock.clone();
            thread::spawn(move || drop(lock.lock()))
        });
        guard.unlock_fair();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(lock.lock().value(), 4);
        events().hand_overs > 0
    });
}

#[test]
fn a_hand_over_and_a_barging_try_lock_never_both_succeed() {
    explore(3, || {
        let lock = Watched::new();
        let guard = lock.lock();
        let waiter = thread::spawn({
            let lock = lock.clone();
            move || drop(lock.lock())
        });
        let barger = thread::spawn({
            let lock = lock.clone();
            move || drop(lock.raw.try_lock(super::watched).map(|raw| lock.guard(raw)))
        });
        guard.unlock_fair();
        waiter.join().unwrap();
        barger.join().unwrap();
        drop(lock.lock());
        events().hand_overs > 0
    });
}

#[test]
fn a_waiter_that_times_out_takes_no_wake_up_with_it() {
    explore(3, || {
        let lock = Watched::new();
        let guard = lock.lock();
        let timed = thread::spawn({
            let lock = lock.clone();
            move || lock.try_lock_for().is_none()
        });
        let patient = thread::spawn({
            let lock = lock.clone();
            move || drop(lock.lock())
        });
        let_time_pass();
        drop(guard);
        let timed_out = timed.join().unwrap();
        patient.join().unwrap();
        drop(lock.lock());
        timed_out && events().timeouts > 0 && events().unparks > 0
    });
}
