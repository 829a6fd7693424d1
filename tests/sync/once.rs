//! `Once`: an initialiser runs once, and everybody sees what it did.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bowline::Once;

use crate::support::{LIMIT, spawn_named, until_parked, within};

#[test]
fn of_many_callers_one_runs_its_initialiser_and_all_see_what_it_did() {
    within(LIMIT, || {
        for _ in 0..if cfg!(miri) { 2 } else { 200 } {
            let (once, runs, start) = (Once::new(), AtomicU32::new(0), Barrier::new(4));
            thread::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        start.wait();
                        // Relaxed: the once alone orders this.
                        once.call_once(|| runs.store(runs.load(Relaxed) + 1, Relaxed));
                        assert_eq!(runs.load(Relaxed), 1);
                    });
                }
            });
        }
    });
}

#[test]
fn a_static_once_runs_its_initialiser_once() {
    static ONCE: Once = Once::named("static");
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = || _ = RUNS.fetch_add(1, Relaxed);
    for _ in 0..3 {
        ONCE.call_once(run);
        ONCE.call_once_force(|_| run());
        ONCE.acquire_once(run).unwrap();
        ONCE.acquire_once_force(|_| run()).unwrap();
    }
    assert_eq!(RUNS.load(Relaxed), 1);
    assert!(ONCE.is_completed());
    assert_eq!(format!("{ONCE:?}"), r#"Once { name: "static", state: <complete> }"#);
}

#[test]
fn whoever_waits_for_a_once_goes_on_when_it_is_complete() {
    within(LIMIT, || {
        let once = Once::default();
        thread::scope(|s| {
            let waits: [fn(&Once); 5] = [
                |once| once.wait(),
                |once| once.wait_force(),
                |once| once.acquire().unwrap(),
                |once| assert!(once.wait_for(LIMIT)),
                |once| assert!(once.wait_until(Instant::now() + LIMIT)),
            ];
            let names = ["awaits 0", "awaits 1", "awaits 2", "awaits 3", "awaits 4"];
            for (name, wait) in names.into_iter().zip(waits) {
                let once = &once;
                spawn_named(s, name, move || {
                    wait(once);
                    assert!(once.is_completed());
                });
            }
            names.into_iter().for_each(until_parked);
            once.call_once(|| ());
        });
        once.wait();
    });
}

#[test]
fn a_wait_that_times_out_leaves_the_once_as_it_was() {
    within(LIMIT, || {
        let once = Once::with_name(String::from("made at run time"));
        assert!(!once.wait_for(Duration::from_millis(1)));
        assert!(!once.wait_until(Instant::now()));
        assert_eq!(format!("{once:?}"), r#"Once { name: "made at run time", state: <uninit> }"#);
        once.call_once(|| {
            assert_eq!(format!("{once:?}"), r#"Once { name: "made at run time", state: <initialising> }"#)
        });
        assert!(once.wait_for(Duration::ZERO));
    });
}
