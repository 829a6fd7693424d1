//! [`std::sync`], whose locks explain their deadlocks: the same names, signatures and poisoning.
//!
//! One `use` line changes, and nothing else in a file:
//!
//! ```
//! use bowline::std_sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError}; // was: use std::sync::{…};
//!
//! struct Account {
//!     cents: Mutex<u64>,
//!     changed: Condvar,
//! }
//!
//! impl Account {
//!     fn lock(&self) -> MutexGuard<'_, u64> {
//!         self.cents.lock().unwrap_or_else(PoisonError::into_inner)
//!     }
//! }
//!
//! let account = Arc::new(Account { cents: Mutex::new(100), changed: Condvar::new() });
//! *account.lock() += 1;
//! account.changed.notify_all();
//! assert_eq!(*account.lock(), 101);
//! ```
//!
//! [`bowline::thread`](crate::thread) is the same for [`std::thread`]. Code that is written anew has less to unwrap with
//! [`bowline::sync`](crate::sync): these here are newtypes over what is there, in the same wait-for graph, so that both can be used
//! in one program, and parts of a deadlock can be of both.
//!
//! | | |
//! |---|---|
//! | std's signatures and poisoning, over bowline's own | [`Mutex`], [`RwLock`], their guards; [`Condvar`], [`WaitTimeoutResult`]; [`Barrier`], [`BarrierWaitResult`] |
//! | bowline's own, which have std's signatures and more | [`Once`], [`OnceState`], [`OnceLock`], [`LazyLock`] |
//! | std's own | [`LockResult`], [`PoisonError`], [`TryLockResult`], [`TryLockError`]; [`Arc`], [`Weak`], [`atomic`], [`mpsc`] |
//!
//! # Deadlocks
//!
//! A wait that is part of a deadlock does what the [policy](crate::deadlock::Policy) says: by default it panics in one of the threads,
//! with the report as the message. `lock().unwrap()` does not return an error for that, since [`PoisonError`] has a guard inside. The panic
//! unwinds as any other does: what the victim holds is released *and poisoned*, so that others that take it learn that there was
//! trouble. Code that ignores poison goes on. Where a deadlock is to be a value, use [`bowline::sync`](crate::sync) and its `acquire`.
//!
//! # Cost
//!
//! | | beside its value, in bytes | guard |
//! |---|---|---|
//! | [`Mutex`] | 40 | 40 |
//! | [`RwLock`] | 56 | 24 to read, 40 to write |
//! | [`Condvar`] | 72 | |
//! | [`Barrier`] | 104 | |
//! | [`Once`], [`OnceLock`], [`LazyLock`] | 32, and one word more where the value has no niche | |
//!
//! (On 64-bit systems. Of std's, a mutex takes 8, a read-write lock 12, a condition variable 4 on Linux.) An operation costs what it
//! costs in [`bowline::sync`](crate::sync), and what std's costs for poison: one look at whether the thread panics when it locks to
//! write, and one when it unlocks.
//!
//! # Different from std
//!
//! - `Debug` of [`Once`], [`OnceLock`] and [`LazyLock`] says more: `OnceLock { data: 5 }` for `OnceLock(5)`.
//! - The message of the panic on a poisoned [`Once`] or [`LazyLock`] names lines.
//! - A thread that reads an [`RwLock`] which it reads already gets a warning on standard error in builds with debug assertions: a
//!   [hazard](crate::RwLock#hazards), which `BOWLINE_HAZARD=off` silences.
//! - Constructors are `#[track_caller]`, and take the line that calls them. One that is passed on as a value (`map(Mutex::new)`) is called
//!   by a line of the standard library.
//! - [`ONCE_INIT`](constant@ONCE_INIT) is made by a line of this crate.
//! - An [`RwLockReadGuard`] is invariant in its type, as an [`RwLockWriteGuard`] is: a guard of a `&'static str` is not a guard of a `&'a str`.
//! - The help of a report may speak of `acquire` forms, which [`Lock`](crate::Lock) and its like have.
//!
//! # Not reached
//!
//! - The standard library's own locks (standard output, the environment, the allocator's), and those of crates that use `std::sync`.
//! - Signatures of others that name std's types (`fn of(guard: std::sync::MutexGuard<'_, T>)`): a guard of this module is another type.
//!   Traits that other crates implement for `std::sync::Mutex` are not implemented for this one, but for serde's with the feature `serde`.
//! - Waits for an [`mpsc`] channel, which is std's, and spinning on [`atomic`]s.
//! - What is unstable in `std::sync`: `MappedMutexGuard` and its like, `ReentrantLock` (for which there is [`RLock`](crate::RLock)), `mpmc`,
//!   `nonpoison`, `Mutex::set` and its kin. (`OnceLock::get_or_try_init` is here.)

mod barrier;
mod condvar;
mod mutex;
mod mutex_guard;
mod poison;
mod rwlock;
mod rwlock_guards;

pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic, mpsc};

pub use crate::sync::{LazyLock, Once, OnceLock, OnceState};
pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use mutex::Mutex;
pub use mutex_guard::MutexGuard;
pub use rwlock::RwLock;
pub use rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};

/// A [`Once`] whose initialiser has not run: [`Once::new`], as std had it before that was `const`.
#[allow(clippy::declare_interior_mutable_const, reason = "std's name for what `Once::new` makes")]
#[deprecated(since = "0.2.0", note = "the `Once::new()` function is now preferred, as in std")]
pub const ONCE_INIT: Once = Once::new();
