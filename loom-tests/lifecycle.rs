//! Contexts that end, with and without holds, and are used again.

use std::sync::Arc;

use loom::thread;

use super::detector::nest;
use super::{Watched, explore};
use crate::deadlock::Kind;
use crate::deadlock::registry::{current, end_current};
use crate::primitive::{Ingredient, events, remove};

#[test]
fn whoever_waits_for_a_context_that_ended_is_told_so() {
    explore(3, || forgotten_guard(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_a_summons_at_the_end_a_parked_waiter_is_never_told() {
    explore(3, || forgotten_guard(Some(Ingredient::SummonsAtEnd)));
}

/// A thread ends with a forgotten guard. Returns whether its waiter had parked before.
fn forgotten_guard(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let ending = thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            lock.lock().forget();
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
fn a_guard_that_drops_after_the_last_destructor_is_waited_for() {
    explore(5, || late_guard(None));
}

#[test]
#[should_panic(expected = "a false alarm")]
fn without_the_kernels_word_a_late_guard_is_a_false_alarm() {
    explore(3, || late_guard(Some(Ingredient::KernelsWord)));
}

#[test]
#[should_panic(expected = "a false alarm")]
fn without_a_second_look_a_late_guard_is_a_false_alarm() {
    explore(5, || late_guard(Some(Ingredient::SecondLook)));
}

/// A guard is dropped after its context has ended and before its thread is gone. Returns whether a thread waited
/// meanwhile.
fn late_guard(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = Watched::new();
    let ending = thread::spawn({
        let lock = Arc::clone(&lock);
        move || {
            let guard = lock.lock();
            let context = current();
            crate::deadlock::registry::leave_early();
            drop(guard);
            context.lifeline_for_models().cut();
        }
    });
    drop(lock.acquire().expect("a false alarm"));
    ending.join().unwrap();
    events().unparks + events().timeouts > 0
}

#[test]
fn a_number_is_never_used_again() {
    explore(3, || reused_context(None));
}

#[test]
#[should_panic(expected = "false alarm")]
fn without_fresh_numbers_there_is_a_false_alarm() {
    explore(3, || reused_context(Some(Ingredient::FreshNumber)));
}

/// A thread's context is given to the next thread while an old guard's number still stands in a lock. Returns whether
/// the context was used again.
fn reused_context(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (a, b) = (Watched::new(), Watched::new());
    let first = thread::spawn({
        let a = Arc::clone(&a);
        move || {
            let number = current().id();
            drop(a.lock());
            end_current();
            number
        }
    });
    let first = first.join().unwrap();
    let second = thread::spawn({
        let (a, b) = (Arc::clone(&a), Arc::clone(&b));
        move || {
            let number = current().id();
            assert!(!nest(&a, &b));
            number
        }
    });
    drop(b.lock());
    let second = second.join().unwrap();
    assert_ne!(first, second, "a false alarm waits to happen: two threads, one number");
    first.shares_context_with(second)
}
