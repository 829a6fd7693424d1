//! The guards of a [`Lock`].

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::lock::Lock;
use super::raw_lock::{RawGuard, RawLock};
use crate::deadlock::Deadlock;

/// Access to what a [`Lock`] protects; unlocks when dropped.
///
/// Stays on its thread (it is not `Send`). Guards may be dropped in any order. A guard that is forgotten leaves the
/// lock held, and once its thread has ended, whoever waits for it is told
/// [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// ```compile_fail
/// let lock = bowline::Lock::new(0);
/// let guard = lock.lock();
/// std::thread::scope(|s| {
///     s.spawn(move || drop(guard)); // only the owner unlocks
/// });
/// ```
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct LockGuard<'a, T: ?Sized>(pub(super) lock_api::MutexGuard<'a, RawLock, T>);

impl<'a, T: ?Sized> LockGuard<'a, T> {
    /// The lock that is held.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a Lock<T> {
        let inner: *const lock_api::Mutex<RawLock, T> = lock_api::MutexGuard::mutex(&guard.0);
        // SAFETY:
        // - `Lock` is a transparent wrapper of this type, and every guard's mutex lies in a `Lock`.
        unsafe { &*(inner as *const Lock<T>) }
    }

    /// Narrows the guard to a part of the value.
    ///
    /// An associated function: `LockGuard::map(guard, |pair| &mut pair.0)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Lock, LockGuard};
    ///
    /// let pair = Lock::new((1, "one"));
    /// let mut number = LockGuard::map(pair.lock(), |pair| &mut pair.0);
    /// *number += 1;
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedLockGuard<'a, U> {
        MappedLockGuard(lock_api::MutexGuard::map(guard.0, f))
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
    ) -> Result<MappedLockGuard<'a, U>, Self> {
        lock_api::MutexGuard::try_map(guard.0, f).map(MappedLockGuard).map_err(Self)
    }

    /// Unlocks and hands the lock over to the one who has waited for longest, if anybody waits.
    ///
    /// Costs a switch to that thread for each hand-over: use it where a thread would otherwise starve the others.
    #[inline]
    pub fn unlock_fair(guard: Self) {
        lock_api::MutexGuard::unlock_fair(guard.0);
    }

    /// Unlocks, runs `f`, and locks again.
    ///
    /// If `f` panics the lock stays unlocked.
    ///
    /// # Panics
    ///
    /// As [`Lock::lock`], on the way back; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// As [`Lock::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Lock, LockGuard};
    ///
    /// let lock = Lock::new(0);
    /// let guard = lock.lock();
    /// let guard = LockGuard::unlocked(guard, || *lock.lock() += 1);
    /// assert_eq!(*guard, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn unlocked(guard: Self, f: impl FnOnce()) -> Self {
        let lock = Self::lock(&guard);
        drop(guard);
        f();
        lock.lock()
    }

    /// Unlocks, runs `f`, and locks again, or says why that can never be.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], on the way back; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// As [`Lock::acquire`].
    #[inline]
    #[track_caller]
    pub fn acquire_unlocked(guard: Self, f: impl FnOnce()) -> Result<Self, Deadlock> {
        let lock = Self::lock(&guard);
        drop(guard);
        f();
        lock.acquire()
    }

    /// Keeps the lock held for ever and returns the value.
    #[inline]
    pub fn leak(guard: Self) -> &'a mut T {
        lock_api::MutexGuard::leak(guard.0)
    }
}

impl<T: ?Sized> Deref for LockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// Access to a part of what a [`Lock`] protects: made by [`LockGuard::map`].
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct MappedLockGuard<'a, T: ?Sized>(lock_api::MappedMutexGuard<'a, RawLock, T>);

impl<'a, T: ?Sized> MappedLockGuard<'a, T> {
    /// Narrows the guard further.
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedLockGuard<'a, U> {
        MappedLockGuard(lock_api::MappedMutexGuard::map(guard.0, f))
    }

    /// Narrows the guard further, if there is what to narrow it to.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedLockGuard<'a, U>, Self> {
        lock_api::MappedMutexGuard::try_map(guard.0, f).map(MappedLockGuard).map_err(Self)
    }

    /// Unlocks and hands the lock over: see [`LockGuard::unlock_fair`].
    #[inline]
    pub fn unlock_fair(guard: Self) {
        lock_api::MappedMutexGuard::unlock_fair(guard.0);
    }
}

impl<T: ?Sized> Deref for MappedLockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MappedLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// Access to what a [`Lock`] in an [`Arc`] protects, without a borrow: made by [`Lock::lock_arc`].
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct ArcLockGuard<T: ?Sized> {
    lock: Arc<Lock<T>>,
    guard: ManuallyDrop<RawGuard>,
    /// Shared by reference only if the value may be.
    value: PhantomData<T>,
}

impl<T: ?Sized> ArcLockGuard<T> {
    #[inline]
    pub(super) fn new(lock: &Arc<Lock<T>>, guard: RawGuard) -> Self {
        Self { lock: Arc::clone(lock), guard: ManuallyDrop::new(guard), value: PhantomData }
    }

    /// The lock that is held.
    #[must_use]
    pub fn lock(guard: &Self) -> &Arc<Lock<T>> {
        &guard.lock
    }

    /// Unlocks and returns the lock.
    #[must_use]
    pub fn into_arc(guard: Self) -> Arc<Lock<T>> {
        Arc::clone(&guard.lock)
    }
}

impl<T: ?Sized> Drop for ArcLockGuard<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY:
        // - taken once: this is the drop.
        let guard = unsafe { ManuallyDrop::take(&mut self.guard) };
        // SAFETY:
        // - the guard was made of this lock (`new`'s callers).
        unsafe { self.lock.unlock(guard) };
    }
}

impl<T: ?Sized> Deref for ArcLockGuard<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY:
        // - the lock is held, so that nobody else has a reference to the value.
        unsafe { &*self.lock.data() }
    }
}

impl<T: ?Sized> DerefMut for ArcLockGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY:
        // - the lock is held, and `&mut self` makes this the only reference through this guard.
        unsafe { &mut *self.lock.data() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ArcLockGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for ArcLockGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
