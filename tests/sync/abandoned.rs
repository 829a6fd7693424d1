//! Locks whose owner's thread has ended: who waits is told so, once that thread can do nothing more, and never before.
//!
//! Only Linux says for certain that a thread is gone. What the destructors of thread-specific keys do is in
//! `late_destructors.rs`.

#![cfg(target_os = "linux")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{Kind, Report};
use bowline::sync::{ArcLockGuard, LockGuard};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof, held_names, names, wanted};
use crate::support::{
    LIMIT, alone, message, spawn_named, until_parked, until_thread_where, until_waiting, wait_until, within,
};

/// Checks that a report tells a waiter of one lock that the thread `gone` ended with it, taken in this line.
#[track_caller]
fn assert_abandoned(report: &Report, waiter: &str, gone: &str, line: u32) {
    assert_eq!(report.kind(), Kind::Abandoned);
    assert_is_a_proof(report);
    let [waiting, ended] = report.threads() else { panic!("{report}") };
    assert_eq!((waiting.name(), ended.name()), (Some(waiter), Some(gone)));
    let held = ended.holds().iter().find(|held| held.resource().is_same(wanted(waiting))).expect("what is waited for");
    assert_eq!((held.site().file(), held.site().line()), (file!(), line));
    assert!(report.to_string().contains(gone), "{report}");
}

#[test]
fn whoever_asks_for_what_a_dead_thread_holds_is_told_its_name_and_line_and_never_gets_in() {
    within(LIMIT, || {
        let lock = RLock::named("leaked", ());
        let line = thread::scope(|s| {
            let leaker = spawn_named(s, "leaker", || {
                std::mem::forget(lock.lock());
                std::mem::forget(lock.lock());
                line!() - 2
            });
            leaker.join().unwrap()
        });
        let asks = |name: &str| {
            assert!(lock.try_lock().is_none() && !lock.is_owned());
            let deadlock = lock.acquire().map(drop).expect_err("nobody gets in");
            assert_abandoned(deadlock.report(), name, "leaker", line);
            assert!(lock.try_lock().is_none(), "nor after it was told");
        };
        // One after the other and all at once: the numbers and the memory of ended threads are used again meanwhile.
        for at in 0..20 {
            let name = format!("asks alone {at}");
            thread::scope(|s| spawn_named(s, &name, || asks(&name)).join().unwrap());
        }
        thread::scope(|s| {
            let askers: Vec<_> = (0..20)
                .map(|at| {
                    let name = format!("asks among others {at}");
                    spawn_named(s, &name.clone(), move || asks(&name))
                })
                .collect();
            askers.into_iter().for_each(|asker| asker.join().unwrap());
        });
    });
}

#[test]
fn who_is_parked_before_the_owner_ends_with_the_lock_is_told() {
    within(LIMIT, || {
        for round in 0..if cfg!(miri) { 1 } else { 20 } {
            let (lock, again) = (Lock::named("left", ()), RLock::named("left again", ()));
            let [held, end] = [const { Gate::new() }; 2];
            thread::scope(|s| {
                let owner = spawn_named(s, "mortal", || {
                    LockGuard::leak(lock.lock());
                    std::mem::forget(again.lock());
                    let line = line!() - 2;
                    held.open();
                    end.pass();
                    line
                });
                held.pass();
                let waits = |name: &'static str| {
                    let waiter = spawn_named(s, name, || {
                        let lost = if name.ends_with("again") { again.acquire().err() } else { lock.acquire().err() };
                        lost.expect("nobody gets in")
                    });
                    (name, waiter)
                };
                let waiters =
                    ["heir 1 of the dead", "heir 2 of the dead", "heir of the dead again", "heir 3 of the dead"]
                        .map(waits);
                for (name, _) in &waiters {
                    until_parked(name);
                }
                end.open();
                let line = owner.join().unwrap();
                for (name, waiter) in waiters {
                    let taken = line + u32::from(name.ends_with("again"));
                    assert_abandoned(waiter.join().unwrap().report(), name, "mortal", taken);
                }
            });
            assert!(lock.is_locked() && again.is_locked(), "round {round}");
        }
    });
}

#[test]
fn a_wait_that_cannot_return_the_verdict_panics_with_it() {
    within(LIMIT, || {
        let lock = Lock::named("left", ());
        thread::scope(|s| spawn_named(s, "careless", || std::mem::forget(lock.lock())).join().unwrap());
        let payload = thread::scope(|s| {
            let body = || catch_unwind(AssertUnwindSafe(|| drop(lock.lock()))).unwrap_err();
            spawn_named(s, "unlucky", body).join().unwrap()
        });
        let report = message(&*payload);
        let headline = "deadlock: thread 'unlucky' waits for a lock held by thread 'careless', which has ended\n";
        assert!(report.starts_with(headline), "{report}");
    });
}

