//! The raw read-write lock.

use std::time::{Duration, Instant};

use super::{Ownership, failure_of, is_granted, may_unwind, or_raise};
use crate::deadlock::context::Context;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::hazard;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::never_unwinds;
use crate::deadlock::registry;
use crate::deadlock::release::{find_share, unlist};
use crate::deadlock::resource::{HoldMode, ResourceType, TypeOf};
use crate::sync::identity::Anonymous;
use crate::sync::request::Request;
use crate::sync::{RawRwLock as Raw, RawRwLockGuard, Reading, UpgradablyReading, Writing, too_many_readers};

/// A read-write lock without a value, which is released without a guard: the words of an [`RwLock`](crate::RwLock) and nothing else.
///
/// A fair release does what a release does.
pub struct RawRwLock<O: Ownership = Anonymous> {
    raw: Raw<O>,
}

const fn described(mode: HoldMode) -> ResourceType {
    ResourceType { primitive: "RwLock", data: "", mode, id_of: None }
}

// A hold is found again by the address of its function, so there is one of each: none is inlined.

#[inline(never)]
fn reading() -> ResourceType {
    described(HoldMode::Read)
}

#[inline(never)]
fn upgradable() -> ResourceType {
    described(HoldMode::UpgradableRead)
}

#[inline(never)]
fn writing() -> ResourceType {
    described(HoldMode::Write)
}

const READING: TypeOf = reading;
const UPGRADABLE: TypeOf = upgradable;
const WRITING: TypeOf = writing;

impl<O: Ownership> RawRwLock<O> {
    /// A free lock.
    #[expect(clippy::declare_interior_mutable_const, reason = "as in `lock_api`: it is copied into each lock")]
    pub const INIT: Self = Self { raw: Raw::free(O::NEW) };

    // --- reading ---

    /// Reads. A `recursive` reader waits for no writer that waits.
    #[inline]
    #[track_caller]
    pub fn lock_shared(&self, recursive: bool) {
        let request = Request::new(READING);
        if !self.read_at_once(request, recursive) {
            or_raise(self.read_slow(request, recursive, Limit::None));
        }
    }

