//! Bodies that run inside of a context that waits for them.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::detector::nest;
use super::{Watched, explore, watched};
use crate::deadlock::Kind;
use crate::deadlock::nested::run_nested;
use crate::deadlock::registry::{current, end_current};
use crate::deadlock::resource::{Origin, ResourceFacts, ResourceType};
use crate::primitive::{Ingredient, events, remove};
use crate::sync::RawRLock;

fn in_place<R>(body: impl FnOnce() -> R) -> R {
    let facts = ResourceFacts { key: 1, origin: Origin::here(None), type_of: watched };
    run_nested(facts, Location::caller(), body)
}

#[test]
fn a_body_that_waits_for_what_its_waiter_holds_is_on_a_cycle() {
    explore(2, || {
        let lock = Watched::new();
        let held = lock.lock();
        let outer = current().id();
        in_place(|| {
            assert_ne!(current().id(), outer);
            let deadlock = lock.acquire().err().expect("the waiter holds it");
            assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 2));
        });
        assert_eq!(current().id(), outer);
        drop(held);
        in_place(|| drop(lock.lock()));
        true
    });
}

#[test]
fn a_body_does_not_slip_into_a_re_entrant_lock_of_its_waiter() {
    fn nothing() -> ResourceType {
        ResourceType::exclusive::<()>("RLock")
    }
    explore(2, || {
        let lock = RawRLock::new(None);
        assert!(!lock.is_locked());
        let held = lock.lock(nothing);
        in_place(|| {
            assert!(!lock.is_owned());
            let deadlock = lock.acquire(nothing).err().expect("the waiter holds it");
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
        });
        // SAFETY:
        // - the guard is of this lock.
        unsafe { lock.unlock(held) };
        true
    });
}

#[test]
fn a_cycle_through_a_body_and_its_waiter_is_reported_once_or_does_not_close() {
    explore(3, || cycle_through_a_body(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_outer_contexts_a_cycle_through_a_body_is_not_seen() {
    explore(3, || cycle_through_a_body(Some(Ingredient::OuterContexts)));
}

/// A thread holds one lock while a body on it waits for another, whose owner waits for the first. Returns whether there
/// was a victim.
fn cycle_through_a_body(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (a, b) = (Watched::new(), Watched::new());
    let other = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || nest_anyhow(&b, &a)
    });
    let held = a.lock();
    let inner = in_place(|| match b.acquire() {
        Ok(_b) => false,
        Err(deadlock) => {
            assert_eq!((deadlock.report().kind(), deadlock.report().threads().len()), (Kind::Cycle, 3));
            true
        }
    });
    drop(held);
    let other = other.join().unwrap();
    assert!(!(inner && other), "one victim");
    drop(a.lock());
    drop(b.lock());
    inner || other
}

/// Holds `first` and asks for `second`. Returns whether that was a deadlock, of whatever size.
fn nest_anyhow(first: &Watched, second: &Watched) -> bool {
    let _first = first.acquire().expect("holding nothing, it is on no cycle");
    second.acquire().is_err()
}

#[test]
fn one_body_after_another_is_on_no_cycle_under_one_number() {
    explore(3, || {
        let (a, b) = (Watched::new(), Watched::new());
        let other = thread::spawn({
            let (a, b) = (Arc::clone(&a), Arc::clone(&b));
            move || assert!(!nest(&b, &a))
        });
        let first = in_place(|| {
            drop(a.lock());
            current().id()
        });
        let second = in_place(|| {
            drop(b.lock());
            current().id()
        });
        other.join().unwrap();
        assert_eq!(first, second, "it held nothing in between");
        events().unparks > 0
    });
}

#[test]
fn whoever_waits_for_what_a_body_forgot_is_told_so_when_the_thread_ends() {
    explore(3, || forgotten_in_a_body(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_summons_at_the_end_nobody_is_told_what_a_body_forgot() {
    explore(3, || forgotten_in_a_body(Some(Ingredient::SummonsAtEnd)));
}

/// A body forgets a guard and its thread goes on to end. Returns whether a thread had parked before.
fn forgotten_in_a_body(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let ending = thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            let first = in_place(|| {
                lock.lock().forget();
                current().id()
            });
            in_place(|| assert_ne!(current().id(), first, "that number still stands in the lock"));
            end_current();
        }
    });
    let told = match lock.acquire() {
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
fn whoever_waits_for_what_a_body_left_behind_waits_for_what_its_thread_waits_for() {
    explore(3, || left_behind(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_thread_behind_it_what_a_body_left_behind_is_waited_for_for_ever() {
    explore(3, || left_behind(Some(Ingredient::ActorOfTheRetired)));
}

/// A body forgets a guard, and its thread goes on to wait for a thread that wants that lock. Two threads suffice: the
/// thread of the retired context is one, and the shortest cycle through it has one more. Returns whether there was a
/// victim.
fn left_behind(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (forgotten, other) = (Watched::new(), Watched::new());
    in_place(|| forgotten.lock().forget());
    let waiter = thread::spawn({
        let (forgotten, other) = (Arc::clone(&forgotten), Arc::clone(&other));
        move || {
            let _other = other.acquire().expect("holding nothing, it is on no cycle");
            // The guard is never dropped: only a report, or the end of the other thread, ends this.
            let report = forgotten.acquire().err().map(|deadlock| deadlock.report().kind());
            assert!(report.is_none_or(|kind| matches!(kind, Kind::Cycle | Kind::Abandoned)));
            report == Some(Kind::Cycle)
        }
    });
    let found = other.acquire().err().map(|deadlock| deadlock.report().kind());
    assert!(found.is_none_or(|kind| kind == Kind::Cycle));
    end_current();
    let told = waiter.join().unwrap();
    assert!(!(found.is_some() && told), "one victim");
    found.is_some() || told
}
