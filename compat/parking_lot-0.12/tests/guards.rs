//! What `lock_api` does with a lock behind its owner's back, and the lists of holds that stay true.
//!
//! Of guards that may be sent nobody knows the owner, so nothing is held.
#![cfg(not(feature = "send_guard"))]

mod support;

#[cfg(feature = "arc_lock")]
use std::sync::Arc;
use std::time::Duration;

use parking_lot::lock_api::{RawMutex as _, RawRwLock as _};
use parking_lot::{
    Condvar, FairMutex, MappedMutexGuard, Mutex, MutexGuard, ReentrantMutex, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

use support::{held, keep, spawn, until_waiting, within};

#[test]
fn a_guard_that_is_forgotten_leaked_or_made_by_hand_is_held_until_it_is_unlocked() {
    within(|| {
        let mutex = Mutex::new(1);
        std::mem::forget(mutex.lock());
        assert_eq!(held(), 1);
        // SAFETY:
        // - the guard is forgotten.
        unsafe { mutex.force_unlock() };
        assert_eq!(held(), 0);
        *MutexGuard::leak(mutex.lock()) += 1;
        // SAFETY:
        // - the reference is not used any more.
        drop(unsafe { mutex.make_guard_unchecked() });
        assert_eq!((held(), mutex.is_locked()), (0, false));
        // SAFETY:
        // - it is unlocked as often as it is locked, by this thread.
        let raw = unsafe { mutex.raw() };
        raw.lock();
        assert_eq!(held(), 1);
        // SAFETY:
        // - as above.
        unsafe { raw.unlock() };
        assert_eq!((held(), mutex.into_inner()), (0, 2));
    });
}

#[test]
fn a_read_write_lock_that_is_unlocked_by_force_is_held_by_nobody() {
    within(|| {
        let lock = RwLock::new(1);
        std::mem::forget((lock.read(), lock.read()));
        assert_eq!(held(), 2);
        // SAFETY:
        // - the guards are forgotten, here and below.
        unsafe { lock.force_unlock_read() };
        assert_eq!(held(), 1);
        // SAFETY:
        // - as above.
        unsafe { lock.force_unlock_read() };
        assert_eq!(held(), 0);
        std::mem::forget(lock.write());
        // SAFETY:
        // - as above.
        std::thread::scope(|s| _ = s.spawn(|| unsafe { lock.force_unlock_write() }).join());
        assert_eq!((held(), lock.try_write().is_some()), (0, true));
        // SAFETY:
        // - it is unlocked as often as it is locked, by this thread.
        let raw = unsafe { lock.raw() };
        raw.lock_exclusive();
        assert_eq!(held(), 1);
        // SAFETY:
        // - as above.
        unsafe { raw.unlock_exclusive() };
        assert_eq!(held(), 0);
    });
}

#[test]
fn a_guard_that_is_unlocked_for_a_while_holds_nothing_meanwhile() {
    within(|| {
        let (mutex, fair, lock) = (Mutex::new(0), FairMutex::new(0), RwLock::new(0));
        let mut guard = mutex.lock();
        MutexGuard::unlocked(&mut guard, || assert_eq!((held(), mutex.is_locked()), (0, false)));
        MutexGuard::unlocked_fair(&mut guard, || assert_eq!(held(), 0));
        MutexGuard::bump(&mut guard);
        assert_eq!((held(), mutex.is_locked()), (1, true));
        MutexGuard::unlock_fair(guard);
        drop(fair.lock());
        let mut reading = lock.read();
        RwLockReadGuard::unlocked(&mut reading, || assert_eq!(held(), 0));
        RwLockReadGuard::bump(&mut reading);
        assert_eq!(held(), 1);
        RwLockReadGuard::unlock_fair(reading);
        let mut writing = lock.write();
        RwLockWriteGuard::unlocked_fair(&mut writing, || assert_eq!(held(), 0));
        RwLockWriteGuard::bump(&mut writing);
        let mut upgradable = RwLockWriteGuard::downgrade_to_upgradable(writing);
        RwLockUpgradableReadGuard::unlocked(&mut upgradable, || assert_eq!(held(), 0));
        RwLockUpgradableReadGuard::bump(&mut upgradable);
        upgradable.with_upgraded(|value| *value += 1);
        let writing = RwLockUpgradableReadGuard::upgrade(upgradable);
        let reading = RwLockWriteGuard::downgrade(writing);
        assert_eq!((*reading, held()), (1, 1));
        drop(reading);
        assert_eq!(held(), 0);
    });
}

#[test]
fn a_guard_of_a_part_holds_the_whole() {
    within(|| {
        let (mutex, lock) = (Mutex::new((1, 2)), RwLock::new((1, 2)));
        let part: MappedMutexGuard<'_, i32> = MutexGuard::map(mutex.lock(), |pair| &mut pair.1);
        let read = RwLockReadGuard::map(lock.read(), |pair| &pair.0);
        assert_eq!((*part, *read, held()), (2, 1, 2));
        drop((part, read));
        let write = RwLockWriteGuard::try_map(lock.write(), |_| None::<&mut i32>).unwrap_err();
        assert_eq!(held(), 1);
        drop(write);
        assert_eq!(held(), 0);
    });
}

#[test]
fn a_mutex_that_is_locked_again_by_its_owner_is_held_once() {
    within(|| {
        let mutex = ReentrantMutex::new(1);
        let outer = mutex.lock();
        let inner = mutex.lock();
        assert_eq!((*inner, held()), (1, 1));
        drop(outer);
        assert_eq!((held(), mutex.is_locked()), (1, true));
        drop(inner);
        assert_eq!((held(), mutex.is_locked()), (0, false));
    });
}

#[cfg(feature = "arc_lock")]
#[test]
fn a_guard_that_owns_its_lock_releases_it() {
    within(|| {
        let (mutex, lock) = (Arc::new(Mutex::new(1)), Arc::new(RwLock::new(1)));
        let (guard, reading) = (mutex.lock_arc(), lock.read_arc());
        assert_eq!(held(), 2);
        drop((guard, reading));
        let writing = lock.write_arc();
        assert_eq!(held(), 1);
        drop((writing, mutex));
        assert_eq!(held(), 0);
    });
}

#[test]
fn a_condition_variable_counts_whom_it_wakes_and_takes_one_mutex_at_a_time() {
    within(|| {
        let (mutex, condvar): (&'static Mutex<u32>, &'static Condvar) = (keep(Mutex::new(0)), keep(Condvar::new()));
        assert!(!condvar.notify_one() && condvar.notify_all() == 0);
        let waiters: Vec<_> = ["one", "two", "three"]
            .into_iter()
            .map(|name| {
                let waiter = spawn(name, || {
                    let mut woken = mutex.lock();
                    condvar.wait(&mut woken);
                    *woken += 1;
                });
                until_waiting(name);
                waiter
            })
            .collect();
        let other = Mutex::new(());
        let refused = support::panic_of(|| condvar.wait(&mut other.lock()));
        assert!(other.try_lock().is_some(), "{refused}");
        assert!(condvar.notify_one());
        assert_eq!(condvar.notify_all(), 2);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        let mut woken = mutex.lock();
        assert!(condvar.wait_for(&mut woken, Duration::from_millis(1)).timed_out());
        assert!(condvar.wait_while_for(&mut woken, |woken| *woken == 3, Duration::from_millis(1)).timed_out());
        assert!(!condvar.wait_while_for(&mut woken, |_| false, Duration::MAX).timed_out());
        assert_eq!((*woken, held()), (3, 1));
    });
}

/// Code that knows `lock_api` alone.
fn generic<R: parking_lot::lock_api::RawMutex>(raw: &R) -> bool {
    raw.lock();
    let refused = !raw.try_lock();
    // SAFETY:
    // - it was locked above.
    unsafe { raw.unlock() };
    refused && !raw.is_locked()
}

trait Named {
    fn name(&self) -> &'static str;
}

impl<R: parking_lot::lock_api::RawMutex, T> Named for parking_lot::lock_api::Mutex<R, T> {
    fn name(&self) -> &'static str {
        "of lock_api"
    }
}

#[test]
fn the_types_are_aliases_of_lock_apis() {
    within(|| {
        let (raw, fair) = (parking_lot::RawMutex::INIT, parking_lot::RawFairMutex::INIT);
        assert!(generic(&raw) && generic(&fair));
        assert_eq!((Mutex::new(1).name(), FairMutex::new(1).name()), ("of lock_api", "of lock_api"));
        static CONSTANT: Mutex<u8> = Mutex::new(1);
        assert_eq!(*CONSTANT.lock(), 1);
    });
}

#[test]
fn locks_are_as_small_as_their_words() {
    assert_eq!([size_of::<parking_lot::RawMutex>(), size_of::<parking_lot::RawFairMutex>()], [8, 8]);
    assert_eq!([size_of::<parking_lot::RawRwLock>(), size_of::<Condvar>(), size_of::<parking_lot::Once>()], [24, 8, 8]);
}
