//! The wait-for graph: who waits for whom, deadlocks as errors, and what to do about them.
//!
//! Every blocking wait of this crate that lasts longer than the [grace](set_grace) becomes an edge of one graph. The
//! wait that completes a cycle finds the deadlock at that moment, and is its victim, unless only another member can break
//! it: depending on the [policy](Policy) it panics with a [`Report`], or, if it came by
//! [`acquire`](crate::Lock::acquire), returns the [`Deadlock`] as an error.
//! There is no polling thread. A deadlock is reported only when it is proved.
//!
//! The protocol, and why it is exact, is in the `README.md` beside this module's source.
//!
//! # Examples
//!
//! Two threads take two locks in opposite orders. One of them gets the error and backs off, and the other goes on:
//!
//! ```
//! use bowline::Lock;
//! use bowline::deadlock::{Deadlock, Kind};
//! use std::{sync::Barrier, thread};
//!
//! let (left, right) = (Lock::named("left", 0), Lock::named("right", 0));
//! let each_holds_one = Barrier::new(2);
//! let add = |first: &Lock<i32>, second: &Lock<i32>| -> Result<(), Deadlock> {
//!     let mut first = first.acquire()?;
//!     each_holds_one.wait();
//!     let mut second = second.acquire()?;
//!     (*first, *second) = (*first + 1, *second + 1);
//!     Ok(())
//! };
//! let results = thread::scope(|s| {
//!     let other = s.spawn(|| add(&right, &left));
//!     [add(&left, &right), other.join().unwrap()]
//! });
//! assert_eq!((left.into_inner(), right.into_inner()), (1, 1));
//!
//! let deadlocks: Vec<_> = results.into_iter().filter_map(Result::err).collect();
//! assert_eq!(deadlocks.len(), 1);
//! let report = deadlocks[0].report();
//! assert_eq!(report.kind(), Kind::Cycle);
//! for thread in report.threads() {
//!     let (wait, held) = (thread.waits_for().unwrap(), &thread.holds()[0]);
//!     println!("{:?} waits for {:?} at {}", thread.name(), wait.resource().name(), wait.site());
//!     println!("and holds {:?}, taken at {}", held.resource().name(), held.site());
//! #   assert!(!wait.resource().is_same(held.resource()));
//! }
//! ```
//!
//! # Hazards
//!
//! A [`Hazard`] is a fact about one thread that breaks the contract of a lock, although nobody hangs: with another thread at the
//! wrong moment it would be a deadlock. Two are known: a thread reads an [`RwLock`](crate::RwLock) that it reads already, and a thread takes
//! a lock of a declared [rank](crate::Lock::ranked) while it holds one of the same or a higher rank. A hazard is found when the
//! line runs for the first time, by looking at what the thread holds. No other thread is looked at, and nothing is predicted. In builds with
//! debug assertions hazards are printed; see [`HazardPolicy`] and [`on_hazard`].
//!
//! What a thread holds by a guard that was forgotten counts, even if the lock is gone by now.
//!
//! # Environment
//!
//! Read when a thread first locks, waits or submits. An invalid value is reported once, on standard error.
//!
//! | variable | |
//! |---|---|
//! | `BOWLINE_DEADLOCK` | the first [`Policy`]: `panic`, `abort`, `report` or `off` |
//! | `BOWLINE_HAZARD` | the first [`HazardPolicy`]: `off`, `warn` or `panic` |
//! | `BOWLINE_DUMP` | signals on which the process prints a [`dump()`], such as `sigterm,sigquit` (feature `signal`). After SIGTERM, SIGINT and SIGHUP the process ends, as it would without this crate; after SIGQUIT, SIGUSR1 and SIGUSR2 it continues. A handler that the program installed before is called as well, and decides whether the process ends |
//! | `BOWLINE_WARN_AFTER` | a duration, such as `2s`: a longer wait is printed, as by [`warn_after`] |
//! | `BOWLINE_BACKTRACE` | `1`: dumps and reports have the stacks of their threads (feature `backtrace`, on Linux) |
//! | `NO_COLOR`, `CLICOLOR_FORCE` | colours on standard error: never, or always |
//!
//! # Debuggers
//!
//! [`dump()`] is in every program that links this crate, so that a debugger can call it in one that hangs: in gdb by
//! `call ((void (*)())SYMBOL)()`, where `nm` of the program tells the symbol (it has `deadlock6report4dump4dump` in it).

pub(crate) mod detector;
pub(crate) mod door;
mod environment;
pub(crate) mod graph;
pub(crate) mod group;
pub(crate) mod hazard;
pub(crate) mod hook;
mod judge;
mod lateness;
mod long_wait;
mod moved;
mod name;
pub(crate) mod nested;
mod policy;
pub(crate) mod registry;
pub(crate) mod release;
pub mod report;
mod setting;
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
mod signal;
mod terms;
mod trace;
mod victim;
pub(crate) mod waitable;

pub(crate) use graph::thread_name::thread_name;
pub(crate) use graph::{context, holds, resource};
pub use hazard::{HazardPolicy, hazard_policy, on_hazard, set_hazard_policy};
pub use hook::{Hook, on_deadlock};
pub use long_wait::warn_after;
#[allow(deprecated, reason = "version 0.1 had these names here")]
#[doc(hidden)]
pub use moved::{Held, LongWait, Purpose, Resource, StuckThread, Task, Wait};
pub use name::Name;
pub use policy::{Policy, grace, policy, set_grace, set_policy};
pub use report::dump::dump;
pub(crate) use report::render::{self, ReportIn};
pub use report::snapshot::{Edge, Node, NodeKind, WaitForGraph, snapshot};
pub use report::{Deadlock, Hazard, HazardKind, Kind, Report};
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
pub use signal::dump_on_signal;

/// Returns how many pieces of memory, and how many bytes, were taken from the system for the life of the process. They are
/// not of the program's allocator, which may lock.
#[doc(hidden)]
pub fn lasting_memory() -> (usize, usize) {
    crate::primitive::lasting::taken()
}

/// Runs code that must not unwind, since others count on its end. If it unwinds all the same, the process aborts, and
/// says where it panicked.
pub(crate) fn never_unwinds<R>(place: &'static str, run: impl FnOnce() -> R) -> R {
    struct Abort(&'static str);
    impl Drop for Abort {
        fn drop(&mut self) {
            print_line(format_args!("bowline: panic {}, aborting", self.0));
            std::process::abort();
        }
    }
    // A model fails by a panic of its own, wherever it is.
    let abort = (!cfg!(all(test, loom))).then(|| Abort(place));
    let result = run();
    std::mem::forget(abort);
    result
}

/// Prints text and a line break to standard error in one write, and ignores errors.
///
/// Does not take std's lock of standard error: a thread that holds it may be part of the deadlock.
pub(crate) fn print_line(text: std::fmt::Arguments<'_>) {
    let text = format!("{text}\n");
    #[cfg(all(unix, not(bowline_portable)))]
    crate::primitive::write_to_stderr(text.as_bytes());
    #[cfg(any(not(unix), bowline_portable))]
    {
        use std::io::Write;
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
