//! The wait-for graph: who waits for whom, deadlocks as errors, and what to do about them.
//!
//! Every blocking wait of this crate that lasts longer than the [grace](set_grace) becomes an edge of one graph. The
//! wait that closes a cycle finds the deadlock at that moment, and is its victim: depending on the [policy](Policy) it
//! panics with a [`Report`], or, if it came by [`acquire`](crate::Lock::acquire), returns the [`Deadlock`] as an error.
//! There is no polling thread. A deadlock is reported only when it is proved.
//!
//! The protocol, and why it is exact, is in the `README.md` beside this module's source.

pub(crate) mod detector;
pub(crate) mod door;
pub(crate) mod graph;
pub(crate) mod group;
mod hook;
mod judge;
mod lateness;
mod long_wait;
mod moved;
pub(crate) mod nested;
mod policy;
pub(crate) mod registry;
pub mod report;
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
mod signal;
mod terms;
mod trace;
mod victim;
pub(crate) mod waitable;

pub(crate) use graph::thread_name::thread_name;
pub(crate) use graph::{context, holds, resource};
pub use hook::{Hook, on_deadlock};
pub use long_wait::warn_after;
#[allow(deprecated, reason = "version 0.1 had these names here")]
#[doc(hidden)]
pub use moved::{Held, LongWait, Purpose, Resource, StuckThread, Task, Wait};
pub use policy::{Policy, grace, policy, set_grace, set_policy};
pub(crate) use report::render;
pub use report::snapshot::{Edge, Node, NodeKind, WaitForGraph, dump, snapshot};
pub use report::{Deadlock, Kind, Report};
#[cfg(all(unix, not(bowline_portable), feature = "signal"))]
pub use signal::dump_on_signal;

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
