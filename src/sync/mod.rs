//! Locks: [`Lock`], which is not re-entrant, [`RLock`], which is, and their guards.
//!
//! A wait for a lock that is part of a deadlock ends with a report: see [`deadlock`](crate::deadlock).

// The layers, and the one machinery of the guards, are in the `README.md` beside this file.

mod barrier;
mod bounded_semaphore;
mod event;
mod guard;
mod lock;
mod permits;
mod request;
mod rlock;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierWait, BrokenBarrier};
pub use bounded_semaphore::{ArcBoundedSemaphoreGuard, BoundedSemaphore, BoundedSemaphoreGuard};
pub use event::Event;
pub use lock::{ArcLockGuard, Lock, LockGuard, MappedLockGuard};
pub use rlock::{MappedRLockGuard, RLock, RLockGuard};
pub use rwlock::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, UpgradeError,
};
pub use semaphore::{ArcSemaphoreGuard, Semaphore, SemaphoreGuard};

#[cfg(all(test, loom))]
pub(crate) use lock::{RawLock, RawLockGuard};
#[cfg(all(test, loom))]
pub(crate) use rlock::RawRLock;
