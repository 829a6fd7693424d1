//! Deadlocks that were found, for programs that ask for them as parking_lot has them do.
//!
//! They are found without this, too, as they close and not when somebody asks, and printed.

use std::thread::{self, ThreadId};

use backtrace::Backtrace;
use bowline::deadlock::report::StuckThread;
use bowline::facade;

/// A thread of a deadlock.
pub struct DeadlockedThread {
    thread_id: ThreadId,
    backtrace: Backtrace,
}

impl DeadlockedThread {
    /// Returns the id of the thread.
    pub fn thread_id(&self) -> ThreadId {
        self.thread_id
    }

    /// Returns a backtrace without frames: where the thread waits, and what it holds, is in the report that was printed.
    pub fn backtrace(&self) -> &Backtrace {
        &self.backtrace
    }

    fn of(thread: &StuckThread) -> Self {
        // A thread whose id is not known runs the destructors of its thread-locals. The caller is no member of a deadlock.
        let thread_id = thread.thread_id().unwrap_or_else(|| thread::current().id());
        Self { thread_id, backtrace: Backtrace::from(Vec::new()) }
    }
}

/// Returns the threads of each deadlock with a lock of this crate that was found since the last call: the last 64 at most.
pub fn check_deadlock() -> Vec<Vec<DeadlockedThread>> {
    let threads = |report: &bowline::deadlock::Report| report.threads().iter().map(DeadlockedThread::of).collect();
    facade::take_reports().iter().map(threads).collect()
}
