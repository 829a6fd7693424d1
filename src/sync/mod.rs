//! Locks: [`Lock`], which is not re-entrant, [`RLock`], which is, [`RwLock`], which many can read, and their guards.
//! [`Condition`], by which threads that hold a lock wait for each other. What is initialised once: [`Once`], [`OnceLock`] and
//! [`LazyLock`].
//!
//! A wait that is part of a deadlock ends with a report: see [`deadlock`](crate::deadlock).

// The layers, and the one machinery of the guards, are in the `README.md` beside this file.

mod barrier;
mod bounded_semaphore;
mod condition;
mod event;
mod guard;
pub(crate) mod identity;
mod lock;
mod once;
mod permits;
pub(crate) mod request;
mod rlock;
mod rwlock;
mod semaphore;

pub use barrier::{Barrier, BarrierWait, BrokenBarrier};
pub use bounded_semaphore::{ArcBoundedSemaphoreGuard, BoundedSemaphore, BoundedSemaphoreGuard};
pub use condition::{Condition, ConditionGuard, GuardAccess, RLockWaitError, WaitTimeoutResult};
pub use event::Event;
pub use lock::{ArcLockGuard, Lock, LockGuard, MappedLockGuard};
pub use once::{InitError, LazyLock, Once, OnceLock, OnceState, Poisoned};
pub use rlock::{MappedRLockGuard, RLock, RLockGuard};
pub use rwlock::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, UpgradeError,
};
pub(crate) use rwlock::{RawRwLock, RawRwLockGuard, Reading, UpgradablyReading, Writing, too_many_readers};
pub use semaphore::{ArcSemaphoreGuard, Semaphore, SemaphoreGuard};

pub(crate) use condition::{RawCondition, Waiter};
pub(crate) use lock::{RawLock, RawLockGuard};
#[doc(hidden)]
pub use once::Progress;
pub(crate) use once::{Entered, Intent, RawOnce, Request as OnceRequest};
#[cfg(all(test, loom))]
pub(crate) use rlock::RawRLock;
