//! A task that an executor did not take.

use std::error::Error;
use std::fmt;

use super::rejected::Rejected;

/// A task that an executor did not take, with the reason: the closure, or for a pool of processes the function with its arguments, or
/// the `ProcessTask`.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
/// use bowline::task::Rejected;
///
/// let pool = ThreadPoolExecutor::new(1);
/// pool.shutdown();
/// let refused = pool.try_submit(|| 6 * 7).unwrap_err();
/// assert!(matches!(refused.reason(), Rejected::Shutdown));
/// let task = refused.into_task();
/// assert_eq!(task(), 42); // here, instead of on a worker
/// ```
pub struct SubmitError<F> {
    reason: Rejected,
    task: F,
}

impl<F> SubmitError<F> {
    pub(crate) fn new(reason: Rejected, task: F) -> Self {
        Self { reason, task }
    }

    /// Returns why the task was not taken.
    #[must_use]
    pub fn reason(&self) -> &Rejected {
        &self.reason
    }

    /// Returns the task as it was submitted.
    #[must_use]
    pub fn into_task(self) -> F {
        self.task
    }

    /// Returns the same error with this of the task.
    #[cfg(feature = "process")]
    pub(crate) fn map<G>(self, map: impl FnOnce(F) -> G) -> SubmitError<G> {
        SubmitError { reason: self.reason, task: map(self.task) }
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
