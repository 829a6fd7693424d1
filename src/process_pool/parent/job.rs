//! A task on its way to a worker process.

use std::time::Instant;

use crate::process_pool::wire::call::{Call, Complete, Outcome};
use crate::task::error::TaskError;
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;
use crate::task::when_done::Then;

/// So often a task is given to another worker because the one that had it died before it began.
const MAX_RESENDS: u32 = 3;

/// A task, what is called, and how its result is put.
pub(in crate::process_pool) struct Job {
    pub(in crate::process_pool) task: TaskRef,
    pub(in crate::process_pool) call: Call,
    complete: Complete,
    /// So often it may kill its worker without an error.
    retries: u32,
    resends: u32,
    /// Among the tasks of the pool, in the order of their submission.
    pub(in crate::process_pool) number: u64,
    /// It was given to a worker that died, and can't be cancelled any more.
    pub(in crate::process_pool) is_claimed: bool,
}

impl Job {
    /// # Safety
    ///
    /// `complete` is for results of the cell's type.
    pub(in crate::process_pool) unsafe fn new(task: TaskRef, call: Call, complete: Complete, retries: u32) -> Self {
        Self { task, call, complete, retries, resends: MAX_RESENDS, number: 0, is_claimed: false }
    }

    /// Claims the task, to have it run: `false` if it was cancelled.
    pub(in crate::process_pool) fn claim(&mut self) -> bool {
        self.is_claimed = self.is_claimed || self.task.claim();
        self.is_claimed
    }

    /// Claims the task for a canceller: `false` if it cannot be cancelled any more.
    pub(in crate::process_pool) fn claim_to_cancel(&mut self) -> bool {
        let claimed = !self.is_claimed && self.task.claim_as(Phase::Cancelling);
        self.is_claimed |= claimed;
        claimed
    }

    /// Whether it can still be cancelled.
    pub(in crate::process_pool) fn is_pending(&self) -> bool {
        !self.is_claimed && self.task.phase() == Phase::Pending
    }

    /// Whether it is still to be run: it was not cancelled.
    pub(in crate::process_pool) fn is_live(&self) -> bool {
        self.is_claimed || self.task.phase() == Phase::Pending
    }

    /// The worker that had it died: in the middle of it (`was_begun`), or of another task (`died_in_a_task`), or without a task.
    /// Whether another one may try.
    pub(in crate::process_pool) fn may_go_on(&mut self, was_begun: bool, died_in_a_task: bool) -> bool {
        let left = match (was_begun, died_in_a_task) {
            (true, _) => &mut self.retries,
            (false, true) => return true,
            (false, false) => &mut self.resends,
        };
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// Ends the task, which was claimed. What is to be run then is the caller's to run.
    pub(in crate::process_pool) fn complete(self, outcome: Outcome) -> Option<Then> {
        debug_assert!(self.is_claimed, "nobody else ends it");
        // SAFETY:
        // - the function is for the type of this cell (`new`).
        unsafe { (self.complete)(&self.task, outcome) }
    }

    /// Ends the task with this error if it was not cancelled before.
    pub(in crate::process_pool) fn fail(mut self, error: TaskError) -> Option<Then> {
        if self.claim() { self.complete(Outcome::Error(error)) } else { None }
    }

    /// The name that people know the task by.
    pub(in crate::process_pool) fn name(&self) -> &'static str {
        self.task.name().unwrap_or_else(|| self.task.type_name())
    }
}

/// A job that a worker has.
pub(in crate::process_pool) struct Sent {
    pub(in crate::process_pool) id: u64,
    /// `None`: it was taken back, and the worker will skip it.
    pub(in crate::process_pool) job: Option<Job>,
    pub(in crate::process_pool) since: Instant,
}
