//! The last lines that a worker wrote to standard error, while they are passed on.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::ChildStderr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::primitive::quiet::{Mutex, PoisonError};
use crate::primitive::{Thread, spawn_thread, write_to_stderr};

/// How many lines are kept.
const MAX_LINES: usize = 20;
/// How much of each line is kept, in bytes.
const MAX_LENGTH: usize = 1024;
/// How long a worker's output is awaited after the worker has ended: a process that left its group may have the pipe,
/// too.
const PATIENCE: Duration = Duration::from_millis(200);

/// Follows a worker's standard error, and keeps its last lines.
pub(super) struct Tail {
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
    /// Follows the pipe until no process has its other end, or until this process has ended, if there is a descriptor
    /// that tells of that.
    pub(super) fn follow(stderr: ChildStderr, process: Option<Arc<OwnedFd>>) -> Self {
        let lines = Arc::<Mutex<Lines>>::default();
        let kept = Arc::clone(&lines);
        let follow = move || _ = pass_on(stderr, process.as_deref(), &kept);
        // Without a thread the pipe has no reader: the worker's writes fail, and nothing waits for them.
        let thread = spawn_thread("bowline-stderr".to_owned(), STACK_SIZE, follow).ok();
        Self { lines, thread: Mutex::new(thread) }
    }

    /// Waits until the last output of the worker, which has ended, is passed on: the program may be about to end, too.
    pub(super) fn finish(&self) {
        let end = Instant::now() + PATIENCE;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns the last lines that the worker wrote. It has ended, and its output was [awaited](Self::finish).
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.begun.is_empty() {
            lines.end_line();
        }
        lines.whole.iter().cloned().collect()
    }
}

const STACK_SIZE: usize = 128 << 10;

/// Passes the output on, and keeps its last lines.
///
/// # Errors
///
/// The system is short of something.
fn pass_on(mut stderr: ChildStderr, process: Option<&OwnedFd>, lines: &Mutex<Lines>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    // Once the process has ended: until when to read, and how many bytes to read at least.
    let mut ended: Option<(Instant, u64)> = None;
    loop {
        let output = PollFd::new(&stderr, PollFlags::IN);
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
            ended = Some((Instant::now() + PATIENCE, rustix::io::ioctl_fionread(&stderr)?));
        }
        if has_output {
            let bytes = stderr.read(&mut buffer)?;
            if bytes == 0 {
                return Ok(());
            }
            write_to_stderr(&buffer[..bytes]);
            lines.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..bytes]);
            ended = ended.map(|(end, owed)| (end, owed.saturating_sub(bytes as u64)));
        }
        if ended.is_some_and(|(end, owed)| owed == 0 && Instant::now() >= end) {
            return Ok(());
        }
    }
}
