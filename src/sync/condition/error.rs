//! How a wait on a condition ends, but for a notification.

use std::error::Error;
use std::fmt;

use crate::deadlock::Deadlock;

/// Whether a wait that had a limit ended by it.
///
/// # Examples
///
/// ```
/// use bowline::{Condition, Lock};
/// use std::time::Duration;
///
/// let (lock, changed) = (Lock::new(()), Condition::new());
/// assert!(changed.wait_for(&mut lock.lock(), Duration::from_millis(1)).timed_out());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a wait that timed out was not notified"]
pub struct WaitTimeoutResult(pub(super) bool);

impl WaitTimeoutResult {
    /// Returns whether the limit came first. A wait for a predicate timed out if the predicate still asked to wait when
    /// the limit was over.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// Why a wait with the guard of an [`RLock`](crate::RLock) gave no guard back.
///
/// # Examples
///
/// ```
/// use bowline::sync::RLockWaitError;
/// use bowline::{Condition, RLock};
///
/// let (lock, changed) = (RLock::new(()), Condition::new());
/// let _outer = lock.lock();
/// let error = changed.acquire_wait(lock.lock()).unwrap_err();
/// assert!(matches!(error, RLockWaitError::HeldAgain { depth: 2, .. }));
/// assert_eq!(lock.depth(), 1); // the guard is gone
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RLockWaitError {
    /// Locking again would have been part of a deadlock. The lock is not held.
    Deadlock(Deadlock),
    /// The thread has other guards of the lock, so that it could not be released. Nothing was waited for; the guard that
    /// the wait was given is dropped, the others are as they were.
    #[non_exhaustive]
    HeldAgain {
        /// How many guards there were.
        depth: u32,
    },
}

impl From<Deadlock> for RLockWaitError {
    fn from(deadlock: Deadlock) -> Self {
        Self::Deadlock(deadlock)
    }
}

impl fmt::Display for RLockWaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::HeldAgain { depth } => write!(
                f,
                "a thread that holds an RLock {depth} times cannot wait on a condition with it: its other guards may be in \
                 use, and would keep the lock held; drop all guards but one before the wait"
            ),
        }
    }
}

impl Error for RLockWaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Deadlock(deadlock) => Some(deadlock),
            Self::HeldAgain { .. } => None,
        }
    }
}
