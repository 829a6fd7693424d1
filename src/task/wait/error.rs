//! The reason why a wait for tasks ended before they were done.

use crate::deadlock::Deadlock;
use crate::task::error::TaskError;

/// The reason why a wait for tasks ended before they were done.
pub(crate) enum WaitError {
    /// The limit came first.
    TimedOut,
    /// The wait was part of a deadlock, and its victim.
    Deadlock(Deadlock),
}

impl From<WaitError> for TaskError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::TimedOut => Self::Timeout,
            WaitError::Deadlock(deadlock) => Self::Deadlock(deadlock),
        }
    }
}
