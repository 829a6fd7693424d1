//! Conditions: who is woken, and what is held meanwhile. What is told of those that wait is in `condition_waits.rs`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::sync::{ArcLockGuard, RLockGuard, RLockWaitError};
use bowline::{Condition, Lock, RLock};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::support::{Dice, LIMIT, message, on_another_thread, wait_until, within};

assert_impl_all!(Condition: Send, Sync, UnwindSafe, RefUnwindSafe, Default);
assert_impl_all!(RLockWaitError: std::error::Error, Clone, Send, Sync);
assert_not_impl_any!(Condition: Copy, Clone);

/// Far longer than a wait in these tests lasts.
const LONG: Duration = Duration::from_secs(600);
/// Longer than the grace.
const SHORT: Duration = Duration::from_millis(2);

fn waiting(condition: &Condition) -> usize {
    let text = format!("{condition:?}");
    text.rsplit_once("waiting: ").unwrap().1.trim_end_matches(" }").parse().unwrap()
}

#[track_caller]
fn until_waiters(condition: &Condition, count: usize) {
    wait_until(|| waiting(condition) == count);
}

#[test]
fn a_wait_frees_the_lock_and_has_it_again_for_each_kind_of_guard() {
    static STARTED: Lock<u32> = Lock::new(0);
    static CHANGED: Condition = Condition::new();
    within(LIMIT, || {
        thread::scope(|s| {
            let mut guard = STARTED.lock();
            s.spawn(|| {
                *STARTED.lock() = 7;
                assert!(CHANGED.notify_one());
            });
            CHANGED.wait(&mut guard);
            assert_eq!(*guard, 7);
            on_another_thread(|| assert!(STARTED.try_lock().is_none()));
        });
        assert!(!STARTED.is_locked());

        let (counted, changed) = (Arc::new(Lock::new(1)), Condition::default());
        thread::scope(|s| {
            let mut guard: ArcLockGuard<_> = counted.lock_arc();
            s.spawn(|| {
                *counted.lock() += 1;
                assert_eq!(changed.notify_all(), 1);
            });
            changed.wait_while(&mut guard, |count| *count == 1);
            assert_eq!(*guard, 2);
            on_another_thread(|| assert!(counted.try_lock().is_none()));
        });
        assert!(!counted.is_locked());

        let (again, changed) = (RLock::new(Cell::new(1)), Condition::new());
        thread::scope(|s| {
            let mut guard: RLockGuard<'_, _> = again.lock();
            s.spawn(|| {
                again.lock().set(2);
                assert_eq!(changed.notify(5), 1);
            });
            changed.wait_while(&mut guard, |count| count.get() == 1);
            assert_eq!((guard.get(), again.depth()), (2, 1));
            on_another_thread(|| assert!(again.try_lock().is_none()));
            drop(again.lock());
            assert_eq!(again.depth(), 1);
        });
        assert!(!again.is_locked());
    });
}

#[test]
fn guards_by_value_come_back_with_the_lock_held() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let rlock = RLock::new(Cell::new(0));
        thread::scope(|s| {
            let (lock, rlock, changed) = (&lock, &rlock, &changed);
            let waiter = s.spawn(move || {
                let guard = changed.acquire_wait(lock.lock()).unwrap();
                let guard = changed.acquire_wait_while(guard, |value| *value < 2).unwrap();
                let (guard, result) = changed.acquire_wait_for(guard, Duration::ZERO).unwrap();
                assert!(result.timed_out() && lock.is_locked());
                let (guard, result) = changed.acquire_wait_until(guard, Instant::now()).unwrap();
                assert!(result.timed_out() && lock.is_locked());
                let (guard, result) = changed.acquire_wait_while_for(guard, |value| *value < 2, LONG).unwrap();
                assert!(!result.timed_out());
                let soon = Instant::now() + SHORT;
                let (guard, result) = changed.acquire_wait_while_until(guard, |value| *value < 3, soon).unwrap();
                assert!(result.timed_out());
                drop(guard);
                let guard = rlock.lock();
                changed.acquire_wait_while(guard, |value| value.get() < 2).unwrap().get()
            });
            for value in [1, 2] {
                until_waiters(changed, 1);
                *lock.lock() = value;
                assert!(changed.notify_one());
            }
            for value in [1, 2] {
                wait_until(|| rlock.try_lock().is_some_and(|_guard| waiting(changed) == 1));
                rlock.lock().set(value);
                assert!(changed.notify_one());
            }
            assert_eq!(waiter.join().unwrap(), 2);
        });
    });
}

