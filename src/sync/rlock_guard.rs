//! The guards of an [`RLock`].

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;

use super::raw_lock::RawGuard;
use super::raw_rlock::RawRLock;
use super::rlock::RLock;

/// Shared access to what an [`RLock`] protects; the lock is free once the last guard is dropped.
///
/// Stays on its thread (it is not `Send`):
///
/// ```compile_fail
/// let lock = bowline::RLock::new(0);
/// let guard = lock.lock();
/// std::thread::scope(|s| {
///     s.spawn(move || drop(guard)); // only the owner unlocks
/// });
/// ```
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct RLockGuard<'a, T: ?Sized> {
    lock: &'a RLock<T>,
    guard: ManuallyDrop<RawGuard>,
    /// Shared by reference only if the value may be.
    value: PhantomData<&'a T>,
}

impl<'a, T: ?Sized> RLockGuard<'a, T> {
    #[inline]
    pub(super) fn new(lock: &'a RLock<T>, guard: RawGuard) -> Self {
        Self { lock, guard: ManuallyDrop::new(guard), value: PhantomData }
    }

    /// The lock that is held.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a RLock<T> {
        guard.lock
    }

    /// Narrows the guard to a part of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{RLock, RLockGuard};
    ///
    /// let pair = RLock::new((1, "one"));
    /// let number = RLockGuard::map(pair.lock(), |pair| &pair.0);
    /// assert_eq!(*number, 1);
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRLockGuard<'a, U> {
        let part: *const U = f(&guard);
        guard.narrow(part)
    }

    /// Narrows the guard to a part of the value, if there is one.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> Option<&U>) -> Result<MappedRLockGuard<'a, U>, Self> {
        match f(&guard).map(std::ptr::from_ref) {
            Some(part) => Ok(guard.narrow(part)),
            None => Err(guard),
        }
    }

    #[inline]
    fn narrow<U: ?Sized>(self, part: *const U) -> MappedRLockGuard<'a, U> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY:
        // - taken once: the guard's own drop does not run.
        let guard = unsafe { ManuallyDrop::take(&mut this.guard) };
        MappedRLockGuard { raw: this.lock.raw(), guard: ManuallyDrop::new(guard), part, value: PhantomData }
    }

    /// Drops the guard; if it was the last, hands the lock over to the one who has waited for longest.
    #[inline]
    pub fn unlock_fair(guard: Self) {
        let mut guard = ManuallyDrop::new(guard);
        // SAFETY:
        // - taken once: the guard's own drop does not run.
        let raw = unsafe { ManuallyDrop::take(&mut guard.guard) };
        // SAFETY:
        // - the guard is of this lock.
        unsafe { guard.lock.raw().unlock_fair(raw) };
    }
}

impl<T: ?Sized> Drop for RLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY:
        // - taken once: this is the drop.
        let raw = unsafe { ManuallyDrop::take(&mut self.guard) };
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.lock.raw().unlock(raw) };
    }
}

impl<T: ?Sized> Deref for RLockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY:
        // - the lock is held by this thread, and nobody gets a unique reference to the value while it is.
        unsafe { &*self.lock.data() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

/// Shared access to a part of what an [`RLock`] protects: made by [`RLockGuard::map`].
#[must_use = "if unused the lock is released at once"]
#[clippy::has_significant_drop]
pub struct MappedRLockGuard<'a, T: ?Sized> {
    raw: &'a RawRLock,
    guard: ManuallyDrop<RawGuard>,
    part: *const T,
    value: PhantomData<&'a T>,
}

// SAFETY:
// - a shared mapped guard gives out `&T` and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for MappedRLockGuard<'_, T> {}

impl<'a, T: ?Sized> MappedRLockGuard<'a, T> {
    /// Narrows the guard further.
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRLockGuard<'a, U> {
        let part: *const U = f(&guard);
        let mut this = ManuallyDrop::new(guard);
        // SAFETY:
        // - taken once: the guard's own drop does not run.
        let guard = unsafe { ManuallyDrop::take(&mut this.guard) };
        MappedRLockGuard { raw: this.raw, guard: ManuallyDrop::new(guard), part, value: PhantomData }
    }

    /// Drops the guard, and hands the lock over if it was the last: see [`RLockGuard::unlock_fair`].
    #[inline]
    pub fn unlock_fair(guard: Self) {
        let mut guard = ManuallyDrop::new(guard);
        // SAFETY:
        // - taken once: the guard's own drop does not run.
        let raw = unsafe { ManuallyDrop::take(&mut guard.guard) };
        // SAFETY:
        // - the guard is of this lock.
        unsafe { guard.raw.unlock_fair(raw) };
    }
}

impl<T: ?Sized> Drop for MappedRLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY:
        // - taken once: this is the drop.
        let raw = unsafe { ManuallyDrop::take(&mut self.guard) };
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.raw.unlock(raw) };
    }
}

impl<T: ?Sized> Deref for MappedRLockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY:
        // - the part lies in the value (or lives for ever), which stays locked and in place while the guard is there.
        unsafe { &*self.part }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedRLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedRLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
