//! How far a task has come, as its future's owner sees it.

use super::state::Phase;

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Nobody has begun it.
    Pending,
    /// It runs.
    Running,
    /// It was cancelled before it began.
    Cancelled,
    /// It ended without a value: it panicked, or the executor could not run it.
    Failed,
    /// It ended with a value. (That of a process task may turn out to be unreadable, which is told to whoever asks for it.)
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
