//! The reasons why a task has no result, or was not taken.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::panic::PanicInfo;
use crate::deadlock::Deadlock;
#[cfg(feature = "process")]
use crate::process_pool::{CodecError, StartError, WorkerLost};

/// The reason why a [`Future`](crate::Future) has no value.
///
/// Cheap to clone: what is large is shared.
///
/// [`Display`](fmt::Display) writes all that this crate knows, including the report of a deadlock and the message of a
/// panic. What it leaves out, an error of the operating system, is the [`source`](Error::source).
#[derive(Clone)]
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
    /// The worker process that ran the task is gone. Other tasks are not affected: another worker takes its place.
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

/// Written for the reader of an `unwrap`'s message: a deadlock as its report, everything else on one line.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("Cancelled"),
            Self::Panicked(panic) => {
                write!(f, "Panicked({panic}")?;
                panic.thread().map_or(Ok(()), |thread| write!(f, ", thread: {thread:?}"))?;
                panic.process().map_or(Ok(()), |process| write!(f, ", process: {process}"))?;
                f.write_str(")")
            }
            Self::Timeout => f.write_str("Timeout"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Rejected(rejected @ Rejected::Deadlock(_)) => fmt::Debug::fmt(rejected, f),
            Self::Rejected(rejected) => write!(f, "Rejected({rejected:?})"),
            Self::Taken => f.write_str("Taken"),
            Self::BrokenPromise => f.write_str("BrokenPromise"),
            #[cfg(feature = "process")]
            Self::WorkerLost(lost) => write!(f, "WorkerLost({lost})"),
            #[cfg(feature = "process")]
            Self::Encode(error) => write!(f, "Encode({error})"),
            #[cfg(feature = "process")]
            Self::Decode(error) => write!(f, "Decode({error})"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejected) => rejected.source(),
            Self::Panicked(_) | Self::Deadlock(_) => None,
            #[cfg(feature = "process")]
            Self::WorkerLost(_) | Self::Encode(_) | Self::Decode(_) => None,
            Self::Cancelled | Self::Timeout | Self::Taken | Self::BrokenPromise => None,
        }
    }
}

/// The reason why an executor does not take a task, or does not run one that it took.
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
    #[cfg(feature = "process")]
    Forked,
    /// The executor was killed before the task was begun.
    #[cfg(feature = "process")]
    Killed,
    /// No worker process starts, and there is no other worker.
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
            Self::NoThread(_) => f.write_str("the executor has no thread: the system refuses to start one"),
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

/// Written as a [`TaskError`] is: a deadlock as its report, everything else on one line.
impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("Shutdown"),
            Self::QueueFull => f.write_str("QueueFull"),
            Self::Timeout => f.write_str("Timeout"),
            Self::Broken(reason) => write!(f, "Broken({reason:?})"),
            Self::NoThread(error) => write!(f, "NoThread({error})"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            #[cfg(feature = "process")]
            Self::Forked => f.write_str("Forked"),
            #[cfg(feature = "process")]
            Self::Killed => f.write_str("Killed"),
            #[cfg(feature = "process")]
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
            #[cfg(feature = "process")]
            Self::NoWorker(error) => error.source(),
            #[cfg(feature = "process")]
            Self::Killed | Self::Forked => None,
            Self::Shutdown | Self::QueueFull | Self::Timeout | Self::Broken(_) | Self::Deadlock(_) => None,
        }
    }
}

/// A closure that an executor did not take, with the reason.
pub struct SubmitError<F> {
    reason: Rejected,
    task: F,
}

impl<F> SubmitError<F> {
    pub(crate) fn new(reason: Rejected, task: F) -> Self {
        Self { reason, task }
    }

    /// Returns why the closure was not taken.
    #[must_use]
    pub fn reason(&self) -> &Rejected {
        &self.reason
    }

    /// Returns the closure.
    #[must_use]
    pub fn into_task(self) -> F {
        self.task
    }

