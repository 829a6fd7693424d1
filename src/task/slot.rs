//! The slot of a cell: first the work to be run, then the result.

use std::cell::UnsafeCell;

use super::error::TaskError;
use super::header::Header;
use super::panic;
use super::runner::Runner;
use super::state::Phase;
use super::stats::Stats;
use super::task_ref::TaskRef;
use super::trace;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::registry;
use crate::deadlock::resource::Site;

/// The slot of a cell.
///
/// The slot belongs to whoever claimed the task until the task is done, and to the owner of its future from then on.
/// Only that one calls an unsafe method of the slot, and nobody calls one at the same time, unless the method says
/// otherwise.
pub(crate) trait Slot {
    /// The type of the result's value.
    type Value;
    /// The type that [`put`](Self::put) takes.
    type Given;

    /// Runs the task, whose cell has this header, and keeps the result. Returns the phase that the task is to be in.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller, who claimed the task.
    unsafe fn run(&self, header: &Header, stats: &Stats) -> Phase;

    /// Drops the contents and keeps an error. A panic is contained.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller.
    unsafe fn fail(&self, error: TaskError);

    /// Keeps a result that was made elsewhere. Returns the phase that the task is to be in.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller, and is empty.
    unsafe fn put(&self, given: Self::Given) -> Phase;

    /// Returns the result, if it is still there, and leaves the slot empty.
    ///
    /// # Safety
    ///
    /// The task is done, and the slot belongs to the caller.
    unsafe fn take(&self) -> Option<Result<Self::Value, TaskError>>;

    /// Returns the result, if it is there and settled.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes or settles the result while the reference is used. Several may call this at a
    /// time.
    unsafe fn result(&self) -> Option<&Result<Self::Value, TaskError>>;

    /// Puts the result of the cell with this header into the form that [`result`](Self::result) returns, or waits until
    /// another thread has.
    ///
    /// # Errors
    ///
    /// The other thread has not done so within the limit, or waits for the caller.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result meanwhile. Several may call this at a time, and while a settled result is
    /// looked at: it is not written to.
    unsafe fn settle(&self, _header: &Header, _limit: Limit, _site: Site) -> Result<(), WaitError> {
        Ok(())
    }

    /// Returns the event that the result is settled, if a thread settles it or has settled it. Anybody may call this.
    fn settling(&self) -> Option<TaskRef> {
        None
    }

    /// Drops the contents. A panic is contained.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller.
    unsafe fn empty(&self);
}

/// A closure, then its result: a task of this process.
pub(crate) struct Work<F, T>(UnsafeCell<Stage<F, T>>);

enum Stage<F, T> {
    Task(F),
    Result(Result<T, TaskError>),
    Empty,
}

impl<F, T> Work<F, T> {
    pub(crate) fn task(task: F) -> Self {
        Self(UnsafeCell::new(Stage::Task(task)))
    }

    pub(crate) fn error(error: TaskError) -> Self {
        Self(UnsafeCell::new(Stage::Result(Err(error))))
    }

    /// Makes a slot with nothing to run: the result is put.
    pub(crate) fn nothing() -> Self {
        Self(UnsafeCell::new(Stage::Empty))
    }

    /// Replaces the contents with `stage`, and returns them.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller.
    unsafe fn replace(&self, stage: Stage<F, T>) -> Stage<F, T> {
        // SAFETY:
        // - nobody else reaches what is in the slot meanwhile (caller).
        std::mem::replace(unsafe { &mut *self.0.get() }, stage)
    }

    /// Puts the result into the slot. Nothing is dropped.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller, and is empty.
    unsafe fn fill(&self, result: Result<T, TaskError>) {
        // SAFETY:
        // - nobody else reaches what is in the slot meanwhile (caller).
        unsafe { self.0.get().write(Stage::Result(result)) };
    }
}

impl<F: FnOnce() -> T, T> Slot for Work<F, T> {
    type Value = T;
    type Given = Result<T, TaskError>;

    #[inline(always)]
    unsafe fn run(&self, header: &Header, stats: &Stats) -> Phase {
        // SAFETY:
        // - the caller's contract.
        let Stage::Task(task) = (unsafe { self.replace(Stage::Empty) }) else {
            unreachable!("a claimed task has its closure");
        };
        let me = registry::current();
        header.set_runner(Runner::Context(me.id()));
        let hold = me.holds.take(|| header.facts(), header.site());
        // SAFETY:
        // - the caller claimed the task.
        let result = panic::catch(|| unsafe { header.span.around(task) });
        me.holds.give(hold);
        if let Err(panic) = &result {
            trace::task_panicked(header.name().unwrap_or_else(|| header.type_name()), || header.id(), panic);
        }
        stats.count(result.is_err());
        let phase = if result.is_ok() { Phase::Finished } else { Phase::Failed };
        // SAFETY:
        // - the caller's contract. The stage is `Empty`.
        unsafe { self.fill(result.map_err(TaskError::Panicked)) };
        phase
    }

    unsafe fn fail(&self, error: TaskError) {
        // SAFETY:
        // - the caller's contract.
        let closure = unsafe { self.replace(Stage::Result(Err(error))) };
        panic::contain(|| drop(closure));
    }

    unsafe fn put(&self, given: Result<T, TaskError>) -> Phase {
        let phase = match &given {
            Ok(_) => Phase::Finished,
            Err(error) => Phase::of_error(error),
        };
        // SAFETY:
        // - the caller's contract.
        unsafe { self.fill(given) };
        phase
    }

    unsafe fn take(&self) -> Option<Result<T, TaskError>> {
        // SAFETY:
        // - the caller's contract.
        match unsafe { self.replace(Stage::Empty) } {
            Stage::Result(result) => Some(result),
            Stage::Empty | Stage::Task(_) => None,
        }
    }

    unsafe fn result(&self) -> Option<&Result<T, TaskError>> {
        // SAFETY:
        // - nobody writes to the slot of a done task but the owner of its result (caller).
        match unsafe { &*self.0.get() } {
            Stage::Result(result) => Some(result),
            Stage::Empty | Stage::Task(_) => None,
        }
    }

    unsafe fn empty(&self) {
        // SAFETY:
        // - the caller's contract.
        let stage = unsafe { self.replace(Stage::Empty) };
        panic::contain(|| drop(stage));
    }
}
