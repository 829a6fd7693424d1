//! Memory without a name, behind a descriptor that another process can be given.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::primitive::without_write_signals;

/// Makes memory of no length, which can be sealed. The name is for people, in `/proc`.
pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
    const FLAGS: MemfdFlags = MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING);
    // Some systems require the flag that says that it is not executed; those before Linux 6.3 don't know it.
    let created = match memfd_create(name, FLAGS.union(MemfdFlags::NOEXEC_SEAL)) {
        Err(Errno::INVAL) => memfd_create(name, FLAGS),
        created => created,
    };
    created.and_then(above_standard).map_err(|error| match error {
        Errno::NOSYS => io::Error::new(io::ErrorKind::Unsupported, "this kernel has no `memfd_create`"),
        error => error.into(),
    })
}

/// The first number that is not that of standard input, standard output or standard error.
const FIRST_OTHER: i32 = 3;

/// Returns the descriptor, or another one for the same file if it has the number of standard input, standard output or
/// standard error. Such a number is free in a process that has closed it; others go on writing to it, as `println!`
/// does.
///
/// # Errors
///
/// This process can have no more descriptors. This one is closed.
#[inline]
pub(super) fn above_standard(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    if descriptor.as_raw_fd() >= FIRST_OTHER {
        return Ok(descriptor);
    }
    fcntl_dupfd_cloexec(&descriptor, FIRST_OTHER)
}

/// Gives the memory its length. `what` it is for is named in the error where the process may make no file of this
/// length: limits of files hold for this memory, too.
pub(super) fn set_length(file: &OwnedFd, bytes: usize, what: &str) -> io::Result<()> {
    without_write_signals(|| rustix::fs::ftruncate(file, bytes as u64)).map_err(|error| match error {
        Errno::FBIG => {
            let text =
                format!("the file size limit of this process (RLIMIT_FSIZE, `ulimit -f`) leaves no room for {what}");
            io::Error::new(io::ErrorKind::FileTooLarge, text)
        }
        error => error.into(),
    })
}
