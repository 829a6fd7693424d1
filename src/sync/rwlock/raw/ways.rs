//! The ways to ask a raw read-write lock: for good or with a limit, for a panic or an error.

use super::{RawRwLock, RawRwLockGuard, Reading, UpgradablyReading, Writing};
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::{Deadlock, hazard};
use crate::sync::identity::Identity;
use crate::sync::request::Request;

impl<I: Identity> RawRwLock<I> {
    /// Reads, or panics if that is a deadlock and the policy says so. A `recursive` reader waits for no writer that waits.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn read(&self, request: Request, recursive: bool) -> RawRwLockGuard<Reading> {
        match self.read_at_once(request, recursive) {
            Some(guard) => guard,
            None => or_raise(self.read_untimed(request, recursive, Failure::Unwind)),
        }
    }

    /// Reads, or returns why that can never be.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn acquire_read(
        &self,
        request: Request,
        recursive: bool,
    ) -> Result<RawRwLockGuard<Reading>, Deadlock> {
        match self.read_at_once(request, recursive) {
            Some(guard) => Ok(guard),
            None => self.read_untimed(request, recursive, Failure::Value).map_err(WaitError::deadlock),
        }
    }

    /// Reads if that is possible before the limit.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn read_within(
        &self,
        request: Request,
        recursive: bool,
        limit: impl FnOnce() -> Limit,
    ) -> Option<RawRwLockGuard<Reading>> {
        match self.read_at_once(request, recursive) {
            Some(guard) => Some(guard),
            None => within_or_raise(self.read_slow(request, recursive, limit(), Failure::Unwind)),
        }
    }

    /// Reads, if the lock has no rank, that is possible at once, and no hazard is looked for.
    #[inline]
    fn read_at_once(&self, request: Request, recursive: bool) -> Option<RawRwLockGuard<Reading>> {
        if recursive {
            self.try_read::<false>(request, true)
        } else if hazard::are_looked_for() {
            // By the cold path, which then does all of it: a look that comes back from there to here would cost the other reads
            // half of their time.
            None
        } else {
            self.try_read_fast::<false>(request)
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn read_untimed(
        &self,
        request: Request,
        recursive: bool,
        failure: Failure,
    ) -> Result<RawRwLockGuard<Reading>, WaitError> {
        if !recursive {
            self.check_read(request);
        }
        self.check_rank(request);
        self.read_slow(request, recursive, Limit::None, failure)
    }

    /// Writes, or panics if that is a deadlock and the policy says so.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn write(&self, request: Request) -> RawRwLockGuard<Writing> {
        match self.try_write_fast(request) {
            Some(guard) => guard,
            None => or_raise(self.write_untimed(request, Failure::Unwind)),
        }
    }

    /// Writes, or returns why that can never be.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn acquire_write(&self, request: Request) -> Result<RawRwLockGuard<Writing>, Deadlock> {
        match self.try_write_fast(request) {
            Some(guard) => Ok(guard),
            None => self.write_untimed(request, Failure::Value).map_err(WaitError::deadlock),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn write_untimed(&self, request: Request, failure: Failure) -> Result<RawRwLockGuard<Writing>, WaitError> {
        self.check_rank(request);
        self.write_slow(request, Limit::None, failure)
    }

    /// Writes if that is possible before the limit.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn write_within(
        &self,
        request: Request,
        limit: impl FnOnce() -> Limit,
    ) -> Option<RawRwLockGuard<Writing>> {
        match self.try_write_fast(request) {
            Some(guard) => Some(guard),
            None => within_or_raise(self.write_slow(request, limit(), Failure::Unwind)),
        }
    }

    /// Reads upgradably, or panics if that is a deadlock and the policy says so.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn upgradable_read(&self, request: Request) -> RawRwLockGuard<UpgradablyReading> {
        match self.upgradable_read_at_once(request) {
            Some(guard) => guard,
            None => or_raise(self.upgradable_read_untimed(request, Failure::Unwind)),
        }
    }

    /// [`read_at_once`](Self::read_at_once), upgradably.
    #[inline]
    fn upgradable_read_at_once(&self, request: Request) -> Option<RawRwLockGuard<UpgradablyReading>> {
        if hazard::are_looked_for() { None } else { self.try_upgradable_read::<false>(request) }
    }

    /// Reads upgradably, or returns why that can never be.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn acquire_upgradable_read(
        &self,
        request: Request,
    ) -> Result<RawRwLockGuard<UpgradablyReading>, Deadlock> {
        match self.upgradable_read_at_once(request) {
            Some(guard) => Ok(guard),
            None => self.upgradable_read_untimed(request, Failure::Value).map_err(WaitError::deadlock),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn upgradable_read_untimed(
        &self,
        request: Request,
        failure: Failure,
    ) -> Result<RawRwLockGuard<UpgradablyReading>, WaitError> {
        self.check_read(request);
        self.check_rank(request);
        self.upgradable_read_slow(request, Limit::None, failure)
    }

    /// Reads upgradably if that is possible before the limit.
    #[inline]
    #[track_caller]
    pub(in crate::sync::rwlock) fn upgradable_read_within(
        &self,
        request: Request,
        limit: impl FnOnce() -> Limit,
    ) -> Option<RawRwLockGuard<UpgradablyReading>> {
        match self.try_upgradable_read::<false>(request) {
            Some(guard) => Some(guard),
            None => within_or_raise(self.upgradable_read_slow(request, limit(), Failure::Unwind)),
        }
    }
}

#[inline]
#[track_caller]
fn or_raise<M>(result: Result<RawRwLockGuard<M>, WaitError>) -> RawRwLockGuard<M> {
    match result {
        Ok(guard) => guard,
        Err(error) => error.deadlock().raise(),
    }
}

#[inline]
#[track_caller]
fn within_or_raise<M>(result: Result<RawRwLockGuard<M>, WaitError>) -> Option<RawRwLockGuard<M>> {
    match result {
        Ok(guard) => Some(guard),
        Err(WaitError::TimedOut) => None,
        // The time-out was longer than the clock can represent.
        Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
    }
}
