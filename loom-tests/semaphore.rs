//! The semaphore: no permit is lost or made, no wake-up is lost, and those behind a waiter that leaves are served.
//!
//! What a thread does to the word and the queue it does as one of three: it takes or waits, it releases, or it leaves at its
//! limit. Two waiters and one that releases have each of these at once; where the order in the queue matters, that is two
//! waiters of different size.

use std::sync::Arc;

use loom::thread;

use super::{explore, explore_at_most};
use crate::Semaphore;
use crate::primitive::{Ingredient, events, let_time_pass, remove, soon};

fn semaphore(permits: usize) -> Arc<Semaphore> {
    let semaphore = Arc::new(Semaphore::new(permits));
    // loom's atomic is made on first use: here, before the semaphore is shared.
    assert_eq!(semaphore.available_permits(), permits);
    semaphore
}

/// Two threads take the only permit in turn, and change a value that loom watches. Returns whether one had to park.
fn take_turns(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    struct Shared(Semaphore, loom::cell::UnsafeCell<u32>);
    // SAFETY:
    // - the value is only reached by the thread that has the permit; loom checks that.
    unsafe impl Sync for Shared {}
    // SAFETY:
    // - as above.
    unsafe impl Send for Shared {}
    fn add(shared: &Shared) {
        let permit = shared.0.acquire();
        // SAFETY:
        // - as above.
        shared.1.with_mut(|value| unsafe { *value += 1 });
        if std::thread::panicking() {
            permit.forget();
        }
    }
    let shared = Arc::new(Shared(Semaphore::new(1), loom::cell::UnsafeCell::new(0)));
    assert_eq!(shared.0.available_permits(), 1);
    let other = thread::spawn({
        let shared = Arc::clone(&shared);
        move || add(&shared)
    });
    add(&shared);
    other.join().unwrap();
    // SAFETY:
    // - the other thread is joined.
    shared.1.with(|value| assert_eq!(unsafe { *value }, 2));
    assert!(shared.0.available_permits() == 1 && !shared.0.has_waiters());
    events().unparks > 0
}

#[test]
fn what_was_done_with_a_permit_is_seen_with_it() {
    explore(3, || take_turns(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_validated_announcement_a_permit_is_not_noticed() {
    explore(3, || take_turns(Some(Ingredient::ValidatedAnnouncement)));
}

#[test]
fn a_release_of_two_lets_two_go_on() {
    explore(3, || {
        let semaphore = semaphore(0);
        let waiters = [0, 1].map(|_| {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || semaphore.acquire().forget())
        });
        semaphore.release(2);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert!(semaphore.available_permits() == 0 && !semaphore.has_waiters());
        events().hand_overs == 2
    });
}

#[test]
fn a_time_out_that_races_a_release_loses_no_permit() {
    explore(3, || {
        let semaphore = semaphore(0);
        let timed = thread::spawn({
            let semaphore = Arc::clone(&semaphore);
            move || semaphore.try_acquire_until(soon()).map(|permit| permit.forget()).is_some()
        });
        let time = thread::spawn(let_time_pass);
        semaphore.release(1);
        let was_granted = timed.join().unwrap();
        time.join().unwrap();
        assert_eq!(semaphore.available_permits(), usize::from(!was_granted));
        assert!(!semaphore.has_waiters());
        !was_granted && events().timeouts > 0
    });
}

/// The first in the queue wants more than there is and leaves at its limit; the one behind it wants what there is. Returns
/// whether that one had to wait for this.
fn leave_from_the_front(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let semaphore = semaphore(0);
    let many = thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || semaphore.try_acquire_many_until(2, soon()).is_some()
    });
    let one = thread::spawn({
        let semaphore = Arc::clone(&semaphore);
        move || semaphore.acquire().forget()
    });
    semaphore.release(1);
    let_time_pass();
    assert!(!many.join().unwrap());
    one.join().unwrap();
    assert!(semaphore.available_permits() == 0 && !semaphore.has_waiters());
    events().timeouts > 0 && events().hand_overs > 0
}

#[test]
fn whoever_leaves_the_front_of_the_queue_serves_those_behind() {
    explore_at_most(3, || leave_from_the_front(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_serving_on_leaving_those_behind_wait_for_ever() {
    explore_at_most(3, || leave_from_the_front(Some(Ingredient::ServedOnLeaving)));
}
