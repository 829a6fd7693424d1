//! The upgradable reader becomes the writer.

use super::state::{READERS_PARKED, change};
use super::{RawRwLock, RawRwLockGuard, UpgradablyReading, Writing};
use crate::deadlock::context::Context;
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::registry;
use crate::primitive::Ordering::SeqCst;
use crate::sync::identity::Identity;
use crate::sync::request::Request;

impl<I: Identity> RawRwLock<I> {
    /// Becomes the writer, if nobody else reads.
    ///
    /// # Errors
    ///
    /// The guard, if somebody does.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    pub(crate) unsafe fn try_upgrade(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
    ) -> Result<RawRwLockGuard<Writing>, RawRwLockGuard<UpgradablyReading>> {
        if self.is_known_to_be_read() {
            return Err(guard);
        }
        self.begin_upgrade();
        if self.enter::<true>() {
            return Ok(self.written_instead(guard, |me| self.list(me, request)));
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
    pub(crate) unsafe fn upgrade(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
        limit: Limit,
        failure: Failure,
        untimed: bool,
    ) -> Result<RawRwLockGuard<Writing>, (RawRwLockGuard<UpgradablyReading>, WaitError)> {
        self.begin_upgrade();
        if self.enter::<false>() {
            return Ok(self.written_instead(guard, |me| self.list(me, request)));
        }
        let is_ranked = self.identity.is_ranked();
        // SAFETY:
        // - the guard is of this lock (caller).
        let guard = if is_ranked && untimed { unsafe { self.check_upgrade(guard, request) } } else { guard };
        // The guard's context waits for this one, if it is another: so the turn stays its own for now.
        let me = registry::current();
        let drained = match is_ranked {
            true => self.drain(me, request, limit, failure),
            false => self.drain_slow(me, request, limit, failure),
        };
        match drained {
            Ok(writing) => Ok(self.written_instead(guard, |_| writing)),
            Err(error) => {
                self.end_upgrade();
                Err((guard, error))
            }
        }
    }

    /// Exchanges the guard for the writer's, after that has entered. The writer is the context that runs, which need not be the
    /// guard's: a task that runs in its waiter's place may have found the guard in a thread-local.
    fn written_instead(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        writing: impl FnOnce(&'static Context) -> RawRwLockGuard<Writing>,
    ) -> RawRwLockGuard<Writing> {
        let me = registry::current();
        self.set_owner(me);
        Self::unlist(&guard);
        writing(me)
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
        struct Held<'a, I: Identity>(&'a RawRwLock<I>, Option<RawRwLockGuard<UpgradablyReading>>);
        impl<I: Identity> Drop for Held<'_, I> {
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
