//! Locks: [`Lock`], which is not re-entrant, [`RLock`], which is, and their guards. What is initialised once: [`Once`],
//! [`OnceLock`] and [`LazyLock`].
//!
//! A wait that is part of a deadlock ends with a report: see [`deadlock`](crate::deadlock).

// The layers, and the one machinery of the guards, are in the `README.md` beside this file.

mod guard;
mod lock;
mod once;
mod rlock;

pub use lock::{ArcLockGuard, Lock, LockGuard, MappedLockGuard};
pub use once::{InitError, LazyLock, Once, OnceLock, OnceState, Poisoned};
pub use rlock::{MappedRLockGuard, RLock, RLockGuard};

#[cfg(all(test, loom))]
pub(crate) use lock::{RawLock, RawLockGuard};
#[cfg(all(test, loom))]
pub(crate) use once::{Entered, Intent, RawOnce, Request};
#[cfg(all(test, loom))]
pub(crate) use rlock::RawRLock;
