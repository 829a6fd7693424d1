//! The worker's side: how a process becomes a worker, and its life.
//!
//! It imports `wire`, and nothing of the parent's side. The `README.md` beside this file describes a worker's life and
//! its ends.

// Under miri and in models no process is a worker.
mod allocation;
#[cfg(not(any(miri, all(test, loom))))]
mod before_main;
mod bulk;
pub(super) mod entry;
mod forward;
mod high;
mod limits;
mod main_thread;
mod overflow;
mod peer;
pub(super) mod running;
mod serve;
mod stream;
mod watch;
