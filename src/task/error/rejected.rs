//! Why an executor does not take a task, or does not run one that it took.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::process::StartError;
use crate::deadlock::Deadlock;

/// The reason why an executor does not take a task, or does not run one that it took.
///
/// # Examples
///
/// ```
/// use bowline::task::Rejected;
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1);
/// pool.shutdown();
/// let error = pool.submit(|| 42).result().unwrap_err();
/// assert!(matches!(error, TaskError::Rejected(Rejected::Shutdown)));
/// ```
#[derive(Clone)]
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
    /// The executor was made by a process from which this one was forked: the workers belong to that one.
    Forked,
    /// The executor was killed before the task was begun.
    Killed,
    /// No worker process starts, and there is no other worker.
    NoWorker(StartError),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("the executor was shut down"),
            Self::QueueFull => f.write_str("the executor's queue is full"),
            Self::Timeout => f.write_str("the executor's queue was full until the time-out"),
            Self::Broken(reason) => write!(f, "the executor is broken: {reason}"),
            Self::NoThread(_) => f.write_str("the executor has no thread: the system refuses to start one"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Forked => f.write_str("the executor belongs to the process that this one was forked off"),
            Self::Killed => f.write_str("the executor was forcefully shut down"),
            Self::NoWorker(error) => write!(f, "the executor has no worker process: {error}"),
        }
    }
}

/// Written as a [`TaskError`](super::TaskError) is: a deadlock as its report, everything else on one line.
impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("Shutdown"),
            Self::QueueFull => f.write_str("QueueFull"),
            Self::Timeout => f.write_str("Timeout"),
            Self::Broken(reason) => write!(f, "Broken({reason:?})"),
            Self::NoThread(error) => write!(f, "NoThread({error})"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Forked => f.write_str("Forked"),
            Self::Killed => f.write_str("Killed"),
            Self::NoWorker(error) => {
                write!(f, "NoWorker({error}")?;
                error.source().map_or(Ok(()), |source| write!(f, ": {source}"))?;
                f.write_str(")")
            }
        }
    }
}

impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoThread(error) => Some(&**error),
            Self::NoWorker(error) => error.source(),
            Self::Killed | Self::Forked => None,
            Self::Shutdown | Self::QueueFull | Self::Timeout | Self::Broken(_) | Self::Deadlock(_) => None,
        }
    }
}
