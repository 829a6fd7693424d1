//! Re-entrance over the lock word: the owner counts its acquisitions.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::Limit;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::registry;
use crate::deadlock::resource::{Site, TypeOf};
use crate::sync::guard::{RawGuard, Resume, Shared};
use crate::sync::lock::{RawLock, RawLockGuard};
use crate::sync::request::Request;

/// An exclusive lock that its owner may take again.
pub(crate) struct RawRLock {
    lock: RawLock,
    /// The number of acquisitions after the first: 0 if the lock is free or held once, so that the first acquisition and
    /// the last release write nothing here. For the owner's thread alone: no atomic, so that the compiler may keep it in a
    /// register from one acquisition to the next, and no load waits for the store before it.
    again: Cell<u32>,
}

// SAFETY:
// - `again` is reached by the owner's thread alone: `try_again` and `depth` have compared the owner with themselves, and
//   the callers of `leave` and `guards` have a guard, which stays on its thread. One owner's accesses happen before the next one's, by the lock.
// - the lock is made for sharing.
unsafe impl Sync for RawRLock {}

/// Proof that a [`RawRLock`] is held. Its owner has one for each acquisition, and unlocks by releasing the last.
pub(crate) struct RawRLockGuard(RawLockGuard);

/// The hold index in the guard of a second or later acquisition. Only the first acquisition is listed, and its guard knows
/// where; if another guard is released last, it looks the place up.
const NOT_LISTED: HoldIndex = HoldIndex::NONE;

