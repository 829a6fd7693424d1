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

/// The lock word of a [`Mutex`].
pub struct RawMutex(facade::RawMutex<Ownership, false>);

// SAFETY:
// - `bowline`'s lock word admits one owner at a time.
unsafe impl lock_api::RawMutex for RawMutex {
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
unsafe impl lock_api::RawMutexTimed for RawMutex {
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

impl RawMutex {
    pub(crate) fn facade(&self) -> &facade::RawMutex<Ownership> {
        &self.0
    }
}
