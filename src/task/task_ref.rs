//! A counted reference to a task's cell, whatever the cell's types.

use std::ops::Deref;
use std::ptr::NonNull;

use super::error::TaskError;
use super::header::Header;
use super::home::Home;
use super::runner::Runner;
use super::state::{Phase, TAKEN};
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::resource::Site;
use crate::deadlock::waitable::Provider;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet;

/// A counted reference to a cell, whatever the cell's types.
pub(crate) struct TaskRef(pub(super) NonNull<Header>);

// SAFETY:
// - the header is made for sharing, and so is the home (`Home`'s bounds); the slot is reached by one thread at a time:
//   whoever claimed the task until it is done, the owner of the future from then on; of several who share it, the one
//   that settles it, while the others wait for that one. What the slot holds can be sent where cells are made.
unsafe impl Send for TaskRef {}
// SAFETY:
// - as above.
unsafe impl Sync for TaskRef {}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.references.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // ORDERING: Acquire and Release pair: what was done through a reference is done before the cell is freed. A
        // reference that sees a count of 1 is the only one, and only it could be cloned: it need not subtract.
        if self.references.load(Acquire) == 1 || self.references.fetch_sub(1, Release) == 1 {
            quiet::fence(Acquire);
            // SAFETY:
            // - this was the last reference.
            unsafe { (self.vtable.free)(self.0) };
        }
    }
}

impl Deref for TaskRef {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        // SAFETY:
        // - the cell lives as long as a reference to it.
        unsafe { self.0.as_ref() }
    }
}

impl TaskRef {
    /// Returns the executor whose task this is.
    pub(crate) fn home(&self) -> &dyn Home {
        // SAFETY:
        // - the vtable is that of this cell, and there is a reference to it: this one. The home is never written to.
        unsafe { &*(self.vtable.home)(self.0) }
    }

    /// Returns who can end the task. Called under the graph's mutex.
    pub(crate) fn provider(&self) -> Provider {
        // ORDERING: Acquire pairs with the Release in `end`. If the runner is registered it claimed the task, and
        // stored its number, before it took the graph's mutex: both are seen.
        match Phase::of(self.state.load(Acquire)) {
            // SAFETY:
            // - the caller holds the graph's mutex, and has just seen the phase.
            Phase::Pending => unsafe { self.home().provider() },
            phase @ (Phase::Running | Phase::Cancelling) => match self.runner() {
                Some(Runner::Context(id)) => Provider::Context(id),
                Some(Runner::Process(pid)) if phase == Phase::Running => Provider::Process(pid),
                // Its canceller, in this process, is about to store its own number.
                _ => Provider::External,
            },
            _ => Provider::External,
        }
    }

