//! The mutex that is always unlocked fairly.

use crate::raw_mutex::raw_mutex;

/// A mutual exclusion lock that goes to whoever has waited for longest.
pub type FairMutex<T> = lock_api::Mutex<RawFairMutex, T>;

/// The guard of a [`FairMutex`].
pub type FairMutexGuard<'a, T> = lock_api::MutexGuard<'a, RawFairMutex, T>;

/// The guard of a part of what a [`FairMutex`] protects.
pub type MappedFairMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawFairMutex, T>;

/// Makes a fair mutex in a constant.
pub const fn const_fair_mutex<T>(val: T) -> FairMutex<T> {
    FairMutex::const_new(<RawFairMutex as lock_api::RawMutex>::INIT, val)
}

raw_mutex! {
    /// The lock word of a [`FairMutex`].
    RawFairMutex, fair: true, unlock: unlock_fair
}
