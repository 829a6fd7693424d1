//! parking_lot 0.13's interface, over the locks of [bowline](https://docs.rs/bowline): a package that takes the place of
//! `parking_lot` in a dependency tree by one line of its `Cargo.toml`,
//!
//! ```toml
//! [patch.crates-io]
//! parking_lot = { path = "…/bowline/compat/parking_lot-0.13" }
//! ```
//!
//! so that all that the tree locks is in one wait-for graph, and a hang says whose locks and which lines it is made of.
//!
//! Each item does what parking_lot's item of the same name does; this documentation says only what is different. A wait that is part of a deadlock
//! does not fail, unless a policy was chosen (`BOWLINE_DEADLOCK`, `bowline::deadlock::set_policy`): the report is printed once,
//! and the threads go on waiting.

mod condvar;
#[cfg(feature = "deadlock_detection")]
#[path = "../../parking_lot-0.12/src/deadlock.rs"]
pub mod deadlock;
mod fair_mutex;
mod mutex;
mod once;
mod raw_mutex;
mod recursive_rwlock;
mod remutex;
mod rwlock;

pub use condvar::{Condvar, RawCondvar, WaitTimeoutResult};
pub use fair_mutex::{FairMutex, FairMutexGuard, MappedFairMutexGuard, RawFairMutex};
pub use lock_api;
#[cfg(feature = "arc_lock")]
pub use lock_api::{
    ArcMutexGuard, ArcReentrantMutexGuard, ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard,
};
pub use mutex::{MappedMutexGuard, Mutex, MutexGuard, RawMutex};
pub use once::{Once, OnceState};
pub use recursive_rwlock::{
    MappedRecursiveRwLockReadGuard, MappedRecursiveRwLockWriteGuard, RecursiveRwLock, RecursiveRwLockReadGuard,
    RecursiveRwLockUpgradableReadGuard, RecursiveRwLockWriteGuard,
};
pub use remutex::{MappedReentrantMutexGuard, RawThreadId, ReentrantMutex, ReentrantMutexGuard};
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RawRwLock, RawRwLockRecursive, RwLock, RwLockReadGuard,
    RwLockUpgradableReadGuard, RwLockWriteGuard,
};

#[cfg(all(feature = "send_guard", feature = "deadlock_detection"))]
compile_error!("the features `send_guard` and `deadlock_detection` exclude each other, as in parking_lot");

/// Whether guards may be sent, and so whether anybody knows who holds what.
#[cfg(feature = "send_guard")]
mod ownership {
    pub(crate) type Marker = lock_api::GuardSend;
    pub(crate) type Ownership = bowline::facade::Unowned;
}
#[cfg(not(feature = "send_guard"))]
mod ownership {
    pub(crate) type Marker = lock_api::GuardNoSend;
    pub(crate) type Ownership = bowline::facade::Anonymous;
}
