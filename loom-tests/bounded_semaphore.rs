//! The bounded semaphore: every deadlock of permits found once, and nothing else.
//!
//! Two contexts that hold permits and want more are the smallest k of n: each is its own provider and the other's. A third
//! that runs, or to which permits are handed over, is what can make a false alarm of it; it is the model's own thread.

use std::sync::Arc;

use loom::thread;

use super::{Watched, explore, explore_at_most};
use crate::BoundedSemaphore;
use crate::deadlock::Kind;
use crate::deadlock::registry::end_current;
use crate::primitive::{Ingredient, events, let_time_pass, remove, soon};

fn semaphore(permits: usize) -> Arc<BoundedSemaphore> {
    let semaphore = Arc::new(BoundedSemaphore::new(permits));
    // loom's atomic is made on first use: here, before the semaphore is shared.
    assert_eq!(semaphore.available_permits(), permits);
    semaphore
}

/// Takes a permit, and then another one. Returns whether that was a deadlock.
fn one_by_one(semaphore: &BoundedSemaphore) -> bool {
    let _first = semaphore.acquire().expect("holding nothing, it is on no cycle");
    match semaphore.acquire() {
        Ok(_second) => false,
        Err(deadlock) => {
            assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 2));
            true
        }
    }
}

#[test]
fn two_that_hold_one_of_two_and_want_the_other_are_told_once() {
    explore(3, || {
        let semaphore = semaphore(2);
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || one_by_one(&semaphore)
        });
        let victims = usize::from(one_by_one(&semaphore)) + usize::from(other.join().unwrap());
        assert!(victims <= 1);
        assert!(semaphore.available_permits() == 2 && !semaphore.has_waiters());
        victims == 1
    });
}

/// Three permits, for two that take two each, one by one: there is always one who can go on. Returns whether one waited.
fn enough_for_one() -> bool {
    let semaphore = semaphore(3);
    let other = thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || assert!(!one_by_one(&semaphore), "a false alarm")
    });
    assert!(!one_by_one(&semaphore), "a false alarm");
    other.join().unwrap();
    assert_eq!(semaphore.available_permits(), 3);
    events().hand_overs > 0
}

#[test]
fn one_who_can_go_on_frees_the_other() {
    explore(3, enough_for_one);
}

/// One permit, which is handed over to a thread that holds what the giver wants next. Returns whether it was.
fn handed_over_while_others_judge() -> bool {
    let (semaphore, lock) = (semaphore(1), Watched::new());
    let permit = semaphore.acquire().expect("the first");
    let heir = thread::spawn({
        let (semaphore, lock) = (Arc::clone(&semaphore), Arc::clone(&lock));
        move || {
            let _lock = lock.acquire().expect("holding nothing, it is on no cycle");
            drop(semaphore.acquire().expect("a false alarm"));
        }
    });
    drop(permit);
    drop(lock.acquire().expect("a false alarm"));
    heir.join().unwrap();
    drop(semaphore.acquire().expect("it was given back"));
    events().hand_overs > 0
}

#[test]
fn a_permit_that_was_handed_over_keeps_its_new_owner_off_every_cycle() {
    explore(3, handed_over_while_others_judge);
}

#[test]
#[should_panic(expected = "a false alarm")]
fn without_free_permits_a_holder_that_waits_is_a_false_alarm() {
    explore(3, || {
        let semaphore = semaphore(2);
        remove(Ingredient::FreePermits);
        let permit = semaphore.acquire().expect("the first");
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || {
                let _mine = semaphore.acquire().expect("the second");
                drop(semaphore.acquire().expect("a false alarm"));
            }
        });
        drop(permit);
        other.join().unwrap();
        true
    });
}

#[test]
fn a_permit_of_a_thread_that_runs_is_waited_for() {
    explore_at_most(2, || {
        let semaphore = semaphore(2);
        let permit = semaphore.acquire().expect("the first");
        let other = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || {
                let _mine = semaphore.acquire().expect("the second");
                drop(semaphore.acquire().expect("a false alarm"));
            }
        });
        drop(permit);
        drop(semaphore.acquire_many(2).expect("a false alarm"));
        other.join().unwrap();
        events().hand_overs > 0
    });
}

/// A thread ends with a forgotten permit. Returns whether its waiter had parked before.
fn forgotten_permit(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let semaphore = semaphore(1);
    let ending = thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || {
            std::mem::forget(semaphore.acquire());
            end_current();
        }
    });
    let told = match semaphore.acquire() {
        Ok(_came_first) => false,
        Err(deadlock) => {
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
            true
        }
    };
    ending.join().unwrap();
    told && events().unparks > 0
}

#[test]
fn whoever_waits_for_the_permit_of_a_thread_that_ended_is_told_so() {
    explore(3, || forgotten_permit(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_summons_at_the_end_a_waiter_for_a_permit_is_never_told() {
    explore(3, || forgotten_permit(Some(Ingredient::SummonsAtEnd)));
}

#[test]
fn a_time_out_that_races_a_hand_over_loses_no_permit() {
    explore(3, || {
        let semaphore = semaphore(1);
        let permit = semaphore.acquire().expect("the first");
        let timed = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.try_lock_many_until(1, soon()).is_some()
        });
        let time = thread::spawn(let_time_pass);
        drop(permit);
        let was_granted = timed.join().unwrap();
        time.join().unwrap();
        assert!(semaphore.available_permits() == 1 && !semaphore.has_waiters());
        !was_granted && events().timeouts > 0
    });
}
