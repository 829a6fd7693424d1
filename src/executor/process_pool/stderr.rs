//! The last lines that a worker wrote to standard error, while they are passed on.

use std::collections::VecDeque;
use std::io::Read;
use std::mem::ManuallyDrop;
use std::process::ChildStderr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::primitive::quiet::{Mutex, PoisonError};
use crate::primitive::{Thread, spawn_thread};

/// So many lines are kept.
const LINES: usize = 20;
/// So much of each, in bytes.
const LENGTH: usize = 1024;
/// So long the end of a worker's output is waited for: somebody who left its group may have it, too.
const PATIENCE: Duration = Duration::from_millis(200);

/// Follows a worker's standard error.
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
            } else if self.begun.len() < LENGTH {
                self.begun.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        if self.whole.len() == LINES {
            self.whole.pop_front();
        }
        self.whole.push_back(String::from_utf8_lossy(&self.begun).into_owned());
        self.begun.clear();
    }
}

impl Tail {
    pub(super) fn follow(stderr: ChildStderr) -> Self {
        let lines = Arc::<Mutex<Lines>>::default();
        let kept = Arc::clone(&lines);
        let follow = move || pass_on(stderr, &kept);
        // Without a thread nobody reads: the worker's writes fail, and nothing waits for them.
        let thread = spawn_thread("bowline-stderr".to_owned(), STACK_SIZE, follow).ok();
        Self { lines, thread: Mutex::new(thread) }
    }

    /// Waits until what the worker, which has ended, wrote last is passed on: the program may be about to end, too.
    pub(super) fn finish(&self) {
        let end = Instant::now() + PATIENCE;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        while thread.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the worker wrote last. It has ended, and this was [waited for](Self::finish).
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.begun.is_empty() {
            lines.end_line();
        }
        lines.whole.iter().cloned().collect()
    }
}

const STACK_SIZE: usize = 128 << 10;

fn pass_on(mut stderr: ChildStderr, lines: &Mutex<Lines>) {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::FromRawFd;
    // SAFETY:
    // - the descriptor is only written to, and not closed: the file is never dropped.
    let mut own = ManuallyDrop::new(unsafe { File::from_raw_fd(2) });
    let mut buffer = [0; 4096];
    while let Ok(bytes) = stderr.read(&mut buffer)
        && bytes > 0
    {
        let _ = own.write_all(&buffer[..bytes]);
        lines.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..bytes]);
    }
}
