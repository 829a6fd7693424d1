//! The handle of a thread, which joins it.

use std::fmt;
use std::panic::Location;
use std::thread::{Result, Thread};
use std::time::{Duration, Instant};

use super::child::Child;
use super::error::JoinDeadlock;
use crate::deadlock::door::{Failure, Limit, WaitError};

/// A handle of a thread, which joins it: as [`std::thread::JoinHandle`], with its wait in the wait-for graph.
///
/// Dropping it detaches the thread, which runs on. [`spawn`](super::spawn) and [`Builder::spawn`](super::Builder::spawn)
/// make it.
///
/// A handle has one owner, so that one thread at most waits in a join, and the order of waiters does not matter.
///
/// # Examples
///
/// ```
/// use bowline::thread;
///
/// let handle = thread::spawn(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
pub struct JoinHandle<T>(pub(super) Child<T>);

// SAFETY:
// - a handle is made only for results that may be sent (`Child::spawn`), and gives one to a single owner.
unsafe impl<T> Send for JoinHandle<T> {}
// SAFETY:
// - as above; a shared handle gives access to no result.
unsafe impl<T> Sync for JoinHandle<T> {}

/// Writes the waits of a handle, which are the same for each kind of handle.
macro_rules! joins {
    ($result:ty) => {
        /// Waits for the thread to end, and returns its closure's value, or the payload of its panic.
        ///
        /// Everything that the thread did happens before this returns: its closure, and the destructors of its
        /// thread-locals.
        ///
        /// # Errors
        ///
        /// The thread panicked: the payload of that panic.
        ///
        /// # Panics
        ///
        /// If the join is part of a deadlock and the [policy](crate::deadlock::Policy) is to panic; then the thread is
        /// detached. The message is the report.
        ///
        /// # Deadlocks
        ///
        /// The join waits for the thread's context, until the destructors of its thread-locals have run. It never ends
        /// if the thread joins itself, if the thread needs a lock that the caller holds, or if two threads join each
        /// other.
        #[track_caller]
        pub fn join(self) -> Result<$result> {
            match self.0.wait(Limit::None, Failure::Unwind, Location::caller()) {
                Ok(()) => self.0.join(),
                Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
                Err(WaitError::TimedOut) => unreachable!("a wait without a limit does not time out"),
            }
        }

        /// [Joins](Self::join) the thread, and returns an error if that is part of a deadlock.
        ///
        /// # Errors
        ///
        /// The join is part of a deadlock: the error has the report, and gives the handle back.
        ///
        /// # Examples
        ///
        /// See [`JoinDeadlock`].
        #[track_caller]
        pub fn acquire_join(self) -> std::result::Result<Result<$result>, JoinDeadlock<Self>> {
            match self.0.wait(Limit::None, Failure::Value, Location::caller()) {
                Ok(()) => Ok(self.0.join()),
                Err(WaitError::Deadlock(deadlock)) => Err(JoinDeadlock::new(deadlock, self)),
                Err(WaitError::TimedOut) => unreachable!("a wait without a limit does not time out"),
            }
        }

        /// [Joins](Self::join) the thread if it ends within `timeout`.
        ///
        /// # Errors
        ///
        /// The thread still runs: the handle.
        ///
        /// # Panics
        ///
        /// If the time-out is past what the clock can tell, so that it is none, and the join is part of a deadlock.
        ///
        /// # Deadlocks
        ///
        /// A join with a limit ends by itself, and is part of no deadlock.
        #[track_caller]
        pub fn join_timeout(self, timeout: Duration) -> std::result::Result<Result<$result>, Self> {
            self.join_within(Limit::after(timeout))
        }

        /// [Joins](Self::join) the thread if it ends before `limit`.
        ///
        /// # Errors
        ///
        /// The thread still runs: the handle.
        ///
        /// # Deadlocks
        ///
        /// A join with a limit ends by itself, and is part of no deadlock.
        #[track_caller]
        pub fn join_until(self, limit: Instant) -> std::result::Result<Result<$result>, Self> {
            self.join_within(Limit::Until(limit))
        }

        #[track_caller]
        fn join_within(self, limit: Limit) -> std::result::Result<Result<$result>, Self> {
            match self.0.wait(limit, Failure::Unwind, Location::caller()) {
                Ok(()) => Ok(self.0.join()),
                Err(WaitError::TimedOut) => Err(self),
                // The time-out was past what the clock can tell.
                Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
            }
        }

        /// Returns whether the thread's closure is over. Never blocks.
        ///
        /// The thread may still run the destructors of its thread-locals, which [`join`](Self::join) waits for.
        #[must_use]
        pub fn is_finished(&self) -> bool {
            self.0.is_finished()
        }

        /// Returns the standard library's handle of the thread: its name and id, and [`unpark`](Thread::unpark).
        #[must_use]
        pub fn thread(&self) -> &Thread {
            self.0.thread()
        }
    };
}
pub(super) use joins;

impl<T> JoinHandle<T> {
    joins!(T);
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.thread().name())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

#[cfg(all(unix, not(all(test, loom))))]
mod unix {
    use std::os::unix::thread::{JoinHandleExt, RawPthread};

    use super::JoinHandle;

    /// A thread that is joined by its `pthread_t` is joined outside of the wait-for graph.
    impl<T> JoinHandleExt for JoinHandle<T> {
        fn as_pthread_t(&self) -> RawPthread {
            self.0.os_thread().as_pthread_t()
        }

        fn into_pthread_t(self) -> RawPthread {
            self.0.into_os_thread().into_pthread_t()
        }
    }
}
