//! What std hangs on: each deadlock is a panic that names the types and the user's lines, and poisons what the victim held.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier as StdBarrier;
use std::thread;

use bowline::Lock;
use bowline::std_sync::{Barrier, Condvar, Mutex, Once, PoisonError, RwLock, RwLockWriteGuard};

use crate::support::{LIMIT, find_thread, message, on_another_thread, spawn_named, until_waiting, within};

/// The message of the panic of `body`, on one line.
#[track_caller]
fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| drop(body()))).expect_err("it panics");
    message(&*payload).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The panic's message, or how else `body` ended.
fn ending<R: Debug>(body: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| message(&*payload).to_owned())
}

#[track_caller]
fn assert_names(text: &str, types: &[&str], lines: &[u32]) {
    assert!(text.contains("deadlock"), "{text}");
    for name in types {
        assert!(text.contains(name), "no {name}: {text}");
    }
    for line in lines {
        assert!(text.contains(&format!("{}:{line}:", file!())), "no line {line}: {text}");
    }
    assert!(!text.contains("src/std_sync"), "a line of the library's own: {text}");
}

#[test]
fn a_mutex_that_is_locked_twice_is_told_by_type_and_lines() {
    within(LIMIT, || {
        let (mutex, made) = (Mutex::new(vec![1_u8]), line!());
        let mut held = 0;
        let mut again = 0;
        let text = panic_of(|| {
            held = line!() + 1;
            let _guard = mutex.lock().unwrap();
            again = line!() + 1;
            drop(mutex.lock());
        });
        assert_names(&text, &["Mutex<Vec<u8>>"], &[made, held, again]);
        assert!(mutex.is_poisoned(), "the victim held it as it unwound");
        assert_eq!(*mutex.lock().unwrap_err().into_inner(), [1]);
    });
}

#[test]
fn a_deadlock_that_is_caught_under_the_guard_poisons_nothing() {
    within(LIMIT, || {
        let mutex = Mutex::new(1);
        let guard = mutex.lock().unwrap();
        panic_of(|| mutex.lock().map(drop));
        drop(guard);
        assert!(!mutex.is_poisoned());
        // A guard that came by another way.
        let guard = mutex.try_lock().unwrap();
        panic_of(|| mutex.lock().map(drop));
        drop(guard);
        assert_eq!(mutex.lock().map(|guard| *guard).unwrap(), 1);
    });
}

#[test]
fn two_mutexes_that_cross_are_told_once_and_the_other_thread_finds_poison() {
    within(LIMIT, || {
        let (a, b, made) = (Mutex::new(1_u8), Mutex::new(1_u16), line!());
        let both_hold = StdBarrier::new(2);
        let endings = thread::scope(|s| {
            let one = spawn_named(s, "wants the second", || {
                ending(|| {
                    let _a = a.lock().unwrap();
                    both_hold.wait();
                    b.lock().is_err()
                })
            });
            let other = spawn_named(s, "wants the first", || {
                ending(|| {
                    let _b = b.lock().unwrap();
                    both_hold.wait();
                    a.lock().is_err()
                })
            });
            [one.join().unwrap(), other.join().unwrap()]
        });
        let [report] = <[_; 1]>::try_from(endings.iter().filter_map(|end| end.as_ref().err()).collect::<Vec<_>>())
            .expect("one is the victim");
        let lines = [made + 5, made + 7, made + 12, made + 14];
        assert_names(report, &["Mutex<u8>", "Mutex<u16>", "wants the first", "wants the second"], &lines);
        assert!(!report.contains("`acquire` form"), "a mutex has none: {report}");
        assert!(endings.contains(&Ok(true)), "the victim's mutex is poisoned: {endings:?}");
        let poisoned = [a.is_poisoned(), b.is_poisoned()];
        assert_eq!(poisoned, [endings[0].is_err(), endings[1].is_err()], "what the victim held, and nothing else");
    });
}

#[test]
fn a_mutex_and_a_lock_are_in_one_graph() {
    within(LIMIT, || {
        let (mutex, lock) = (Mutex::new(()), Lock::new(()));
        let both_hold = StdBarrier::new(2);
        let [one, other] = thread::scope(|s| {
            let one = s.spawn(|| {
                let _held = mutex.lock();
                both_hold.wait();
                lock.acquire().map(drop)
            });
            let other = s.spawn(|| {
                let _held = lock.lock();
                both_hold.wait();
                ending(|| drop(mutex.lock()))
            });
            [one.join().unwrap().map_err(|deadlock| deadlock.to_string()), other.join().unwrap()]
        });
        assert!(one.is_ok() != other.is_ok());
        assert_names(&one.and(other).unwrap_err(), &["Mutex<()>", "Lock<()>"], &[]);
    });
}

#[test]
fn a_reader_that_writes_is_told_by_its_lines() {
    within(LIMIT, || {
        let (lock, made) = (RwLock::new(1_i32), line!());
        let (mut read, mut wrote) = (0, 0);
        let text = panic_of(|| {
            read = line!() + 1;
            let _guard = lock.read().unwrap();
            wrote = line!() + 1;
            drop(lock.write());
        });
        assert_names(&text, &["RwLock<i32>"], &[made, read, wrote]);
        assert!(!lock.is_poisoned(), "it was read only");
        assert!(lock.try_write().is_ok());
    });
}

