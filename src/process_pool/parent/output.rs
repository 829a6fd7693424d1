//! The last lines that a worker wrote to its standard streams, while they are passed on.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags};

use crate::primitive::quiet::{Mutex, PoisonError};
use crate::primitive::{Thread, spawn_thread, without_write_signals};
use crate::task::error::LastLines;

/// How many lines are kept.
const MAX_LINES: usize = 20;
/// How much of each line is kept, in bytes.
const MAX_LENGTH: usize = 1024;
/// How long a worker's output is awaited after the worker has ended: a process that left its group may have the pipe,
/// too.
const PATIENCE: Duration = Duration::from_millis(200);

/// The standard streams of a worker that are captured.
///
/// Each has a thread of its own: whoever reads the program's standard output slowly (a pager) holds up neither the
/// worker's standard error nor the lines that are kept of it.
pub(super) struct Output {
    stdout: Option<Tail>,
    stderr: Option<Tail>,
}

impl Output {
    /// Follows the streams of this child that are pipes, until no process has their other ends, or until this process
    /// has ended, if there is a descriptor that tells of that.
    pub(super) fn follow(child: &mut Child, process: Option<&Arc<OwnedFd>>) -> Self {
        let stdout = child.stdout.take().map(|pipe| Tail::follow(pipe.into(), Stream::Output, process.cloned()));
        let stderr = child.stderr.take().map(|pipe| Tail::follow(pipe.into(), Stream::Error, process.cloned()));
        Self { stdout, stderr }
    }

    /// Waits until the last output of the worker, which has ended, is passed on: the program may be about to end, too.
    pub(super) fn finish(&self) {
        let end = Instant::now() + PATIENCE;
        for tail in [&self.stdout, &self.stderr].into_iter().flatten() {
            tail.finish(end);
        }
    }

    /// Returns the last lines that the worker wrote. It has ended, and its output was [awaited](Self::finish).
    pub(super) fn last_lines(&self) -> LastLines {
        let lines = |tail: &Option<Tail>| tail.as_ref().map(Tail::lines).unwrap_or_default();
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

/// Follows a stream of a worker, and keeps its last lines.
struct Tail {
    lines: Arc<Mutex<Lines>>,
    thread: Mutex<Option<Thread>>,
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
    fn follow(pipe: OwnedFd, stream: Stream, process: Option<Arc<OwnedFd>>) -> Self {
        let lines = Arc::<Mutex<Lines>>::default();
        let kept = Arc::clone(&lines);
        let follow = move || _ = follow(&pipe, stream, process.as_deref(), &kept);
        // Without a thread the pipe has no reader: the worker's writes fail, and nothing waits for them.
        let thread = spawn_thread(stream.thread_name().to_owned(), STACK_SIZE, follow).ok();
        Self { lines, thread: Mutex::new(thread) }
    }

    /// Waits until the stream has ended and is passed on, or this time has come.
    fn finish(&self, end: Instant) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
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
fn follow(pipe: &OwnedFd, stream: Stream, process: Option<&OwnedFd>, lines: &Mutex<Lines>) -> io::Result<()> {
    let mut buffer = [0; IN_ONE_PIECE];
    // How much of the buffer is the beginning of a line that was read, and not passed on.
    let mut held = 0;
    // Once the process has ended: until when to read, and how many bytes to read at least.
    let mut ended: Option<(Instant, u64)> = None;
    loop {
        let output = PollFd::new(pipe, PollFlags::IN);
        // The descriptor is "readable" when the process has ended. It is polled until then.
        let process = process.filter(|_| ended.is_none()).map(|process| PollFd::new(process, PollFlags::IN));
        let is_watched = process.is_some();
        let mut ready = [output.clone(), process.unwrap_or(output)];
        let left = ended.map(|(end, _)| end.saturating_duration_since(Instant::now()));
        let limit = left.and_then(|left| left.try_into().ok());
        match poll(&mut ready, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [has_output, is_told] = ready.map(|ready| !ready.revents().is_empty());
        if is_watched && is_told {
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
            lines.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[held..end]);
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
