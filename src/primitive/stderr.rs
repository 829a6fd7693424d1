//! Standard error, written without std's own handle.

use std::fs::File;
use std::io::Write;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::FromRawFd;

use super::write_signals::without_write_signals;

/// Writes all of `bytes` to standard error, in one piece if the system takes it. Errors are ignored: the process has
/// closed the descriptor, nobody reads the pipe, or the file is as long as it may be.
///
/// On Linux a failed write never ends the process: see [`without_write_signals`].
pub(crate) fn write_to_stderr(bytes: &[u8]) {
    // SAFETY:
    // - the descriptor is only written to, and not closed: the file is never dropped. If the process has closed it, the
    //   write fails.
    let mut stderr = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let _ = without_write_signals(|| stderr.write_all(bytes));
}

/// Returns how many columns the terminal has that standard error is, if it is one and says so.
pub(crate) fn terminal_width() -> Option<usize> {
    let mut size = MaybeUninit::<libc::winsize>::uninit();
    // SAFETY:
    // - a request that writes a `winsize`, if the descriptor is a terminal.
    let answer = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    if answer != 0 {
        return None;
    }
    // SAFETY:
    // - the request succeeded.
    let columns = unsafe { size.assume_init() }.ws_col;
    (columns != 0).then_some(usize::from(columns))
}
