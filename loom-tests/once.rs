//! What is initialised once: publication, one initialiser at a time, no waiter lost when one fails, and deadlocks.
//!
//! Two threads suffice for what passes between an initialiser and one other: publication, the race to begin, a wake-up, a
//! cycle of two. What an initialiser owes to *all* waiters takes a second waiter, so a third thread; a third waiter would
//! be woken by the same pass through the queue.
//!
//! A panic would be the end of a model: an initialiser fails here by an error, or by giving its initialisation up, which
//! is what unwinding does to it.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::{Count, Parcel, Watched, explore};
use crate::OnceLock;
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::deadlock::{Deadlock, Kind};
use crate::primitive::{Ingredient, events, remove};
use crate::sync::{Entered, InitError, Intent, OnceRequest, RawOnce};

type Cell = Arc<OnceLock<Parcel>>;

fn cell() -> Cell {
    let cell = OnceLock::new();
    // loom's atomic is made on first use: here, before the cell is shared.
    assert!(cell.get().is_none());
    Arc::new(cell)
}

/// One thread makes the value while another looks for it without waiting. Returns whether that one saw it.
fn look_at_a_value(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (cell, count) = (cell(), Count::new());
    let other = thread::spawn({
        let cell = Arc::clone(&cell);
        move || cell.get().map(Parcel::content)
    });
    assert_eq!(cell.get_or_init(|| Parcel::new(7, &count)).content(), 7);
    let seen = other.join().unwrap();
    assert!(seen.is_none_or(|content| content == 7));
    seen.is_some()
}

