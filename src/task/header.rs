//! What everybody sees of a task, whatever its types: how far it has come, who runs it, and who is to be told.

use std::sync::Arc;
use std::task::Waker;

use super::cell::VTable;
use super::chain;
use super::continuation::{Continuation, Continuations, Key};
use super::future::Status;
use super::state::{CONTINUATIONS, Phase, WAITERS, is_done};
use super::trace::TaskSpan;
use super::wait::set::WaitSet;
use crate::deadlock::context::ContextId;
use crate::deadlock::resource::{Origin, ResourceFacts, Site};
use crate::deadlock::waitable::{Provider, RETRY};
use crate::primitive::Ordering::{Acquire, Relaxed};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, Mutex, is_removed, new_atomic, quiet, unpark_filter};
use crate::thread_pool::Core;

/// Marks the id of a process in [`Header::runner`]: no context's number has this bit.
pub(crate) const PROCESS: u64 = 1 << 63;

/// What the queue, the futures and the waits see of a cell.
pub(crate) struct Header {
    pub(crate) state: AtomicU64,
    pub(crate) references: quiet::AtomicU64,
    /// The number of the context that runs the task, or drops its closure; or the process that runs it, with
    /// [`PROCESS`]; 0 before.
    pub(crate) runner: quiet::AtomicU64,
    pub(crate) vtable: &'static VTable,
    /// Whose queue the task was put into; null for a promise. Alive while the task is pending: see [`Self::provider`].
    pub(crate) pool: *const Core,
    /// The line that submitted the task, and its name.
    pub(crate) origin: Origin,
    pub(crate) span: TaskSpan,
    pub(crate) continuations: Mutex<Option<Box<Continuations>>>,
}

impl Header {
    /// The header of a task that is pending.
    pub(crate) fn new(
        vtable: &'static VTable,
        references: u64,
        pool: *const Core,
        origin: Origin,
        span: TaskSpan,
    ) -> Self {
        Self {
            state: new_atomic(Phase::Pending as u64),
            references: quiet::AtomicU64::new(references),
            runner: quiet::AtomicU64::new(0),
            vtable,
            pool,
            origin,
            span,
            continuations: Mutex::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::of(self.state.load(Relaxed))
    }

    /// Whether the task is done. If so, whatever its runner did is seen.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `end`.
        is_done(self.state.load(Acquire))
    }

    pub(crate) fn status(&self) -> Status {
        // ORDERING: Acquire pairs with the Release in `end`.
        Status::from(Phase::of(self.state.load(Acquire)))
    }

    /// Whether the context with this number runs the task.
    pub(crate) fn is_run_by(&self, context: ContextId) -> bool {
        self.phase() == Phase::Running && self.runner.load(Relaxed) == context.get()
    }

    /// Says that another process runs the task: whoever waits for it waits for that one. Called again if the task moves
    /// on to another process; undone by whoever ends the task in this one.
    #[cfg(feature = "process")]
    pub(crate) fn set_process(&self, pid: u32) {
        self.runner.store(PROCESS | u64::from(pid), Relaxed);
    }