    pub(crate) fn into_parts(self) -> (Rejected, F) {
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
    use crate::process_pool::{StartFailure, WorkerExit};
    use crate::task::panic;

    /// Returns every kind of error there is, with what its text has to say.
    fn all() -> Vec<(TaskError, &'static str)> {
        let lost = WorkerLost::new(4711, WorkerExit::Code(99), "sum", Duration::from_secs(2), Vec::new());
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let start = |failure| StartError::new(PathBuf::from("/bin/no"), 3, failure, Vec::new());
        let panic = panic::catch(|| -> () { std::panic::resume_unwind(Box::new("meant to")) }).unwrap_err();
        let lock = crate::Lock::named("held", ());
        let _guard = lock.lock();
        let deadlock = || lock.acquire().unwrap_err();
        let rejected = [
            (Rejected::Shutdown, "shut down"),
            (Rejected::QueueFull, "full"),
            (Rejected::Timeout, "time-out"),
            (Rejected::Broken("no more".into()), "broken: no more"),
            (Rejected::NoThread(Arc::new(refused())), "has no thread"),
            (Rejected::Deadlock(deadlock()), "deadlock: "),
            (Rejected::Forked, "forked"),
            (Rejected::Killed, "forcefully shut down"),
            (Rejected::NoWorker(start(StartFailure::Spawn(refused()))), "from '/bin/no', tried 3 times"),
            (Rejected::NoWorker(start(StartFailure::Refused("no page".into()))), "no page"),
        ];
        let rejected = rejected.map(|(reason, text)| (TaskError::Rejected(reason), text));
        let others = [
            (TaskError::Cancelled, "cancelled"),
            (TaskError::Panicked(panic), "the task panicked: meant to"),
            (TaskError::Timeout, "in time"),
            (TaskError::Deadlock(deadlock()), "deadlock: "),
            (TaskError::Taken, "taken before"),
            (TaskError::BrokenPromise, "dropped without a result"),
            (TaskError::WorkerLost(lost), "worker process 4711 terminated abruptly with exit code 99"),
            (TaskError::Encode(CodecError::new("a key is no text")), "could not be encoded: a key is no text"),
            (TaskError::Decode(CodecError::new("a key is no text")), "could not be decoded: a key is no text"),
        ];
        others.into_iter().chain(rejected).collect()
    }

    #[test]
    fn an_error_says_what_is_known_and_nothing_twice() {
        for (error, text) in all() {
            assert!(error.to_string().contains(text), "{error}");
            let mut chain = vec![&error as &dyn Error];
            while let Some(source) = chain[chain.len() - 1].source() {
                assert!(!chain.iter().any(|error| error.to_string().contains(&source.to_string())), "{source}");
                chain.push(source);
            }
        }
    }

    #[test]
    fn the_error_of_the_system_is_the_source() {
        let is_of_the_system = |error: &TaskError| {
            matches!(error, TaskError::Rejected(Rejected::NoThread(_)) | TaskError::Rejected(Rejected::NoWorker(_)))
                && !error.to_string().contains("no page")
        };
        for (error, _) in all() {
            let source = error.source().map(|source| source.downcast_ref::<io::Error>().unwrap().kind());
            assert_eq!(source, is_of_the_system(&error).then_some(io::ErrorKind::PermissionDenied), "{error}");
        }
    }

    #[test]
    fn an_error_that_is_unwrapped_is_read_as_a_line_or_as_the_report() {
        for (error, _) in all() {
            let text = format!("{error:?}");
            let is_report = error.to_string().contains("deadlock: ");
            assert_eq!(text.starts_with("deadlock: "), is_report, "{text}");
            assert!(!text.contains(" { ") && (is_report || !text.contains('\n')), "{text}");
            assert_eq!(format!("{error:#?}"), text);
        }
        let unfinished = [TaskError::Cancelled, TaskError::Taken].map(|error| format!("{error:?}"));
        assert_eq!(unfinished, ["Cancelled", "Taken"]);
    }
}
