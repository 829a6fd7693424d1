//! The ways to write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RwLock;
use super::guard::{ArcRwLockWriteGuard, RwLockWriteGuard};
use super::raw::{RawRwLockGuard, Writing};
use crate::deadlock::Deadlock;
use crate::deadlock::door::Limit;
use crate::sync::guard::Guard;

impl<T: ?Sized> RwLock<T> {
    /// Writes, waiting until nobody else reads or writes. Readers that come meanwhile wait until this writer has left.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread reads or writes the lock already; `Cycle` as soon as one of the readers waited for is part of
    /// it; `Abandoned`. By policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(1);
    /// *lock.write() += 1;
    /// assert_eq!(*lock.read(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.write_guard(self.raw.write(Self::writing())) }
    }

    /// Writes, waiting until nobody else reads or writes, or returns why that will never be.
    ///
    /// The same wait as [`write`](Self::write); it costs the same.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`. What
    /// the thread holds stays held: drop it (back off) before trying again. Readers are let in again.
    ///
    /// # Deadlocks
    ///
    /// As [`write`](Self::write); they come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{RwLock, deadlock::Kind};
    ///
    /// let lock = RwLock::new(());
    /// let guard = lock.read();
    /// assert_eq!(lock.acquire_write().unwrap_err().report().kind(), Kind::Relock);
    /// drop(guard);
    /// assert!(lock.acquire_write().is_ok());
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_write(&self) -> Result<RwLockWriteGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.write_guard(self.raw.acquire_write(Self::writing())?) })
    }

    /// Writes if nobody reads or writes right now. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(());
    /// let guard = lock.read();
    /// assert!(lock.try_write().is_none());
    /// drop(guard);
    /// assert!(lock.try_write().is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard(self.raw.try_write(Self::writing())?) })
    }

    /// Writes if nobody else reads or writes any more within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. A wait whose `timeout` is longer than the clock can
    /// represent is judged like any other.
    #[inline]
    #[track_caller]
    pub fn try_write_for(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard(self.raw.write_within(Self::writing(), || Limit::after(timeout))?) })
    }

    /// Writes if nobody else reads or writes any more before `deadline`. See [`try_write_for`](Self::try_write_for).
    #[inline]
    #[track_caller]
    pub fn try_write_until(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard(self.raw.write_within(Self::writing(), || Limit::Until(deadline))?) })
    }

    /// Writes as [`write`](Self::write) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Panics
    ///
    /// As [`write`](Self::write).
    ///
    /// # Deadlocks
    ///
    /// As [`write`](Self::write).
    #[inline]
    #[track_caller]
    pub fn write_arc(self: &Arc<Self>) -> ArcRwLockWriteGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.write_guard_arc(self.raw.write(Self::writing())) }
    }

    /// Writes as [`acquire_write`](Self::acquire_write) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Errors
    ///
    /// As [`acquire_write`](Self::acquire_write).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_write`](Self::acquire_write).
    #[inline]
    #[track_caller]
    pub fn acquire_write_arc(self: &Arc<Self>) -> Result<ArcRwLockWriteGuard<T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.write_guard_arc(self.raw.acquire_write(Self::writing())?) })
    }

    /// Writes as [`try_write`](Self::try_write) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_write_arc(self: &Arc<Self>) -> Option<ArcRwLockWriteGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard_arc(self.raw.try_write(Self::writing())?) })
    }

    /// Writes as [`try_write_for`](Self::try_write_for) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_write_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcRwLockWriteGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard_arc(self.raw.write_within(Self::writing(), || Limit::after(timeout))?) })
    }

    /// Writes as [`try_write_until`](Self::try_write_until) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_write_arc_until(self: &Arc<Self>, deadline: Instant) -> Option<ArcRwLockWriteGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.write_guard_arc(self.raw.write_within(Self::writing(), || Limit::Until(deadline))?) })
    }

    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn write_guard(&self, raw_guard: RawRwLockGuard<Writing>) -> RwLockWriteGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        RwLockWriteGuard::of(unsafe { Guard::new(self, raw_guard) })
    }

    /// Makes a guard of a raw one; it keeps the lock alive.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn write_guard_arc(self: &Arc<Self>, raw_guard: RawRwLockGuard<Writing>) -> ArcRwLockWriteGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        ArcRwLockWriteGuard::of(unsafe { Guard::new(Arc::clone(self), raw_guard) })
    }
}
