//! Why a task has no result, or was not taken.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::panic::PanicInfo;
use crate::deadlock::Deadlock;

/// Why a [`Future`](crate::Future) has no value.
///
/// Cheap to clone: what is large is shared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The task was cancelled before it began.
    Cancelled,
    /// The task panicked.
    Panicked(PanicInfo),
    /// The task was not done in time. It goes on, and so does the future.
    Timeout,
    /// Waiting for the task was part of a deadlock.
    Deadlock(Deadlock),
    /// The task was not taken, or will not be run.
    Rejected(Rejected),
    /// The result was taken from this future before.
    Taken,
    /// The [`Promise`](crate::Promise) was dropped without a result.
    BrokenPromise,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Panicked(panic) => write!(f, "the task {panic}"),
            Self::Timeout => f.write_str("the task was not done in time"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Rejected(rejected) => write!(f, "the task was rejected: {rejected}"),
            Self::Taken => f.write_str("the result was taken before"),
            Self::BrokenPromise => f.write_str("the promise was dropped without a result"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Panicked(panic) => Some(panic),
            Self::Deadlock(deadlock) => Some(deadlock),
            Self::Rejected(rejected) => Some(rejected),
            Self::Cancelled | Self::Timeout | Self::Taken | Self::BrokenPromise => None,
        }
    }
}

/// Why an executor does not take a task, or does not run one that it took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rejected {
    /// The executor was shut down.
    Shutdown,
    /// The queue is full, and the executor does not wait for room.
    QueueFull,
    /// The queue was full for as long as the submitter was ready to wait.
    Timeout,
    /// An initializer failed, for this reason.
    Broken(Arc<str>),
    /// The system refuses to start a thread, and there is no other worker.
    NoThread(Arc<std::io::Error>),
    /// Waiting for room in the queue was part of a deadlock.
    Deadlock(Deadlock),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("the executor was shut down"),
            Self::QueueFull => f.write_str("the executor's queue is full"),
            Self::Timeout => f.write_str("the executor's queue was full until the time-out"),
            Self::Broken(reason) => write!(f, "the executor is broken: {reason}"),
            Self::NoThread(error) => write!(f, "the executor has no thread: {error}"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
        }
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(&**error),
            Self::Deadlock(deadlock) => Some(deadlock),
            Self::Shutdown | Self::QueueFull | Self::Timeout | Self::Broken(_) => None,
        }
    }
}

/// A closure that an executor did not take: comes back with the reason.
pub struct SubmitError<F> {
    reason: Rejected,
    task: F,
}

impl<F> SubmitError<F> {
    pub(super) fn new(reason: Rejected, task: F) -> Self {
        Self { reason, task }
    }

    /// Why the closure was not taken.
    #[must_use]
    pub fn reason(&self) -> &Rejected {
        &self.reason
    }

    /// The closure.
    #[must_use]
    pub fn into_task(self) -> F {
        self.task
    }

    pub(super) fn into_parts(self) -> (Rejected, F) {
        (self.reason, self.task)
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)
    }
}

impl<F> Error for SubmitError<F> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}
