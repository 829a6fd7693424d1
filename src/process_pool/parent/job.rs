//! A task on its way to a worker process.

use std::sync::Arc;

use super::notes::Notes;
use super::room::{Place, forget};
use super::terms::TimeLimit;
use crate::process_pool::wire::call::{Call, CallResult, Complete};
use crate::task::error::{Rejected, TaskError};
use crate::task::panic;
use crate::task::runner::Runner;
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;
use crate::task::when_done::Then;

/// How often a task is given to another worker because the one that had it died without having begun any task.
pub(super) const MAX_RESENDS: u32 = 3;

/// The task in which a worker died that had this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiedIn {
    /// In the middle of this task.
    This,
    /// In the middle of another task.
    Another,
    /// Without having begun any task that it had.
    Nothing,
}

/// A task, what it calls, and how its result gets into its cell.
pub(super) struct Job {
    pub(super) task: TaskRef,
    pub(super) call: Call,
    complete: Complete,
    /// How often it is run again after its worker died in it.
    retries: u32,
    /// How often it is given to another worker after one died without having begun any task.
    resends: u32,
    /// The number of the attempt to run it, from 1.
    pub(super) attempt: u32,
    /// What it says while it runs, if anybody hears it.
    pub(super) notes: Option<Arc<Notes>>,
    /// How long it may run.
    pub(super) limit: Option<TimeLimit>,
    /// Its place in the order in which the pool's tasks were submitted.
    pub(super) number: u64,
    /// It was claimed, and can't be cancelled any more.
    pub(super) is_claimed: bool,
    /// Its place in the queue, until a worker begins it.
    pub(super) place: Place,
}

/// The terms of a task in a pool.
#[derive(Default)]
pub(super) struct JobTerms {
    pub(super) limit: Option<TimeLimit>,
    /// How often it is run again after its worker died in it.
    pub(super) retries: u32,
    pub(super) notes: Option<Arc<Notes>>,
}

impl Drop for Job {
    fn drop(&mut self) {
        // The canceller of a queued task frees its place.
        if !self.is_claimed && self.task.phase() != Phase::Pending {
            forget(self.place.take());
        }
    }
}

impl Job {
    /// # Safety
    ///
    /// `complete` is for results of the cell's type.
    pub(super) unsafe fn new(
        task: TaskRef,
        call: Call,
        complete: Complete,
        JobTerms { limit, retries, notes }: JobTerms,
        place: Place,
    ) -> Self {
        let (resends, attempt, number) = (MAX_RESENDS, 1, 0);
        Self { task, call, complete, retries, resends, attempt, notes, limit, number, is_claimed: false, place }
    }

    /// Claims the task for a worker. Returns whether it is claimed: `false` if it was cancelled.
    pub(super) fn claim(&mut self) -> bool {
        self.is_claimed = self.is_claimed || self.task.claim();
        self.is_claimed
    }

    /// Claims the task for a canceller. Returns whether it did: `false` if it can't be cancelled any more.
    pub(super) fn claim_to_cancel(&mut self) -> bool {
        let claimed = !self.is_claimed && self.task.claim_as(Phase::Cancelling);
        self.is_claimed |= claimed;
        claimed
    }

    /// Notes that this process runs it.
    pub(super) fn runs_in(&self, process: u32) {
        match &self.notes {
            None => self.task.set_runner(Runner::Process(process)),
            Some(notes) => notes.runs_in(process, &self.task),
        }
    }

    /// Returns whether it can still be cancelled.
    pub(super) fn is_pending(&self) -> bool {
        !self.is_claimed && self.task.phase() == Phase::Pending
    }

    /// Returns whether it is still to be run: it was not cancelled.
    pub(super) fn is_live(&self) -> bool {
        self.is_claimed || self.task.phase() == Phase::Pending
    }

    /// Notes that the worker that had it died. Returns whether another worker may run it.
    pub(super) fn survives(&mut self, died_in: DiedIn) -> bool {
        let left = match died_in {
            DiedIn::This => {
                self.attempt = self.attempt.saturating_add(1);
                &mut self.retries
            }
            DiedIn::Another => return true,
            DiedIn::Nothing => &mut self.resends,
        };
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// Ends the task, which was claimed. The caller runs what is returned.
    pub(super) fn complete(self, result: CallResult) -> Option<Then> {
        debug_assert!(self.is_claimed, "nobody else ends it");
        // SAFETY:
        // - the function is for the type of this cell (`new`).
        unsafe { (self.complete)(&self.task, result) }
    }

    /// Ends the task with this error, if it was not cancelled before. The caller runs what is returned.
    pub(super) fn fail(mut self, error: TaskError) -> Option<Then> {
        if self.claim() { self.complete(CallResult::Error(error)) } else { None }
    }

    /// Ends the task, which no worker has and nobody knows yet, with this reason.
    pub(super) fn refuse(self, reason: Rejected) {
        // It owns what may be the sender of a channel: its end is the end of the task.
        let audience = self.notes.as_ref().and_then(|notes| notes.take_audience());
        panic::contain(|| drop(audience));
        drop(self.fail(TaskError::Rejected(reason)));
    }

    /// Returns the name that people know the task by.
    pub(super) fn name(&self) -> &'static str {
        self.task.name().unwrap_or_else(|| self.task.type_name())
    }
}
