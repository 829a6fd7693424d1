//! The upgradable reader becomes the writer.

use super::state::{READERS_PARKED, change};
use super::{RawRwLock, RawRwLockGuard, UpgradablyReading, Writing};
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::primitive::Ordering::SeqCst;
use crate::sync::request::Request;

impl RawRwLock {
    /// Becomes the writer, if nobody else reads.
    ///
    /// # Errors
    ///
    /// The guard, if somebody does.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    pub(in crate::sync::rwlock) unsafe fn try_upgrade(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
    ) -> Result<RawRwLockGuard<Writing>, RawRwLockGuard<UpgradablyReading>> {
        self.begin_upgrade();
        if self.enter::<true>() {
            return Ok(self.relist(guard, request));
        }
        self.end_upgrade();
        Err(guard)
    }

    /// Becomes the writer once nobody else reads. Ranks are checked if it is `untimed`.
    ///
    /// # Errors
    ///
    /// The guard, and why.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[track_caller]
    pub(in crate::sync::rwlock) unsafe fn upgrade(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
        limit: Limit,
        failure: Failure,
        untimed: bool,
    ) -> Result<RawRwLockGuard<Writing>, (RawRwLockGuard<UpgradablyReading>, WaitError)> {
        self.begin_upgrade();
        if self.enter::<false>() {
            return Ok(self.relist(guard, request));
        }
        let is_ranked = self.origin.is_ranked();
        // SAFETY:
        // - the guard is of this lock (caller).
        let guard = if is_ranked && untimed { unsafe { self.check_upgrade(guard, request) } } else { guard };
        let drained = match is_ranked {
            true => self.drain(guard.context, request, limit, failure),
            false => self.drain_slow(guard.context, request, limit, failure),
        };
        match drained {
            Ok(writing) => {
                guard.context.holds.give(guard.hold);
                Ok(writing)
            }
            Err(error) => {
                self.end_upgrade();
                Err((guard, error))
            }
        }
    }

    /// Checks ranks while the guard is no more than upgradable: hooks may read. If that panics, the guard is released.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[cold]
    #[track_caller]
    unsafe fn check_upgrade(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
    ) -> RawRwLockGuard<UpgradablyReading> {
        struct Held<'a>(&'a RawRwLock, Option<RawRwLockGuard<UpgradablyReading>>);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                if let Some(guard) = self.1.take() {
                    // SAFETY:
                    // - the guard is of this lock (`check_upgrade`'s contract).
                    unsafe { self.0.stop_upgradable(guard) };
                }
            }
        }
        self.end_upgrade();
        let mut held = Held(self, Some(guard));
        self.check_rank(request);
        self.begin_upgrade();
        held.1.take().expect("the check gives nothing up")
    }

    fn begin_upgrade(&self) {
        // ORDERING: SeqCst, as where any writer begins: see `exchange`.
        self.state.fetch_add(change::PENDING_ENDS.wrapping_neg(), SeqCst);
    }

    fn end_upgrade(&self) {
        if self.change(change::PENDING_ENDS).has(READERS_PARKED) {
            self.wake_readers();
        }
    }
}
