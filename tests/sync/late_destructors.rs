//! Guards in the destructors of thread-specific keys, which run after those of thread-locals, in several rounds, and
//! after or before the ones of this crate.
//!
//! Each test has a process of its own, since the order of the keys is the order in which they were made.

#![cfg(target_os = "linux")]

use std::ffi::{c_int, c_uint, c_void};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bowline::deadlock::Kind;
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof};
use crate::support::{LIMIT, alone, find_thread, spawn_named, until_parked, until_waiting, within};

/// How often the system runs the destructors of keys that are set again and again.
const ROUNDS: u32 = 4;

unsafe extern "C" {
    fn pthread_key_create(key: *mut c_uint, destructor: extern "C" fn(*mut c_void)) -> c_int;
    fn pthread_setspecific(key: c_uint, value: *const c_void) -> c_int;
}

static KEY: OnceLock<c_uint> = OnceLock::new();

/// What is left to do in one of the rounds in which a thread's keys are destroyed.
struct InRound {
    rounds: u32,
    run: Box<dyn FnOnce()>,
}

extern "C" fn destroy(value: *mut c_void) {
    // SAFETY:
    // - the key's values come from `set`, and each is destroyed once.
    let mut last = *unsafe { Box::from_raw(value.cast::<InRound>()) };
    last.rounds -= 1;
    if last.rounds == 0 { (last.run)() } else { set(last) }
}

fn create_key() {
    KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY:
        // - `key` is a place to write to.
        assert_eq!(unsafe { pthread_key_create(&raw mut key, destroy) }, 0);
        key
    });
}

fn set(last: InRound) {
    let value = Box::into_raw(Box::new(last));
    // SAFETY:
    // - the key was created and is never deleted.
    assert_eq!(unsafe { pthread_setspecific(*KEY.get().unwrap(), value.cast()) }, 0);
}

/// A thread ends with a guard that a key's destructor drops in a late round: nobody is told anything, all get in.
fn guards_dropped_in_late_rounds_are_waited_for() {
    let reports = Reports::about("late ");
    for round in 1..=ROUNDS {
        let lock = Arc::new(Lock::named("kept by a key", 0));
        let [kept, end, ending, release] = [(); 4].map(|()| Arc::new(Gate::new()));
        thread::scope(|s| {
            spawn_named(s, "late keeper", || {
                let guard = lock.lock_arc();
                let (ending, release) = (Arc::clone(&ending), Arc::clone(&release));
                let run = move || {
                    ending.open();
                    release.pass();
                    drop(guard);
                };
                set(InRound { rounds: round, run: Box::new(run) });
                kept.open();
                end.pass();
            });
            kept.pass();
            let names = ["late heir 1", "late heir 2", "late heir 3"];
            let waiters = names.map(|name| spawn_named(s, name, || lock.acquire().map(|mut guard| *guard += 1)));
            names.iter().for_each(|name| until_parked(name));
            end.open();
            ending.pass();
            // Time to ask again whether the keeper is gone, should anybody do so; and one who asks for the first time.
            let newcomer = spawn_named(s, "late heir 4", || lock.acquire().map(|mut guard| *guard += 1));
            until_waiting("late heir 4");
            thread::sleep(Duration::from_millis(60));
            for name in names.iter().chain(&["late heir 4"]) {
                assert!(find_thread(name).is_some_and(|thread| thread.waits_for().is_some()), "{name} waits on");
            }
            assert!(!find_thread("late keeper").unwrap().is_gone());
            release.open();
            for waiter in waiters.into_iter().chain([newcomer]) {
                waiter.join().unwrap().expect("released, not abandoned");
            }
        });
        assert_eq!(*lock.lock(), 4, "round {round}");
    }
    assert_eq!(reports.count(), 0);
}

/// Where a guard was taken that a key's destructor forgets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Before,
    There,
    /// And the thread has locked nothing before.
    ThereAsTheFirst,
}

