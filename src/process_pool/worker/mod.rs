//! The worker's side: how a process becomes one, and its life.

// No process is a worker there.
#[cfg(not(any(miri, all(test, loom))))]
mod before_main;
pub(super) mod entry;
pub(super) mod high;
pub(super) mod main_thread;
pub(super) mod overflow;
pub(super) mod peer;
pub(super) mod serve;
pub(super) mod watch;
