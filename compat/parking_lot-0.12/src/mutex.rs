//! The mutex.

use std::time::{Duration, Instant};

use bowline::facade;

use crate::ownership::{Marker, Ownership};

/// A mutual exclusion lock. It has the size of a word beside its value.
pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;

/// The guard of a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// The guard of a part of what a [`Mutex`] protects.
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

/// Makes a mutex in a constant.
pub const fn const_mutex<T>(val: T) -> Mutex<T> {
    Mutex::const_new(<RawMutex as lock_api::RawMutex>::INIT, val)
}

/// The lock word of a [`Mutex`].
pub struct RawMutex(facade::RawMutex<Ownership, false>);

// SAFETY:
// - `bowline`'s lock word admits one owner at a time.
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: Self = Self(facade::RawMutex::INIT);

    type GuardMarker = Marker;

    #[inline]
    #[track_caller]
    fn lock(&self) {
        self.0.lock();
    }

    #[inline]
    #[track_caller]
    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.unlock() };
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

// SAFETY:
// - as for `RawMutex`.
unsafe impl lock_api::RawMutexFair for RawMutex {
    #[inline]
    unsafe fn unlock_fair(&self) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.unlock_fair() };
    }

    #[inline]
    #[track_caller]
    unsafe fn bump(&self) {
        // SAFETY:
        // - it is locked (caller).
        unsafe { self.0.bump() };
    }
}

// SAFETY:
// - as for `RawMutex`.
unsafe impl lock_api::RawMutexTimed for RawMutex {
    type Duration = Duration;
    type Instant = Instant;

    #[inline]
    #[track_caller]
    fn try_lock_until(&self, timeout: Instant) -> bool {
        self.0.try_lock_until(timeout)
    }

    #[inline]
    #[track_caller]
    fn try_lock_for(&self, timeout: Duration) -> bool {
        self.0.try_lock_for(timeout)
    }
}

impl RawMutex {
    pub(crate) fn facade(&self) -> &facade::RawMutex<Ownership> {
        &self.0
    }
}