#[test]
fn three_phases_wake_exactly_as_many_as_are_asked_for() {
    within(LIMIT, || {
        const WAITERS: usize = 10;
        let (lock, changed) = (Lock::new(0), Condition::new());
        let phase = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel();
        thread::scope(|s| {
            for _ in 0..WAITERS {
                let tell = tell.clone();
                let (lock, changed, phase) = (&lock, &changed, &phase);
                s.spawn(move || {
                    let mut guard = lock.lock();
                    changed.wait(&mut guard);
                    tell.send(phase.load(Relaxed)).unwrap();
                    changed.wait(&mut guard);
                    tell.send(phase.load(Relaxed)).unwrap();
                });
            }
            until_waiters(&changed, WAITERS);
            // Under the lock, so that nobody waits again before the phase has changed.
            let woken =
                |count: usize| -> Vec<usize> { (0..count).map(|_| told.recv_timeout(LIMIT).unwrap()).collect() };
            {
                let _guard = lock.lock();
                phase.store(1, Relaxed);
                assert_eq!(changed.notify(3), 3);
            }
            assert_eq!(woken(3), [1; 3]);
            until_waiters(&changed, WAITERS);
            {
                let _guard = lock.lock();
                phase.store(2, Relaxed);
                assert_eq!(changed.notify(5), 5);
            }
            // Those that have waited for longest: five of the seven that were not woken, for the first time.
            assert_eq!(woken(5), [2; 5]);
            until_waiters(&changed, WAITERS);
            {
                let _guard = lock.lock();
                phase.store(3, Relaxed);
                assert_eq!(changed.notify_all(), WAITERS);
            }
            assert_eq!(woken(WAITERS), [3; WAITERS]);
            // Two of them, that were woken just now for the first time, wait once more.
            until_waiters(&changed, 2);
            assert!(told.try_recv().is_err(), "nobody was woken who was not counted");
            phase.store(4, Relaxed);
            assert_eq!((changed.notify_all(), changed.notify_all()), (2, 0));
            assert_eq!(woken(2), [4; 2]);
        });
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn more_waiters_than_are_woken_at_once_are_all_woken_and_counted() {
    within(LIMIT, || {
        const WAITERS: usize = 50;
        let (lock, changed) = (Lock::new(0), Condition::new());
        thread::scope(|s| {
            for _ in 0..WAITERS {
                s.spawn(|| changed.wait(&mut lock.lock()));
            }
            until_waiters(&changed, WAITERS);
            assert_eq!((changed.notify(0), changed.notify(33), changed.notify(16), changed.notify(9)), (0, 33, 16, 1));
        });
    });
}

#[test]
fn whoever_has_waited_for_longest_is_woken_first() {
    within(LIMIT, || {
        let (order, changed) = (Lock::new(Vec::new()), Condition::new());
        thread::scope(|s| {
            for at in 0..8 {
                let (order, changed) = (&order, &changed);
                s.spawn(move || {
                    let mut order = order.lock();
                    changed.wait(&mut order);
                    order.push(at);
                });
                until_waiters(changed, at + 1);
            }
            for at in 0..8 {
                assert!(changed.notify_one());
                wait_until(|| order.lock().len() == at + 1);
            }
        });
        assert_eq!(order.into_inner(), [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

#[test]
fn each_waiter_is_counted_by_the_notifier_or_by_its_time_out() {
    within(LIMIT, || {
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        let (lock, changed) = (Lock::new(()), Condition::new());
        let [notified, counted, over] = [(); 3].map(|()| AtomicUsize::new(0));
        thread::scope(|s| {
            for seed in 0..4 {
                let (lock, changed, notified, over) = (&lock, &changed, &notified, &over);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    for _ in 0..rounds {
                        let timeout = Duration::from_micros(dice.below(200) as u64);
                        let result = changed.wait_for(&mut lock.lock(), timeout);
                        notified.fetch_add(usize::from(!result.timed_out()), Relaxed);
                    }
                    over.fetch_add(1, Relaxed);
                });
            }
            for seed in 10..12 {
                let (changed, counted, over) = (&changed, &counted, &over);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    while over.load(Relaxed) < 4 {
                        counted.fetch_add(changed.notify(dice.below(4)), Relaxed);
                        thread::sleep(Duration::from_micros(dice.below(100) as u64));
                    }
                });
            }
        });
        let (notified, counted) = (notified.into_inner(), counted.into_inner());
        assert_eq!(notified, counted);
        assert!(notified > 0 && notified < 4 * rounds, "{notified} of {}: one of the two never came first", 4 * rounds);
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn a_wait_with_a_limit_ends_by_it_and_a_predicate_decides_whether_it_timed_out() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let mut guard = lock.lock();
        assert!(changed.wait_for(&mut guard, SHORT).timed_out());
        assert!(changed.wait_for(&mut guard, Duration::ZERO).timed_out());
        assert!(changed.wait_until(&mut guard, Instant::now() + SHORT).timed_out());
        assert!(changed.wait_while_for(&mut guard, |_| true, SHORT).timed_out());
        assert!(!changed.wait_while_for(&mut guard, |_| false, SHORT).timed_out());
        let soon = Instant::now() + SHORT;
        assert!(!changed.wait_while_until(&mut guard, |_| Instant::now() < soon, soon).timed_out());
        assert!(changed.wait_while_until(&mut guard, |_| true, Instant::now()).timed_out());
        // It held the lock all the while that it did not wait.
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        thread::scope(|s| {
            s.spawn(|| {
                *lock.lock() = 1;
                changed.notify_one();
            });
            assert!(!changed.wait_while_for(&mut guard, |value| *value == 0, LONG).timed_out());
            s.spawn(|| {
                *lock.lock() = 2;
                changed.notify_one();
            });
            // Longer than the clock can tell.
            assert!(!changed.wait_while_for(&mut guard, |value| *value == 1, Duration::MAX).timed_out());
        });
    });
}

#[test]
fn a_notification_is_never_lost_between_two_threads_that_take_turns() {
    within(LIMIT, || {
        let turns = if cfg!(miri) { 20 } else { 5_000 };
        let (turn, changed) = (Lock::new(0), Condition::new());
        thread::scope(|s| {
            for me in 0..2 {
                let (turn, changed) = (&turn, &changed);
                s.spawn(move || {
                    for at in 0..turns {
                        let mut guard = turn.lock();
                        changed.wait_while(&mut guard, |turn| *turn != 2 * at + me);
                        *guard += 1;
                        // Under the lock and after it by turns.
                        if at % 2 == 0 {
                            drop(guard);
                        }
                        changed.notify_one();
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 2 * turns);
    });
}

#[test]
fn a_predicate_that_panics_leaves_the_guard_with_the_lock_held() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(0), Condition::new());
        let mut guard = lock.lock();
        thread::scope(|s| {
            s.spawn(|| {
                *lock.lock() = 1;
                changed.notify_one();
            });
            let waits =
                || changed.wait_while(&mut guard, |value| if *value == 0 { true } else { panic!("as it should") });
            let panic = catch_unwind(AssertUnwindSafe(waits)).unwrap_err();
            assert_eq!(message(&*panic), "as it should");
        });
        assert_eq!(*guard, 1);
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        drop(guard);
        assert!(!lock.is_locked());
        // By value, the guard goes with the panic.
        let guard = lock.lock();
        let waits = || changed.acquire_wait_while(guard, |_| panic!("as it should")).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(waits)).is_err());
        assert!(!lock.is_locked());
        assert_eq!(waiting(&changed), 0);
    });
}

#[test]
fn an_rlock_of_which_the_thread_has_other_guards_is_refused_and_left_as_it_is() {
    let (lock, changed) = (RLock::new((1, 2)), Condition::new());
    let part = RLockGuard::map(lock.lock(), |pair| &pair.0);
    let mut guard = lock.lock();
    let refused = catch_unwind(AssertUnwindSafe(|| changed.wait_for(&mut guard, SHORT))).unwrap_err();
    let text = message(&*refused);
    assert!(text.contains("holds an RLock 2 times") && text.contains("drop all guards but one"), "{text}");
    assert_eq!((*part, guard.1, lock.depth()), (1, 2, 2));
    let error = changed.acquire_wait_for(guard, SHORT).map(drop).unwrap_err();
    assert!(matches!(error, RLockWaitError::HeldAgain { depth: 2, .. }), "{error}");
    assert_eq!(error.to_string(), text);
    assert_eq!((*part, lock.depth()), (1, 1), "that guard is gone");
    drop(part);
    let mut guard = lock.lock();
    assert!(changed.wait_for(&mut guard, SHORT).timed_out());
    assert_eq!(lock.depth(), 1);
    // It need not be the guard of the first acquisition.
    let again = lock.lock();
    drop(guard);
    let (again, _) = changed.acquire_wait_for(again, SHORT).unwrap();
    assert_eq!((again.0, lock.depth()), (1, 1));
    drop(again);
    assert!(!lock.is_locked());
    assert_eq!(waiting(&changed), 0);
}

#[test]
fn waiters_with_different_locks_each_get_their_own_back() {
    within(LIMIT, || {
        let (number, text, changed) = (Lock::new(1), Lock::new("a"), Condition::new());
        thread::scope(|s| {
            s.spawn(|| {
                let mut guard = number.lock();
                changed.wait(&mut guard);
                *guard += 1;
                assert!(number.is_locked());
            });
            s.spawn(|| {
                let mut guard = text.lock();
                changed.wait(&mut guard);
                *guard = "b";
                assert!(text.is_locked());
            });
            until_waiters(&changed, 2);
            drop((number.lock(), text.lock()));
            assert_eq!(changed.notify_all(), 2);
        });
        assert_eq!((number.into_inner(), text.into_inner()), (2, "b"));
    });
}