#[test]
fn a_writer_that_reads_is_told_and_poisons() {
    within(LIMIT, || {
        let lock = RwLock::new(1);
        let text = panic_of(|| {
            let _guard = lock.write().unwrap();
            drop(lock.read());
        });
        assert_names(&text, &["RwLock<i32>"], &[line!() - 2, line!() - 3]);
        assert!(lock.is_poisoned());
        lock.clear_poison();
        let text = panic_of(|| {
            let _guard = RwLockWriteGuard::downgrade(lock.write().unwrap());
            drop(lock.write());
        });
        assert_names(&text, &[], &[line!() - 2, line!() - 3]);
        assert!(!lock.is_poisoned());
    });
}

#[test]
fn an_initialiser_that_comes_back_to_its_own_once_is_told() {
    within(LIMIT, || {
        let (once, made) = (Once::new(), line!());
        let text = panic_of(|| once.call_once(|| once.call_once(|| ())));
        assert_names(&text, &["Once"], &[made, made + 1]);
        let mut was_poisoned = false;
        once.call_once_force(|state| was_poisoned = state.is_poisoned());
        assert!(was_poisoned);
    });
}

#[test]
fn a_waiter_that_never_gets_its_mutex_again_is_told_and_poisons_nothing() {
    within(LIMIT, || {
        let (mutex, changed) = (Mutex::new(0), Condvar::new());
        let waits = line!() + 4;
        let text = thread::scope(|s| {
            let waiter = spawn_named(s, "gets no mutex", || {
                let (guard, other) = (mutex.lock().unwrap(), Mutex::new(()));
                let text = panic_of(|| (other.lock(), changed.wait(guard).map(drop)).1);
                assert!(other.is_poisoned(), "what it held beside is");
                text
            });
            until_waiting("gets no mutex");
            on_another_thread(|| {
                let guard = mutex.lock().unwrap();
                changed.notify_one();
                std::mem::forget(guard);
            });
            waiter.join().unwrap()
        });
        assert_names(&text, &["Mutex<i32>"], &[waits]);
        assert!(!mutex.is_poisoned() && mutex.try_lock().is_err());
    });
}

#[test]
fn a_waiter_and_the_one_that_wants_what_it_holds_are_a_cycle() {
    within(LIMIT, || {
        let (mutex, changed, beside) = (Mutex::new(false), Condvar::new(), Mutex::new('x'));
        let endings = thread::scope(|s| {
            let waiter = spawn_named(s, "waits and holds", || {
                ending(|| {
                    let _beside = beside.lock().unwrap();
                    let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
                    drop(changed.wait_while(guard, |is_set| !*is_set));
                })
            });
            until_waiting("waits and holds");
            let notifier = s.spawn(|| {
                ending(|| {
                    let mut guard = mutex.lock().unwrap();
                    *guard = true;
                    changed.notify_one();
                    drop(beside.lock());
                })
            });
            [waiter.join().unwrap(), notifier.join().unwrap()]
        });
        let reports: Vec<_> = endings.iter().filter_map(|end| end.as_ref().err()).collect();
        assert_eq!(reports.len(), 1, "{endings:?}");
        assert_names(reports[0], &["Mutex<bool>", "Mutex<char>"], &[]);
        assert_eq!([beside.is_poisoned(), mutex.is_poisoned()], [endings[0].is_err(), endings[1].is_err()]);
        assert!(mutex.try_lock().is_ok() || mutex.is_poisoned());
    });
}

#[test]
fn a_wait_for_a_notification_or_an_arrival_is_shown_by_type_and_line() {
    within(LIMIT, || {
        let (mutex, changed, barrier) = (Mutex::new(false), Condvar::new(), Barrier::new(2));
        thread::scope(|s| {
            let line = line!() + 2;
            spawn_named(s, "shown at a condvar", || {
                drop(changed.wait_while(mutex.lock().unwrap(), |is_set| !*is_set));
            });
            spawn_named(s, "shown at a barrier", || {
                barrier.wait();
            });
            let shown = ["shown at a condvar", "shown at a barrier"].map(|name| {
                let wait = until_waiting(name).waits_for().expect("it waits").clone();
                (wait.resource().primitive(), wait.site().file(), wait.site().line())
            });
            barrier.wait();
            *mutex.lock().unwrap() = true;
            changed.notify_all();
            assert_eq!(shown, [("Condvar", file!(), line), ("Barrier", file!(), line + 3)]);
        });
    });
}

#[test]
fn a_mutex_is_shown_by_its_type_and_line_while_somebody_waits_for_it() {
    within(LIMIT, || {
        let mutex = Mutex::new(1_u64);
        let (guard, held) = (mutex.lock().unwrap(), line!());
        let shown = thread::scope(|s| {
            spawn_named(s, "shown at a mutex", || drop(mutex.lock()));
            let resource = until_waiting("shown at a mutex").waits_for().expect("it waits").resource().clone();
            let holder = thread::current().name().map(str::to_owned);
            let holds = find_thread(holder.as_deref().unwrap_or_default());
            let lines = holds.map(|holder| holder.holds().iter().map(|held| held.site().line()).collect::<Vec<_>>());
            drop(guard);
            (resource.primitive(), resource.data_type(), lines)
        });
        assert_eq!(shown, ("Mutex", "u64", Some(vec![held])));
    });
}