    /// Claims the task, to run it: `false` if somebody else did.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        self.claim_as(Phase::Running)
    }

    pub(crate) fn claim_as(&self, phase: Phase) -> bool {
        let mut word = self.state.load(Relaxed);
        while Phase::of(word) == Phase::Pending {
            // ORDERING: Acquire: the queue, or the future, has published the closure already; this keeps what the
            // claimer does with it after the claim.
            match self.state.compare_exchange_weak(word, phase.put_in(word), Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Whose queue the task was put into; null for none.
    pub(crate) fn pool(&self) -> *const Core {
        self.pool
    }

    /// The line that submitted the task.
    pub(crate) fn site(&self) -> Site {
        self.origin.made_at()
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// The closure's type.
    pub(crate) fn type_name(&self) -> &'static str {
        (self.vtable.type_of)().data
    }

    pub(crate) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn facts(&self) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.origin, type_of: self.vtable.type_of }
    }

    /// The process that runs the task, or ran it; `None` if that was a thread, or nobody yet.
    #[cfg(feature = "process")]
    pub(crate) fn process(&self) -> Option<u32> {
        let runner = self.runner.load(Relaxed);
        (runner & PROCESS != 0).then_some((runner & u64::from(u32::MAX)) as u32)
    }

    /// Who can end the task. Called under the graph's mutex.
    pub(crate) fn provider(&self) -> Provider {
        // ORDERING: Acquire pairs with the Release in `end`. If the runner is registered it claimed the task, and
        // stored its number, before it took the graph's mutex: both are seen.
        match Phase::of(self.state.load(Acquire)) {
            Phase::Pending if !self.pool.is_null() => {
                // SAFETY:
                // - the pool is alive. Before it is freed it takes the graph's mutex once (`Group`'s destructor), and
                //   by then every task that was queued had left the phase seen here, in what happened before. The
                //   caller holds that mutex and sees the phase: the pool has not come so far, and does not until the
                //   caller is done.
                Provider::AnyOf(unsafe { (*self.pool).group() }.id())
            }
            phase @ (Phase::Running | Phase::Cancelling) => match self.runner.load(Relaxed) {
                // Its canceller, in this process, is about to store its own number.
                word if word & PROCESS != 0 && phase == Phase::Cancelling => Provider::External,
                word if word & PROCESS != 0 => Provider::Process((word & u64::from(u32::MAX)) as u32),
                word => ContextId::from_word(word).map_or(Provider::External, Provider::Context),
            },
            _ => Provider::External,
        }
    }

    /// Announces a waiter that is about to park. `false`: the task is done.
    pub(crate) fn announce(&self) -> bool {
        let mut word = self.state.load(Relaxed);
        while !is_done(word) && word & WAITERS == 0 {
            // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look of whoever wakes.
            match self.state.compare_exchange_weak(word, word | WAITERS, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        !is_done(word)
    }

    /// Whether an announced waiter will be woken. Called under the parking queue's lock.
    pub(crate) fn is_announced(&self) -> bool {
        !is_done(self.state.load(Relaxed)) || is_removed(Ingredient::ValidatedAnnouncement)
    }

    #[cold]
    pub(crate) fn wake_all(&self) {
        // SAFETY:
        // - the key is this cell's own address, and the caller has a reference to it.
        // - the closures neither unwind nor park nor unpark.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
    }

    /// Has `continuation` run when the task is done; gives it back if that is so already.
    pub(crate) fn when_done(&self, continuation: Continuation) -> Result<(), Continuation> {
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return Err(continuation);
        }
        // Whoever ends the task sees the flag, and takes the list after this.
        list.get_or_insert_default().push(continuation);
        Ok(())
    }

    /// Has `callback` run when the task is done: here and now, if it is done already.
    pub(crate) fn call_when_done(&self, callback: Box<dyn FnOnce(Status) + Send>) {
        if let Err(continuation) = self.when_done(Continuation::Callback(callback)) {
            let status = Status::from(self.phase());
            chain::run(self.origin, move || continuation.run(status), |run| run);
        }
    }

    /// Has an owner of the result polled again when the task is done: `false` if it is done already. Each has one waker.
    pub(crate) fn wake_when_done(&self, owner: u64, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return false;
        }
        let replaced = list.get_or_insert_default().put(Key::Owner(owner), Continuation::Waker(owner, waker));
        // The user's code, with no lock held.
        drop(list);
        drop(replaced);
        true
    }

    /// Takes an owner's waker off the list.
    pub(crate) fn forget_waker(&self, owner: u64) {
        self.forget(Key::Owner(owner));
    }

    /// Takes a wait for several futures off the list.
    pub(crate) fn forget_notice(&self, set: &Arc<WaitSet>) {
        self.forget(Key::of_set(set));
    }

    fn forget(&self, key: Key) {
        let word = self.state.load(Relaxed);
        if is_done(word) || word & CONTINUATIONS == 0 {
            return;
        }
        let mut list = self.continuations.lock();
        let forgotten = list.as_mut().and_then(|all| all.remove(key));
        // The user's code, with no lock held.
        drop(list);
        // A waker may be the last that has a task of some executor, and that task the last that has another future.
        if let Some(forgotten) = forgotten {
            chain::run(self.origin, move || drop(forgotten), |run| run);
        }
    }
}

#[cfg(all(test, not(loom), feature = "process"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::deadlock::{Edge, WaitForGraph, registry, snapshot};
    use crate::primitive::spawn_thread;
    use crate::task::cell::TaskRef;
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
        task.set_process(PID);
        assert!(matches!(task.provider(), Provider::External), "nobody runs it");
        assert!(task.claim());
        assert!(matches!(task.provider(), Provider::Process(PID)));
        task.set_process(1);
        assert!(matches!(task.provider(), Provider::Process(1)), "it has moved on");
        task.runner.store(registry::current().id().get(), Relaxed);
        assert!(matches!(task.provider(), Provider::Context(id) if id == registry::current().id()));
        task.set_process(PID);
        // SAFETY:
        // - the cell was made with this type.
        unsafe { task.put::<u8>(Ok(7)) };
        assert!(matches!(task.provider(), Provider::External), "it is done");
        assert_eq!(future.result().unwrap(), 7);
    }

    #[test]
    fn a_canceller_is_not_the_process_that_would_have_run_the_task() {
        let (task, _future) = task();
        task.set_process(PID);
        assert!(task.claim_as(Phase::Cancelling));
        assert!(matches!(task.provider(), Provider::External));
        task.fail(TaskError::Cancelled);
    }

    #[test]
    fn no_thread_is_the_process_that_runs_a_task() {
        let (task, _future) = task();
        assert!(task.claim());
        let me = registry::current().id();
        task.runner.store(PROCESS | me.get(), Relaxed);
        assert!(!task.is_run_by(me));
        task.runner.store(me.get(), Relaxed);
        assert!(task.is_run_by(me));
        task.fail(TaskError::BrokenPromise);
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for a wait to be registered")]
    fn a_snapshot_shows_which_process_is_waited_for() {
        let (task, mut future) = task();
        assert!(task.claim());
        task.set_process(PID);
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
        let text = graph.to_string();
        assert!(
            text.contains(&format!("waits for 'thumbnail' (Promise<u8>), which process {PID} runs, at ")),
            "{text}"
        );
        // SAFETY:
        // - the cell was made with this type.
        unsafe { task.put::<u8>(Ok(7)) };
        waiter.join().unwrap();
        assert!(!waits(&snapshot()));
    }
}
