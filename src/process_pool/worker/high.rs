//! Descriptors with high numbers: out of the way of those that a task has, and believes to have.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

/// The numbers begin so far below the limit of the process.
const ROOM: u64 = 16;
/// Above this the kernel's table of descriptors takes more memory.
const HIGHEST: u64 = 1024;
/// The first number that is not one of the standard streams.
const LEAST: i32 = 3;

/// Duplicates a descriptor to a number that nothing else gets by chance: a task that closes a descriptor once too often, or a
/// dozen of them from 3 on, does not meet it.
///
/// # Errors
///
/// There is no descriptor left.
pub(super) fn duplicate(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(HIGHEST).min(HIGHEST);
    let mut least = i32::try_from(limit.saturating_sub(ROOM)).unwrap_or(LEAST).max(LEAST);
    loop {
        match fcntl_dupfd_cloexec(&descriptor, least) {
            // All of those are taken, or the limit is lower by now.
            Err(Errno::INVAL | Errno::MFILE) if least > LEAST => least = (least / 2).max(LEAST),
            duplicated => return Ok(duplicated?),
        }
    }
}