    /// Reads if that is possible at once. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_shared(&self, recursive: bool) -> bool {
        let request = Request::new(READING);
        !recursive && self.raw.try_read_fast::<false>(request).is_some() || self.try_read_slow(request, recursive)
    }

    /// Reads if that is possible before `limit`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_shared_until(&self, recursive: bool, limit: Instant) -> bool {
        let request = Request::new(READING);
        self.read_at_once(request, recursive) || is_granted(self.read_slow(request, recursive, Limit::Until(limit)))
    }

    /// Reads if that is possible within `timeout`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_shared_for(&self, recursive: bool, timeout: Duration) -> bool {
        let request = Request::new(READING);
        self.read_at_once(request, recursive) || is_granted(self.read_slow(request, recursive, Limit::after(timeout)))
    }

    #[inline]
    fn read_at_once(&self, request: Request, recursive: bool) -> bool {
        !recursive && !hazard::are_looked_for_in_foreign_code() && self.raw.try_read_fast::<false>(request).is_some()
    }

    #[cold]
    #[inline(never)]
    fn try_read_slow(&self, request: Request, recursive: bool) -> bool {
        registry::current().holds.reserve();
        self.raw.try_read::<false>(request, recursive).is_some()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn read_slow(&self, request: Request, recursive: bool, limit: Limit) -> Result<RawRwLockGuard<Reading>, WaitError> {
        registry::current().holds.reserve();
        if !recursive {
            self.check_read(request, limit);
        }
        self.raw.read_slow(request, recursive, limit, failure_of::<O>())
    }

    /// Stops reading, whoever began.
    ///
    /// # Safety
    ///
    /// It is read, and nobody uses what it protects on behalf of that acquisition.
    #[inline]
    pub unsafe fn unlock_shared(&self) {
        if !O::HAS_OWNERS {
            return self.raw.count_out();
        }
        let me = registry::current();
        match self.listed(me, READING) {
            Some(hold) => self.raw.end_listed_read(me, hold),
            None => self.unlock_shared_slow(),
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_shared_slow(&self) {
        match find_share(self.raw.id(), HoldMode::Read) {
            Some((context, hold)) => self.raw.end_listed_read(context, hold),
            None => self.raw.end_any_read(),
        }
    }

    // --- writing ---

    /// Writes.
    #[inline]
    #[track_caller]
    pub fn lock_exclusive(&self) {
        let request = Request::new(WRITING);
        if self.raw.try_write_fast(request).is_none() {
            or_raise(self.write_slow(request, Limit::None));
        }
    }

    /// Writes if that is possible at once. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_exclusive(&self) -> bool {
        let request = Request::new(WRITING);
        self.raw.try_write_fast(request).is_some() || self.try_write_slow(request)
    }

    /// Writes if that is possible before `limit`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_exclusive_until(&self, limit: Instant) -> bool {
        let request = Request::new(WRITING);
        self.raw.try_write_fast(request).is_some() || is_granted(self.write_slow(request, Limit::Until(limit)))
    }

    /// Writes if that is possible within `timeout`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        let request = Request::new(WRITING);
        self.raw.try_write_fast(request).is_some() || is_granted(self.write_slow(request, Limit::after(timeout)))
    }

    #[cold]
    #[inline(never)]
    fn try_write_slow(&self, request: Request) -> bool {
        registry::current().holds.reserve();
        self.raw.try_write(request).is_some()
    }

    #[cold]
    #[inline(never)]
    fn write_slow(&self, request: Request, limit: Limit) -> Result<RawRwLockGuard<Writing>, WaitError> {
        registry::current().holds.reserve();
        self.raw.write_slow(request, limit, failure_of::<O>())
    }

    /// Stops writing, whoever began.
    ///
    /// # Safety
    ///
    /// It is written, and nobody uses what it protects on behalf of that acquisition.
    #[inline]
    pub unsafe fn unlock_exclusive(&self) {
        // SAFETY:
        // - it is written (caller).
        unsafe { self.raw.stop_writing(self.turn_guard(WRITING)) };
    }

    // --- reading upgradably ---

    /// Reads upgradably.
    #[inline]
    #[track_caller]
    pub fn lock_upgradable(&self) {
        let request = Request::new(UPGRADABLE);
        if !self.upgradable_at_once(request) {
            or_raise(self.upgradable_slow(request, Limit::None));
        }
    }

    /// Reads upgradably if that is possible at once. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_upgradable(&self) -> bool {
        let request = Request::new(UPGRADABLE);
        registry::current().holds.reserve();
        self.raw.try_upgradable_read::<false>(request).is_some()
    }

    /// Reads upgradably if that is possible before `limit`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_upgradable_until(&self, limit: Instant) -> bool {
        let request = Request::new(UPGRADABLE);
        self.upgradable_at_once(request) || is_granted(self.upgradable_slow(request, Limit::Until(limit)))
    }

    /// Reads upgradably if that is possible within `timeout`. Returns whether it was.
    #[inline]
    #[track_caller]
    pub fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        let request = Request::new(UPGRADABLE);
        self.upgradable_at_once(request) || is_granted(self.upgradable_slow(request, Limit::after(timeout)))
    }

    #[inline]
    fn upgradable_at_once(&self, request: Request) -> bool {
        registry::current().holds.reserve();
        !hazard::are_looked_for_in_foreign_code() && self.raw.try_upgradable_read::<false>(request).is_some()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn upgradable_slow(&self, request: Request, limit: Limit) -> Result<RawRwLockGuard<UpgradablyReading>, WaitError> {
        self.check_read(request, limit);
        self.raw.upgradable_read_slow(request, limit, failure_of::<O>())
    }

    /// Stops reading upgradably, whoever began.
    ///
    /// # Safety
    ///
    /// It is read upgradably, and nobody uses what it protects on behalf of that acquisition.
    #[inline]
    pub unsafe fn unlock_upgradable(&self) {
        // SAFETY:
        // - it is read upgradably (caller).
        unsafe { self.raw.stop_upgradable(self.turn_guard(UPGRADABLE)) };
    }

    /// Becomes the writer.
    ///
    /// # Safety
    ///
    /// The caller has acquired it for reading upgradably.
    #[inline]
    #[track_caller]
    pub unsafe fn upgrade(&self) {
        // SAFETY:
        // - it is read upgradably by the caller (caller).
        if let Err(error) = unsafe { self.upgrade_within(Limit::None) } {
            error.deadlock().raise();
        }
    }

    /// Becomes the writer if that is possible at once. Returns whether it was.
    ///
    /// # Safety
    ///
    /// As for [`upgrade`](Self::upgrade).
    #[inline]
    #[track_caller]
    pub unsafe fn try_upgrade(&self) -> bool {
        let guard = self.own_turn_guard(Request::new(UPGRADABLE));
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.raw.try_upgrade(guard, Request::new(WRITING)) }.is_ok()
    }

    /// Becomes the writer if that is possible before `limit`. Returns whether it was.
    ///
    /// # Safety
    ///
    /// As for [`upgrade`](Self::upgrade).
    #[inline]
    #[track_caller]
    pub unsafe fn try_upgrade_until(&self, limit: Instant) -> bool {
        // SAFETY:
        // - it is read upgradably by the caller (caller).
        is_granted(unsafe { self.upgrade_within(Limit::Until(limit)) })
    }

    /// Becomes the writer if that is possible within `timeout`. Returns whether it was.
    ///
    /// # Safety
    ///
    /// As for [`upgrade`](Self::upgrade).
    #[inline]
    #[track_caller]
    pub unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        // SAFETY:
        // - it is read upgradably by the caller (caller).
        is_granted(unsafe { self.upgrade_within(Limit::after(timeout)) })
    }

    /// # Safety
    ///
    /// As for [`upgrade`](Self::upgrade).
    #[track_caller]
    unsafe fn upgrade_within(&self, limit: Limit) -> Result<(), WaitError> {
        let request = Request::new(WRITING);
        let guard = self.own_turn_guard(Request::new(UPGRADABLE));
        // SAFETY:
        // - the guard is of this lock.
        let upgraded = unsafe { self.raw.upgrade(guard, request, limit, failure_of::<O>(), false) };
        upgraded.map(drop).map_err(|(_guard, error)| error)
    }

    // --- downgrading ---

    /// The writer becomes a reader.
    ///
    /// # Safety
    ///
    /// The caller has acquired it for writing.
    #[inline]
    #[track_caller]
    pub unsafe fn downgrade(&self) {
        let guard = self.turn_guard(WRITING);
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.raw.downgrade(guard, Request::new(READING)) };
    }

    /// The writer becomes the upgradable reader.
    ///
    /// # Safety
    ///
    /// As for [`downgrade`](Self::downgrade).
    #[inline]
    #[track_caller]
    pub unsafe fn downgrade_to_upgradable(&self) {
        let guard = self.own_turn_guard(Request::new(WRITING));
        // SAFETY:
        // - the guard is of this lock.
        unsafe { self.raw.downgrade_to_upgradable(guard, Request::new(UPGRADABLE)) };
    }

    /// The upgradable reader becomes a plain one.
    ///
    /// # Safety
    ///
    /// As for [`upgrade`](Self::upgrade).
    #[inline]
    #[track_caller]
    pub unsafe fn downgrade_upgradable(&self) {
        if self.raw.is_full() {
            // Whether a panic here would leave a guard in use depends on the version of `lock_api`.
            never_unwinds("in an RwLock that is read 2^23 times at once: a guard is leaked in a loop", || {
                too_many_readers()
            });
        }
        let guard = self.turn_guard(UPGRADABLE);
        self.raw.downgrade_upgradable_anyway(guard, Request::new(READING));
    }

    /// Tells of a hazard if the caller, who is about to read, reads already. Not on behalf of a guard that is in use: that may be a panic.
    #[track_caller]
    fn check_read(&self, request: Request, limit: Limit) {
        let is_asked = matches!(limit, Limit::None) && hazard::are_looked_for_in_foreign_code();
        if is_asked && may_unwind(request.site) && !self.raw.is_unlisted() {
            self.raw.check_read(request);
        }
    }

    // --- questions ---

    #[cfg(all(test, loom))]
    pub(crate) fn raw(&self) -> &Raw<O> {
        &self.raw
    }

    /// Returns whether anybody reads or writes.
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Returns whether somebody writes.
    #[inline]
    pub fn is_locked_exclusive(&self) -> bool {
        self.raw.is_write_locked()
    }

    /// Returns whether somebody waits to write, or for a writer.
    #[inline]
    pub fn is_contended(&self) -> bool {
        self.raw.is_contended()
    }

    /// Returns a guard of the acquisition that has the turn, whoever made it, for whoever is about to give that up. What another context
    /// lists of it is removed: then the guard lists nothing.
    #[inline]
    fn turn_guard<M>(&self, type_of: TypeOf) -> RawRwLockGuard<M> {
        let me = registry::current();
        if !O::HAS_OWNERS {
            return RawRwLockGuard::unlisted(me);
        }
        let hold = self.listed(me, type_of).unwrap_or_else(|| {
            self.unlist_turn(type_of().mode);
            HoldIndex::NONE
        });
        RawRwLockGuard::new(me, hold)
    }

    /// Returns a guard of the acquisition that has the turn, for whoever goes on to have it: the calling context, from now on. `held` says
    /// how it was held so far.
    #[inline]
    fn own_turn_guard<M>(&self, held: Request) -> RawRwLockGuard<M> {
        let me = registry::current();
        if !O::HAS_OWNERS {
            return RawRwLockGuard::unlisted(me);
        }
        self.listed(me, held.type_of)
            .map_or_else(|| self.take_turn_over(me, held), |hold| RawRwLockGuard::new(me, hold))
    }

    /// Returns a hold of this lock, and of this type, if the calling context has one and that is easy to see.
    #[inline]
    fn listed(&self, me: &'static Context, type_of: TypeOf) -> Option<HoldIndex> {
        me.holds.inline_of_type(self.raw.id().key(), type_of)
    }

    #[cold]
    #[inline(never)]
    fn take_turn_over<M>(&self, me: &'static Context, held: Request) -> RawRwLockGuard<M> {
        let mode = (held.type_of)().mode;
        let listed = me.holds.find_held(self.raw.id().key(), mode).filter(|_| self.raw.owner() == Some(me.id()));
        listed.map_or_else(
            || {
                me.holds.reserve();
                self.unlist_turn(mode);
                self.raw.take_turn_over(me, held)
            },
            |hold| RawRwLockGuard::new(me, hold),
        )
    }

    /// Removes from its owner's list that it has the turn.
    #[cold]
    #[inline(never)]
    fn unlist_turn(&self, mode: HoldMode) {
        if let Some(owner) = self.raw.owner() {
            unlist(owner, self.raw.id().key(), mode);
        }
    }
}
