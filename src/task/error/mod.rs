//! The reasons why a task has no result, or was not taken.

mod custom;
#[cfg_attr(
    not(all(feature = "process", target_os = "linux", not(bowline_portable))),
    allow(dead_code, reason = "these are the errors of processes, and there are none")
)]
mod process;
mod rejected;
mod submit;

use std::error::Error;
use std::fmt;

pub use custom::CustomError;
#[cfg(any(test, all(feature = "process", target_os = "linux", not(bowline_portable))))]
pub(crate) use process::last_lines::LastLines;
pub use process::{
    CodecError, LossReason, StartError, StartFailure, Terminated, TerminationCause, WorkerExit, WorkerLost,
};
pub use rejected::Rejected;
pub use submit::SubmitError;

use super::panic::PanicInfo;
use crate::deadlock::Deadlock;
use crate::deadlock::door::WaitError;

/// The reason why a [`Future`](crate::Future) has no value.
///
/// Cheap to clone: what is large is shared.
///
/// [`Display`](fmt::Display) writes all that this crate knows, including the report of a deadlock and the message of a
/// panic. What it leaves out, an error of the operating system or of the program's own, is the [`source`](Error::source).
///
/// # Examples
///
/// ```
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(1);
/// let future = pool.submit(|| -> u8 { panic!("out of rope") });
/// match future.result() {
///     Ok(value) => println!("{value}"),
///     Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "out of rope"),
///     Err(other) => panic!("{other}"),
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum TaskError {
    /// The task was cancelled before it began, or, in a process pool, before it was run again.
    Cancelled,
    /// The task panicked.
    Panicked(PanicInfo),
    /// The wait ended before the task was done. The task goes on, and the future can be waited for again.
    Timeout,
    /// Waiting for the task was part of a deadlock.
    Deadlock(Deadlock),
    /// The task was not taken, or will not be run.
    Rejected(Rejected),
    /// The result was taken from this future before.
    Taken,
    /// The [`Promise`](crate::Promise) was dropped without a result.
    BrokenPromise,
    /// The [`Promise`](crate::Promise) was completed with an error of the program's own:
    /// [`downcast_ref`](Self::downcast_ref) returns it.
    Custom(CustomError),
    /// [`first_ok`](crate::task::first_ok) was given no futures.
    Empty,
    /// The worker process that ran the task is gone. Other tasks are not affected: another worker takes its place.
    WorkerLost(WorkerLost),
    /// The task was ended while it ran, and the worker process that ran it with it. Other tasks are not affected.
    Terminated(Terminated),
    /// The arguments, or the result, could not be encoded for the other process, or were longer than the pool allows.
    Encode(CodecError),
    /// The arguments, or the result, could not be decoded where they arrived.
    Decode(CodecError),
}

impl TaskError {
    /// Returns the error of the program's own with which the [`Promise`](crate::Promise) was completed, if it is one and of
    /// this type.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::promise;
    /// use std::io;
    ///
    /// let (promise, future) = promise::<String>();
    /// promise.set_error(io::Error::from(io::ErrorKind::NotFound)).unwrap();
    /// let error = future.result().unwrap_err();
    /// assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::NotFound);
    /// ```
    #[must_use]
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Custom(error) => error.get_ref().downcast_ref(),
            _ => None,
        }
    }
}

impl From<WaitError> for TaskError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => Self::Timeout,
            WaitError::Deadlock(deadlock) => Self::Deadlock(deadlock),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::Panicked(panic) => write!(f, "the task {panic}"),
            Self::Timeout => f.write_str("the wait for the task timed out"),
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Rejected(rejected) => write!(f, "the task was rejected: {rejected}"),
            Self::Taken => f.write_str("the result was taken before"),
            Self::BrokenPromise => f.write_str("the promise was dropped without a result"),
            Self::Custom(_) => f.write_str("the task failed"),
            Self::Empty => f.write_str("there is no future to wait for"),
            Self::WorkerLost(lost) => fmt::Display::fmt(lost, f),
            Self::Terminated(terminated) => fmt::Display::fmt(terminated, f),
            Self::Encode(error) => write!(f, "the task's arguments or result could not be encoded: {error}"),
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
            Self::Custom(error) => write!(f, "Custom({error:?})"),
            Self::Empty => f.write_str("Empty"),
            Self::WorkerLost(lost) => write!(f, "WorkerLost({lost})"),
            Self::Terminated(terminated) => write!(f, "Terminated({terminated})"),
            Self::Encode(error) => write!(f, "Encode({error})"),
            Self::Decode(error) => write!(f, "Decode({error})"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejected) => rejected.source(),
            Self::Custom(error) => Some(error.get_ref()),
            Self::Panicked(_) | Self::Deadlock(_) => None,
            Self::WorkerLost(_) | Self::Terminated(_) | Self::Encode(_) | Self::Decode(_) => None,
            Self::Cancelled | Self::Timeout | Self::Taken | Self::BrokenPromise | Self::Empty => None,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::task::panic;

    /// Returns every kind of error there is, with what its text has to say.
    fn all() -> Vec<(TaskError, &'static str)> {
        let lost = WorkerLost::new(4711, WorkerExit::Code(99), "sum", Duration::from_secs(2), LastLines::default());
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let (asked, second) = (TerminationCause::Asked, Duration::from_secs(1));
        let terminated = Terminated::new("sum", 4711, asked, WorkerExit::Code(1), second, second, LastLines::default());
        let start = |failure| StartError::new(PathBuf::from("/bin/no"), 3, failure, LastLines::default());
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
            (TaskError::Timeout, "timed out"),
            (TaskError::Deadlock(deadlock()), "deadlock: "),
            (TaskError::Taken, "taken before"),
            (TaskError::BrokenPromise, "dropped without a result"),
            (TaskError::Custom(CustomError::new(Box::new(refused()))), "the task failed"),
            (TaskError::Empty, "no future"),
            (TaskError::WorkerLost(lost), "worker process 4711 terminated abruptly with exit code 99"),
            (TaskError::Terminated(terminated), "was asked to stop, and worker process 4711"),
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
            matches!(error, TaskError::Rejected(Rejected::NoThread(_) | Rejected::NoWorker(_)) | TaskError::Custom(_))
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
