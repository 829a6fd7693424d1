//! The worker's end of the stream: a descriptor whose number a task can close, or give to another file.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicI32;
use crate::process_pool::wire::socket;

/// How long the stream is taken to be there after a check. Its high number is another file's only when all lower ones
/// are taken, or after a loop over all numbers: either takes a thousand system calls. (A number of no file is an error
/// of the call.)
const TAKEN_TO_BE_THERE: Duration = Duration::from_micros(100);

/// The stream, by its number.
pub(super) struct Stream<'f> {
    descriptor: &'f OwnedFd,
    file: (u64, u64),
    checked: Cell<Instant>,
}

/// Returns what the kernel knows a file by: its device and its number.
fn file_of(descriptor: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl<'f> Stream<'f> {
    /// The stream that this descriptor is of now.
    pub(super) fn new(descriptor: &'f OwnedFd) -> io::Result<Self> {
        Ok(Self { file: file_of(descriptor)?, descriptor, checked: Cell::new(Instant::now()) })
    }

    pub(super) fn descriptor(&self) -> &'f OwnedFd {
        self.descriptor
    }

    /// Returns whether the number is still that of the stream.
    pub(super) fn is_there(&self) -> bool {
        file_of(self.descriptor).is_ok_and(|file| file == self.file)
    }

    /// Sends to the parent, and to no other file. `now` is the present time.
    pub(super) fn send(&self, bytes: &[u8], now: Instant) -> io::Result<()> {
        self.check(now)?;
        send(self.descriptor, bytes)
    }

    /// Sends a frame with descriptors, as [`send`](Self::send) does.
    pub(super) fn send_with(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>], now: Instant) -> io::Result<Sent> {
        self.check(now)?;
        let send_first = || socket::send_with(self.descriptor, frame, descriptors, SendFlags::empty());
        match rustix::io::retry_on_intr(send_first) {
            Ok(sent) => send(self.descriptor, &frame[sent..]).map(|()| Sent::All),
            Err(error) if socket::is_of_descriptors(error) => Ok(Sent::Nothing(error)),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, now: Instant) -> io::Result<()> {
        if now - self.checked.get() > TAKEN_TO_BE_THERE {
            if !self.is_there() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.checked.set(now);
        }
        Ok(())
    }
}

/// What became of a frame with descriptors.
pub(super) enum Sent {
    All,
    /// The system refused to send the descriptors, and nothing was sent.
    Nothing(Errno),
}

/// Sends all bytes, and waits until they are sent. EPIPE instead of SIGPIPE.
pub(super) fn send(stream: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::io::retry_on_intr(|| rustix::net::send(stream, bytes, SendFlags::NOSIGNAL))?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// The number of the worker's stream, which a process that is forked off the worker closes: its copy would hide the
/// worker's end.
static STREAM: AtomicI32 = AtomicI32::new(-1);

/// Makes every process that is forked off this one close its copy of the stream.
pub(super) fn close_in_forks(stream: &OwnedFd) {
    extern "C" fn close() {
        // Once: in a process that is forked off that one it may be another file.
        let stream = STREAM.swap(-1, Relaxed);
        // SAFETY:
        // - this is a process of its own: no other code in it uses the descriptor, of which it has a copy. `close` may be
        //   called after a fork.
        unsafe { libc::close(stream) };
    }
    STREAM.store(stream.as_raw_fd(), Relaxed);
    // SAFETY:
    // - the function is there for the life of the process, and does only what may be done after a fork.
    unsafe { libc::pthread_atfork(None, None, Some(close)) };
}
