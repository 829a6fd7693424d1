//! The last lines that a worker wrote to its standard streams, while they are passed on.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags};

use super::latch::Latch;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, Mutex, PoisonError};
use crate::primitive::{spawn_thread, without_write_signals};
use crate::task::error::LastLines;

/// How many lines are kept.
const MAX_LINES: usize = 20;
/// How much of each line is kept, in bytes.
const MAX_LENGTH: usize = 1024;
/// How long a worker's output is awaited after the worker has ended: a process that left its group may have the pipe,
/// too.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often to check whether the worker has ended, where no descriptor tells.
const LOOK_EACH: Duration = Duration::from_millis(50);
/// The maximum of a single wait that has no limit.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The standard streams of a worker that are captured.
///
/// Each has a thread of its own: whoever reads the program's standard output slowly (a pager) holds up neither the
/// worker's standard error nor the lines that are kept of it.
#[derive(Default)]
pub(super) struct Output {
    stdout: Option<Arc<Tail>>,
    stderr: Option<Arc<Tail>>,
}

impl Output {
    /// Follows the streams of this child that are pipes, until no process has their other ends, or until this process
    /// has ended, as its descriptor tells, if it has one, and [`finish`](Self::finish) if not.
    ///
    /// # Errors
    ///
    /// The system has no thread for it. A pipe without a reader is left: what the child writes fails.
    pub(super) fn follow(child: &mut Child, process: Option<&Arc<OwnedFd>>) -> io::Result<Self> {
        let stdout = child.stdout.take().map(|pipe| Tail::follow(pipe.into(), Stream::Output, process.cloned()));
        let stderr = child.stderr.take().map(|pipe| Tail::follow(pipe.into(), Stream::Error, process.cloned()));
        Ok(Self { stdout: stdout.transpose()?, stderr: stderr.transpose()? })
    }

    fn tails(&self) -> impl Iterator<Item = &Arc<Tail>> {
        [&self.stdout, &self.stderr].into_iter().flatten()
    }

    /// Waits for a moment until the last output of the worker, which has ended, is passed on. If nobody takes it, the
    /// [rest](Self::rest) is left.
    pub(super) fn finish(&self) {
        let end = Instant::now() + PATIENCE;
        self.tails().for_each(|tail| tail.worker_has_ended.store(true, Relaxed));
        for tail in self.tails() {
            tail.is_over.wait(end.saturating_duration_since(Instant::now()));
        }
    }

    /// Returns what is not passed on yet.
    pub(super) fn rest(&self) -> impl Iterator<Item = Arc<Tail>> {
        self.tails().filter(|tail| !tail.is_over()).cloned()
    }

    /// Returns the last lines that the worker wrote. It has ended, and its output was [awaited](Self::finish).
    pub(super) fn last_lines(&self) -> LastLines {
        let lines = |tail: &Option<Arc<Tail>>| tail.as_deref().map(Tail::lines).unwrap_or_default();
        LastLines { stdout: lines(&self.stdout), stderr: lines(&self.stderr) }
    }
}

/// A standard stream that is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

impl Stream {
    /// Returns the name of the thread that follows it.
    fn thread_name(self) -> &'static str {
        match self {
            Self::Output => "bowline-stdout",
            Self::Error => "bowline-stderr",
        }
    }

    /// Returns this process's own stream of this kind. `None` if a worker would not have it: the program has closed it,
    /// and something else may have its number, such as a socket of the pool.
    fn of_this_process(self) -> Option<BorrowedFd<'static>> {
        let stream = match self {
            Self::Output => rustix::stdio::stdout(),
            Self::Error => rustix::stdio::stderr(),
        };
        let flags = rustix::io::fcntl_getfd(stream).ok()?;
        (!flags.contains(FdFlags::CLOEXEC)).then_some(stream)
    }

    /// Writes all of `bytes` to this process's own stream, in one piece if the system takes it. Errors are ignored:
    /// nobody reads the pipe, or the file is as long as it may be. A failed write never ends the process.
    fn pass_on(self, mut bytes: &[u8]) {
        let Some(stream) = self.of_this_process() else { return };
        while !bytes.is_empty() {
            match without_write_signals(|| rustix::io::write(stream, bytes)) {
                Ok(0) => return,
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                // The stream is non-blocking: another process that shares it has set that.
                Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(stream, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    }
}

/// A stream of a worker, which a thread follows, and its last lines.
#[derive(Default)]
pub(super) struct Tail {
    lines: Mutex<Lines>,
    /// The worker has ended.
    worker_has_ended: AtomicBool,
    /// Set when all is passed on, or nobody is to wait for that any more.
    is_over: Latch,
}

#[derive(Default)]
struct Lines {
    whole: VecDeque<String>,
    begun: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line();
            } else if self.begun.len() < MAX_LENGTH {
                self.begun.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        if self.whole.len() == MAX_LINES {
            self.whole.pop_front();
        }
        self.whole.push_back(String::from_utf8_lossy(&self.begun).into_owned());
        self.begun.clear();
    }
}

impl Tail {
    fn follow(pipe: OwnedFd, stream: Stream, process: Option<Arc<OwnedFd>>) -> io::Result<Arc<Self>> {
        struct Over<'t>(&'t Tail);

        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.is_over.set();
            }
        }
        let tail = Arc::<Self>::default();
        let followed = Arc::clone(&tail);
        let follow = move || {
            let _over = Over(&followed);
            // Closed before that.
            let (pipe, process) = (pipe, process);
            let _ = follow(&pipe, stream, process.as_deref(), &followed);
        };
        spawn_thread(stream.thread_name().to_owned(), STACK_SIZE, follow)?;
        Ok(tail)
    }

    /// Returns whether all is passed on, or nobody is to wait for that any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.is_set()
    }

    /// Waits until all is passed on, however long that takes: the worker has ended, so that it is up to whoever reads
    /// the program's stream.
    pub(super) fn wait(&self) {
        while !self.is_over.is_set() {
            self.is_over.wait(DAY);
        }
    }

    /// Lets nobody wait for the rest any more.
    pub(super) fn leave(&self) {
        self.is_over.set();
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.begun.is_empty() {
            lines.end_line();
        }
        lines.whole.iter().cloned().collect()
    }
}

