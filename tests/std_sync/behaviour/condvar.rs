use std::thread;
use std::time::Duration;

use super::panic_of;
use super::sync::{Condvar, Mutex, PoisonError, WaitTimeoutResult};
use crate::support::{LIMIT, watchdog};

const MOMENT: Duration = Duration::from_millis(1);
/// For waits that a notification ends.
const AGE: Duration = Duration::from_secs(3600);

/// Poisons a mutex.
fn poison<T>(mutex: &Mutex<T>) {
    panic_of(|| {
        let _guard = mutex.lock().unwrap();
        panic!("under the guard")
    });
}

/// Changes a number by a thread that waits until somebody else waits, and that panics under the guard if it is told to.
fn changing<R>(mutex: &Mutex<u32>, changed: &Condvar, panics: bool, waits: impl FnOnce() -> R) -> R {
    thread::scope(|s| {
        // Free only once the caller waits: it is given no guard before this thread is there.
        let changing = || {
            panic_of(|| {
                let mut number = mutex.lock().unwrap();
                *number += 1;
                changed.notify_all();
                if panics {
                    panic!("under the guard");
                }
                drop(number);
                panic!("after the guard")
            })
        };
        let other = s.spawn(changing);
        let result = waits();
        other.join().unwrap();
        result
    })
}

#[test]
fn a_wait_ends_by_a_notification_with_the_mutex_locked() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    let guard = mutex.lock().unwrap();
    let guard = changing(&mutex, &changed, false, || changed.wait_while(guard, |number| *number == 0).unwrap());
    assert_eq!(*guard, 1);
    assert!(mutex.try_lock().is_err());
    drop(guard);
    assert!(mutex.try_lock().is_ok());
}

#[test]
fn all_that_wait_are_notified_and_one_by_one() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new((0, 0)), Condvar::new());
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                let mut guard = mutex.lock().unwrap();
                guard.0 += 1;
                let mut guard = changed.wait_while(guard, |(_, tokens)| *tokens == 0).unwrap();
                guard.1 -= 1;
            });
        }
        while mutex.lock().unwrap().0 < 3 {
            thread::yield_now();
        }
        mutex.lock().unwrap().1 = 1;
        changed.notify_one();
        while mutex.lock().unwrap().1 > 0 {
            thread::yield_now();
        }
        mutex.lock().unwrap().1 = 2;
        changed.notify_all();
    });
    assert_eq!(mutex.into_inner().unwrap(), (3, 0));
}

#[test]
fn a_waiter_is_told_of_the_poison_that_came_meanwhile() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    let guard = mutex.lock().unwrap();
    let poisoned = changing(&mutex, &changed, true, || changed.wait(guard).unwrap_err());
    assert_eq!(**poisoned.get_ref(), 1);
    drop(poisoned);
    mutex.clear_poison();
    let guard = mutex.lock().unwrap();
    let poisoned = changing(&mutex, &changed, true, || changed.wait_timeout(guard, AGE).unwrap_err());
    let (guard, result) = poisoned.into_inner();
    assert_eq!((*guard, result.timed_out()), (2, false));
}

#[test]
fn a_wait_with_a_poisoned_mutex_is_an_error_if_there_is_something_to_wait_for() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    poison(&mutex);
    let guard = || mutex.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(changed.wait_while(guard(), |_| false).map(|guard| *guard).unwrap(), 0);
    let (guard_back, result) = changed.wait_timeout_while(guard(), MOMENT, |_| false).unwrap();
    assert!(!result.timed_out());
    drop(guard_back);
    let (guard_back, result) = changed.wait_timeout(guard(), MOMENT).unwrap_err().into_inner();
    assert!(result.timed_out());
    drop(guard_back);
    let (guard_back, result) = changed.wait_timeout_while(guard(), MOMENT, |_| true).unwrap_err().into_inner();
    assert!(result.timed_out());
    drop(guard_back);
    let mut looks = 0;
    let looks_twice = move |_: &mut u32| {
        looks += 1;
        looks == 1
    };
    let waited = changing_poisoned(&mutex, &changed, || changed.wait_while(guard(), looks_twice).is_err());
    assert!(waited);
}

