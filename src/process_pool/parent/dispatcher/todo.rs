//! What the dispatcher answers: what a caller does when it has left the mutex.

use std::sync::Arc;
use std::time::Instant;

use super::Link;
use crate::process_pool::parent::job::Job;
use crate::process_pool::wire::call::CallResult;
use crate::task::error::{TaskError, TerminationCause};
#[cfg(test)]
use crate::task::when_done::Then;

/// A task that will not run, and the reason. It is claimed: it can't be cancelled any more.
pub(in crate::process_pool::parent) struct FailedJob {
    job: Job,
    /// `None`: it was cancelled before, and is only dropped. That unmaps its blobs, and is not done under the mutex.
    error: Option<TaskError>,
}

impl FailedJob {
    /// Returns the task, and the result with which it ends, if it has not ended.
    pub(in crate::process_pool::parent) fn into_end(self) -> Option<(Job, CallResult)> {
        self.error.map(|error| (self.job, CallResult::Error(error)))
    }

    /// Ends the task with its error. The caller runs what is returned.
    #[cfg(test)]
    pub(in crate::process_pool::parent) fn fail(self) -> Option<Then> {
        self.error.and_then(|error| self.job.fail(error))
    }
}

/// Whether the pool has come to its end: the last worker is gone, nothing will follow, and every task is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum PoolEnd {
    NotYet,
    /// It has: the caller tells those who wait for the end.
    Reached,
    /// The caller asks [`have_failed`](super::Dispatcher::have_failed) when it has failed the tasks: the end comes no
    /// sooner.
    AskWhenFailed,
}

/// What a caller does when it has left the dispatcher's mutex.
#[must_use = "a worker may wait for it"]
pub(in crate::process_pool::parent) struct Todo<L> {
    /// A link that has something to send: one takes no allocation.
    link: Option<Arc<L>>,
    more_links: Vec<Arc<L>>,
    pub(super) start: Option<usize>,
    failed: Vec<FailedJob>,
    pub(super) end: PoolEnd,
}

impl<L: Link> Todo<L> {
    pub(super) fn nothing() -> Self {
        Self { link: None, more_links: Vec::new(), start: None, failed: Vec::new(), end: PoolEnd::NotYet }
    }

    /// Sends what is to be sent.
    pub(in crate::process_pool::parent) fn flush(&mut self) {
        self.link.take().into_iter().chain(self.more_links.drain(..)).for_each(|link| link.flush());
    }

    /// Sends nothing to this worker: the caller flushes its link later.
    pub(in crate::process_pool::parent) fn skip_flush(&mut self, link: &L) {
        self.link.take_if(|other| std::ptr::eq(&raw const **other, link));
        self.more_links.retain(|other| !std::ptr::eq(&raw const **other, link));
    }

    /// The number under which a worker is to be started.
    pub(in crate::process_pool::parent) fn start(&self) -> Option<usize> {
        self.start
    }

    /// Takes the tasks that are to be failed, or only dropped.
    pub(in crate::process_pool::parent) fn take_failed(&mut self) -> Vec<FailedJob> {
        std::mem::take(&mut self.failed)
    }

    /// How many tasks are to be failed.
    pub(in crate::process_pool::parent) fn failed_count(&self) -> usize {
        self.failed.iter().filter(|failed| failed.error.is_some()).count()
    }

    pub(in crate::process_pool::parent) fn end(&self) -> PoolEnd {
        self.end
    }

    /// Adds a task that is to be failed. While it is queued or sent, this runs under the mutex: it claims the task
    /// before a canceller can.
    pub(in crate::process_pool::parent) fn will_fail(&mut self, mut job: Job, error: TaskError) {
        let error = job.claim().then_some(error);
        self.failed.push(FailedJob { job, error });
    }

    /// Adds a task that was cancelled, and is to be dropped.
    #[cold]
    pub(super) fn will_drop(&mut self, job: Job) {
        self.failed.push(FailedJob { job, error: None });
    }

    pub(super) fn will_flush(&mut self, link: &Arc<L>) {
        if self.link.is_none() {
            self.link = Some(Arc::clone(link));
        } else {
            self.more_links.push(Arc::clone(link));
        }
    }
}

/// When the caller sends what a worker gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum SendNext {
    Now,
    /// The worker has enough to do: what it gets for several replies is sent at once.
    WithLaterReplies,
    /// The worker gets nothing: the caller kills it. It was sent a signal.
    Never,
}

/// What follows a worker's reply.
pub(in crate::process_pool::parent) struct AfterReply<L> {
    /// The task that was replied to. `None`: it was taken back, and the worker skipped it.
    pub(in crate::process_pool::parent) job: Option<Job>,
    pub(in crate::process_pool::parent) send: SendNext,
    pub(in crate::process_pool::parent) todo: Todo<L>,
}

/// A reply to a task that the worker does not have.
#[derive(Debug)]
pub(in crate::process_pool::parent) struct Unexpected;

/// A task that a worker had begun when it died, and that is not tried again.
pub(in crate::process_pool::parent) struct Killed {
    pub(in crate::process_pool::parent) job: Job,
    /// When the worker came to the task, as far as the parent knows.
    pub(in crate::process_pool::parent) since: Instant,
    /// Why, and when, the task was asked to stop.
    pub(in crate::process_pool::parent) asked: Option<(TerminationCause, Instant)>,
}

/// What follows when a task is to end.
pub(in crate::process_pool::parent) enum Asked<L> {
    /// No worker has begun it.
    NotBegun,
    /// It was queued, to be run again after its worker was lost.
    Cancelled { todo: Todo<L> },
    /// It has ended, and its reply is under way.
    Over { todo: Todo<L> },
    /// It was asked to stop. The caller sends signals to its worker later, and does this now.
    Running { link: Arc<L>, id: u64, todo: Todo<L> },
}

/// Whether a worker that is gone had been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process_pool::parent) enum Farewell {
    /// It had nothing left to do, and had been told to stop.
    ToldToStop,
    /// It ended unasked.
    Unasked,
}

/// What was lost with a worker.
pub(in crate::process_pool::parent) struct Loss<L> {
    pub(in crate::process_pool::parent) killed: Vec<Killed>,
    /// The worker had begun a task, or was ended with one.
    pub(in crate::process_pool::parent) was_in_a_task: bool,
    pub(in crate::process_pool::parent) farewell: Farewell,
    pub(in crate::process_pool::parent) todo: Todo<L>,
}

/// What follows the end of a pool that is ended now.
pub(in crate::process_pool::parent) struct ClosedNow<L> {
    /// Whether the pool took tasks until now.
    pub(in crate::process_pool::parent) was_open: bool,
    pub(in crate::process_pool::parent) todo: Todo<L>,
}

/// How many tasks and workers there are.
pub(in crate::process_pool) struct Counts {
    /// Tasks that no worker has begun.
    pub(in crate::process_pool) queued: usize,
    /// Workers, those that are being started included.
    pub(in crate::process_pool) workers: usize,
    /// Workers that have a task.
    pub(in crate::process_pool) active: usize,
    /// Tasks that a worker replied to.
    pub(in crate::process_pool) completed: u64,
}
