//! Re-entrance over the lock word: the owner counts how often it came in.

use std::time::{Duration, Instant};

use super::raw_lock::{RawGuard, RawLock};
use crate::deadlock::Deadlock;
use crate::deadlock::context;
use crate::deadlock::resource::TypeOf;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet;

/// An exclusive lock that its owner may take again.
pub(crate) struct RawRLock {
    lock: RawLock,
    /// How often the owner holds the lock, 0 when it is free. Written by the owner only.
    depth: quiet::AtomicU32,
    /// Where the owner's first acquisition is listed. Written by the owner only.
    hold: quiet::AtomicU32,
}

impl RawRLock {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        let (depth, hold) = (quiet::AtomicU32::new(0), quiet::AtomicU32::new(0));
        Self { lock: RawLock::new(name), depth, hold }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self, type_of: TypeOf) -> RawGuard {
        match self.try_again() {
            Some(guard) => guard,
            None => self.enter(self.lock.lock(type_of)),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn acquire(&self, type_of: TypeOf) -> Result<RawGuard, Deadlock> {
        match self.try_again() {
            Some(guard) => Ok(guard),
            None => Ok(self.enter(self.lock.acquire(type_of)?)),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock(&self, type_of: TypeOf) -> Option<RawGuard> {
        match self.try_again() {
            Some(guard) => Some(guard),
            None => Some(self.enter(self.lock.try_lock(type_of)?)),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_for(&self, type_of: TypeOf, timeout: Duration) -> Option<RawGuard> {
        match self.try_again() {
            Some(guard) => Some(guard),
            None => Some(self.enter(self.lock.try_lock_for(type_of, timeout)?)),
        }
    }

    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_until(&self, type_of: TypeOf, deadline: Instant) -> Option<RawGuard> {
        match self.try_again() {
            Some(guard) => Some(guard),
            None => Some(self.enter(self.lock.try_lock_until(type_of, deadline)?)),
        }
    }

    /// One more guard, if this thread is the owner.
    #[inline]
    #[track_caller]
    fn try_again(&self) -> Option<RawGuard> {
        let me = context::current();
        if self.lock.owner() != Some(me.id()) {
            return None;
        }
        let Some(depth) = self.depth.load(Relaxed).checked_add(1) else { too_deep() };
        self.depth.store(depth, Relaxed);
        Some(RawGuard::new(me, self.hold.load(Relaxed)))
    }

    /// The first guard.
    #[inline]
    fn enter(&self, guard: RawGuard) -> RawGuard {
        self.depth.store(1, Relaxed);
        self.hold.store(guard.hold(), Relaxed);
        guard
    }

    /// Drops a guard, and unlocks if it was the last.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self, guard: RawGuard) {
        if self.leave() {
            // SAFETY:
            // - the guard is of this lock (caller), and the last one.
            unsafe { self.lock.unlock(guard) };
        }
    }

    /// Drops a guard, and hands the lock over if it was the last: see [`RawLock::unlock_fair`].
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock_fair(&self, guard: RawGuard) {
        if self.leave() {
            // SAFETY:
            // - the guard is of this lock (caller), and the last one.
            unsafe { self.lock.unlock_fair(guard) };
        }
    }

    /// Whether the guard that is being dropped is the last.
    #[inline]
    fn leave(&self) -> bool {
        let depth = self.depth.load(Relaxed) - 1;
        self.depth.store(depth, Relaxed);
        depth == 0
    }

    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    #[inline]
    pub(crate) fn is_owned(&self) -> bool {
        self.lock.owner() == Some(context::current().id())
    }

    /// How often the owner holds the lock, whoever it is.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Relaxed)
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.lock.name()
    }
}

#[cold]
#[track_caller]
fn too_deep() -> ! {
    panic!("an RLock is held 2^32 - 1 times by one thread: a guard is leaked in a loop")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::deadlock::resource::ResourceType;

    #[test]
    #[should_panic(expected = "held 2^32 - 1 times")]
    fn depth_does_not_wrap_around() {
        let lock = RawRLock::new(None);
        let _guard = lock.lock(|| ResourceType::exclusive::<()>("RLock"));
        lock.depth.store(u32::MAX, Relaxed);
        let _again = lock.lock(|| ResourceType::exclusive::<()>("RLock"));
    }
}