const STACK_SIZE: usize = 128 << 10;

/// The maximum length of what a pipe takes in one piece, which nothing that others write comes between: `PIPE_BUF`.
const IN_ONE_PIECE: usize = 4096;

/// Keeps the last lines of what comes by the pipe, and passes everything on.
///
/// A line that the worker wrote in one piece is passed on in one: what was read ends with a part of a line only if the
/// buffer was full, and then the rest is there already.
///
/// # Errors
///
/// The system is short of something.
fn follow(pipe: &OwnedFd, stream: Stream, process: Option<&OwnedFd>, tail: &Tail) -> io::Result<()> {
    let mut buffer = [0; IN_ONE_PIECE];
    // How much of the buffer is the beginning of a line that was read, and not passed on.
    let mut held = 0;
    // Once the process has ended: until when to read, and how many bytes to read at least.
    let mut ended: Option<(Instant, u64)> = None;
    loop {
        let output = PollFd::new(pipe, PollFlags::IN);
        // The descriptor is "readable" when the process has ended. It is polled until then.
        let watched = process.filter(|_| ended.is_none()).map(|process| PollFd::new(process, PollFlags::IN));
        let is_watched = watched.is_some();
        let mut ready = [output.clone(), watched.unwrap_or(output)];
        let left = match ended {
            Some((end, _)) => Some(end.saturating_duration_since(Instant::now())),
            None => process.is_none().then_some(LOOK_EACH),
        };
        let limit = left.and_then(|left| left.try_into().ok());
        match poll(&mut ready, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [has_output, is_told] = ready.map(|ready| !ready.revents().is_empty());
        let has_ended = if process.is_some() { is_watched && is_told } else { tail.worker_has_ended.load(Relaxed) };
        if has_ended && ended.is_none() {
            ended = Some((Instant::now() + PATIENCE, rustix::io::ioctl_fionread(pipe)?));
        }
        if has_output {
            let bytes = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut buffer[held..]))?;
            if bytes == 0 {
                stream.pass_on(&buffer[..held]);
                return Ok(());
            }
            let end = held + bytes;
            // Kept first: to pass them on may take as long as the program's reader likes.
            tail.lines.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[held..end]);
            let is_cut = end == buffer.len() && rustix::io::ioctl_fionread(pipe)? > 0;
            let last_line = buffer[..end].iter().rposition(|&byte| byte == b'\n').filter(|_| is_cut);
            let passed = last_line.map_or(end, |newline| newline + 1);
            stream.pass_on(&buffer[..passed]);
            buffer.copy_within(passed..end, 0);
            held = end - passed;
            ended = ended.map(|(end, owed)| (end, owed.saturating_sub(bytes as u64)));
        }
        if ended.is_some_and(|(end, owed)| owed == 0 && Instant::now() >= end) {
            stream.pass_on(&buffer[..held]);
            return Ok(());
        }
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_silent_daemon_holds_up_nobody_where_no_descriptor_tells_of_the_workers_end() {
        // The end of the daemon: that of its standard input.
        let (input, theirs) = std::io::pipe().expect("a pipe");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "exec 3<&0; setsid cat <&3 & exit 0"]).stdin(input).stdout(Stdio::piped());
        let mut child = shell.spawn().expect("a process");
        drop(shell);
        let output = Output::follow(&mut child, None).expect("a thread");
        assert!(child.wait().expect("a child").success());
        output.finish();
        output.rest().for_each(|tail| tail.wait());
        assert_eq!(output.rest().count(), 0);
        drop(theirs);
    }
}