#[test]
fn whoever_sees_that_it_is_complete_sees_the_value() {
    explore(3, || look_at_a_value(None));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn without_release_on_completion_the_value_may_not_be_there_yet() {
    explore(3, || look_at_a_value(Some(Ingredient::ReleaseOnCompletion)));
}

/// Two threads that would both make the value. Returns whether one of them parked.
fn two_initialisers(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (cell, count) = (cell(), Count::new());
    let other = thread::spawn({
        let (cell, count) = (Arc::clone(&cell), Arc::clone(&count));
        move || cell.get_or_init(|| Parcel::new(1, &count)).content()
    });
    let mine = cell.get_or_init(|| Parcel::new(2, &count)).content();
    assert_eq!(mine, other.join().unwrap());
    assert_eq!(count.dropped(), 0, "one was made");
    events().unparks > 0
}

#[test]
fn of_two_initialisers_one_runs_and_both_get_its_value() {
    explore(3, || two_initialisers(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_the_end_of_an_initialiser_is_missed() {
    explore(3, || two_initialisers(Some(Ingredient::ValidatedAnnouncement)));
}

/// An initialiser fails while two threads may wait for it. Returns whether both did.
fn an_initialiser_fails_before_two(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (cell, count) = (cell(), Count::new());
    let others = [1, 2].map(|content| {
        let (cell, count) = (Arc::clone(&cell), Arc::clone(&count));
        thread::spawn(move || {
            // The second one could not make the value: a wake-up for it alone would be lost.
            if content == 1 { cell.get_or_init(|| Parcel::new(1, &count)) } else { cell.wait() }.content()
        })
    });
    let failed = cell.get_or_try_init(|| Err::<Parcel, _>(())).is_err();
    others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), 1));
    assert_eq!(cell.get().map(Parcel::content), Some(1));
    failed && events().unparks > 1
}

#[test]
fn after_an_initialiser_failed_a_waiter_runs_its_own_and_none_is_lost() {
    explore(2, || an_initialiser_fails_before_two(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn if_its_end_woke_one_of_them_alone_the_other_would_be_lost() {
    explore(2, || an_initialiser_fails_before_two(Some(Ingredient::WakeAll)));
}

fn request(intent: Intent) -> OnceRequest {
    let type_of = || ResourceType { primitive: "Once", data: "", mode: HoldMode::Initialising, id_of: None };
    OnceRequest { site: Location::caller(), type_of, intent }
}

#[test]
fn after_an_initialiser_failed_for_good_everybody_who_waits_is_told() {
    explore(2, || {
        let once = Arc::new(RawOnce::new(None));
        assert!(!once.is_complete());
        let others = [Intent::InitialiseOnce, Intent::Await].map(|intent| {
            let once = Arc::clone(&once);
            thread::spawn(move || match once.try_enter(request(intent)) {
                // As unwinding does.
                Ok(Entered::Begun(initialisation)) => drop(initialisation),
                Err(InitError::Poisoned(_)) => {}
                Err(InitError::Deadlock(_)) => panic!("a false alarm"),
                Ok(_) => panic!("nobody completes it"),
            })
        });
        if let Ok(Entered::Begun(initialisation)) = once.try_enter(request(Intent::InitialiseOnce)) {
            drop(initialisation);
        }
        others.into_iter().for_each(|other| other.join().unwrap());
        assert!(!once.has_waiters() && !once.is_complete());
        events().unparks > 1
    });
}

#[test]
fn a_forced_initialiser_after_a_failure_ends_the_wait_that_goes_on_in_spite_of_it() {
    explore(2, || {
        let once = Arc::new(RawOnce::new(None));
        assert!(!once.is_complete());
        let patient = thread::spawn({
            let once = Arc::clone(&once);
            move || assert!(matches!(once.acquire(request(Intent::AwaitAnyway)), Ok(Entered::Complete)))
        });
        let Ok(Entered::Begun(first)) = once.acquire(request(Intent::InitialiseAnyway)) else { unreachable!() };
        drop(first);
        let Ok(Entered::Begun(second)) = once.acquire(request(Intent::InitialiseAnyway)) else { unreachable!() };
        assert!(second.was_poisoned());
        second.complete();
        patient.join().unwrap();
        events().unparks > 0
    });
}

#[test]
fn an_initialiser_that_asks_for_its_own_value_is_told_at_once() {
    explore(1, || {
        let (cell, count) = (cell(), Count::new());
        let value = cell.get_or_init(|| {
            let relock = cell.acquire().err().expect("this very thread makes it");
            assert_eq!(relock.report().kind(), Kind::Relock);
            Parcel::new(3, &count)
        });
        assert_eq!(value.content(), 3);
        true
    });
}

/// Initialises `first` with what `second` has; one that is told of a deadlock fails. Returns whether it was.
fn needs(first: &Cell, second: &Cell, count: &Arc<Count>) -> bool {
    let made = first.acquire_or_try_init(|| {
        let second = second.acquire_or_init(|| Parcel::new(1, count))?;
        Ok::<_, Deadlock>(Parcel::new(second.content() + 1, count))
    });
    made.is_err_and(|deadlock| {
        assert_eq!(deadlock.report().kind(), Kind::Cycle);
        true
    })
}

#[test]
fn two_initialisers_that_need_each_other_are_reported_once_or_do_not_close() {
    explore(3, || {
        let (a, b, count) = (cell(), cell(), Count::new());
        let other = thread::spawn({
            let (a, b, count) = (Arc::clone(&a), Arc::clone(&b), Arc::clone(&count));
            move || needs(&b, &a, &count)
        });
        let mine = needs(&a, &b, &count);
        let other = other.join().unwrap();
        assert!(!(mine && other), "one victim");
        mine || other
    });
}

/// A thread that has a lock waits for a value that somebody is to make; the one that makes it wants that lock. Returns
/// whether that wait began first, and the cycle was reported.
fn waits_for_anybody(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (cell, lock, count) = (cell(), Watched::new(), Count::new());
    let waiter = thread::spawn({
        let (cell, lock) = (Arc::clone(&cell), Arc::clone(&lock));
        move || {
            let _guard = lock.lock();
            cell.acquire().is_err()
        }
    });
    // Taking the mutex of the parked is where loom may switch: the other thread may or may not wait already.
    events();
    let (was_awaited, mut told) = (cell.has_waiters(), false);
    cell.get_or_init(|| {
        told = lock.acquire().is_err();
        Parcel::new(4, &count)
    });
    let waiter = waiter.join().unwrap();
    assert!(!(told && waiter), "one victim");
    was_awaited && (told || waiter)
}

#[test]
fn a_wait_that_began_before_the_initialiser_is_part_of_the_cycle_that_one_closes() {
    explore(3, || waits_for_anybody(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_initialiser_as_the_provider_that_cycle_is_missed() {
    explore(3, || waits_for_anybody(Some(Ingredient::AwaitedInitialiser)));
}