impl RawRLock {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self { lock: RawLock::new(name), again: Cell::new(0) }
    }

    /// Makes a lock with a name and a rank.
    #[track_caller]
    pub(crate) const fn ranked(name: &'static str, rank: u16) -> Self {
        Self { lock: RawLock::ranked(name, rank), again: Cell::new(0) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn made_at(site: Site) -> Self {
        Self { lock: RawLock::made_at(site), again: Cell::new(0) }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self, type_of: TypeOf) -> RawRLockGuard {
        let request = Request::new(type_of);
        match self.try_fast(request) {
            Some(guard) => guard,
            None => self.lock_slow(request),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn acquire(&self, type_of: TypeOf) -> Result<RawRLockGuard, Deadlock> {
        let request = Request::new(type_of);
        match self.try_fast(request) {
            Some(guard) => Ok(guard),
            None => self.acquire_slow(request),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock(&self, type_of: TypeOf) -> Option<RawRLockGuard> {
        match self.try_again(registry::current()) {
            Some(guard) => Some(guard),
            None => self.lock.try_lock(type_of).map(RawRLockGuard).or_else(|| self.try_again_slow()),
        }
    }

    /// [`try_lock`](Self::try_lock), for a request that no line of the user's program made.
    pub(crate) fn try_lock_at(&self, type_of: TypeOf, site: Site) -> Option<RawRLockGuard> {
        match self.try_again_slow() {
            Some(guard) => Some(guard),
            None => self.lock.try_lock_at(type_of, site).map(RawRLockGuard),
        }
    }

    /// [`acquire`](Self::acquire), for a request that no line of the user's
    /// program made.
    #[cfg(feature = "serde")]
    #[track_caller]
    pub(crate) fn acquire_at(&self, type_of: TypeOf, site: Site) -> Result<RawRLockGuard, Deadlock> {
        self.acquire_slow(Request { site, type_of })
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_for(&self, type_of: TypeOf, timeout: Duration) -> Option<RawRLockGuard> {
        let request = Request::new(type_of);
        match self.try_fast(request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::after(timeout)),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_until(&self, type_of: TypeOf, limit: Instant) -> Option<RawRLockGuard> {
        let request = Request::new(type_of);
        match self.try_fast(request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::Until(limit)),
        }
    }

    /// Makes one more guard if this thread is the owner, or takes the lock if it is free. Does neither if it has a rank.
    #[inline]
    #[track_caller]
    fn try_fast(&self, request: Request) -> Option<RawRLockGuard> {
        let me = registry::current();
        match self.try_again(me) {
            Some(guard) => Some(guard),
            None => self.lock.try_lock_fast(me, request).map(RawRLockGuard),
        }
    }

    /// Makes one more guard, if the lock has no rank and this thread is the owner.
    #[inline]
    #[track_caller]
    fn try_again(&self, me: &'static Context) -> Option<RawRLockGuard> {
        if !self.lock.is_unranked_and_owned_by(me) {
            return None;
        }
        Some(self.again(me))
    }

    /// Makes one more guard, if this thread is the owner.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_again_slow(&self) -> Option<RawRLockGuard> {
        let me = registry::current();
        (self.lock.owner() == Some(me.id())).then(|| self.again(me))
    }

    /// Makes one more guard for the owner.
    #[inline]
    #[track_caller]
    fn again(&self, me: &'static Context) -> RawRLockGuard {
        // One below the largest number, so that the depth can be represented, too.
        let again = self.again.get();
        if again >= u32::MAX - 1 {
            too_deep();
        }
        self.again.set(again + 1);
        RawRLockGuard(RawLockGuard::new(me, NOT_LISTED))
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slow(&self, request: Request) -> RawRLockGuard {
        match self.try_again_checked(request) {
            Some(guard) => guard,
            None => RawRLockGuard(self.lock.lock_ranked(request)),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_slow(&self, request: Request) -> Result<RawRLockGuard, Deadlock> {
        match self.try_again_checked(request) {
            Some(guard) => Ok(guard),
            None => self.lock.acquire_ranked(request).map(RawRLockGuard),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_lock_limited(&self, request: Request, limit: Limit) -> Option<RawRLockGuard> {
        match self.try_again_slow() {
            Some(guard) => Some(guard),
            None => self.lock.try_lock_limited(request, limit).map(RawRLockGuard),
        }
    }

    /// Makes one more guard, if this thread is the owner, and otherwise checks the lock's rank.
    #[track_caller]
    fn try_again_checked(&self, request: Request) -> Option<RawRLockGuard> {
        if !self.is_owned() {
            self.lock.check_rank(request);
        }
        // A hook may have locked, and forgotten the guard.
        self.try_again_slow()
    }

    /// Releases a guard, and unlocks if it was the last.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self, guard: RawRLockGuard) {
        if let Some(last) = self.leave(guard) {
            // SAFETY:
            // - the guard is of this lock (caller), and the last one.
            unsafe { self.lock.unlock(last) };
        }
    }

    /// Releases a guard, and hands the lock over if it was the last: see [`RawLock::unlock_fair`].
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock_fair(&self, guard: RawRLockGuard) {
        if let Some(last) = self.leave(guard) {
            // SAFETY:
            // - the guard is of this lock (caller), and the last one.
            unsafe { self.lock.unlock_fair(last) };
        }
    }

    /// Gives up one acquisition; returns the guard of the lock word, to be released, if it was the last.
    #[inline]
    fn leave(&self, guard: RawRLockGuard) -> Option<RawLockGuard> {
        let RawRLockGuard(guard) = guard;
        // Asked first, and the rest written twice: where a lock is taken again and released in one function, the compiler
        // knows the answer, and what `again` is.
        if guard.hold() == NOT_LISTED {
            if self.leave_one() {
                return None;
            }
            return Some(RawLockGuard::new(guard.context(), self.lock.hold_of(guard.context())));
        }
        if self.leave_one() { None } else { Some(guard) }
    }

    /// Gives up one acquisition that is not the only one. Returns `false` if it is.
    #[inline]
    fn leave_one(&self) -> bool {
        let again = self.again.get();
        if again != 0 {
            self.again.set(again - 1);
        }
        again != 0
    }

    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    #[inline]
    pub(crate) fn is_owned(&self) -> bool {
        self.lock.owner() == Some(registry::current().id())
    }

    /// Returns how many times this thread holds the lock.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        if self.is_owned() { self.again.get() + 1 } else { 0 }
    }

    /// Returns how many guards there are. The caller has one of them.
    pub(super) fn guards(&self) -> u32 {
        self.again.get() + 1
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.lock.name()
    }
}

// SAFETY:
// - access is never exclusive.
unsafe impl RawGuard for RawRLockGuard {
    type Raw = RawRLock;
    type Access = Shared;

    #[inline]
    unsafe fn release(self, raw: &RawRLock) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { raw.unlock(self) };
    }

    #[inline]
    unsafe fn release_fair(self, raw: &RawRLock) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { raw.unlock_fair(self) };
    }
}

// SAFETY:
// - each is given by this raw lock.
unsafe impl Resume for RawRLockGuard {
    fn resume(raw: &RawRLock, type_of: TypeOf, site: Site) -> Self {
        // A hook that ran meanwhile, on this thread, may have taken it and kept the guard.
        raw.try_again_slow().unwrap_or_else(|| Self(raw.lock.resume(type_of, site)))
    }

    fn try_resume(raw: &RawRLock, type_of: TypeOf, site: Site) -> Result<Self, Deadlock> {
        match raw.try_again_slow() {
            Some(guard) => Ok(guard),
            None => raw.lock.try_resume(type_of, site).map(Self),
        }
    }

    #[track_caller]
    fn check_rank(raw: &RawRLock, type_of: TypeOf, site: Site) {
        raw.lock.check_rank(Request { site, type_of });
    }
}

#[cold]
#[track_caller]
fn too_deep() -> ! {
    panic!("an RLock is held 2^32 - 1 times by one thread: a guard is leaked in a loop")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::Location;

    use super::*;
    use crate::deadlock::Kind;
    use crate::deadlock::nested::run_nested;
    use crate::deadlock::resource::{Origin, ResourceFacts, ResourceType};

    fn nothing() -> ResourceType {
        ResourceType::exclusive::<()>("RLock")
    }

    fn in_place<R>(body: impl FnOnce() -> R) -> R {
        let facts = ResourceFacts { key: 1, origin: Origin::here(Some("body")), type_of: nothing };
        run_nested(facts, Location::caller(), body)
    }

    #[test]
    fn a_body_is_told_from_its_waiter_on_the_same_thread() {
        let lock = RawRLock::new(None);
        let held = lock.lock(nothing);
        let deadlock = in_place(|| lock.acquire(nothing)).err().expect("the waiter holds it");
        let report = deadlock.report();
        let [inner, outer] = report.threads() else { panic!("{report}") };
        assert_eq!(report.kind(), Kind::Cycle);
        assert_eq!((inner.os_id(), inner.name()), (outer.os_id(), outer.name()));
        assert!(inner.is_in_place() && !outer.is_in_place(), "{report}");
        assert_eq!(outer.waits_for().and_then(|wait| wait.resource().name()), Some("body"));
        assert_eq!((inner.holds().len(), outer.holds().len()), (0, 1));
        // SAFETY:
        // - the guard is of this lock.
        unsafe { lock.unlock(held) };
    }

    #[test]
    fn guards_that_a_body_leaves_behind_are_released_by_its_waiter() {
        let lock = RawRLock::new(None);
        let (first, again, number) = in_place(|| (lock.lock(nothing), lock.lock(nothing), registry::current().id()));
        assert!(lock.is_locked() && !lock.is_owned());
        in_place(|| assert_ne!(registry::current().id(), number, "it still stands in the lock"));
        // The one that is not listed is the last.
        // SAFETY:
        // - both guards are of this lock.
        unsafe { lock.unlock(first) };
        // SAFETY:
        // - as above.
        unsafe { lock.unlock(again) };
        assert!(!lock.is_locked());
        // What holds nothing any more is used again, one level further down as well.
        in_place(|| in_place(|| assert_eq!(registry::current().id(), number)));
    }

    #[test]
    fn what_bodies_leave_behind_for_a_while_costs_no_context_each() {
        let mut numbers = std::collections::HashSet::new();
        let locks: Vec<_> = (0..8).map(|_| RawRLock::new(None)).collect();
        let mut held = std::collections::VecDeque::new();
        for round in 0..200 {
            let lock = &locks[round % locks.len()];
            if held.len() == locks.len() {
                let (lock, guard): (&RawRLock, _) = held.pop_front().unwrap();
                // SAFETY:
                // - the guard is of this lock.
                unsafe { lock.unlock(guard) };
            }
            let (guard, number) = in_place(|| (lock.lock(nothing), registry::current().id().get()));
            numbers.insert(number);
            held.push_back((lock, guard));
        }
        assert!(numbers.len() <= 2 * locks.len(), "{} contexts for {} guards", numbers.len(), locks.len());
        for (lock, guard) in held {
            // SAFETY:
            // - the guard is of this lock.
            unsafe { lock.unlock(guard) };
        }
    }

    #[test]
    fn a_body_that_unwinds_leaves_its_waiter_as_it_was() {
        let before = registry::current().id();
        let ended = std::panic::catch_unwind(|| in_place(|| panic!("as a body must not")));
        assert!(ended.is_err());
        assert_eq!(registry::current().id(), before);
    }

    #[test]
    #[should_panic(expected = "held 2^32 - 1 times")]
    fn depth_does_not_wrap_around() {
        let lock = RawRLock::new(None);
        let _guard = lock.lock(nothing);
        lock.again.set(u32::MAX - 1);
        let _again = lock.lock(nothing);
    }
}
