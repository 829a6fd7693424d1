//! Descriptors with high numbers: out of the way of those that a task has, or takes for its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

/// How far below the limit of the process the numbers begin.
const MARGIN: u64 = 16;
/// The maximum limit that counts: for higher numbers the kernel's table of descriptors takes more memory.
const MAX_LIMIT: u64 = 1024;
/// The first number that is not one of the standard streams.
const MIN: i32 = 3;

/// Duplicates a descriptor to a number that nothing else gets by chance: a task that closes a descriptor twice, or a
/// dozen of them from 3 on, does not meet it.
///
/// # Errors
///
/// There is no descriptor left.
pub(super) fn duplicate(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let mut least = i32::try_from(limit.saturating_sub(MARGIN)).unwrap_or(MIN).max(MIN);
    loop {
        match fcntl_dupfd_cloexec(&descriptor, least) {
            // All of those are taken, or the limit is lower by now.
            Err(Errno::INVAL | Errno::MFILE) if least > MIN => least = (least / 2).max(MIN),
            duplicated => return Ok(duplicated?),
        }
    }
}
