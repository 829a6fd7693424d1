//! The primitives.

mod lock;
mod lock_guard;
mod raw_lock;
mod raw_rlock;
mod rlock;
mod rlock_guard;

pub use lock::Lock;
pub use lock_guard::{ArcLockGuard, LockGuard, MappedLockGuard};
pub use rlock::RLock;
pub use rlock_guard::{MappedRLockGuard, RLockGuard};

#[cfg(all(test, loom))]
pub(crate) use raw_lock::{RawGuard, RawLock};
#[cfg(all(test, loom))]
pub(crate) use raw_rlock::RawRLock;
