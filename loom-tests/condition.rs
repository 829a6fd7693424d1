//! Conditions: no notification is lost, each goes to one waiter, and the counts are exact.
//!
//! Two waiters and one notifier suffice: a waiter deals with notifiers alone, by its own flag, and with other waiters by
//! their places in the queue, which are changed in one critical section each.

use std::sync::Arc;

use loom::thread;

use super::{Watched, explore};
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::{Policy, set_policy};
use crate::primitive::{Ingredient, events, let_time_pass, remove, soon};
use crate::sync::{RawCondition, Waiter};

/// A lock, and a condition that is notified under it.
struct Signal {
    lock: Arc<Watched>,
    condition: RawCondition,
}

impl Signal {
    fn new() -> Arc<Self> {
        let condition = RawCondition::new(None);
        // loom's atomic is made on first use: here, before the condition is shared.
        assert_eq!(condition.waiting(), 0);
        Arc::new(Self { lock: Watched::new(), condition })
    }

    /// Waits under the lock, as `Condition` does: queued, released, notified, locked again. Returns whether it was
    /// notified.
    fn wait(&self, limit: Limit) -> bool {
        let guard = self.lock.lock();
        let notified = self.sleep(limit, move || drop(guard));
        drop(self.lock.lock());
        notified
    }

    fn sleep(&self, limit: Limit, release: impl FnOnce()) -> bool {
        let waiter = Waiter::new(registry::current());
        // SAFETY:
        // - it is dropped before the waiter, which stays where it is.
        // - the waiter is new.
        let queued = unsafe { self.condition.enqueue(&waiter) };
        release();
        queued.wait(std::panic::Location::caller(), limit)
    }
}

/// A waiter waits until the value under the lock has changed; the notifier changes it under the lock, and notifies there or
/// afterwards. `is_queued_first` is the ingredient. Returns whether the waiter slept.
fn one_waiter(notifies_under_the_lock: bool, is_queued_first: bool) -> bool {
    let signal = Signal::new();
    let notifier = thread::spawn({
        let signal = Arc::clone(&signal);
        move || {
            // Each lock adds 1 to the value: this is the change.
            let guard = signal.lock.lock();
            if notifies_under_the_lock {
                let woken = signal.condition.notify(1);
                drop(guard);
                woken
            } else {
                drop(guard);
                signal.condition.notify(1)
            }
        }
    });
    let guard = signal.lock.lock();
    // The other has not been here.
    let waits = guard.value() == 1;
    let woken = if waits {
        let release = move || drop(guard);
        if is_queued_first {
            assert!(signal.sleep(Limit::None, release));
        } else {
            release();
            assert!(signal.sleep(Limit::None, || {}));
        }
        1
    } else {
        drop(guard);
        0
    };
    assert_eq!(notifier.join().unwrap(), woken, "the count is of those that were woken");
    assert_eq!(signal.condition.waiting(), 0);
    events().unparks > 0
}

#[test]
fn a_notification_under_the_lock_is_not_lost() {
    explore(3, || one_waiter(true, true));
}

