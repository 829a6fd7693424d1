//! Locks: [`Lock`], which is not re-entrant, [`RLock`], which is, and their guards; and [`Condition`], by which threads that
//! hold a lock wait for each other.
//!
//! A wait for a lock that is part of a deadlock ends with a report: see [`deadlock`](crate::deadlock).

// The layers, and the one machinery of the guards, are in the `README.md` beside this file.

mod condition;
mod guard;
mod lock;
mod request;
mod rlock;
mod rwlock;

pub use condition::{Condition, ConditionGuard, GuardAccess, RLockWaitError, WaitTimeoutResult};
pub use lock::{ArcLockGuard, Lock, LockGuard, MappedLockGuard};
pub use rlock::{MappedRLockGuard, RLock, RLockGuard};
pub use rwlock::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, UpgradeError,
};

#[cfg(all(test, loom))]
pub(crate) use condition::{RawCondition, Waiter};
#[cfg(all(test, loom))]
pub(crate) use lock::{RawLock, RawLockGuard};
#[cfg(all(test, loom))]
pub(crate) use rlock::RawRLock;
