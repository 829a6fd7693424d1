//! The locks: see the README beside this file.

mod guard;
mod lock;
mod rlock;

pub use lock::{ArcLockGuard, Lock, LockGuard, MappedLockGuard};
pub use rlock::{MappedRLockGuard, RLock, RLockGuard};

#[cfg(all(test, loom))]
pub(crate) use lock::{RawLock, RawLockGuard};
#[cfg(all(test, loom))]
pub(crate) use rlock::RawRLock;
