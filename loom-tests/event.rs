//! The event: no wake-up is lost between `set`, `clear` and `wait`.
//!
//! Two waiters and the thread that sets are enough: what one waiter does to another is to announce, and to take the
//! announcement back when it leaves the queue; a further one could do no more.

use std::sync::Arc;

use loom::thread;

use super::explore;
use crate::Event;
use crate::primitive::{Ingredient, events, let_time_pass, remove, soon};

fn event() -> Arc<Event> {
    let event = Arc::new(Event::new());
    // loom's atomic is made on first use: here, before the event is shared.
    assert!(!event.is_set());
    event
}

/// One thread sets a value and the event, two wait. Returns whether one of them was parked.
fn set_while_two_wait(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let event = event();
    let value = Arc::new(loom::cell::UnsafeCell::new(0));
    let waiters = [0, 1].map(|_| {
        let (event, value) = (Arc::clone(&event), Shared(Arc::clone(&value)));
        thread::spawn(move || {
            event.wait();
            value.read()
        })
    });
    // SAFETY:
    // - the event is not set: nobody else is at the value; loom checks that.
    value.with_mut(|value| unsafe { *value = 42 });
    event.set();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), 42);
    }
    events().unparks > 0
}

/// A value that loom watches.
struct Shared(Arc<loom::cell::UnsafeCell<u32>>);

// SAFETY:
// - loom checks the accesses.
unsafe impl Send for Shared {}

impl Shared {
    fn read(&self) -> u32 {
        // SAFETY:
        // - loom checks that it was written before.
        self.0.with(|value| unsafe { *value })
    }
}

#[test]
fn a_set_wakes_all_and_publishes_what_was_done_before() {
    explore(3, || set_while_two_wait(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_a_set_is_lost() {
    explore(3, || set_while_two_wait(Some(Ingredient::ValidatedAnnouncement)));
}

/// A wait that has begun, and a pulse. Returns whether the wait was parked.
fn one_pulse_for_a_registered_wait(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let event = event();
    let waiter = thread::spawn({
        let event = Arc::clone(&event);
        move || {
            event.wait();
        }
    });
    // The wait has begun once it has announced itself.
    while !event.has_waiters() {
        thread::yield_now();
    }
    event.set();
    event.clear();
    waiter.join().unwrap();
    events().unparks > 0
}

#[test]
fn a_set_ends_the_wait_that_has_begun_though_it_is_taken_back() {
    explore(2, || one_pulse_for_a_registered_wait(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_generation_a_pulse_passes_over_a_wait() {
    explore(2, || one_pulse_for_a_registered_wait(Some(Ingredient::GenerationOfWaits)));
}

#[test]
fn a_waiter_that_times_out_leaves_the_other_to_be_woken() {
    explore(3, || {
        let event = event();
        let timed = thread::spawn({
            let event = Arc::clone(&event);
            move || event.wait_until(soon())
        });
        let patient = thread::spawn({
            let event = Arc::clone(&event);
            move || event.wait()
        });
        let_time_pass();
        event.set();
        let was_set = timed.join().unwrap();
        patient.join().unwrap();
        !was_set && events().timeouts > 0 && events().unparks > 0
    });
}
