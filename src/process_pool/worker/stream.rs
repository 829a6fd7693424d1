//! The worker's end of the stream: a descriptor whose number a task can close, or give to another file.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicI32, Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::fork::Generation;
use crate::process_pool::wire::socket;

/// How long the stream is taken to be there after a check. Its high number is another file's only when all lower ones
/// are taken, or after a loop over all numbers: either takes a thousand system calls. (A number of no file is an error
/// of the call.)
const TAKEN_TO_BE_THERE: Duration = Duration::from_micros(100);

/// The pause after a first refusal of descriptors, because too many of this user's are on their way. Each next one is
/// twice as long, up to the maximum: a second in all. A receiver that runs takes them out in less than a millisecond.
/// Those that are still on their way after a second lie with one that is stopped, or busy with a long task.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(512);

/// The stream, by its number. Any thread of this process may send, a whole frame at a time.
pub(super) struct Stream {
    descriptor: &'static OwnedFd,
    file: (u64, u64),
    /// A process that is forked off this one may not send, nor wait for a thread that was sending then.
    made_in: Generation,
    /// When the number was looked at last. Locked while a thread sends.
    checked: Mutex<Instant>,
}

/// Returns what the kernel knows a file by: its device and its number.
fn file_of(descriptor: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(descriptor)?;
    Ok((stat.st_dev, stat.st_ino))
}

impl Stream {
    /// The stream that this descriptor is of now.
    pub(super) fn new(descriptor: &'static OwnedFd) -> io::Result<Self> {
        let (file, checked) = (file_of(descriptor)?, Mutex::new(Instant::now()));
        Ok(Self { descriptor, file, made_in: Generation::now(), checked })
    }

    pub(super) fn descriptor(&self) -> &'static OwnedFd {
        self.descriptor
    }

    /// Returns whether this process is forked off the one that has the stream.
    pub(super) fn is_forked(&self) -> bool {
        self.made_in.is_past()
    }

    /// Returns whether the number is still that of the stream.
    pub(super) fn is_there(&self) -> bool {
        file_of(self.descriptor).is_ok_and(|file| file == self.file)
    }

    /// Sends to the parent, and to no other file. `now` is the present time.
    pub(super) fn send(&self, frame: &[u8], now: Instant) -> io::Result<()> {
        let _sends = self.begin(now)?;
        send(self.descriptor, frame)
    }

    /// Sends a frame with descriptors, as [`send`](Self::send) does.
    pub(super) fn send_with(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>], now: Instant) -> io::Result<Sent> {
        let _sends = self.begin(now)?;
        self.send_frame(frame, descriptors)
    }

    fn send_frame(&self, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Sent> {
        if descriptors.is_empty() {
            return send(self.descriptor, frame).map(|()| Sent::All);
        }
        let send_first = || socket::send_with(self.descriptor, frame, descriptors, SendFlags::empty());
        match rustix::io::retry_on_intr(send_first) {
            Ok(sent) => send(self.descriptor, &frame[sent..]).map(|()| Sent::All),
            Err(error) if socket::is_of_descriptors(error) => Ok(Sent::Nothing(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`send_with`](Self::send_with), unless it is too late by the time that no other thread sends. If too many descriptors are on
    /// their way, waits about a second for them to arrive.
    pub(super) fn send_with_patience(
        &self,
        frame: &[u8],
        descriptors: &[BorrowedFd<'_>],
        mut now: Instant,
        mut is_too_late: impl FnMut() -> bool,
    ) -> io::Result<Sent> {
        let mut pause = FIRST_PAUSE;
        loop {
            let sends = self.begin(now)?;
            if is_too_late() {
                return Ok(Sent::TooLate);
            }
            match self.send_frame(frame, descriptors)? {
                Sent::Nothing(Errno::TOOMANYREFS) if pause <= MAX_PAUSE => {
                    drop(sends);
                    thread::sleep(pause);
                    (pause, now) = (pause * 2, Instant::now());
                }
                sent => return Ok(sent),
            }
        }
    }

    /// Waits until no other thread sends, and checks that the number is that of the stream.
    fn begin(&self, now: Instant) -> io::Result<MutexGuard<'_, Instant>> {
        if self.is_forked() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let (now, mut checked) = match self.checked.try_lock() {
            Ok(checked) => (now, checked),
            // It may take long until that thread has sent.
            Err(_) => {
                let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
                (Instant::now(), checked)
            }
        };
        if now.saturating_duration_since(*checked) > TAKEN_TO_BE_THERE {
            if !self.is_there() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            *checked = now;
        }
        Ok(checked)
    }
}

/// What became of a frame with descriptors.
pub(super) enum Sent {
    All,
    /// The system refused to send the descriptors, and nothing was sent.
    Nothing(Errno),
    /// Nothing was sent.
    TooLate,
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