#[test]
fn a_notification_after_the_unlock_is_not_lost() {
    explore(3, || one_waiter(false, true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_place_in_the_queue_before_the_release_a_notification_is_lost() {
    explore(3, || one_waiter(true, false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_look_at_the_notice_a_sleep_outlasts_it() {
    explore(3, || {
        remove(Ingredient::ValidatedNotice);
        one_waiter(true, true)
    });
}

#[test]
fn what_happened_before_a_notification_is_seen_after_the_wait() {
    explore(3, || {
        let signal = Signal::new();
        let content = Arc::new(Content(loom::cell::UnsafeCell::new(0)));
        let notifier = thread::spawn({
            let (signal, content) = (Arc::clone(&signal), Arc::clone(&content));
            move || {
                // SAFETY:
                // - the waiter looks after the notification: loom checks that.
                content.0.with_mut(|content| unsafe { *content = 1 });
                while signal.condition.notify(1) == 0 {
                    thread::yield_now();
                }
            }
        });
        // Under no lock: the notification alone orders them.
        assert!(signal.sleep(Limit::None, || {}));
        // SAFETY:
        // - as above.
        assert_eq!(content.0.with(|content| unsafe { *content }), 1);
        notifier.join().unwrap();
        events().unparks > 0
    });
}

/// Something that loom watches.
struct Content(loom::cell::UnsafeCell<u32>);

// SAFETY:
// - loom checks the accesses.
unsafe impl Sync for Content {}
// SAFETY:
// - as above.
unsafe impl Send for Content {}

#[test]
fn one_notification_wakes_one_of_two_and_the_next_the_other() {
    explore(2, || {
        let signal = Signal::new();
        let waiters = [0, 1].map(|_| {
            let signal = Arc::clone(&signal);
            thread::spawn(move || signal.wait(Limit::None))
        });
        // None, one or both are there.
        let first = signal.condition.notify(1);
        assert!(first <= 1);
        let mut woken = first;
        while woken < 2 {
            thread::yield_now();
            let more = signal.condition.notify(1);
            assert!(more <= 1);
            woken += more;
        }
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        assert_eq!((signal.condition.notify(2), signal.condition.waiting()), (0, 0));
        first == 1 && events().unparks > 0
    });
}

/// A time-out and a notification at the same moment. Returns whether the waiter was notified although its time was over.
fn timeout_and_notification() -> bool {
    let signal = Signal::new();
    let waiter = thread::spawn({
        let signal = Arc::clone(&signal);
        move || signal.wait(Limit::Until(soon()))
    });
    let notifier = thread::spawn({
        let signal = Arc::clone(&signal);
        move || signal.condition.notify(1)
    });
    let_time_pass();
    let (notified, woken) = (waiter.join().unwrap(), notifier.join().unwrap());
    assert_eq!(usize::from(notified), woken, "a waiter is counted by one of the two");
    assert_eq!(signal.condition.waiting(), 0);
    notified && events().timeouts > 0
}

#[test]
fn a_waiter_that_times_out_as_it_is_notified_is_counted_by_one_of_the_two() {
    explore(3, timeout_and_notification);
}

#[test]
#[should_panic(expected = "a waiter is counted by one of the two")]
fn without_the_look_under_the_mutex_a_waiter_is_counted_by_both() {
    explore(3, || {
        remove(Ingredient::OneOfNoticeAndTimeout);
        timeout_and_notification()
    });
}

#[test]
fn a_waiter_that_times_out_takes_no_notification_from_the_other() {
    explore(2, || {
        let signal = Signal::new();
        let timed = thread::spawn({
            let signal = Arc::clone(&signal);
            move || signal.wait(Limit::Until(soon()))
        });
        let patient = thread::spawn({
            let signal = Arc::clone(&signal);
            move || signal.wait(Limit::None)
        });
        let_time_pass();
        let mut woken = signal.condition.notify(1);
        let timed = timed.join().unwrap();
        // Of the first, unless that was notified.
        while woken < 1 + usize::from(timed) {
            woken += signal.condition.notify(1);
            thread::yield_now();
        }
        assert!(patient.join().unwrap());
        assert_eq!(signal.condition.notify(1), 0);
        !timed && events().timeouts > 0 && events().unparks > 0
    });
}

/// A waiter that is woken for another reason is between two sleeps as the notification comes. Returns whether it slept
/// again or was kept from that.
fn notified_between_two_sleeps() -> bool {
    let signal = Signal::new();
    let notifier = thread::spawn({
        let signal = Arc::clone(&signal);
        move || {
            // Each wait looks again, as it does when a hook is installed.
            set_policy(Policy::Report);
            let before = events().unparks;
            let guard = signal.lock.lock();
            let woken = signal.condition.notify(1);
            drop(guard);
            (woken, before)
        }
    });
    let guard = signal.lock.lock();
    let waits = guard.value() == 1;
    if waits {
        assert!(signal.sleep(Limit::None, move || drop(guard)));
    } else {
        drop(guard);
    }
    let (woken, unparks) = notifier.join().unwrap();
    assert_eq!(woken, usize::from(waits));
    waits && unparks > 0 && events().invalid + events().unparks > unparks
}

#[test]
fn a_notification_between_two_sleeps_is_not_lost() {
    explore(3, notified_between_two_sleeps);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_look_at_the_notice_one_between_two_sleeps_is_lost() {
    explore(3, || {
        remove(Ingredient::ValidatedNotice);
        notified_between_two_sleeps()
    });
}

#[test]
fn a_wait_for_a_notification_is_part_of_no_verdict() {
    explore(2, || {
        let signal = Signal::new();
        let held = Watched::new();
        let waiter = thread::spawn({
            let (signal, held) = (Arc::clone(&signal), Arc::clone(&held));
            move || {
                let _held = held.lock();
                signal.wait(Limit::None)
            }
        });
        // Wants what the waiter holds. Another thread notifies, so this is no deadlock.
        let other = thread::spawn({
            let held = Arc::clone(&held);
            move || drop(held.acquire().expect("a false alarm"))
        });
        while signal.condition.notify(1) == 0 {
            thread::yield_now();
        }
        assert!(waiter.join().unwrap());
        other.join().unwrap();
        events().unparks > 1
    });
}

#[test]
fn a_cycle_through_a_lock_that_is_taken_again_has_another_victim() {
    explore(2, || {
        let signal = Signal::new();
        let held = Watched::new();
        let waiter = thread::spawn({
            let (signal, held) = (Arc::clone(&signal), Arc::clone(&held));
            move || {
                let _held = held.lock();
                let guard = signal.lock.lock();
                assert!(signal.sleep(Limit::None, move || drop(guard)));
                // As `Condition::wait` does, whose wait for the lock cannot fail.
                let again = signal.lock.raw.resume(super::watched, std::panic::Location::caller());
                drop(signal.lock.guard(again));
            }
        });
        let guard = loop {
            let guard = signal.lock.lock();
            if signal.condition.notify(1) == 1 {
                break guard;
            }
            drop(guard);
            thread::yield_now();
        };
        // The waiter wants this lock, and holds that one until it has it.
        let victim = held.acquire().is_err();
        assert!(victim, "the waiter holds it as long as this lock is held");
        drop(guard);
        waiter.join().unwrap();
        events().unparks > 0
    });
}