/// A thread ends with a guard that a key's destructor took, or found, and forgot.
fn guards_forgotten_in_rounds_are_abandoned(rounds: RangeInclusive<u32>, is_taken: Taken) {
    for round in rounds {
        let lock = Arc::new(Lock::named("forgotten by a key", ()));
        let [set_up, end, taken, release] = [(); 4].map(|()| Arc::new(Gate::new()));
        thread::scope(|s| {
            spawn_named(s, "forgetful keeper", || {
                if is_taken != Taken::ThereAsTheFirst {
                    drop(Lock::new(()).lock());
                }
                let guard = (is_taken == Taken::Before).then(|| lock.lock_arc());
                let (lock, taken, release) = (Arc::clone(&lock), Arc::clone(&taken), Arc::clone(&release));
                let run = move || {
                    std::mem::forget(guard.unwrap_or_else(|| lock.lock_arc()));
                    taken.open();
                    release.pass();
                };
                set(InRound { rounds: round, run: Box::new(run) });
                set_up.open();
                end.pass();
            });
            set_up.pass();
            end.open();
            taken.pass();
            let waiter = spawn_named(s, "mourner", || lock.acquire().map(drop).unwrap_err());
            until_parked("mourner");
            release.open();
            let deadlock = waiter.join().unwrap();
            assert_eq!(deadlock.report().kind(), Kind::Abandoned, "round {round}");
            assert_is_a_proof(deadlock.report());
        });
    }
}

/// Runs `body` in a process of its own, with a key of ours that was made before or after the one of this crate.
#[track_caller]
fn with_key(before: bool, body: impl FnOnce()) {
    alone(|| {
        if !before {
            drop(Lock::new(()).lock());
        }
        create_key();
        within(LIMIT / 2, body);
    });
}

#[test]
fn a_guard_dropped_in_any_round_before_ours_is_waited_for() {
    with_key(true, guards_dropped_in_late_rounds_are_waited_for);
}

#[test]
fn a_guard_dropped_in_any_round_after_ours_is_waited_for() {
    with_key(false, guards_dropped_in_late_rounds_are_waited_for);
}

#[test]
fn a_guard_forgotten_in_any_round_is_abandoned_for_whoever_waits_already() {
    with_key(false, || guards_forgotten_in_rounds_are_abandoned(1..=ROUNDS, Taken::Before));
}

#[test]
fn a_guard_taken_and_forgotten_in_any_round_before_ours_is_abandoned_for_whoever_waits_already() {
    with_key(true, || guards_forgotten_in_rounds_are_abandoned(1..=ROUNDS, Taken::There));
}

#[test]
fn a_guard_taken_and_forgotten_in_any_round_after_ours_is_abandoned_for_whoever_waits_already() {
    with_key(false, || guards_forgotten_in_rounds_are_abandoned(1..=ROUNDS, Taken::There));
}

#[test]
fn a_threads_first_guard_taken_before_the_last_round_and_forgotten_is_abandoned_for_whoever_waits_already() {
    with_key(false, || guards_forgotten_in_rounds_are_abandoned(1..=ROUNDS - 1, Taken::ThereAsTheFirst));
}

/// What a thread does in a round of its keys, as the last thing.
fn in_round(round: u32, run: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        drop(Lock::new(()).lock());
        set(InRound { rounds: round, run: Box::new(run) });
    })
    .join()
    .unwrap();
}

#[test]
fn the_owner_is_itself_in_every_round() {
    let body = || {
        for round in 1..=ROUNDS {
            let lock = Arc::new(Lock::new(0));
            let again: &'static RLock<()> = Box::leak(Box::new(RLock::new(())));
            let theirs = Arc::clone(&lock);
            thread::spawn(move || {
                let guard = theirs.lock_arc();
                std::mem::forget(again.lock());
                let run = move || {
                    assert!(again.is_owned() && again.try_lock().is_some());
                    assert_eq!(theirs.acquire().map(drop).unwrap_err().report().kind(), Kind::Relock);
                    drop(guard);
                };
                set(InRound { rounds: round, run: Box::new(run) });
            })
            .join()
            .unwrap();
            assert!(lock.try_lock().is_some(), "round {round}");
        }
    };
    with_key(false, body);
}

#[test]
fn a_lock_works_in_every_round() {
    let body = || {
        let count = Arc::new(Lock::new(0));
        for round in 1..=ROUNDS {
            let theirs = Arc::clone(&count);
            in_round(round, move || *theirs.acquire().unwrap() += 1);
        }
        assert_eq!(*count.lock(), ROUNDS);
    };
    with_key(false, body);
}

#[test]
fn a_threads_first_lock_may_be_in_the_destructor_of_a_key() {
    let body = || {
        let count = Arc::new(Lock::new(0));
        let theirs = Arc::clone(&count);
        let run = move || *theirs.acquire().unwrap() += 1;
        thread::spawn(move || set(InRound { rounds: 1, run: Box::new(run) })).join().unwrap();
        assert_eq!(*count.lock(), 1);
    };
    with_key(false, body);
}
