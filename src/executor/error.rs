//! Why a task has no result, or was not taken.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::panic::PanicInfo;
#[cfg(feature = "process")]
use super::process_pool::{CodecError, StartError, WorkerLost};
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
    /// The worker process that ran the task is gone. Other tasks are not concerned: another worker takes its place.
    #[cfg(feature = "process")]
    WorkerLost(WorkerLost),
    /// The arguments, or the result, could not be encoded for the other process, or were longer than the pool allows.
    #[cfg(feature = "process")]
    Encode(CodecError),
    /// The arguments, or the result, could not be decoded where they arrived.
    #[cfg(feature = "process")]
    Decode(CodecError),
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
            #[cfg(feature = "process")]
            Self::WorkerLost(lost) => fmt::Display::fmt(lost, f),
            #[cfg(feature = "process")]
            Self::Encode(error) => write!(f, "the task's arguments or result could not be encoded: {error}"),
            #[cfg(feature = "process")]
            Self::Decode(error) => write!(f, "the task's arguments or result could not be decoded: {error}"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Panicked(panic) => Some(panic),
            Self::Deadlock(deadlock) => Some(deadlock),
            Self::Rejected(rejected) => Some(rejected),
            #[cfg(feature = "process")]
            Self::WorkerLost(lost) => Some(lost),
            #[cfg(feature = "process")]
            Self::Encode(error) | Self::Decode(error) => Some(error),
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
    /// The executor was made by a process that this one was forked off: its workers are the other's.
    #[cfg(feature = "process")]
    Forked,
    /// The executor was killed before the task was begun.
    #[cfg(feature = "process")]
    Killed,
    /// No worker process gets up, and there is no other worker.
    #[cfg(feature = "process")]
    NoWorker(StartError),
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
            #[cfg(feature = "process")]
            Self::Forked => f.write_str("the executor belongs to the process that this one was forked off"),
            #[cfg(feature = "process")]
            Self::Killed => f.write_str("the executor was forcefully shut down"),
            #[cfg(feature = "process")]
            Self::NoWorker(error) => write!(f, "the executor has no worker process: {error}"),
        }
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(&**error),
            Self::Deadlock(deadlock) => Some(deadlock),
            #[cfg(feature = "process")]
            Self::NoWorker(error) => Some(error),
            #[cfg(feature = "process")]
            Self::Killed | Self::Forked => None,
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

#[cfg(all(test, not(loom), feature = "process"))]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::executor::process_pool::{StartFailure, WorkerExit};

    #[test]
    fn a_lost_worker_is_told_as_it_is_and_kept_as_the_source() {
        let lost = WorkerLost::new(4711, WorkerExit::Code(99), "sum", Duration::from_secs(2), Vec::new());
        let error = TaskError::WorkerLost(lost.clone());
        assert_eq!(error.to_string(), lost.to_string());
        assert_eq!(error.source().unwrap().to_string(), lost.to_string());
        assert!(error.source().unwrap().is::<WorkerLost>());
    }

    #[test]
    fn an_executor_without_workers_says_what_the_system_says() {
        let refused = StartFailure::Spawn(io::Error::from(io::ErrorKind::PermissionDenied));
        let rejected = Rejected::NoWorker(StartError::new(PathBuf::from("/bin/no"), 3, refused, Vec::new()));
        assert!(rejected.to_string().starts_with("the executor has no worker process: "), "{rejected}");
        let error = TaskError::Rejected(rejected);
        let chain: Vec<_> = std::iter::successors(error.source(), |error| (*error).source()).collect();
        let last = chain.last().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!((chain.len(), last.kind()), (3, io::ErrorKind::PermissionDenied));
        let killed = TaskError::Rejected(Rejected::Killed);
        assert_eq!(killed.to_string(), "the task was rejected: the executor was forcefully shut down");
    }

    #[test]
    fn what_cannot_be_coded_keeps_its_reason() {
        let reason = CodecError::new("a key is no text");
        let encode = TaskError::Encode(reason.clone());
        assert_eq!(encode.to_string(), "the task's arguments or result could not be encoded: a key is no text");
        let decode = TaskError::Decode(reason);
        assert_eq!(decode.to_string(), "the task's arguments or result could not be decoded: a key is no text");
        for error in [encode, decode] {
            assert!(error.source().unwrap().is::<CodecError>());
        }
    }
}
