//! The mutex that is always unlocked fairly.

use std::time::{Duration, Instant};

use bowline::facade;

use crate::ownership::{Marker, Ownership};

/// A mutual exclusion lock that goes to whoever has waited for longest.
pub type FairMutex<T> = lock_api::Mutex<RawFairMutex, T>;

/// The guard of a [`FairMutex`].
pub type FairMutexGuard<'a, T> = lock_api::MutexGuard<'a, RawFairMutex, T>;

/// The guard of a part of what a [`FairMutex`] protects.
pub type MappedFairMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawFairMutex, T>;

/// The lock word of a [`FairMutex`].
pub struct RawFairMutex(facade::RawMutex<Ownership, true>);

// SAFETY:
// - `bowline`'s lock word admits one owner at a time.
unsafe impl lock_api::RawMutex for RawFairMutex {
    const INIT: Self = Self(facade::RawMutex::INIT);

    type Guard = Marker;

    #[inline]
    #[track_caller]
    fn lock(&self) -> Marker {
        self.0.lock();
        Marker::new()
    }

    #[inline]
    #[track_caller]
    fn try_lock(&self) -> Option<Marker> {
        self.0.try_lock().then(Marker::new)
    }

    #[inline]
    unsafe fn unlock(&self, _: Marker) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.unlock_fair() };
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

// SAFETY:
// - as for `RawMutex`.
unsafe impl lock_api::RawMutexFair for RawFairMutex {
    #[inline]
    unsafe fn unlock_fair(&self, _: Marker) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.unlock_fair() };
    }

    #[inline]
    #[track_caller]
    unsafe fn bump(&self, _: &mut Marker) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.bump() };
    }
}

// SAFETY:
// - as for `RawMutex`.
unsafe impl lock_api::RawMutexTimed for RawFairMutex {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_until(&self, timeout: Instant) -> Option<Marker> {
        self.0.try_lock_until(timeout).then(Marker::new)
    }

    #[inline]
    #[track_caller]
    fn try_lock_for(&self, timeout: Duration) -> Option<Marker> {
        self.0.try_lock_for(timeout).then(Marker::new)
    }
}
