//! Deadlocks of code that knows of none, alone and with bowline's own locks.
#![cfg(not(feature = "send_guard"))]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bowline::deadlock::{self, HazardPolicy, Policy};
use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard};

use support::{alone, in_fresh_process, keep, panic_of, spawn, until, until_waiting};

static REPORTS: AtomicUsize = AtomicUsize::new(0);

fn count_reports() {
    deadlock::on_deadlock(|_| _ = REPORTS.fetch_add(1, Relaxed)).keep();
}

#[test]
fn threads_that_cross_are_told_once_and_left_standing() {
    let test = "threads_that_cross_are_told_once_and_left_standing";
    let output = in_fresh_process(test, &[], || {
        count_reports();
        let (mutex, lock): (&'static Mutex<u8>, &'static RwLock<u8>) = (keep(Mutex::new(0)), keep(RwLock::new(0)));
        spawn("left", || {
            let _mutex = mutex.lock();
            until(|| lock.is_locked());
            _ = lock.write();
        });
        spawn("right", || {
            let _lock = lock.read();
            until(|| mutex.is_locked());
            _ = mutex.lock();
        });
        ["left", "right"].into_iter().for_each(until_waiting);
        until(|| REPORTS.load(Relaxed) == 1);
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("deadlock: 2 threads wait for each other").count(), 1, "{text}");
    for part in
        ["= Mutex, made by parking_lot", "= RwLock, made by parking_lot", file!(), "take these locks in one order"]
    {
        assert!(text.contains(part), "no {part}: {text}");
    }
    assert!(!text.contains("acquire"), "there is no such form: {text}");
}

#[test]
fn a_wait_of_bowlines_is_the_victim_of_a_mixed_deadlock() {
    alone("a_wait_of_bowlines_is_the_victim_of_a_mixed_deadlock", || {
        for (first, second) in [("own first", "foreign last"), ("foreign first", "own last")] {
            let (mutex, own): (&'static Mutex<u8>, _) = (keep(Mutex::new(0)), keep(bowline::Lock::new(0)));
            let foreign_is_first = first.starts_with("foreign");
            let (foreign, its) = if foreign_is_first { (first, second) } else { (second, first) };
            let wants_foreign = spawn(foreign, move || {
                let _own = own.lock();
                until(|| mutex.is_locked());
                if !foreign_is_first {
                    until_waiting(its);
                }
                drop(mutex.lock());
            });
            let wants_own = spawn(its, move || {
                let _mutex = mutex.lock();
                until(|| own.is_locked());
                if foreign_is_first {
                    until_waiting(foreign);
                }
                own.acquire().map(drop).is_err()
            });
            assert!(wants_own.join().unwrap(), "it is told");
            wants_foreign.join().unwrap();
        }
    });
}

/// Each way to lock, and its line.
#[test]
fn reports_have_the_lines_of_those_who_call_lock_api() {
    alone("reports_have_the_lines_of_those_who_call_lock_api", || {
        deadlock::set_policy(Policy::Panic);
        let (mutex, lock) = (Mutex::new(0), RwLock::new(0));
        let assert_lines = |text: &str, held: u32, wanted: u32| {
            for line in [held, wanted] {
                assert!(text.contains(&format!("{}:{line}:", file!())), "no line {line}: {text}");
            }
            assert!(!text.contains("lock_api-"), "{text}");
        };
        let (guard, held) = (mutex.lock(), line!());
        assert_lines(&panic_of(|| mutex.lock()), held, line!());
        drop(guard);
        let (guard, held) = (lock.write(), line!());
        assert_lines(&panic_of(|| lock.read()), held, line!());
        assert_lines(&panic_of(|| lock.read_recursive()), held, line!());
        assert_lines(&panic_of(|| lock.upgradable_read()), held, line!());
        assert_lines(&panic_of(|| lock.write()), held, line!());
        drop(guard);
        let (guard, held) = (lock.read(), line!());
        assert_lines(&panic_of(|| lock.write()), held, line!());
        let (upgradable, _line) = (lock.upgradable_read(), line!());
        assert_lines(&panic_of(|| RwLockUpgradableReadGuard::upgrade(upgradable)), held, line!());
        drop(guard);
        assert!(lock.try_write().is_some(), "whoever failed to upgrade reads no more");
    });
}

#[test]
fn a_guard_that_was_unlocked_for_a_while_is_locked_again_whatever_the_policy() {
    alone("a_guard_that_was_unlocked_for_a_while_is_locked_again_whatever_the_policy", || {
        deadlock::set_policy(Policy::Panic);
        count_reports();
        let (mutex, other): (&'static Mutex<u8>, &'static Mutex<u8>) = (keep(Mutex::new(0)), keep(Mutex::new(0)));
        let unlocks = spawn("unlocks", || {
            let _other = other.lock();
            let mut guard = mutex.lock();
            MutexGuard::unlocked(&mut guard, || until(|| mutex.is_locked()));
            *guard += 1;
        });
        until(|| other.is_locked());
        let taken = mutex.lock();
        until_waiting("unlocks");
        // The one who locks again for its guard is not the victim.
        let text = panic_of(|| other.lock());
        drop(taken);
        unlocks.join().unwrap();
        assert!(text.contains("deadlock: ") && REPORTS.load(Relaxed) == 1, "{text}");
    });
}

#[test]
fn a_wait_at_a_condition_variable_shows_what_the_waiter_holds() {
    alone("a_wait_at_a_condition_variable_shows_what_the_waiter_holds", || {
        let (mutex, other): (&'static Mutex<u8>, &'static Mutex<u8>) = (keep(Mutex::new(0)), keep(Mutex::new(0)));
        let condvar = keep(Condvar::new());
        spawn("waits for a notification", || {
            let _other = other.lock();
            condvar.wait(&mut mutex.lock());
        });
        until_waiting("waits for a notification");
        assert!(other.try_lock_for(Duration::from_millis(1)).is_none() && mutex.try_lock().is_some());
        spawn("could give it", || {
            drop(other.lock());
            condvar.notify_one();
        });
        until_waiting("could give it");
        let dump = deadlock::snapshot().to_string();
        assert!(dump.contains("Condvar") && dump.contains("could give it"), "{dump}");
    });
}

/// Locks what the caller may have locked.
#[inline(never)]
fn locks_for_others(mutex: &Mutex<u8>) {
    *mutex.lock() += 1;
}

#[test]
fn the_stack_of_a_wait_begins_with_whoever_called_the_lock() {
    let test = "the_stack_of_a_wait_begins_with_whoever_called_the_lock";
    let variables = [("BOWLINE_BACKTRACE", "1"), ("BOWLINE_DEADLOCK", "panic")];
    let output = in_fresh_process(test, &variables, || {
        let mutex = Mutex::new(0);
        let _guard = mutex.lock();
        locks_for_others(&mutex);
    });
    let Some(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    let report = text.split("stack backtrace:").next().unwrap_or_default();
    assert!(report.contains("locks_for_others at "), "{text}");
    assert!(!report.contains("lock_api::") && !report.contains("parking_lot::"), "{text}");
}

#[test]
fn a_hazard_is_no_panic_on_behalf_of_a_guard_that_is_in_use() {
    alone("a_hazard_is_no_panic_on_behalf_of_a_guard_that_is_in_use", || {
        deadlock::set_hazard_policy(HazardPolicy::Panic);
        let lock = RwLock::new(0);
        let (mut first, second) = (lock.read(), lock.read_recursive());
        assert!(panic_of(|| lock.read()).starts_with("hazard: "));
        RwLockReadGuard::unlocked(&mut first, || ());
        drop(second);
        assert!(lock.try_write().is_none(), "the first guard reads");
        drop(first);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn re_entrant_mutexes_that_cross_are_left_standing_under_the_policy_to_panic() {
    alone("re_entrant_mutexes_that_cross_are_left_standing_under_the_policy_to_panic", || {
        deadlock::set_policy(Policy::Panic);
        count_reports();
        let [a, b]: [&'static ReentrantMutex<u8>; 2] = [keep(ReentrantMutex::new(0)), keep(ReentrantMutex::new(0))];
        for (name, first, second) in [("left", a, b), ("right", b, a)] {
            spawn(name, move || {
                let _first = first.lock();
                until(|| second.is_locked());
                _ = second.lock();
            });
        }
        until(|| REPORTS.load(Relaxed) == 1);
        ["left", "right"].into_iter().for_each(until_waiting);
    });
}
