//! The state of a task, as its future's owner sees it.

use super::state::Phase;

/// The state of a task.
///
/// # Examples
///
/// ```
/// use bowline::task::Status;
///
/// let (promise, future) = bowline::promise();
/// assert_eq!(future.status(), Status::Pending);
/// assert!(promise.set_running());
/// assert_eq!(future.status(), Status::Running);
/// promise.set_result(42).unwrap();
/// assert_eq!(future.status(), Status::Finished);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// The task has not begun.
    Pending,
    /// The task runs.
    Running,
    /// The task was cancelled before it began.
    Cancelled,
    /// The task ended without a value: it panicked, or the executor could not run it.
    Failed,
    /// The task ended with a value. (The value of a process task may turn out to be unreadable; whoever asks for it is
    /// told.)
    Finished,
}

impl From<Phase> for Status {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Running => Self::Running,
            Phase::Cancelling | Phase::Cancelled => Self::Cancelled,
            Phase::Failed => Self::Failed,
            Phase::Finished => Self::Finished,
        }
    }
}
