//! The role of this process: how deep it is among workers, whether it is about to be one, and whether it may have or be
//! one.
//!
//! The worker's side sets the role; the parent's side asks where a pool is made and where a worker is told its own
//! depth.

use rustix::process::{getegid, geteuid, getgid, getuid};

use super::mark::Mark;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, AtomicU32};

/// How many worker processes there are around this one.
static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Whether this process has taken its mark, and runs what the program does before `main`.
static IS_BEGINNING: AtomicBool = AtomicBool::new(false);

/// Returns how many worker processes there are around this one: 0 in the program itself.
pub(in crate::process_pool) fn depth() -> u32 {
    DEPTH.load(Relaxed)
}

/// Sets the [`depth`] that the parent told this worker.
pub(in crate::process_pool) fn set_depth(depth: u32) {
    DEPTH.store(depth, Relaxed);
}

/// Returns whether this process is to be a worker, and is none yet.
pub(in crate::process_pool) fn is_worker_to_be() -> bool {
    IS_BEGINNING.load(Relaxed) || Mark::of_this_process().is_some()
}

/// Runs what the program does before `main`, in a process that has taken its mark: until that returns, it
/// [is to be a worker](is_worker_to_be).
#[cfg(not(any(miri, all(test, loom))))]
pub(in crate::process_pool) fn while_beginning<R>(run: impl FnOnce() -> R) -> R {
    IS_BEGINNING.store(true, Relaxed);
    let result = run();
    IS_BEGINNING.store(false, Relaxed);
    result
}

/// Returns whether this program has rights that the user who started it has not. Such a program takes no orders from
/// that user.
pub(in crate::process_pool) fn is_privileged() -> bool {
    // SAFETY:
    // - `getauxval` has no preconditions.
    let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) != 0 };
    is_secure || getuid() != geteuid() || getgid() != getegid()
}
