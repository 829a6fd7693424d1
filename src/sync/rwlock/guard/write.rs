//! The guards of a writer.

use std::sync::Arc;

use super::{ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, RwLockReadGuard, RwLockUpgradableReadGuard};
use crate::sync::guard::{Guard, Guarded, Part, guard_type};
use crate::sync::rwlock::RwLock;
use crate::sync::rwlock::raw::{RawRwLock, RawRwLockGuard, Reading, UpgradablyReading, Writing};

guard_type! {
    /// Exclusive access to what an [`RwLock`] protects; stops writing when dropped.
    ///
    /// Stays on its thread (it is not `Send`). A guard that is forgotten leaves the lock held; once its thread has ended, a
    /// thread that waits for the lock gets [`Abandoned`](crate::deadlock::Kind::Abandoned).
    ///
    /// ```compile_fail
    /// let lock = bowline::RwLock::new(0);
    /// let guard = lock.write();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(guard)); // only the writer stops writing
    /// });
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// let names = bowline::RwLock::new(vec!["bight"]);
    /// let mut guard = names.write();
    /// guard.push("loop"); // the methods of the value
    /// drop(guard);
    /// assert!(!names.is_locked());
    /// ```
    pub struct RwLockWriteGuard<'a, T>: exclusive Guard<&'a RwLock<T>, RawRwLockGuard<Writing>>;
}

/// Exchanges a writer's guard for a reader's.
#[inline]
#[track_caller]
fn downgrade<G: Guarded<Raw = RawRwLock>, T: ?Sized>(
    guard: Guard<G, RawRwLockGuard<Writing>>,
) -> Guard<G, RawRwLockGuard<Reading>> {
    let request = RwLock::<T>::reading();
    let (guarded, raw_guard) = guard.into_parts();
    // SAFETY:
    // - the raw guard is of this lock (`Guard::new`'s contract).
    let raw_guard = unsafe { guarded.raw().downgrade(raw_guard, request) };
    // SAFETY:
    // - the raw guard is of this lock.
    unsafe { Guard::new(guarded, raw_guard) }
}

/// Exchanges a writer's guard for an upgradable reader's.
#[inline]
#[track_caller]
fn downgrade_to_upgradable<G: Guarded<Raw = RawRwLock>, T: ?Sized>(
    guard: Guard<G, RawRwLockGuard<Writing>>,
) -> Guard<G, RawRwLockGuard<UpgradablyReading>> {
    let request = RwLock::<T>::upgradably_reading();
    let (guarded, raw_guard) = guard.into_parts();
    // SAFETY:
    // - the raw guard is of this lock (`Guard::new`'s contract).
    let raw_guard = unsafe { guarded.raw().downgrade_to_upgradable(raw_guard, request) };
    // SAFETY:
    // - the raw guard is of this lock.
    unsafe { Guard::new(guarded, raw_guard) }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Returns the lock that is written.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a RwLock<T> {
        guard.inner.guarded()
    }

    /// Becomes a reader, with no moment in between at which another writer could get in. Readers that wait get in.
    ///
    /// Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockWriteGuard;
    ///
    /// let lock = RwLock::new(1);
    /// let mut guard = lock.write();
    /// *guard += 1;
    /// let guard = RwLockWriteGuard::downgrade(guard);
    /// assert_eq!(*guard + *lock.read(), 4);
    /// ```
    #[inline]
    #[track_caller]
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard::of(downgrade::<_, T>(guard.inner))
    }

    /// Becomes the upgradable reader, with no moment in between at which another writer could get in.
    ///
    /// Never waits.
    #[inline]
    #[track_caller]
    pub fn downgrade_to_upgradable(guard: Self) -> RwLockUpgradableReadGuard<'a, T> {
        RwLockUpgradableReadGuard::of(downgrade_to_upgradable::<_, T>(guard.inner))
    }

    /// Narrows the guard to a part of the value.
    ///
    /// An associated function: `RwLockWriteGuard::map(guard, |pair| &mut pair.0)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockWriteGuard;
    ///
    /// let pair = RwLock::new((1, "one"));
    /// let mut number = RwLockWriteGuard::map(pair.write(), |pair| &mut pair.0);
    /// *number += 1;
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedRwLockWriteGuard<'a, U> {
        MappedRwLockWriteGuard::of(guard.inner.map_mut(f))
    }

    /// Narrows the guard to a part of the value, if there is one.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self> {
        guard.inner.try_map_mut(f).map(MappedRwLockWriteGuard::of).map_err(Self::of)
    }

    /// Stops writing, runs `f`, and writes again. If `f` panics the lock is free.
    ///
    /// # Panics
    ///
    /// As [`RwLock::write`], on the way back; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// As [`RwLock::write`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockWriteGuard;
    ///
    /// let lock = RwLock::new(0);
    /// let guard = RwLockWriteGuard::unlocked(lock.write(), || *lock.write() += 1);
    /// assert_eq!(*guard, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn unlocked(guard: Self, f: impl FnOnce()) -> Self {
        let lock = guard.inner.release();
        f();
        lock.write()
    }

    /// Keeps the lock held for ever and returns the value.
    #[inline]
    pub fn leak(guard: Self) -> &'a mut T {
        guard.inner.leak()
    }
}

guard_type! {
    /// Exclusive access to a part of what an [`RwLock`] protects: made by [`RwLockWriteGuard::map`].
    pub struct MappedRwLockWriteGuard<'a, T>: exclusive Guard<Part<'a, RawRwLock, T>, RawRwLockGuard<Writing>>;
}

impl<'a, T: ?Sized> MappedRwLockWriteGuard<'a, T> {
    /// Narrows the guard further.
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedRwLockWriteGuard<'a, U> {
        MappedRwLockWriteGuard::of(guard.inner.map_mut(f))
    }

    /// Narrows the guard further, if there is a part to narrow it to.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedRwLockWriteGuard<'a, U>, Self> {
        guard.inner.try_map_mut(f).map(MappedRwLockWriteGuard::of).map_err(Self::of)
    }
}

guard_type! {
    /// Exclusive access to what an [`RwLock`] in an [`Arc`] protects, without a borrow: made by [`RwLock::write_arc`].
    pub struct ArcRwLockWriteGuard<T>: exclusive Guard<Arc<RwLock<T>>, RawRwLockGuard<Writing>>;
}

impl<T: ?Sized> ArcRwLockWriteGuard<T> {
    /// Returns the lock that is written.
    #[must_use]
    pub fn lock(guard: &Self) -> &Arc<RwLock<T>> {
        guard.inner.guarded()
    }

    /// Stops writing and returns the lock.
    #[must_use]
    pub fn into_arc(guard: Self) -> Arc<RwLock<T>> {
        guard.inner.release()
    }

    /// Becomes a reader: see [`RwLockWriteGuard::downgrade`].
    #[inline]
    #[track_caller]
    pub fn downgrade(guard: Self) -> ArcRwLockReadGuard<T> {
        ArcRwLockReadGuard::of(downgrade::<_, T>(guard.inner))
    }

    /// Becomes the upgradable reader: see [`RwLockWriteGuard::downgrade_to_upgradable`].
    #[inline]
    #[track_caller]
    pub fn downgrade_to_upgradable(guard: Self) -> ArcRwLockUpgradableReadGuard<T> {
        ArcRwLockUpgradableReadGuard::of(downgrade_to_upgradable::<_, T>(guard.inner))
    }
}
