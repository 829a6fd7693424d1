use std::thread;

use super::panic_of;
use super::sync::atomic::{AtomicU32, Ordering::SeqCst};
use super::sync::{Once, OnceState};
use crate::support::{LIMIT, watchdog};

#[test]
fn it_runs_once_whoever_comes() {
    let _watchdog = watchdog(LIMIT);
    static ONCE: Once = Once::new();
    let runs = AtomicU32::new(0);
    assert!(!ONCE.is_completed());
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                ONCE.call_once(|| {
                    runs.fetch_add(1, SeqCst);
                });
                assert_eq!(runs.load(SeqCst), 1);
            });
        }
        ONCE.wait();
        assert_eq!(runs.load(SeqCst), 1);
    });
    assert!(ONCE.is_completed());
    ONCE.call_once_force(|_| unreachable!());
}

#[test]
fn a_panic_poisons_until_an_initialiser_is_forced() {
    let _watchdog = watchdog(LIMIT);
    let once = Once::new();
    assert_eq!(panic_of(|| once.call_once(|| panic!("on purpose"))), "on purpose");
    assert!(!once.is_completed());
    panic_of(|| once.call_once(|| unreachable!("it is poisoned")));
    panic_of(|| once.wait());
    let mut was_poisoned = false;
    assert_eq!(panic_of(|| once.call_once_force(|_| panic!("again"))), "again");
    once.call_once_force(|state: &OnceState| was_poisoned = state.is_poisoned());
    assert!(was_poisoned && once.is_completed());
    once.call_once(|| unreachable!("it has run"));
    once.wait();
    once.wait_force();
}

#[test]
fn a_fresh_one_is_not_poisoned() {
    let _watchdog = watchdog(LIMIT);
    Once::new().call_once_force(|state| assert!(!state.is_poisoned()));
}

#[test]
fn a_wait_in_spite_of_poison_ends_when_an_initialiser_is_forced() {
    let _watchdog = watchdog(LIMIT);
    let once = Once::new();
    panic_of(|| once.call_once(|| panic!("on purpose")));
    thread::scope(|s| {
        let waits = s.spawn(|| {
            once.wait_force();
            once.is_completed()
        });
        once.call_once_force(|_| ());
        assert!(waits.join().unwrap());
    });
}

#[test]
#[allow(deprecated, clippy::declare_interior_mutable_const, reason = "it is there")]
fn the_constant_is_a_fresh_one() {
    let _watchdog = watchdog(LIMIT);
    static ONCE: Once = super::sync::ONCE_INIT;
    ONCE.call_once(|| ());
    assert!(ONCE.is_completed());
}
