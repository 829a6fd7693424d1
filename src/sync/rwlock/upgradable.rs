//! The ways to read as one who may become the writer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::RwLock;
use super::guard::{ArcRwLockUpgradableReadGuard, RwLockUpgradableReadGuard};
use super::raw::{RawRwLockGuard, UpgradablyReading};
use crate::deadlock::Deadlock;
use crate::deadlock::door::Limit;
use crate::sync::guard::Guard;

impl<T: ?Sized> RwLock<T> {
    /// Reads as one who may become the writer ([`upgrade`](RwLockUpgradableReadGuard::upgrade)), waiting while somebody else
    /// writes, waits to, or reads upgradably. Plain readers may read at the same time.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread reads upgradably or writes already; `Cycle`; `Abandoned`. By policy a panic, an abort, or a
    /// printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockUpgradableReadGuard;
    ///
    /// let names = RwLock::new(vec!["bight"]);
    /// let guard = names.upgradable_read();
    /// if !guard.contains(&"loop") {
    ///     // Nobody has written since the look.
    ///     RwLockUpgradableReadGuard::upgrade(guard).push("loop");
    /// }
    /// assert_eq!(names.read().len(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn upgradable_read(&self) -> RwLockUpgradableReadGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.upgradable_guard(self.raw.upgradable_read(Self::upgradably_reading())) }
    }

    /// Reads as [`upgradable_read`](Self::upgradable_read) does, or returns why that will never be.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`. What
    /// the thread holds stays held: drop it (back off) before trying again.
    ///
    /// # Deadlocks
    ///
    /// As [`upgradable_read`](Self::upgradable_read); they come as the error.
    #[inline]
    #[track_caller]
    pub fn acquire_upgradable_read(&self) -> Result<RwLockUpgradableReadGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.upgradable_guard(self.raw.acquire_upgradable_read(Self::upgradably_reading())?) })
    }

    /// Reads upgradably if nobody writes, waits to, or reads upgradably right now. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(());
    /// let guard = lock.try_upgradable_read();
    /// assert!(guard.is_some());
    /// assert!(lock.try_upgradable_read().is_none() && lock.try_read().is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read(&self) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.upgradable_guard(self.raw.try_upgradable_read::<true>(Self::upgradably_reading())?) })
    }

    /// Reads upgradably if nobody else writes, waits to, or reads upgradably any more within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`upgradable_read`](Self::upgradable_read), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. A wait whose `timeout` is longer than the clock can
    /// represent is judged like any other.
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read_for(&self, timeout: Duration) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe {
            self.upgradable_guard(
                self.raw.upgradable_read_within(Self::upgradably_reading(), || Limit::after(timeout))?,
            )
        })
    }

    /// Reads upgradably if nobody else writes, waits to, or reads upgradably any more before `deadline`. See [`try_upgradable_read_for`](Self::try_upgradable_read_for).
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read_until(&self, deadline: Instant) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe {
            self.upgradable_guard(
                self.raw.upgradable_read_within(Self::upgradably_reading(), || Limit::Until(deadline))?,
            )
        })
    }

    /// Reads upgradably as [`upgradable_read`](Self::upgradable_read) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Panics
    ///
    /// As [`upgradable_read`](Self::upgradable_read).
    ///
    /// # Deadlocks
    ///
    /// As [`upgradable_read`](Self::upgradable_read).
    #[inline]
    #[track_caller]
    pub fn upgradable_read_arc(self: &Arc<Self>) -> ArcRwLockUpgradableReadGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.upgradable_guard_arc(self.raw.upgradable_read(Self::upgradably_reading())) }
    }

    /// Reads upgradably as [`acquire_upgradable_read`](Self::acquire_upgradable_read) does, with a guard that keeps the lock alive instead of borrowing it.
    ///
    /// # Errors
    ///
    /// As [`acquire_upgradable_read`](Self::acquire_upgradable_read).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_upgradable_read`](Self::acquire_upgradable_read).
    #[inline]
    #[track_caller]
    pub fn acquire_upgradable_read_arc(self: &Arc<Self>) -> Result<ArcRwLockUpgradableReadGuard<T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.upgradable_guard_arc(self.raw.acquire_upgradable_read(Self::upgradably_reading())?) })
    }

    /// Reads upgradably as [`try_upgradable_read`](Self::try_upgradable_read) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read_arc(self: &Arc<Self>) -> Option<ArcRwLockUpgradableReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.upgradable_guard_arc(self.raw.try_upgradable_read::<true>(Self::upgradably_reading())?) })
    }

    /// Reads upgradably as [`try_upgradable_read_for`](Self::try_upgradable_read_for) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcRwLockUpgradableReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe {
            self.upgradable_guard_arc(
                self.raw.upgradable_read_within(Self::upgradably_reading(), || Limit::after(timeout))?,
            )
        })
    }

    /// Reads upgradably as [`try_upgradable_read_until`](Self::try_upgradable_read_until) does, with a guard that keeps the lock alive instead of borrowing it.
    #[inline]
    #[track_caller]
    pub fn try_upgradable_read_arc_until(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Option<ArcRwLockUpgradableReadGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe {
            self.upgradable_guard_arc(
                self.raw.upgradable_read_within(Self::upgradably_reading(), || Limit::Until(deadline))?,
            )
        })
    }

    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn upgradable_guard(
        &self,
        raw_guard: RawRwLockGuard<UpgradablyReading>,
    ) -> RwLockUpgradableReadGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        RwLockUpgradableReadGuard::of(unsafe { Guard::new(self, raw_guard) })
    }

    /// Makes a guard of a raw one; it keeps the lock alive.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn upgradable_guard_arc(
        self: &Arc<Self>,
        raw_guard: RawRwLockGuard<UpgradablyReading>,
    ) -> ArcRwLockUpgradableReadGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        ArcRwLockUpgradableReadGuard::of(unsafe { Guard::new(Arc::clone(self), raw_guard) })
    }
}
