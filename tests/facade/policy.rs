//! How a deadlock ends in code that knows of none.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bowline::Lock;
use bowline::deadlock::{self, Kind, Policy};
use bowline::facade::{RawCondvar, RawOnce};

use super::{Mutex, waits};
use crate::support::{alone, find_thread, in_fresh_process, message, stderr, until_parked, wait_until};

static REPORTS: AtomicUsize = AtomicUsize::new(0);

fn count_reports() {
    deadlock::on_deadlock(|_| _ = REPORTS.fetch_add(1, Relaxed)).keep();
}

/// Two mutexes that two threads take in opposite orders. The threads go on if somebody releases one for them.
struct Crossed([&'static Mutex; 2]);

const NAMES: [&str; 2] = ["left", "right"];

impl Crossed {
    fn start() -> Self {
        let [a, b]: [&'static Mutex; 2] = [Box::leak(Box::new(Mutex::INIT)), Box::leak(Box::new(Mutex::INIT))];
        let both_hold: &'static _ = Box::leak(Box::new(std::sync::Barrier::new(2)));
        for (name, [first, second]) in NAMES.into_iter().zip([[a, b], [b, a]]) {
            let cross = move || {
                first.lock();
                both_hold.wait();
                let panic = catch_unwind(|| second.lock());
                if panic.is_ok() {
                    // SAFETY:
                    // - it is locked, here and below.
                    unsafe { second.unlock() };
                }
                // SAFETY:
                // - as above.
                unsafe { first.unlock() };
            };
            thread::Builder::new().name(name.to_owned()).spawn(cross).unwrap();
        }
        Self([a, b])
    }

    fn stands(&self) -> bool {
        NAMES.iter().all(|name| waits(name)) && self.0.iter().all(|mutex| mutex.is_locked())
    }

    fn is_over(&self) -> bool {
        NAMES.iter().all(|name| find_thread(name).is_none()) && self.0.iter().all(|mutex| !mutex.is_locked())
    }
}

#[test]
fn a_deadlock_of_foreign_waits_alone_is_told_once_and_left_standing() {
    alone(|| {
        count_reports();
        let crossed = Crossed::start();
        NAMES.into_iter().for_each(until_parked);
        wait_until(|| REPORTS.load(Relaxed) == 1);
        // Others come and go, and are judged; a deadlock of somebody else is told, too.
        let lock = Lock::new(());
        let guard = lock.lock();
        assert_eq!(lock.acquire().unwrap_err().report().kind(), Kind::Relock);
        drop(guard);
        assert!(crossed.stands());
        assert_eq!(REPORTS.load(Relaxed), 2);
        // Somebody intervenes.
        // SAFETY:
        // - it is locked; its owner uses nothing of it.
        unsafe { crossed.0[0].unlock() };
        wait_until(|| NAMES.iter().any(|name| find_thread(name).is_none()));
    });
}

#[test]
fn a_foreign_wait_for_what_its_own_thread_holds_is_left_standing() {
    alone(|| {
        count_reports();
        thread::Builder::new()
            .name("itself".to_owned())
            .spawn(|| {
                let mutex = Mutex::INIT;
                mutex.lock();
                mutex.lock();
            })
            .unwrap();
        wait_until(|| REPORTS.load(Relaxed) == 1);
        assert!(waits("itself"));
        thread::Builder::new()
            .name("initialises itself".to_owned())
            .spawn(|| {
                let once = RawOnce::new();
                once.call(false, |_| _ = once.call(false, |_| {}));
            })
            .unwrap();
        wait_until(|| REPORTS.load(Relaxed) == 2);
        assert!(waits("initialises itself"));
    });
}

#[test]
fn the_victim_is_the_wait_that_knows_of_deadlocks_whichever_comes_last() {
    for foreign_is_last in [false, true] {
        alone_with(foreign_is_last);
    }
}

fn alone_with(foreign_is_last: bool) {
    let (mutex, lock): (&'static Mutex, &'static Lock<()>) =
        (Box::leak(Box::new(Mutex::INIT)), Box::leak(Box::new(Lock::new(()))));
    let both_hold = std::sync::Barrier::new(2);
    let (foreign, own) =
        if foreign_is_last { ("foreign, last", "own, first") } else { ("foreign, first", "own, last") };
    crate::support::within(crate::support::LIMIT, || {
        thread::scope(|s| {
            let waits_for_own = crate::support::spawn_named(s, foreign, || {
                mutex.lock();
                both_hold.wait();
                if foreign_is_last {
                    until_parked(own);
                }
                drop(lock.acquire().map(drop));
                // SAFETY:
                // - it is locked.
                unsafe { mutex.unlock() };
            });
            let waits_for_foreign = crate::support::spawn_named(s, own, || {
                let _guard = lock.lock();
                both_hold.wait();
                if !foreign_is_last {
                    until_parked(foreign);
                }
                catch_unwind(|| mutex.lock()).map(|()| {
                    // SAFETY:
                    // - it is locked.
                    unsafe { mutex.unlock() };
                })
            });
            waits_for_own.join().unwrap();
            assert!(waits_for_foreign.join().unwrap().is_ok(), "a foreign wait does not fail");
        });
    });
}

#[test]
fn a_chosen_policy_is_for_foreign_waits_as_well() {
    alone(|| {
        deadlock::set_policy(Policy::Panic);
        let mutex = Mutex::INIT;
        mutex.lock();
        let panic = catch_unwind(AssertUnwindSafe(|| mutex.lock())).unwrap_err();
        assert!(message(&*panic).starts_with("deadlock: "));
        // A time-out that is longer than the clock can represent is none.
        assert!(catch_unwind(AssertUnwindSafe(|| mutex.try_lock_for(Duration::MAX))).is_err());
        assert!(mutex.is_locked());
    });
}

#[test]
fn a_policy_that_is_chosen_later_breaks_what_was_left_standing() {
    alone(|| {
        count_reports();
        let crossed = Crossed::start();
        wait_until(|| REPORTS.load(Relaxed) == 1 && crossed.stands());
        assert_eq!(deadlock::policy(), Policy::Panic, "by default");
        deadlock::set_policy(Policy::Panic);
        wait_until(|| crossed.is_over());
        assert_eq!(REPORTS.load(Relaxed), 2);
    });
}

#[test]
fn a_policy_of_the_environment_is_chosen() {
    let test = "a_policy_of_the_environment_is_chosen";
    for (policy, panics) in [("panic", true), ("abort", false)] {
        let output = in_fresh_process(test, &[("BOWLINE_DEADLOCK", policy)], || {
            let mutex = Mutex::INIT;
            mutex.lock();
            mutex.lock();
        });
        let Some(output) = output else { return };
        let text = stderr(&output);
        assert!(text.contains("deadlock: ") && !output.status.success(), "{text}");
        assert_eq!(text.contains("panicked at"), panics, "{text}");
    }
}

#[test]
fn a_wait_that_locks_again_for_a_guard_never_unwinds() {
    alone(|| {
        deadlock::set_policy(Policy::Report);
        count_reports();
        let [mutex, other]: [&'static Mutex; 2] = [Box::leak(Box::new(Mutex::INIT)), Box::leak(Box::new(Mutex::INIT))];
        let condvar: &'static RawCondvar = Box::leak(Box::new(RawCondvar::new()));
        let waiter = thread::Builder::new().name("locks again".to_owned());
        let waiter = waiter.spawn(|| {
            other.lock();
            mutex.lock();
            // SAFETY:
            // - it is locked.
            let waited = catch_unwind(|| unsafe { condvar.wait(mutex) });
            // SAFETY:
            // - both are locked.
            unsafe {
                mutex.unlock();
                other.unlock();
            };
            waited.is_ok()
        });
        until_parked("locks again");
        mutex.lock();
        assert_eq!(condvar.notify(1), 1);
        until_parked("locks again");
        deadlock::set_policy(Policy::Panic);
        // The circle closes: the one that locks again is not the victim.
        assert!(catch_unwind(|| other.lock()).is_err());
        // SAFETY:
        // - it is locked.
        unsafe { mutex.unlock() };
        assert!(waiter.unwrap().join().unwrap());
        assert_eq!(REPORTS.load(Relaxed), 1);
    });
}
