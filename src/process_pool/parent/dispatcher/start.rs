//! When a worker is started.

use super::todo::Todo;

/// Whether a worker may be started for tasks that need one, while there is a place for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum StartPolicy {
    /// Whenever tasks need one.
    AsNeeded,
    /// Only if the pool has none: a start has failed lately, or the worker that is gone had been told to stop.
    OnlyIfNone,
}

/// Whether a start that failed may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum StartAttempt {
    /// It may be tried again.
    MayRetry,
    /// It was the last attempt.
    Last,
}

/// What follows a start that failed.
#[must_use = "a worker is counted until it leaves"]
pub(in crate::process_pool::parent) enum FailedStart<L> {
    /// The caller tries again: no other worker would run what is queued.
    Retry,
    /// The caller gives up, and [leaves](super::Dispatcher::leave) when it has done this.
    GiveUp(Todo<L>),
}

/// What follows a worker that is not counted any more.
#[must_use = "tasks may wait for the next worker"]
pub(in crate::process_pool::parent) enum Left<L> {
    /// The caller starts another worker under the same number.
    Replace,
    /// No worker follows, and the caller does this.
    Gone(Todo<L>),
}

/// How a task that no idle worker takes gets to a worker.
pub(super) enum Placement {
    /// A worker is started.
    StartWorker,
    /// The task is sent ahead, behind those of this worker.
    SendAhead { worker: usize },
    /// The task waits in the queue.
    Queue,
}
