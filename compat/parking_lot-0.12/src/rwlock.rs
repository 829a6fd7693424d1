//! The read-write lock.

use std::time::{Duration, Instant};

use bowline::facade;

use crate::ownership::{Marker, Ownership};

/// A lock that many can read or one can write. It has the size of three words beside its value.
///
/// Who writes is not overtaken by readers that come later, but for recursive ones. A fair release does what a release does:
/// whoever waits is woken, and nothing is handed over.
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;

/// The guard of a reader.
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// The guard of a writer.
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// The guard of a reader of a part.
pub type MappedRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;

/// The guard of a writer of a part.
pub type MappedRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

/// The guard of the reader that can become the writer.
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// Makes a read-write lock in a constant.
pub const fn const_rwlock<T>(val: T) -> RwLock<T> {
    RwLock::const_new(<RawRwLock as lock_api::RawRwLock>::INIT, val)
}

/// The words of an [`RwLock`].
pub struct RawRwLock(facade::RawRwLock<Ownership>);

// SAFETY:
// - a writer is alone: `bowline`'s protocol sees to it.
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: Self = Self(facade::RawRwLock::INIT);

    type GuardMarker = Marker;

    #[inline]
    #[track_caller]
    fn lock_shared(&self) {
        self.0.lock_shared(false);
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared(&self) -> bool {
        self.0.try_lock_shared(false)
    }

    #[inline]
    unsafe fn unlock_shared(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_shared() };
    }

    #[inline]
    #[track_caller]
    fn lock_exclusive(&self) {
        self.0.lock_exclusive();
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive(&self) -> bool {
        self.0.try_lock_exclusive()
    }

    #[inline]
    unsafe fn unlock_exclusive(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_exclusive() };
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }

    #[inline]
    fn is_locked_exclusive(&self) -> bool {
        self.0.is_locked_exclusive()
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockFair for RawRwLock {
    #[inline]
    unsafe fn unlock_shared_fair(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_shared() };
    }

    #[inline]
    unsafe fn unlock_exclusive_fair(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_exclusive() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    #[inline]
    #[track_caller]
    unsafe fn downgrade(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_shared_for(&self, timeout: Duration) -> bool {
        self.0.try_lock_shared_for(false, timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_until(&self, timeout: Instant) -> bool {
        self.0.try_lock_shared_until(false, timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_for(&self, timeout: Duration) -> bool {
        self.0.try_lock_exclusive_for(timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_until(&self, timeout: Instant) -> bool {
        self.0.try_lock_exclusive_until(timeout)
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockRecursive for RawRwLock {
    #[inline]
    #[track_caller]
    fn lock_shared_recursive(&self) {
        self.0.lock_shared(true);
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_recursive(&self) -> bool {
        self.0.try_lock_shared(true)
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockRecursiveTimed for RawRwLock {
    #[inline]
    #[track_caller]
    fn try_lock_shared_recursive_for(&self, timeout: Duration) -> bool {
        self.0.try_lock_shared_for(true, timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_recursive_until(&self, timeout: Instant) -> bool {
        self.0.try_lock_shared_until(true, timeout)
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockUpgrade for RawRwLock {
    #[inline]
    #[track_caller]
    fn lock_upgradable(&self) {
        self.0.lock_upgradable();
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable(&self) -> bool {
        self.0.try_lock_upgradable()
    }

    #[inline]
    unsafe fn unlock_upgradable(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_upgradable() };
    }

    #[inline]
    #[track_caller]
    unsafe fn upgrade(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.upgrade() };
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade(&self) -> bool {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.try_upgrade() }
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockUpgradeFair for RawRwLock {
    #[inline]
    unsafe fn unlock_upgradable_fair(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_upgradable() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockUpgradeDowngrade for RawRwLock {
    #[inline]
    #[track_caller]
    unsafe fn downgrade_upgradable(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade_upgradable() };
    }

    #[inline]
    #[track_caller]
    unsafe fn downgrade_to_upgradable(&self) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade_to_upgradable() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl lock_api::RawRwLockUpgradeTimed for RawRwLock {
    #[inline]
    #[track_caller]
    fn try_lock_upgradable_for(&self, timeout: Duration) -> bool {
        self.0.try_lock_upgradable_for(timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable_until(&self, timeout: Instant) -> bool {
        self.0.try_lock_upgradable_until(timeout)
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_for(&self, timeout: Duration) -> bool {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.try_upgrade_for(timeout) }
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_until(&self, timeout: Instant) -> bool {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.try_upgrade_until(timeout) }
    }
}
