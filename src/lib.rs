//! Locks, threads, futures and pools that explain their deadlocks.
//!
//! Python's `threading` and `concurrent.futures` in Rust, over one wait-for graph that finds deadlocks at run time, exactly, as
//! they close, and turns them into an error or a panic that explains itself. Detection is always on and free when nothing
//! blocks: see [`deadlock`].
//!
//! | | |
//! |---|---|
//! | locks | [`Lock`], [`RLock`] (re-entrant), [`RwLock`] (many readers or one writer) |
//! | signals | [`Condition`], [`Event`], [`Semaphore`], [`BoundedSemaphore`], [`Barrier`] |
//! | once | [`Once`], [`OnceLock`], [`LazyLock`] |
//! | std's locks | [`std_sync`]: std's signatures and poisoning, by one other `use` line |
//! | parking_lot's locks | in the whole dependency tree, by one line of `Cargo.toml`: `docs/adopting.md`, beside the source |
//! | threads | [`thread::spawn`], [`thread::scope`], [`thread::JoinHandle`], [`Timer`] |
//! | tasks | [`ThreadPoolExecutor`], [`Future`], [`SharedFuture`], [`promise`](promise()), [`wait`](wait()), [`as_completed`]; with a feature `ProcessPoolExecutor` |
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
//!
//! A thread is joined by one that still reads what the thread is to write. The last of the two to wait is told:
//!
//! ```
//! use bowline::{RwLock, thread};
//!
//! let routes = RwLock::named("routes", vec!["/"]);
//! thread::scope(|s| {
//!     let reading = routes.read();
//!     let reload = s.spawn(|| routes.acquire_write().map(|mut routes| routes.push("/login")));
//!     let deadlock = match reload.acquire_join() {
//!         Ok(result) => result.unwrap().unwrap_err(), // the writer was the last
//!         Err(refused) => refused.into(),
//!     };
//!     println!("{deadlock}"); // thread 'main' waits for the end of … and reads A 'routes' …
//!     drop(reading);
//! });
//! ```
//!
//! ```
//! use bowline::{ThreadPoolExecutor, as_completed};
//!
//! let pool = ThreadPoolExecutor::new(4);
//! let squares: Vec<_> = (0..10_u64).map(|n| pool.submit(move || n * n)).collect();
//! let mut sum = 0;
//! for square in as_completed(squares) {
//!     sum += square?.result()?;
//! }
//! assert_eq!(sum, 285);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A future can be awaited as well, in any runtime:
//!
//! ```
//! use bowline::ThreadPoolExecutor;
//!
//! let pool = ThreadPoolExecutor::new(2);
//! let answer = async { pool.submit(|| 6 * 7).await };
//! assert_eq!(futures::executor::block_on(answer).unwrap(), 42);
//! ```
//!
//! With the feature `process`, tasks that may crash can run in other processes: see
#![cfg_attr(feature = "process", doc = "[`ProcessPoolExecutor`].")]
#![cfg_attr(not(feature = "process"), doc = "`ProcessPoolExecutor`.")]
//!
#![cfg_attr(feature = "process", doc = "```")]
#![cfg_attr(not(feature = "process"), doc = "```ignore")]
//! use bowline::ProcessPoolExecutor;
//!
//! let pool = ProcessPoolExecutor::new(2)?;
//! let crash = pool.submit(|| -> u32 { std::process::abort() }, ());
//! let power = pool.submit(u64::pow, (7, 2));
//! assert!(crash.exception().unwrap().to_string().contains("SIGABRT"));
//! assert_eq!(power.result()?, 49);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | |
//! |---|---|
//! | `process` | `ProcessPoolExecutor`: tasks in worker processes (Linux) |
//! | `signal` | `deadlock::dump_on_signal`, and `BOWLINE_DUMP`: the wait-for graph on a signal (Unix) |
//! | `backtrace` | `BOWLINE_BACKTRACE`: stacks in dumps and reports (Linux) |
//! | `tracing` | the submitter's span around each task; spans and events of worker processes; deadlocks, hazards, long waits, panics of tasks and broken pools as events |
//! | `serde` | locks, reports and snapshots can be serialized, and locks deserialized |
//!
//! # Environment
//!
//! `BOWLINE_DEADLOCK` (what a deadlock does), `BOWLINE_HAZARD` (what a [hazard](deadlock#hazards) does), `BOWLINE_DUMP` (a dump
//! on signals), `BOWLINE_WARN_AFTER` (long waits), `BOWLINE_BACKTRACE` (stacks), `NO_COLOR` and `CLICOLOR_FORCE`: see [`deadlock`](deadlock#environment). What to do with a
//! program that hangs is in `docs/hangs.md`, beside the source.
//!
//! # Limits
//!
//! - A deadlock is found if each of its waits is a blocking wait of this crate, without a time-out, for somebody whom the crate
//!   knows: the owner of a lock, the writer or all readers of an `RwLock`, the holders of a `BoundedSemaphore`'s permits, the
//!   thread that initialises a value or runs a barrier's action, a thread that is joined, the end of a scope, a task on a thread
//!   pool, a queue or a pool. Not judged, and shown in [snapshots](deadlock::snapshot), are waits that any thread can end
//!   (a notification of a `Condition`, an `Event`, a `Semaphore`, the other parties of a `Barrier`, a promise), and tasks
//!   in other processes. Not in the graph are `.await`, channels, other libraries' locks and threads, and I/O. Each wait, and
//!   who can end it, is in `docs/waits.md`.
//! - A process has at most 2²⁴ threads that hold locks at once, a pool at most 16,383 threads, and an `RLock` is held at most
//!   2³² − 2 times.
//! - A victim's locks are released as they are: no lock is poisoned but those of [`std_sync`]. A `Once` or a `LazyLock` is, if its
//!   initialiser unwinds.
//! - Linux on x86-64 is the tested platform; elsewhere abandoned locks are not detected.