/// Changes a number in a poisoned mutex, again and again until `waits` is over.
fn changing_poisoned<R: Send>(mutex: &Mutex<u32>, changed: &Condvar, waits: impl FnOnce() -> R + Send) -> R {
    thread::scope(|s| {
        let waiter = s.spawn(waits);
        while !waiter.is_finished() {
            *mutex.lock().unwrap_err().into_inner() += 1;
            changed.notify_all();
            thread::yield_now();
        }
        waiter.join().unwrap()
    })
}

#[test]
fn a_limit_ends_a_wait() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    let (guard, result) = changed.wait_timeout(mutex.lock().unwrap(), Duration::ZERO).unwrap();
    assert!(result.timed_out());
    let (guard, result) = changed.wait_timeout_while(guard, MOMENT, |number| *number == 0).unwrap();
    assert!(result.timed_out());
    let (guard, result) = changed.wait_timeout_while(guard, Duration::ZERO, |number| *number == 1).unwrap();
    assert!(!result.timed_out(), "there was nothing to wait for");
    let wait = || changed.wait_timeout_while(guard, AGE, |number| *number == 0).unwrap();
    let (guard, result) = changing(&mutex, &changed, false, wait);
    assert!(!result.timed_out());
    assert_eq!(*guard, 1);
    drop(guard);
    let wait = || changed.wait_timeout_while(mutex.lock().unwrap(), Duration::MAX, |number| *number == 1).unwrap();
    let (guard, result) = changing(&mutex, &changed, false, wait);
    assert_eq!((*guard, result.timed_out()), (2, false));
}

#[test]
#[allow(deprecated, reason = "it is there")]
fn a_limit_in_milliseconds_ends_a_wait() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    let (guard, was_notified) = changed.wait_timeout_ms(mutex.lock().unwrap(), 1).unwrap();
    assert!(!was_notified);
    drop(guard);
    poison(&mutex);
    let (_guard, was_notified) =
        changed.wait_timeout_ms(mutex.lock().unwrap_err().into_inner(), 1).unwrap_err().into_inner();
    assert!(!was_notified);
}

#[test]
fn a_predicate_that_panics_poisons() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    panic_of(|| changed.wait_while(mutex.lock().unwrap(), |_| panic!("on purpose")).map(drop));
    assert!(mutex.is_poisoned());
    mutex.clear_poison();
    panic_of(|| changed.wait_timeout_while(mutex.lock().unwrap(), MOMENT, |_| panic!("on purpose")).map(drop));
    assert!(mutex.is_poisoned());
}

#[test]
fn a_guard_that_came_back_poisons_as_any_other() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    panic_of(|| {
        let _guard = changed.wait_timeout(mutex.lock().unwrap(), MOMENT).unwrap();
        panic!("under the guard")
    });
    assert!(mutex.is_poisoned());
}

#[test]
fn a_guard_of_a_thread_that_panics_already_is_the_same_after_a_wait() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::new());
    panic_of(|| {
        let _waits = super::OnDrop(|| drop(changed.wait_timeout(mutex.lock().unwrap(), MOMENT)));
        panic!("on purpose")
    });
    assert!(!mutex.is_poisoned());
    // One that was made before.
    panic_of(|| {
        let mut guard = Some(mutex.lock().unwrap());
        let _waits = super::OnDrop(move || drop(guard.take().map(|guard| changed.wait_timeout(guard, MOMENT))));
        panic!("on purpose")
    });
    assert!(mutex.is_poisoned());
}

#[test]
fn results_are_values_and_a_condvar_is_shown() {
    let _watchdog = watchdog(LIMIT);
    let (mutex, changed) = (Mutex::new(0), Condvar::default());
    let (_guard, result) = changed.wait_timeout(mutex.lock().unwrap(), MOMENT).unwrap();
    let copy: WaitTimeoutResult = result;
    assert_eq!((copy, format!("{result:?}")), (result, "WaitTimeoutResult(true)".to_owned()));
    assert!(WaitTimeoutResult::timed_out(&copy));
    assert_eq!(format!("{changed:?}"), "Condvar { .. }");
}
