//! Locks that explain their deadlocks.
//!
//! Python's threading model in Rust: a non-reentrant [`Lock`] and a re-entrant [`RLock`], over one wait-for graph that
//! finds deadlocks at run time, exactly, as they close, and turns them into an error or a panic that explains itself.
//! Detection is always on and free when nothing blocks.
//!
//! ```
//! use bowline::Lock;
//!
//! let accounts = Lock::named("accounts", 0);
//! let guard = accounts.lock();
//! let deadlock = accounts.acquire().unwrap_err(); // instead of a hang
//! println!("{deadlock}");
//! # drop(guard);
//! ```

/// The README's code is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod primitive;

pub mod deadlock;
mod executor;
mod sync;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;

pub use executor::{
    AnyFuture, AsCompleted, DoneAndNotDone, Future, Initialized, InvalidState, Map, PanicInfo, PanicLocation, Promise,
    Rejected, ReturnWhen, Scope, SharedFuture, ShutdownOptions, ShutdownReport, Status, SubmitError, TaskError,
    ThreadPoolBuilder, ThreadPoolExecutor, Unfinished, WhenFull, as_completed, promise, wait,
};
pub use sync::{ArcLockGuard, Lock, LockGuard, MappedLockGuard, MappedRLockGuard, RLock, RLockGuard};
