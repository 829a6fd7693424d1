//! A closure on its way into the queue.

use std::sync::Arc;

use super::core::{Core, WhenFull};
use super::room::wait_for_room;
use super::worker::has_room_for_task;
use crate::deadlock::door::Limit;
use crate::deadlock::nested::run_nested;
use crate::deadlock::resource::{Origin, Site};
use crate::task::cell::TaskRef;
use crate::task::error::{Rejected, SubmitError, TaskError};
use crate::task::future::Future;
use crate::task::stats::Stats;
use crate::task::trace::TaskSpan;
use crate::task::wait::one::Ended;

/// What is done about a full queue.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// There has to be room.
    Given,
    /// Room is waited for.
    Awaited(Limit),
}

/// A closure, its name, and the line that submits it.
pub(super) struct Task<F> {
    run: F,
    name: Option<&'static str>,
    site: Site,
    span: TaskSpan,
    /// Neither the closure nor the result borrows anything.
    lasting: bool,
}

impl<F> Task<F> {
    pub(super) fn new(run: F, name: Option<&'static str>, site: Site) -> Self {
        Self { run, name, site, span: TaskSpan::current(), lasting: true }
    }

    /// The same, and no code of a `tracing` subscriber is run for it.
    #[cfg(feature = "process")]
    pub(super) fn spanless(run: F, name: Option<&'static str>, site: Site) -> Self {
        Self { run, name, site, span: TaskSpan::none(), lasting: true }
    }

    /// The same, of a closure that borrows, or whose result does.
    pub(super) fn borrowing(self) -> Self {
        Self { lasting: false, ..self }
    }

    /// Queues the task, does what the pool is set to do when it is full (to wait, for so long), and gives its future,
    /// whatever becomes of it.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; unless it is [`borrowing`](Self::borrowing), neither ever does.
    pub(super) unsafe fn submit<T: Send>(self, core: &Arc<Core>, limit: Limit) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        let (name, site, lasting) = (self.name, self.site, self.lasting);
        let when_full = core.settings().when_full;
        let room = if when_full == WhenFull::Block { Room::Awaited(limit) } else { Room::Given };
        // SAFETY:
        // - the caller's contract.
        let refused = match unsafe { self.enqueue(core, room) } {
            Ok(future) => return future,
            Err(error) => error.into_parts(),
        };
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::refused(core, limit, refused, (name, site, lasting)) }
    }

    /// What becomes of a task that was refused: the caller runs it, if that is so set, or its future fails.
    ///
    /// # Safety
    ///
    /// As above.
    #[cold]
    #[inline(never)]
    unsafe fn refused<T: Send>(
        core: &Arc<Core>,
        limit: Limit,
        (mut reason, mut run): (Rejected, F),
        (name, site, lasting): (Option<&'static str>, Site, bool),
    ) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        if matches!(reason, Rejected::QueueFull) && core.settings().when_full == WhenFull::CallerRuns {
            let task = Task { lasting, ..Task::new(run, name, site) };
            if has_room_for_task() {
                // SAFETY:
                // - the caller's contract.
                return unsafe { task.run_here(core) };
            }
            // The caller is a task that a submitter runs, inside of another one, and so on.
            // SAFETY:
            // - the caller's contract.
            match unsafe { task.enqueue(core, Room::Awaited(limit)) } {
                Ok(future) => return future,
                Err(error) => (reason, run) = error.into_parts(),
            }
        }
        drop(run);
        Future::failed(TaskError::Rejected(reason), Origin::at(site, name))
    }

    /// Queues the task; gives it back if it is refused.
    ///
    /// # Safety
    ///
    /// The task is done before the closure or the result dangles; unless it is [`borrowing`](Self::borrowing), neither ever does.
    #[inline(always)]
    pub(super) unsafe fn enqueue<T: Send>(self, core: &Arc<Core>, room: Room) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send,
    {
        if let Err(reason) = admit(core, room, self.site) {
            return Err(SubmitError::new(reason, self.run));
        }
        let origin = Origin::at(self.site, self.name);
        // SAFETY:
        // - both can be sent (bounds); the rest is the caller's contract.
        let (queued, task) =
            unsafe { TaskRef::with_task(self.run, Arc::as_ptr(core), origin, self.span, self.lasting) };
        core.push(queued);
        // SAFETY:
        // - the cell was made with this type, for this future.
        Ok(unsafe { Future::of(task) })
    }

    /// Runs the task on the calling thread, in a context of its own.
    ///
    /// # Safety
    ///
    /// As above.
    unsafe fn run_here<T: Send>(self, core: &Arc<Core>) -> Future<T>
    where
        F: FnOnce() -> T + Send,
    {
        let origin = Origin::at(self.site, self.name);
        // SAFETY:
        // - both can be sent (bounds); the rest is the caller's contract.
        let (task, mine) = unsafe { TaskRef::with_task(self.run, std::ptr::null(), origin, self.span, self.lasting) };
        let claimed = task.claim();
        debug_assert!(claimed, "nobody else knows the task");
        let stats = Stats::default();
        run_nested(task.facts(), self.site, || task.run(&stats));
        core.threads().add_up(&stats);
        // SAFETY:
        // - the cell was made with this type, for this future.
        unsafe { Future::of(mine) }
    }
}

#[inline(always)]
fn admit(core: &Arc<Core>, room: Room, site: Site) -> Result<(), Rejected> {
    core.admit().or_else(|refusal| admit_later(core, refusal, room, site))
}

/// What is done about a refusal.
#[cold]
fn admit_later(core: &Arc<Core>, mut refusal: Rejected, room: Room, site: Site) -> Result<(), Rejected> {
    let Room::Awaited(limit) = room else { return Err(refusal) };
    let mut has_waited = false;
    while matches!(refusal, Rejected::QueueFull) {
        has_waited = true;
        match wait_for_room(core, limit, site) {
            Ok(()) => {}
            Err(Ended::TimedOut) => return Err(Rejected::Timeout),
            Err(Ended::Deadlock(deadlock)) => return Err(Rejected::Deadlock(deadlock)),
        }
        match core.admit() {
            Ok(()) => return Ok(()),
            Err(now) => refusal = now,
        }
    }
    if has_waited {
        // The room that this one was woken for is another's.
        core.wake_submitter();
    }
    Err(refusal)
}