    /// Takes the result out of a done task. Returns `None` if it was taken before.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, the task is done, and the caller owns the result.
    pub(crate) unsafe fn take<T>(&self) -> Option<Result<T, TaskError>> {
        let mut result = None::<Result<T, TaskError>>;
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.take)(self.0, (&raw mut result).cast()) };
        result
    }

    /// Returns why the done task has no value, `None` if it has one, or had one.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result meanwhile.
    pub(crate) unsafe fn error(&self) -> Option<TaskError> {
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.error)(self.0) }
    }

    /// Puts the error of a result that was [taken](Self::take) back, to be told. Returns whether it had been taken before
    /// that, and was put back.
    ///
    /// # Safety
    ///
    /// The task is done, and the caller owns the result, which it took.
    #[cold]
    pub(crate) unsafe fn put_back(&self, error: TaskError) -> bool {
        // SAFETY:
        // - the vtable is that of this cell, and the slot is the owner's of the result (caller).
        unsafe { (self.vtable.put_back)(self.0, error) };
        // ORDERING: Relaxed: only the owner sets it and looks at it.
        self.state.fetch_or(TAKEN, Relaxed) & TAKEN != 0
    }

    /// Returns whether the error that is in the slot was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.state.load(Relaxed) & TAKEN != 0
    }

    /// Returns the result of a done task, where it is; `None` if it was taken.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, the task is done, its result is [settled](Self::settle), and nobody takes
    /// the result while `'r` lasts.
    pub(crate) unsafe fn peek<'r, T>(&self) -> Option<&'r Result<T, TaskError>> {
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.peek)(self.0).cast::<Result<T, TaskError>>().as_ref() }
    }

    /// Puts the result of a done task into the form in which it can be read, or waits until another thread has.
    ///
    /// # Errors
    ///
    /// The other thread has not done so within the limit, or waits for the caller.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result meanwhile.
    pub(crate) unsafe fn settle(&self, limit: Limit, site: Site) -> Result<(), WaitError> {
        // SAFETY:
        // - the vtable is that of this cell; the rest is the caller's contract.
        unsafe { (self.vtable.settle)(self.0, limit, site) }
    }

    /// Returns the event that the result is settled, if a thread settles it or has settled it.
    pub(super) fn settling(&self) -> Option<Self> {
        // SAFETY:
        // - the vtable is that of this cell, and there is a reference to it: this one.
        unsafe { (self.vtable.settling)(self.0) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deadlock::resource::Origin;
    use crate::deadlock::{Edge, WaitForGraph, registry, snapshot};
    use crate::primitive::spawn_thread;
    use crate::task::cell::ResultSlot;
    use crate::task::error::TaskError;
    use crate::task::future::Future;

    const PID: u32 = u32::MAX - 1;

    fn task() -> (TaskRef, Future<u8>) {
        let (mine, its) = TaskRef::without_task::<u8>(Origin::here(Some("thumbnail")));
        // SAFETY:
        // - the cell was made with this type, and for this future.
        (mine, unsafe { Future::of(its) })
    }

    #[test]
    fn a_process_ends_a_wait_while_the_task_runs_there() {
        let (task, future) = task();
        task.set_runner(Runner::Process(PID));
        assert!(matches!(task.provider(), Provider::External), "nobody runs it");
        assert!(task.claim());
        assert!(matches!(task.provider(), Provider::Process(PID)));
        task.set_runner(Runner::Process(1));
        assert!(matches!(task.provider(), Provider::Process(1)), "it has moved on");
        task.set_runner(Runner::Context(registry::current().id()));
        assert!(matches!(task.provider(), Provider::Context(id) if id == registry::current().id()));
        task.set_runner(Runner::Process(PID));
        // SAFETY:
        // - the cell was made with this type.
        unsafe { task.put::<ResultSlot<u8>>(Ok(7)) };
        assert!(matches!(task.provider(), Provider::External), "it is done");
        assert_eq!(future.result().unwrap(), 7);
    }

    #[test]
    fn a_canceller_is_not_the_process_that_would_have_run_the_task() {
        let (task, _future) = task();
        task.set_runner(Runner::Process(PID));
        assert!(task.claim_as(Phase::Cancelling));
        assert!(matches!(task.provider(), Provider::External));
        task.fail(TaskError::Cancelled);
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for a wait to be registered")]
    fn a_snapshot_shows_which_process_is_waited_for() {
        let (task, mut future) = task();
        assert!(task.claim());
        task.set_runner(Runner::Process(PID));
        let waits = |graph: &WaitForGraph| {
            let mut edges = graph.graph().edge_weights();
            edges.any(|edge| matches!(edge, Edge::Waits { process: Some(PID), .. }))
        };
        // With a limit, so that the test fails and does not hang.
        let wait = move || assert_eq!(future.result_timeout(Duration::from_secs(60)).unwrap(), 7);
        let waiter = spawn_thread("waiter".to_owned(), 1 << 20, wait).unwrap();
        let mut graph = snapshot();
        // It is in the graph after the grace, and does not end before it is.
        while !waits(&graph) && !waiter.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
            graph = snapshot();
        }
        let text = format!("{graph:400}");
        assert!(text.contains(&format!("waits for A 'thumbnail', which process {PID} runs, ")), "{text}");
        // SAFETY:
        // - the cell was made with this type.
        unsafe { task.put::<ResultSlot<u8>>(Ok(7)) };
        waiter.join().unwrap();
        assert!(!waits(&snapshot()));
    }
}
