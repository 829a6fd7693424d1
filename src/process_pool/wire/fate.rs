//! A worker's last word: why it is about to end, in the page that it shares with its parent.

use rustix::process::Signal;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::process_pool::lost::WorkerExit;

/// A thread's stack overflowed.
pub(in crate::process_pool) const STACK_OVERFLOW: u32 = 1;
/// The stream to the parent is closed, or another file has its descriptor.
pub(in crate::process_pool) const STREAM_LOST: u32 = 2;
/// The main thread ended, and the process did not.
pub(in crate::process_pool) const MAIN_THREAD_ENDED: u32 = 3;

impl WorkerExit {
    /// How a process ended of which the system says this, and whose last word is here.
    pub(in crate::process_pool) fn with_last_word(self, fate: &AtomicU32) -> Self {
        const KILL: i32 = Signal::KILL.as_raw();
        // ORDERING: Relaxed: the process has ended since it said so.
        match (fate.load(Relaxed), &self) {
            // It says so before it dies of this. (A process that was forked off it may have said so, too.)
            (STACK_OVERFLOW, Self::Signal { number: libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT, .. }) => {
                Self::StackOverflow
            }
            // Both kill themselves.
            (STREAM_LOST, Self::Signal { number: KILL, .. } | Self::Unknown) => Self::StreamClosed { program: None },
            (MAIN_THREAD_ENDED, Self::Signal { number: KILL, .. } | Self::Unknown) => Self::MainThreadEnded,
            _ => self,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_last_word_counts_if_the_process_ended_as_it_says() {
        let signal = |number| WorkerExit::Signal { number, core_dumped: false };
        let closed = WorkerExit::StreamClosed { program: None };
        for (word, exit, expected) in [
            (0, signal(9), signal(9)),
            (STACK_OVERFLOW, signal(libc::SIGSEGV), WorkerExit::StackOverflow),
            (STACK_OVERFLOW, signal(9), signal(9)),
            (STACK_OVERFLOW, WorkerExit::Code(1), WorkerExit::Code(1)),
            (STREAM_LOST, signal(9), closed.clone()),
            (STREAM_LOST, WorkerExit::Unknown, closed),
            (STREAM_LOST, WorkerExit::Code(1), WorkerExit::Code(1)),
            (MAIN_THREAD_ENDED, signal(9), WorkerExit::MainThreadEnded),
            (MAIN_THREAD_ENDED, signal(libc::SIGSEGV), signal(libc::SIGSEGV)),
            // Whatever the other process writes there.
            (u32::MAX, signal(9), signal(9)),
        ] {
            assert_eq!(exit.with_last_word(&AtomicU32::new(word)), expected, "{word}");
        }
    }
}
