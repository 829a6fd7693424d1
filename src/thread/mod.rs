//! Threads whose joins are in the wait-for graph: [`std::thread`], and a [`Timer`].
//!
//! `use bowline::thread` in place of `use std::thread` is all that a program needs. A join that could never end is then an
//! error or a panic with a report, as any wait of this crate is: of the calling thread itself, of a thread that needs a lock
//! which the caller holds, of a thread that joins the caller. See [`deadlock`](crate::deadlock).
//!
//! | | |
//! |---|---|
//! | as in std, with a wait in the graph | [`spawn`], [`Builder`], [`JoinHandle`], [`scope`], [`Scope`], [`ScopedJoinHandle`] |
//! | more | [`JoinHandle::acquire_join`], [`JoinHandle::join_timeout`], [`JoinHandle::join_until`], and the same for the other handles; [`Timer`] |
//! | std's own | [`current`], [`sleep`], [`yield_now`], [`park`], [`park_timeout`], [`panicking`], [`available_parallelism`], [`Thread`], [`ThreadId`], [`Result`], [`LocalKey`], [`AccessError`] |
//!
//! # Limits
//!
//! - [`park`] and [`sleep`] are the standard library's, and not in the graph.
//! - A [`ScopedJoinHandle`] is of this crate's [`scope`], and a [`JoinHandle`] of this crate's [`spawn`]: neither converts
//!   to or from the standard library's. On Windows a handle does not become an `OwnedHandle`. What is deprecated
//!   (`sleep_ms`, `park_timeout_ms`) or unstable in `std::thread` is not here.
//! - A thread that is ended by force (`pthread_exit`, `pthread_cancel`), which is undefined behaviour under Rust's frames, has no
//!   result.
//!
//! # Cost
//!
//! A thread takes a place in the wait-for graph when it starts and gives it back when it ends: half a microsecond or so,
//! beside the tens of microseconds that the system takes. A joiner that sleeps may be woken twice: when the destructors of
//! the thread-locals have run, and when the system is through with the thread.
//!
//! # Examples
//!
//! A thread is joined by somebody who holds a lock that it needs:
//!
//! ```
//! use bowline::{Lock, thread};
//! use std::sync::Arc;
//!
//! let ledger = Arc::new(Lock::named("ledger", 0));
//! let guard = ledger.lock();
//! let clerk = thread::spawn({
//!     let ledger = Arc::clone(&ledger);
//!     move || ledger.acquire().map(|mut entries| *entries += 1)
//! });
//! let told = match clerk.acquire_join() {
//!     Ok(result) => result.unwrap().unwrap_err(), // the clerk was the last to wait
//!     Err(refused) => refused.into(),
//! };
//! println!("{told}");
//! # assert!(told.to_string().starts_with("deadlock: 2 threads wait for each other"));
//! # drop(guard);
//! ```

// The protocol, and why no join is missed, are in the `README.md` beside this file.

mod builder;
mod child;
mod ending;
mod error;
mod fuse;
mod handle;
mod scope;
mod timer;

pub use builder::Builder;
pub use error::JoinDeadlock;
pub use handle::JoinHandle;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use std::thread::{
    AccessError, LocalKey, Result, Thread, ThreadId, available_parallelism, current, panicking, park, park_timeout,
    sleep, yield_now,
};
pub use timer::Timer;

/// Spawns a thread and returns the handle that joins it: as [`std::thread::spawn`].
///
/// What the caller did before happens before the thread's closure begins. If the handle is dropped, the thread is detached:
/// it runs until its closure is over, or the process ends.
///
/// # Panics
///
/// If the system refuses to start a thread: see [`Builder::spawn`].
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let words = vec!["knot", "loop"];
/// let handle = thread::spawn(move || words.concat());
/// assert_eq!(handle.join().unwrap(), "knotloop");
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).expect("failed to spawn thread")
}
