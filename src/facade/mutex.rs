//! The raw mutex.

use std::time::{Duration, Instant};

use super::{NEVER_UNWINDS, Ownership, failure_of, is_granted, or_raise};
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::release::unlist;
use crate::deadlock::resource::{HoldMode, ResourceType, Site, TypeOf};
use crate::sync::identity::{Anonymous, UNKNOWN_OWNER};
use crate::sync::request::Request;
use crate::sync::{RawLock, RawLockGuard};

/// A mutex without a value, which is released without a guard: a [`Lock`](crate::Lock)'s word and nothing else. Reports call it
/// `FairMutex` if it is `FAIR`, and `Mutex` otherwise; the type behaves the same.
pub struct RawMutex<O: Ownership = Anonymous, const FAIR: bool = false> {
    raw: RawLock<O>,
}

impl<O: Ownership, const FAIR: bool> RawMutex<O, FAIR> {
    /// A free mutex.
    #[expect(clippy::declare_interior_mutable_const, reason = "as in `lock_api`: it is copied into each mutex")]
    pub const INIT: Self = Self { raw: RawLock::of(O::NEW) };

    const TYPE_OF: TypeOf = || ResourceType {
        primitive: if FAIR { "FairMutex" } else { "Mutex" },
        data: "",
        mode: HoldMode::Exclusive,
        id_of: None,
    };

    /// Locks.
    #[inline]
    #[track_caller]
    pub fn lock(&self) {
        let request = Request::new(Self::TYPE_OF);
        if self.raw.try_lock_fast(registry::current(), request).is_none() {
            self.lock_slow(request);
        }
    }

    /// Locks if that is possible at once. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> bool {
        let request = Request::new(Self::TYPE_OF);
        // The word is looked at first: it is polled where a lock is tried in a loop.
        !self.raw.is_locked()
            && (self.raw.try_lock_fast(registry::current(), request).is_some() || self.try_lock_slow(request))
    }

    /// Locks if that is possible before `limit`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_until(&self, limit: Instant) -> bool {
        let request = Request::new(Self::TYPE_OF);
        self.raw.try_lock_fast(registry::current(), request).is_some()
            || self.try_lock_limited(request, Limit::Until(limit))
    }

    /// Locks if that is possible within `timeout`; one that is longer than the clock can represent is none. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> bool {
        let request = Request::new(Self::TYPE_OF);
        self.raw.try_lock_fast(registry::current(), request).is_some()
            || self.try_lock_limited(request, Limit::after(timeout))
    }

    /// Returns whether it is locked.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Unlocks, whoever locked it.
    ///
    /// # Safety
    ///
    /// It is locked, and nobody uses what it protects on behalf of that acquisition.
    #[inline]
    pub unsafe fn unlock(&self) {
        if !O::HAS_OWNERS {
            return self.raw.release(UNKNOWN_OWNER);
        }
        match self.guard() {
            // SAFETY:
            // - the guard is of this lock.
            Some(guard) => unsafe { self.raw.unlock(guard) },
            None => self.unlock_slow(false),
        }
    }

    /// Unlocks, whoever locked it, and hands it over to the thread that has waited for longest, if there is one.
    ///
    /// # Safety
    ///
    /// As for [`unlock`](Self::unlock).
    #[inline]
    pub unsafe fn unlock_fair(&self) {
        if !O::HAS_OWNERS {
            return self.raw.release_fair(UNKNOWN_OWNER);
        }
        match self.guard() {
            // SAFETY:
            // - the guard is of this lock.
            Some(guard) => unsafe { self.raw.unlock_fair(guard) },
            None => self.unlock_slow(true),
        }
    }

    /// Unlocks and locks again, if somebody waits.
    ///
    /// # Safety
    ///
    /// As for [`unlock`](Self::unlock).
    #[inline]
    #[track_caller]
    pub unsafe fn bump(&self) {
        if self.raw.has_waiters() {
            let request = Request::new(Self::TYPE_OF);
            // SAFETY:
            // - it is locked (caller).
            unsafe { self.unlock_fair() };
            self.relock(request.site);
        }
    }

    /// Locks again on behalf of a guard that is still in use: it cannot fail.
    pub(super) fn relock(&self, site: Site) {
        let request = Request { site, type_of: Self::TYPE_OF };
        while self.raw.wait(request, Limit::None, NEVER_UNWINDS).is_err() {}
    }

    /// Returns the key of its holds and waits.
    pub(super) fn key(&self) -> usize {
        self.raw.key()
    }

    /// Returns the guard of the acquisition, if the calling context holds it and that is easy to see.
    #[inline]
    fn guard(&self) -> Option<RawLockGuard> {
        let me = registry::current();
        // Its number is in the word: a hold of the same address may be of a lock that was there before.
        let is_mine = self.raw.owner() == Some(me.id());
        me.holds.only(self.raw.key()).filter(|_| is_mine).map(|hold| RawLockGuard::new(me, hold))
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self, fair: bool) {
        let Some(owner) = self.raw.owner() else { return };
        unlist(owner, self.raw.key(), HoldMode::Exclusive);
        if fair { self.raw.release_fair(owner.get()) } else { self.raw.release(owner.get()) }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slow(&self, request: Request) {
        or_raise(self.raw.wait(request, Limit::None, failure_of::<O>()));
    }

    /// [`try_lock`](Self::try_lock), whether threads queue or not.
    #[cold]
    #[inline(never)]
    fn try_lock_slow(&self, request: Request) -> bool {
        if O::HAS_OWNERS {
            // The list grows before the lock is taken: what allocates may want it.
            registry::current().holds.reserve();
        }
        self.raw.try_lock_at(request.type_of, request.site).is_some()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_lock_limited(&self, request: Request, limit: Limit) -> bool {
        is_granted(self.raw.wait(request, limit, failure_of::<O>()))
    }
}