#[test]
fn who_is_stuck_behind_one_who_is_told_goes_on_after_it() {
    alone(|| {
        let reports = Reports::about("between");
        let (lost, between) = (Lock::named("lost", ()), Lock::named("between", 0));
        let [held, end] = [const { Gate::new() }; 2];
        thread::scope(|s| {
            spawn_named(s, "gone", || {
                std::mem::forget(lost.lock());
                held.open();
                end.pass();
            });
            held.pass();
            spawn_named(s, "between", || {
                let mut between = between.lock();
                let deadlock = lost.acquire().map(drop).unwrap_err();
                assert_eq!(names(deadlock.report().bystanders()), ["behind 1", "behind 2"]);
                *between += 1;
            });
            until_waiting("between");
            for name in ["behind 1", "behind 2"] {
                spawn_named(s, name, || *between.acquire().expect("it is released") += 1);
                until_waiting(name);
            }
            end.open();
        });
        assert_eq!(between.into_inner(), 3);
        let taken = reports.take();
        assert_eq!(taken.len(), 1, "who is behind is told nothing");
        assert_eq!(held_names(&taken[0].threads()[0]), ["between"]);
    });
}

#[test]
fn a_lock_forgotten_once_and_released_once_is_still_held() {
    within(LIMIT, || {
        let lock = RLock::named("twice", ());
        thread::scope(|s| {
            let body = || {
                std::mem::forget(lock.lock());
                drop(lock.lock());
            };
            spawn_named(s, "half careful", body).join().unwrap();
        });
        let deadlock = lock.acquire().map(drop).unwrap_err();
        assert_eq!(deadlock.report().kind(), Kind::Abandoned);
        assert_eq!(deadlock.report().threads()[1].name(), Some("half careful"));
    });
}

#[test]
fn a_wait_with_a_time_limit_for_a_dead_threads_lock_ends_with_its_time() {
    alone(|| {
        let reports = Reports::about("timed mourner");
        let lock = Lock::named("left", ());
        thread::scope(|s| spawn_named(s, "careless", || std::mem::forget(lock.lock())).join().unwrap());
        thread::scope(|s| {
            let body = || assert!(lock.try_lock_for(Duration::from_millis(30)).is_none());
            spawn_named(s, "timed mourner", body);
        });
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_thread_that_rust_did_not_start_can_abandon_a_lock_too() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("left by a stranger", ()));
        let theirs = Arc::clone(&lock);
        crate::support::foreign::run(move || std::mem::forget(theirs.lock_arc()));
        let deadlock = lock.acquire().map(drop).unwrap_err();
        assert_is_a_proof(deadlock.report());
        assert_eq!((deadlock.report().kind(), deadlock.report().threads()[1].name()), (Kind::Abandoned, None));
    });
}

/// Ends the calling thread at once: no destructor of any kind runs.
fn strike_dead() {
    unsafe extern "C" {
        fn syscall(number: std::ffi::c_long, ...) -> std::ffi::c_long;
    }
    /// `exit`, of the calling thread alone.
    const EXIT: std::ffi::c_long = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
    // SAFETY:
    // - the call takes one number and does not return; nothing on the stacks of the tests that end so is used by others.
    unsafe { syscall(EXIT, 0) };
}

/// Waits until the thread with this name, which holds something, is no thread of this process any more.
fn until_gone(name: &str) {
    let os_id = until_thread_where(|thread| thread.name() == Some(name)).os_id();
    wait_until(|| !std::path::Path::new(&format!("/proc/self/task/{os_id}")).exists());
}

#[test]
fn a_thread_that_dies_without_running_any_destructor_abandons_its_locks() {
    within(LIMIT, || {
        let lock: &'static Lock<()> = Box::leak(Box::new(Lock::named("left at once", ())));
        let body = || {
            let _guard = lock.lock();
            strike_dead();
        };
        thread::Builder::new().name("struck dead".to_owned()).spawn(body).unwrap();
        until_gone("struck dead");
        let deadlock = lock.acquire().map(drop).unwrap_err();
        assert_eq!(deadlock.report().kind(), Kind::Abandoned);
        assert_eq!(deadlock.report().threads()[1].name(), Some("struck dead"));
    });
}

thread_local! {
    static KEPT: RefCell<Vec<ArcLockGuard<u32>>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_guard_kept_in_a_thread_local_is_waited_for() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("kept", 0));
        let [kept, end] = [const { Gate::new() }; 2];
        thread::scope(|s| {
            spawn_named(s, "keeper", || {
                // Made before this thread's first lock: destroyed after what a first lock may have made.
                KEPT.with_borrow_mut(|guards| guards.push(lock.lock_arc()));
                kept.open();
                end.pass();
            });
            kept.pass();
            let names = ["patient 1 with the dead", "patient 2 with the dead", "patient 3 with the dead"];
            let waiters = names.map(|name| spawn_named(s, name, || lock.acquire().map(|mut guard| *guard += 1)));
            names.iter().for_each(|name| until_parked(name));
            end.open();
            for waiter in waiters {
                waiter.join().unwrap().expect("released, not abandoned");
            }
        });
        assert_eq!(*lock.lock(), 3);
    });
}
