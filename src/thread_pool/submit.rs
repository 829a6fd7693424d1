//! A closure on its way into the queue.

use std::marker::PhantomData;
use std::sync::Arc;

use super::home::Queued;
use super::member::Member;
use super::pool::{Pool, WhenFull};
use super::queue_room::wait_for_room;
use super::worker::run_counted;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::nested::run_nested;
use crate::deadlock::resource::{Origin, Site};
use crate::task::cell::{Describe, TaskOf};
use crate::task::error::{Rejected, SubmitError, TaskError};
use crate::task::future::Future;
use crate::task::home::Nowhere;
use crate::task::panic;
use crate::task::stack;
use crate::task::task_ref::TaskRef;
use crate::task::trace::TaskSpan;

/// The behaviour of a submission to a full queue, as the caller needs it.
#[derive(Clone, Copy)]
pub(super) enum IfFull {
    /// The task is refused.
    Refuse,
    /// The submission waits for room, up to the limit.
    Wait(Limit),
}

/// A closure, its name, and the line that submits it. Reports describe it as `D`.
pub(super) struct Task<F, D = TaskOf<F>> {
    pub(super) run: F,
    pub(super) name: Option<&'static str>,
    pub(super) site: Site,
    pub(super) span: TaskSpan,
    /// Whether the closure and the result borrow nothing.
    pub(super) lasting: bool,
    pub(super) described: PhantomData<fn() -> D>,
}

impl<F> Task<F> {
    pub(super) fn new(run: F, name: Option<&'static str>, site: Site) -> Self {
        Self { run, name, site, span: TaskSpan::current(), lasting: true, described: PhantomData }
    }
}

impl<F, D: Describe> Task<F, D> {
    /// Marks the task as one whose closure or result borrows.
    pub(super) fn borrowing(self) -> Self {
        Self { lasting: false, ..self }
    }

    /// Puts the closure into another one. Reports describe the task as before.
    pub(super) fn map<G>(self, wrap: impl FnOnce(F) -> G) -> Task<G, D> {
        let Self { run, name, site, span, lasting, described } = self;
        Task { run: wrap(run), name, site, span, lasting, described }
    }

    /// Queues the task and returns its future, whatever becomes of the task. If the queue is full, does what the pool
    /// is set to do; a wait for room has this limit.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; unless it is [`borrowing`](Self::borrowing), neither
    /// ever does.
    pub(super) unsafe fn submit<T: Send>(self, pool: &Arc<Pool>, limit: Limit) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        let (name, site, lasting) = (self.name, self.site, self.lasting);
        let when_full = pool.settings().when_full;
        let if_full = if when_full == WhenFull::Block { IfFull::Wait(limit) } else { IfFull::Refuse };
        // SAFETY:
        // - the caller's contract.
        let refused = match unsafe { self.enqueue(pool, if_full) } {
            Ok(future) => return future,
            Err(error) => error.into_parts(),
        };
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::refused(pool, limit, refused, (name, site, lasting)) }
    }

    /// Deals with a task that was refused: runs it here, if the pool is set to do so, or returns a future that has
    /// failed.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; if it is `lasting`, neither ever does.
    #[cold]
    #[inline(never)]
    unsafe fn refused<T: Send>(
        pool: &Arc<Pool>,
        limit: Limit,
        (mut reason, mut run): (Rejected, F),
        (name, site, lasting): (Option<&'static str>, Site, bool),
    ) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        let when_full = match reason {
            Rejected::QueueFull => pool.when_full(name, site),
            _ => WhenFull::Reject,
        };
        while matches!(reason, Rejected::QueueFull) && when_full != WhenFull::Reject {
            let task = Self { run, name, site, span: TaskSpan::current(), lasting, described: PhantomData };
            // Code of the user's that runs here may submit in turn, one level deeper each time: at the end of the stack this
            // waits for room instead.
            let if_full = match when_full {
                WhenFull::CallerRuns if stack::has_room() => {
                    // SAFETY:
                    // - the caller's contract.
                    return unsafe { task.run_here(pool) };
                }
                WhenFull::DiscardOldest if stack::has_room() => {
                    pool.discard_oldest();
                    IfFull::Refuse
                }
                _ => IfFull::Wait(limit),
            };
            // SAFETY:
            // - the caller's contract.
            match unsafe { task.enqueue(pool, if_full) } {
                Ok(future) => return future,
                Err(error) => (reason, run) = error.into_parts(),
            }
        }
        // Its destructor is the user's; the refusal is in the future all the same.
        panic::contain(|| drop(run));
        Future::failed(TaskError::Rejected(reason), Origin::at(site, name))
    }

    /// Queues the task, or gives it back if it is refused.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; unless it is [`borrowing`](Self::borrowing), neither
    /// ever does.
    #[inline(always)]
    pub(super) unsafe fn enqueue<T: Send>(self, pool: &Arc<Pool>, if_full: IfFull) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send,
    {
        if let Err(reason) = admit(pool, if_full, self.site) {
            return Err(SubmitError::new(reason, self.run));
        }
        let origin = Origin::at(self.site, self.name);
        // SAFETY:
        // - both can be sent (bounds); the rest is the caller's contract.
        let (queued, task) =
            unsafe { TaskRef::with_task::<_, D, _, _>(self.run, Queued::of(pool), origin, self.span, self.lasting) };
        pool.push(queued);
        // SAFETY:
        // - the cell was made with this type, for this future.
        Ok(unsafe { Future::of(task) })
    }

    /// Runs the task on the calling thread, in a context of its own.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; if it is `lasting`, neither ever does.
    unsafe fn run_here<T: Send>(self, pool: &Arc<Pool>) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        let origin = Origin::at(self.site, self.name);
        // SAFETY:
        // - both can be sent (bounds); the rest is the caller's contract.
        let (task, mine) =
            unsafe { TaskRef::with_task::<_, D, _, _>(self.run, Nowhere, origin, self.span, self.lasting) };
        let claimed = task.claim();
        debug_assert!(claimed, "nobody else knows the task");
        let member = Member::of_submitter(pool.settings().run_times);
        run_nested(task.facts(), self.site, || run_counted(&task, &member));
        pool.threads().add_up(&member);
        // SAFETY:
        // - the cell was made with this type, for this future.
        unsafe { Future::of(mine) }
    }
}

#[inline(always)]
fn admit(pool: &Arc<Pool>, if_full: IfFull, site: Site) -> Result<(), Rejected> {
    pool.admit().or_else(|refusal| admit_later(pool, refusal, if_full, site))
}

/// Waits for room and tries again, if that is what the refusal is about and the caller may wait.
#[cold]
fn admit_later(pool: &Arc<Pool>, mut refusal: Rejected, if_full: IfFull, site: Site) -> Result<(), Rejected> {
    let IfFull::Wait(limit) = if_full else { return Err(refusal) };
    let mut has_waited = false;
    while matches!(refusal, Rejected::QueueFull) {
        has_waited = true;
        match wait_for_room(pool, limit, site) {
            Ok(()) => {}
            Err(WaitError::TimedOut) => return Err(Rejected::Timeout),
            Err(WaitError::Deadlock(deadlock)) => return Err(Rejected::Deadlock(deadlock)),
        }
        match pool.admit() {
            Ok(()) => return Ok(()),
            Err(now) => refusal = now,
        }
    }
    if has_waited {
        // This one was woken for room that it does not take.
        pool.wake_submitter();
    }
    Err(refusal)
}
