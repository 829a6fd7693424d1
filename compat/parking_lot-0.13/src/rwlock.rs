//! The read-write lock.

use std::mem;
use std::time::{Duration, Instant};

use bowline::facade;

use crate::ownership::{Marker, Ownership};

/// A lock that many can read or one can write. It has the size of three words beside its value.
///
/// Who writes is not overtaken by readers that come later: for those that read again there is a
/// [`RecursiveRwLock`](crate::RecursiveRwLock). A fair release does what a release does:
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

/// The words of an [`RwLock`]. A reader of a `RECURSIVE` one waits for no writer that waits.
pub struct RawRwLock<const RECURSIVE: bool = false>(facade::RawRwLock<Ownership>);

/// The words of a [`RecursiveRwLock`](crate::RecursiveRwLock).
pub type RawRwLockRecursive = RawRwLock<true>;

// SAFETY:
// - a writer is alone: `bowline`'s protocol sees to it.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLock for RawRwLock<RECURSIVE> {
    const INIT: Self = Self(facade::RawRwLock::INIT);

    type SharedGuard = Marker;
    type ExclusiveGuard = Marker;

    #[inline]
    #[track_caller]
    fn lock_shared(&self) -> Marker {
        self.0.lock_shared(RECURSIVE);
        Marker::new()
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared(&self) -> Option<Marker> {
        self.0.try_lock_shared(RECURSIVE).then(Marker::new)
    }

    #[inline]
    unsafe fn unlock_shared(&self, _: Marker) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_shared() };
    }

    #[inline]
    #[track_caller]
    fn lock_exclusive(&self) -> Marker {
        self.0.lock_exclusive();
        Marker::new()
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive(&self) -> Option<Marker> {
        self.0.try_lock_exclusive().then(Marker::new)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _: Marker) {
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
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockFair for RawRwLock<RECURSIVE> {
    #[inline]
    unsafe fn unlock_shared_fair(&self, _: Marker) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_shared() };
    }

    #[inline]
    unsafe fn unlock_exclusive_fair(&self, _: Marker) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_exclusive() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockDowngrade for RawRwLock<RECURSIVE> {
    #[inline]
    #[track_caller]
    unsafe fn downgrade(&self, held: Marker) -> Marker {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade() };
        held
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockTimed for RawRwLock<RECURSIVE> {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_shared_for(&self, timeout: Duration) -> Option<Marker> {
        self.0.try_lock_shared_for(RECURSIVE, timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    fn try_lock_shared_until(&self, timeout: Instant) -> Option<Marker> {
        self.0.try_lock_shared_until(RECURSIVE, timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_for(&self, timeout: Duration) -> Option<Marker> {
        self.0.try_lock_exclusive_for(timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    fn try_lock_exclusive_until(&self, timeout: Instant) -> Option<Marker> {
        self.0.try_lock_exclusive_until(timeout).then(Marker::new)
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockUpgrade for RawRwLock<RECURSIVE> {
    type UpgradableGuard = Marker;

    #[inline]
    #[track_caller]
    fn lock_upgradable(&self) -> Marker {
        self.0.lock_upgradable();
        Marker::new()
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable(&self) -> Option<Marker> {
        self.0.try_lock_upgradable().then(Marker::new)
    }

    #[inline]
    unsafe fn unlock_upgradable(&self, _: Marker) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_upgradable() };
    }

    #[inline]
    #[track_caller]
    unsafe fn upgrade(&self, held: Marker) -> Marker {
        let give_up = GiveUp(&self.0);
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.upgrade() };
        mem::forget(give_up);
        held
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade(&self, held: Marker) -> Result<Marker, Marker> {
        // SAFETY:
        // - it is held in this way (caller).
        let upgraded = unsafe { self.0.try_upgrade() };
        if upgraded { Ok(held) } else { Err(held) }
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockUpgradeFair for RawRwLock<RECURSIVE> {
    #[inline]
    unsafe fn unlock_upgradable_fair(&self, _: Marker) {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.unlock_upgradable() };
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockUpgradeDowngrade for RawRwLock<RECURSIVE> {
    #[inline]
    #[track_caller]
    unsafe fn downgrade_upgradable(&self, held: Marker) -> Marker {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade_upgradable() };
        held
    }

    #[inline]
    #[track_caller]
    unsafe fn downgrade_to_upgradable(&self, held: Marker) -> Marker {
        // SAFETY:
        // - it is held in this way (caller).
        unsafe { self.0.downgrade_to_upgradable() };
        held
    }
}

// SAFETY:
// - as for `RawRwLock`.
unsafe impl<const RECURSIVE: bool> lock_api::RawRwLockUpgradeTimed for RawRwLock<RECURSIVE> {
    #[inline]
    #[track_caller]
    fn try_lock_upgradable_for(&self, timeout: Duration) -> Option<Marker> {
        self.0.try_lock_upgradable_for(timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    fn try_lock_upgradable_until(&self, timeout: Instant) -> Option<Marker> {
        self.0.try_lock_upgradable_until(timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_for(&self, held: Marker, timeout: Duration) -> Result<Marker, Marker> {
        let give_up = GiveUp(&self.0);
        // SAFETY:
        // - it is held in this way (caller).
        let upgraded = unsafe { self.0.try_upgrade_for(timeout) };
        mem::forget(give_up);
        if upgraded { Ok(held) } else { Err(held) }
    }

    #[inline]
    #[track_caller]
    unsafe fn try_upgrade_until(&self, held: Marker, timeout: Instant) -> Result<Marker, Marker> {
        let give_up = GiveUp(&self.0);
        // SAFETY:
        // - it is held in this way (caller).
        let upgraded = unsafe { self.0.try_upgrade_until(timeout) };
        mem::forget(give_up);
        if upgraded { Ok(held) } else { Err(held) }
    }
}

/// Stops reading upgradably when it is dropped: an upgrade that unwinds gives its acquisition up.
struct GiveUp<'l>(&'l facade::RawRwLock<Ownership>);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        // SAFETY:
        // - it is held in this way, and an upgrade that fails leaves it so.
        unsafe { self.0.unlock_upgradable() };
    }
}