/// The README and the pages of `docs`, whose code is compiled.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/adopting.md")]
    struct Adopting;
    #[doc = include_str!("../docs/coming-from.md")]
    struct ComingFrom;
    #[doc = include_str!("../docs/comparison.md")]
    struct Comparison;
    #[doc = include_str!("../docs/hangs.md")]
    struct Hangs;
    #[doc = include_str!("../docs/performance.md")]
    struct Performance;
    #[doc = include_str!("../docs/platforms.md")]
    struct Platforms;
    #[doc = include_str!("../docs/pools.md")]
    struct Pools;
    #[doc = include_str!("../docs/security.md")]
    struct Security;
    #[doc = include_str!("../docs/waits.md")]
    struct Waits;
}

mod moved;
mod primitive;

pub mod deadlock;
#[doc(hidden)]
pub mod facade;
#[cfg(feature = "process")]
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "process_pool/portable.rs")]
pub mod process_pool;
pub mod std_sync;
pub mod sync;
pub mod task;
pub mod thread;
pub mod thread_pool;

#[cfg(all(test, loom))]
#[path = "../loom-tests/mod.rs"]
mod loom_tests;

#[allow(deprecated, reason = "version 0.1 had these names here")]
#[doc(hidden)]
pub use moved::{
    ArcLockGuard, AsCompleted, CodecError, DoneAndNotDone, InvalidState, LockGuard, Map, MappedLockGuard,
    MappedRLockGuard, PanicInfo, PanicLocation, RLockGuard, Rejected, Scope, ShutdownOptions, ShutdownReport,
    StartError, StartFailure, Status, SubmitError, ThreadPoolBuilder, Unfinished, WhenFull, WorkerExit, WorkerLost,
};
#[cfg(feature = "process")]
#[allow(deprecated, reason = "version 0.1 had these names here")]
#[doc(hidden)]
pub use moved::{ProcessPoolBuilder, ProcessPoolError};
// Traits, which have no aliases: version 0.1 had them here.
pub use deadlock::Name;
#[cfg(feature = "process")]
#[doc(hidden)]
pub use process_pool::Callable;
#[cfg(feature = "process")]
pub use process_pool::{Blob, Json, ProcessPoolExecutor, SharedVec};
pub use sync::{Barrier, BoundedSemaphore, Condition, Event, LazyLock, Lock, Once, OnceLock, RLock, RwLock, Semaphore};
#[doc(hidden)]
pub use task::AnyFuture;
pub use task::{Future, Promise, ReturnWhen, SharedFuture, TaskError, as_completed, promise, wait};
pub use thread::Timer;
#[doc(hidden)]
pub use thread_pool::Initialized;
pub use thread_pool::ThreadPoolExecutor;
