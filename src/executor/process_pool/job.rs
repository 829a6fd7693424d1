//! A task on its way to a worker process.

use std::time::Instant;

use super::call::{Call, Complete, Outcome};
use crate::executor::cell::TaskRef;
use crate::executor::continuation::Then;
use crate::executor::error::TaskError;
use crate::executor::state::Phase;

/// So often a task is given to another worker because the one that had it died before it began.
const MAX_RESENDS: u32 = 3;

/// A task, what is called, and how its result is put.
pub(super) struct Job {
    pub(super) task: TaskRef,
    pub(super) call: Call,
    complete: Complete,
    /// So often it may kill its worker without an error.
    retries: u32,
    resends: u32,
    /// Among the tasks of the pool, in the order of their submission.
    pub(super) number: u64,
    /// It was given to a worker that died, and can't be cancelled any more.
    pub(super) is_claimed: bool,
}

impl Job {
    /// # Safety
    ///
    /// `complete` is for results of the cell's type.
    pub(super) unsafe fn new(task: TaskRef, call: Call, complete: Complete, retries: u32) -> Self {
        Self { task, call, complete, retries, resends: MAX_RESENDS, number: 0, is_claimed: false }
    }

    /// Claims the task, to have it run: `false` if it was cancelled.
    pub(super) fn claim(&mut self) -> bool {
        self.is_claimed = self.is_claimed || self.task.claim();
        self.is_claimed
    }

    /// Claims the task for a canceller: `false` if it cannot be cancelled any more.
    pub(super) fn claim_to_cancel(&mut self) -> bool {
        let claimed = !self.is_claimed && self.task.claim_as(Phase::Cancelling);
        self.is_claimed |= claimed;
        claimed
    }

    /// Whether it can still be cancelled.
    pub(super) fn is_pending(&self) -> bool {
        !self.is_claimed && self.task.phase() == Phase::Pending
    }

    /// Whether it is still to be run: it was not cancelled.
    pub(super) fn is_live(&self) -> bool {
        self.is_claimed || self.task.phase() == Phase::Pending
    }

    /// The worker that had it died: in the middle of it (`was_begun`), or of another task (`died_in_a_task`), or without a task.
    /// Whether another one may try.
    pub(super) fn may_go_on(&mut self, was_begun: bool, died_in_a_task: bool) -> bool {
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
    pub(super) fn complete(self, outcome: Outcome) -> Option<Then> {
        debug_assert!(self.is_claimed, "nobody else ends it");
        // SAFETY:
        // - the function is for the type of this cell (`new`).
        unsafe { (self.complete)(&self.task, outcome) }
    }

    /// Ends the task with this error if it was not cancelled before.
    pub(super) fn fail(mut self, error: TaskError) -> Option<Then> {
        if self.claim() { self.complete(Outcome::Error(error)) } else { None }
    }

    /// The name that people know the task by.
    pub(super) fn name(&self) -> &'static str {
        self.task.name().unwrap_or_else(|| self.task.type_name())
    }
}

/// A job that a worker has.
pub(super) struct Sent {
    pub(super) id: u64,
    /// `None`: it was taken back, and the worker will skip it.
    pub(super) job: Option<Job>,
    pub(super) since: Instant,
}
