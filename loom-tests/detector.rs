//! The judge and the door: every deadlock found once, and nothing else.

use std::sync::Arc;

use loom::thread;

use super::{Watched, explore};
use crate::deadlock::{Kind, Policy, set_policy};
use crate::primitive::{events, let_time_pass};

/// Holds `first` and asks for `second`. Returns whether that was a deadlock.
pub(super) fn nest(first: &Watched, second: &Watched) -> bool {
    let _first = first.acquire().expect("holding nothing, it is on no cycle");
    match second.acquire() {
        Ok(_second) => false,
        Err(deadlock) => {
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
            true
        }
    }
}

/// One thread for each lock holds it and asks for the next. Returns how many were victims.
fn cycle(size: usize) -> usize {
    let locks: Vec<_> = (0..size).map(|_| Watched::new()).collect();
    let threads: Vec<_> = (1..size)
        .map(|i| {
            let (first, second) = (Arc::clone(&locks[i]), Arc::clone(&locks[(i + 1) % size]));
            thread::spawn(move || nest(&first, &second))
        })
        .collect();
    let mut victims = usize::from(nest(&locks[0], &locks[1 % size]));
    for thread in threads {
        victims += usize::from(thread.join().unwrap());
    }
    for lock in &locks {
        let guard = lock.acquire().expect("the victim left every lock usable");
        assert!(guard.value() > 0);
    }
    victims
}

#[test]
fn a_cycle_of_two_is_reported_once_or_does_not_close() {
    explore(3, || {
        let victims = cycle(2);
        assert!(victims <= 1);
        victims == 1
    });
}

#[test]
fn a_cycle_of_three_is_reported_once_or_does_not_close() {
    explore(2, || {
        let victims = cycle(3);
        assert!(victims <= 1);
        victims == 1
    });
}

#[test]
fn asking_again_for_what_one_holds_is_reported_at_once() {
    explore(1, || {
        let lock = Watched::new();
        let guard = lock.lock();
        let relock = lock.acquire().err().expect("it is held by this very thread");
        assert_eq!(relock.report().kind(), Kind::Relock);
        drop(guard);
        drop(lock.lock());
        true
    });
}

#[test]
fn a_lock_released_before_the_next_wait_is_on_no_cycle() {
    explore(3, || {
        let (a, b) = (Watched::new(), Watched::new());
        let other = thread::spawn({
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            move || assert!(!nest(&b, &a))
        });
        drop(a.lock());
        drop(b.lock());
        other.join().unwrap();
        events().unparks > 0
    });
}

#[test]
fn a_wait_that_was_granted_and_not_yet_withdrawn_is_on_no_cycle() {
    explore(3, || {
        let (a, b) = (Watched::new(), Watched::new());
        let held = a.lock();
        let other = thread::spawn({
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            move || {
                // Waits for `a`, is granted it, and gives it back while the others look.
                drop(a.lock());
                drop(b.lock());
            }
        });
        let third = thread::spawn({
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            move || assert!(!nest(&b, &a))
        });
        drop(held);
        other.join().unwrap();
        third.join().unwrap();
        events().unparks > 1
    });
}

#[test]
fn a_lock_that_was_handed_over_keeps_its_new_owner_off_every_cycle() {
    explore(3, hand_over_while_others_judge);
}

/// A waiter is handed a lock, and before it wakes another thread waits for what it holds.
fn hand_over_while_others_judge() -> bool {
    let (a, b) = (Watched::new(), Watched::new());
    let held = a.lock();
    let heir = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || assert!(!nest(&b, &a))
    });
    held.unlock_fair();
    drop(b.lock());
    drop(a.lock());
    heir.join().unwrap();
    events().hand_overs > 0
}

#[test]
fn a_wait_with_a_limit_is_part_of_no_verdict() {
    explore(3, timed_cycle);
}

/// A cycle of two, one of whose waits has a limit. Returns whether that limit passed.
pub(super) fn timed_cycle() -> bool {
    let (a, b) = (Watched::new(), Watched::new());
    let timed = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || {
            let _a = a.lock();
            b.try_lock_for().is_none()
        }
    });
    let other = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || assert!(!nest(&b, &a), "a false alarm")
    });
    let_time_pass();
    let timed_out = timed.join().unwrap();
    other.join().unwrap();
    timed_out && events().timeouts > 0
}

#[test]
fn a_verdict_goes_to_a_member_that_can_return_and_it_learns_of_it() {
    explore(3, verdict_for_another);
}

/// Under `Report`, the wait that closes the cycle can neither return nor unwind; the other member waits by `acquire`.
/// Returns whether that one was the victim.
pub(super) fn verdict_for_another() -> bool {
    set_policy(Policy::Report);
    let (a, b) = (Watched::new(), Watched::new());
    let infallible = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || {
            let _a = a.lock();
            drop(b.lock());
        }
    });
    let victim = nest(&b, &a);
    infallible.join().unwrap();
    victim && events().unparks > 0
}

#[test]
fn a_verdict_that_falls_on_a_waiter_just_dequeued_is_not_lost() {
    explore(2, verdict_while_barged);
}

/// The waiter is dequeued by an unlock, a third thread barges in and closes a cycle through it.
pub(super) fn verdict_while_barged() -> bool {
    set_policy(Policy::Report);
    let (a, b) = (Watched::new(), Watched::new());
    let held = b.lock();
    let waiter = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || nest(&a, &b)
    });
    let barger = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || {
            let _b = b.lock();
            drop(a.lock());
        }
    });
    drop(held);
    let victim = waiter.join().unwrap();
    barger.join().unwrap();
    victim && events().unparks > 1
}

#[test]
fn full_a_cycle_of_three_with_a_bystander_is_reported_once() {
    explore(2, || {
        let locks: Vec<_> = (0..3).map(|_| Watched::new()).collect();
        let threads: Vec<_> = (0..3)
            .map(|i| {
                let (first, second) = (Arc::clone(&locks[i]), Arc::clone(&locks[(i + 1) % 3]));
                thread::spawn(move || nest(&first, &second))
            })
            .collect();
        drop(locks[0].acquire().expect("a bystander is never the victim"));
        let victims: usize = threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum();
        assert!(victims <= 1);
        victims == 1
    });
}
