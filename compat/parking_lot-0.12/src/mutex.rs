//! The mutex.

use bowline::facade;

use crate::ownership::Ownership;
use crate::raw_mutex::raw_mutex;

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

raw_mutex! {
    /// The lock word of a [`Mutex`].
    RawMutex, fair: false, unlock: unlock
}

impl RawMutex {
    pub(crate) fn facade(&self) -> &facade::RawMutex<Ownership> {
        &self.0
    }
}
