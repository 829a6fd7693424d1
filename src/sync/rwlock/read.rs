//! The ways to read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RwLock;
use super::guard::{ArcRwLockReadGuard, RwLockReadGuard};
use super::raw::{RawRwLockGuard, Reading};
use crate::deadlock::Deadlock;
use crate::deadlock::door::Limit;
use crate::sync::guard::Guard;

impl<T: ?Sized> RwLock<T> {
    /// Reads, waiting while a writer is in or waits.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message; if this thread reads already and the [hazard policy](crate::deadlock::HazardPolicy) is `Panic`.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread writes; `Cycle`, also through a writer that waits and is next; `Abandoned`. By policy a
    /// panic, an abort, or a printed report and a wait for ever.
    ///
    /// A thread that reads already must not wait for a writer that waits for it: use
    /// [`read_recursive`](Self::read_recursive) for its second read.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(1);
    /// let (one, other) = (lock.read(), lock.try_read().unwrap());
    /// assert_eq!(*one + *other, 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.read_guard(self.raw.read(Self::reading(), false)) }
    }

    /// Reads, waiting while a writer is in or waits, or returns why that will never end.
    ///
    /// The same wait as [`read`](Self::read); it costs the same.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`. What
    /// the thread holds stays held: drop it (back off) before trying again.
    ///
    /// # Deadlocks
    ///
    /// As [`read`](Self::read); they come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{RwLock, deadlock::Kind};
    ///
    /// let lock = RwLock::new(());
    /// let guard = lock.write();
    /// assert_eq!(lock.acquire_read().unwrap_err().report().kind(), Kind::Relock);
    /// drop(guard);
    /// assert!(lock.acquire_read().is_ok());
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_read(&self) -> Result<RwLockReadGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.read_guard(self.raw.acquire_read(Self::reading(), false)?) })
    }

    /// Reads if no writer is in or waits right now. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(());
    /// let guard = lock.write();
    /// assert!(lock.try_read().is_none());
    /// drop(guard);
    /// assert!(lock.try_read().is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.try_read::<true>(Self::reading(), false)?) })
    }

    /// Reads if, within `timeout`, there is a moment at which no writer is in or waits.
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. A wait whose `timeout` is longer than the clock can
    /// represent is judged like any other.
    #[inline]
    #[track_caller]
    pub fn try_read_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.read_within(Self::reading(), false, || Limit::after(timeout))?) })
    }

    /// Reads if, before `deadline`, there is a moment at which no writer is in or waits. See [`try_read_for`](Self::try_read_for).
    #[inline]
    #[track_caller]
    pub fn try_read_until(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.read_within(Self::reading(), false, || Limit::Until(deadline))?) })
    }

    /// Reads as [`read`](Self::read) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Panics
    ///
    /// As [`read`](Self::read).
    ///
    /// # Deadlocks
    ///
    /// As [`read`](Self::read).
    #[inline]
    #[track_caller]
    pub fn read_arc(self: &Arc<Self>) -> ArcRwLockReadGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.read_guard_arc(self.raw.read(Self::reading(), false)) }
    }

    /// Reads as [`acquire_read`](Self::acquire_read) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Errors
    ///
    /// As [`acquire_read`](Self::acquire_read).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_read`](Self::acquire_read).
    #[inline]
    #[track_caller]
    pub fn acquire_read_arc(self: &Arc<Self>) -> Result<ArcRwLockReadGuard<T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.read_guard_arc(self.raw.acquire_read(Self::reading(), false)?) })
    }

    /// Reads as [`try_read`](Self::try_read) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_arc(self: &Arc<Self>) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.try_read::<true>(Self::reading(), false)?) })
    }

    /// Reads as [`try_read_for`](Self::try_read_for) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.read_within(Self::reading(), false, || Limit::after(timeout))?) })
    }

    /// Reads as [`try_read_until`](Self::try_read_until) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_arc_until(self: &Arc<Self>, deadline: Instant) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.read_within(Self::reading(), false, || Limit::Until(deadline))?) })
    }

    /// Reads, waiting while a writer is in, and for none that waits: for a thread that may read already.
    ///
    /// Always succeeds at once while anybody reads. Writers that wait are overtaken: many such reads starve them. It is counted
    /// in the lock, as reads after a write are.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread writes; `Cycle`; `Abandoned`. By policy a panic, an abort, or a printed report and a wait for
    /// ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    ///
    /// fn depth(tree: &RwLock<Vec<u32>>, at: usize) -> usize {
    ///     let nodes = tree.read_recursive(); // the caller reads as well
    ///     if at == nodes.len() { 0 } else { 1 + depth(tree, at + 1) }
    /// }
    ///
    /// let tree = RwLock::new(vec![1, 2, 3]);
    /// let _guard = tree.read();
    /// assert_eq!(depth(&tree, 0), 3);
    /// ```
    #[inline]
    #[track_caller]
    pub fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.read_guard(self.raw.read(Self::reading(), true)) }
    }

    /// Reads as [`read_recursive`](Self::read_recursive) does, or returns why that will never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_read`](Self::acquire_read).
    ///
    /// # Deadlocks
    ///
    /// As [`read_recursive`](Self::read_recursive); they come as the error.
    #[inline]
    #[track_caller]
    pub fn acquire_read_recursive(&self) -> Result<RwLockReadGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.read_guard(self.raw.acquire_read(Self::reading(), true)?) })
    }

    /// Reads if no writer is in right now, whether one waits or not. Never waits.
    #[inline]
    #[track_caller]
    pub fn try_read_recursive(&self) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.try_read::<true>(Self::reading(), true)?) })
    }

    /// Reads if no writer is in any more within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`read_recursive`](Self::read_recursive), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. A wait whose `timeout` is longer than the clock can
    /// represent is judged like any other.
    #[inline]
    #[track_caller]
    pub fn try_read_recursive_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.read_within(Self::reading(), true, || Limit::after(timeout))?) })
    }

    /// Reads if no writer is in any more before `deadline`. See [`try_read_recursive_for`](Self::try_read_recursive_for).
    #[inline]
    #[track_caller]
    pub fn try_read_recursive_until(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard(self.raw.read_within(Self::reading(), true, || Limit::Until(deadline))?) })
    }

    /// Reads as [`read_recursive`](Self::read_recursive) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Panics
    ///
    /// As [`read_recursive`](Self::read_recursive).
    ///
    /// # Deadlocks
    ///
    /// As [`read_recursive`](Self::read_recursive).
    #[inline]
    #[track_caller]
    pub fn read_recursive_arc(self: &Arc<Self>) -> ArcRwLockReadGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.read_guard_arc(self.raw.read(Self::reading(), true)) }
    }

    /// Reads as [`acquire_read_recursive`](Self::acquire_read_recursive) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Errors
    ///
    /// As [`acquire_read_recursive`](Self::acquire_read_recursive).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_read_recursive`](Self::acquire_read_recursive).
    #[inline]
    #[track_caller]
    pub fn acquire_read_recursive_arc(self: &Arc<Self>) -> Result<ArcRwLockReadGuard<T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.read_guard_arc(self.raw.acquire_read(Self::reading(), true)?) })
    }

    /// Reads as [`try_read_recursive`](Self::try_read_recursive) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_recursive_arc(self: &Arc<Self>) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.try_read::<true>(Self::reading(), true)?) })
    }

    /// Reads as [`try_read_recursive_for`](Self::try_read_recursive_for) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_recursive_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.read_within(Self::reading(), true, || Limit::after(timeout))?) })
    }

    /// Reads as [`try_read_recursive_until`](Self::try_read_recursive_until) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_read_recursive_arc_until(self: &Arc<Self>, deadline: Instant) -> Option<ArcRwLockReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.read_guard_arc(self.raw.read_within(Self::reading(), true, || Limit::Until(deadline))?) })
    }

    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn read_guard(&self, raw_guard: RawRwLockGuard<Reading>) -> RwLockReadGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        RwLockReadGuard::of(unsafe { Guard::new(self, raw_guard) })
    }

    /// Makes a guard of a raw one; it keeps the lock alive.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn read_guard_arc(self: &Arc<Self>, raw_guard: RawRwLockGuard<Reading>) -> ArcRwLockReadGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        ArcRwLockReadGuard::of(unsafe { Guard::new(Arc::clone(self), raw_guard) })
    }
}
