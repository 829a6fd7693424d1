//! What is initialised once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bowline::facade::RawOnce;
use bowline::sync::Progress;

use crate::support::{LIMIT, spawn_named, until_parked, within};

#[test]
fn an_initialiser_runs_once_and_others_wait_for_it() {
    within(LIMIT, || {
        let once = RawOnce::new();
        assert_eq!(once.progress(), Progress::New);
        thread::scope(|s| {
            let mut waits = None;
            assert!(once.call(false, |was_poisoned| {
                assert!(!was_poisoned);
                assert_eq!(once.progress(), Progress::InProgress);
                waits = Some(spawn_named(s, "waits for the initialiser", || once.call(false, |_| unreachable!())));
                until_parked("waits for the initialiser");
            }));
            assert!(waits.unwrap().join().unwrap());
        });
        assert!(once.is_complete() && once.progress() == Progress::Done);
        assert!(once.call(true, |_| unreachable!()));
    });
}

#[test]
fn an_initialiser_that_panics_is_remembered_until_another_has_run() {
    within(LIMIT, || {
        let once = RawOnce::new();
        let panics = |_| panic!("meant to");
        assert!(catch_unwind(AssertUnwindSafe(|| once.call(false, panics))).is_err());
        assert_eq!(once.progress(), Progress::Poisoned);
        assert!(!once.call(false, |_| unreachable!()));
        assert!(once.call(true, |was_poisoned| assert!(was_poisoned)));
        assert!(once.call(false, |_| unreachable!()));
    });
}
