//! What everybody sees of a task, whatever its types: how far it has come, who runs it, and who is to be told.

use std::sync::Arc;
use std::task::Waker;

use super::cell::VTable;
use super::continuation::{Continuation, Continuations};
use super::future::Status;
use super::state::{CONTINUATIONS, Phase, WAITERS, is_done};
use super::thread_pool::Core;
use super::trace::TaskSpan;
use super::wait_set::WaitSet;
use crate::deadlock::context::ContextId;
use crate::deadlock::resource::{Origin, ResourceFacts, Site};
use crate::deadlock::waitable::{Provider, RETRY};
use crate::primitive::Ordering::{Acquire, Relaxed};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, Mutex, is_removed, quiet, unpark_filter};

/// What the queue, the futures and the waits see of a cell.
pub(super) struct Header {
    pub(super) state: AtomicU64,
    pub(super) references: quiet::AtomicU64,
    /// The number of the context that runs the task, or drops its closure; 0 before.
    pub(super) runner: quiet::AtomicU64,
    pub(super) vtable: &'static VTable,
    /// Whose queue the task was put into; null for a promise. Alive while the task is pending: see [`Self::provider`].
    pub(super) pool: *const Core,
    /// The line that submitted the task, and its name.
    pub(super) origin: Origin,
    pub(super) span: TaskSpan,
    pub(super) continuations: Mutex<Option<Box<Continuations>>>,
}

impl Header {
    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.state.load(Relaxed))
    }

    /// Whether the task is done. If so, whatever its runner did is seen.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `finish`.
        is_done(self.state.load(Acquire))
    }

    pub(super) fn status(&self) -> Status {
        // ORDERING: Acquire pairs with the Release in `finish`.
        Status::from(Phase::of(self.state.load(Acquire)))
    }

    /// Whether the context with this number runs the task.
    pub(super) fn is_run_by(&self, context: ContextId) -> bool {
        self.phase() == Phase::Running && self.runner.load(Relaxed) == context.get()
    }

    /// Claims the task, to run it: `false` if somebody else did.
    #[inline]
    pub(super) fn claim(&self) -> bool {
        self.claim_as(Phase::Running)
    }

    pub(super) fn claim_as(&self, phase: Phase) -> bool {
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
    pub(super) fn pool(&self) -> *const Core {
        self.pool
    }

    /// The line that submitted the task.
    pub(super) fn site(&self) -> Site {
        self.origin.made_at()
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// The closure's type.
    pub(super) fn type_name(&self) -> &'static str {
        (self.vtable.type_of)().data
    }

    pub(super) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    pub(super) fn facts(&self) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.origin, type_of: self.vtable.type_of }
    }

    /// Who can end the task. Called under the graph's mutex.
    pub(super) fn provider(&self) -> Provider<'_> {
        // ORDERING: Acquire pairs with the Release in `finish`. If the runner is registered it claimed the task, and
        // stored its number, before it took the graph's mutex: both are seen.
        match Phase::of(self.state.load(Acquire)) {
            Phase::Pending if !self.pool.is_null() => {
                // SAFETY:
                // - the pool is alive. Before it is freed it takes the graph's mutex once (`Group`'s destructor), and
                //   by then every task that was queued had left the phase seen here, in what happened before. The
                //   caller holds that mutex and sees the phase: the pool has not come so far, and does not until the
                //   caller is done.
                Provider::AnyOf(unsafe { (*self.pool).group() })
            }
            Phase::Running | Phase::Cancelling => {
                ContextId::from_word(self.runner.load(Relaxed)).map_or(Provider::External, Provider::Context)
            }
            _ => Provider::External,
        }
    }

    /// Announces a waiter that is about to park. `false`: the task is done.
    pub(super) fn announce(&self) -> bool {
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
    pub(super) fn is_announced(&self) -> bool {
        !is_done(self.state.load(Relaxed)) || is_removed(Ingredient::ValidatedAnnouncement)
    }

    #[cold]
    pub(super) fn wake_all(&self) {
        // SAFETY:
        // - the key is this cell's own address, and the caller has a reference to it.
        // - the closures neither unwind nor park nor unpark.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
    }

    /// Has `continuation` run when the task is done; gives it back if that is so already.
    pub(super) fn when_done(&self, continuation: Continuation) -> Result<(), Continuation> {
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `finish`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return Err(continuation);
        }
        // Whoever ends the task sees the flag, and takes the list after this.
        list.get_or_insert_default().push(continuation);
        Ok(())
    }

    /// Has `callback` run when the task is done: here and now, if it is done already.
    pub(super) fn call_when_done(&self, callback: Box<dyn FnOnce(Status) + Send>) {
        if let Err(continuation) = self.when_done(Continuation::Callback(callback)) {
            continuation.run(Status::from(self.phase()));
        }
    }

    /// Has an owner of the result polled again when the task is done: `false` if it is done already. Each has one waker.
    pub(super) fn wake_when_done(&self, owner: u64, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `finish`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return false;
        }
        let all = list.get_or_insert_default();
        let before = all.iter_mut().find(|other| other.is_waker_of(owner));
        let waker = Continuation::Waker(owner, waker);
        let replaced = match before {
            Some(place) => Some(std::mem::replace(place, waker)),
            None => {
                all.push(waker);
                None
            }
        };
        // The user's code, with no lock held.
        drop(list);
        drop(replaced);
        true
    }

    /// Takes an owner's waker off the list.
    pub(super) fn forget_waker(&self, owner: u64) {
        self.forget(|other| other.is_waker_of(owner));
    }

    /// Takes a wait for several futures off the list.
    pub(super) fn forget_notice(&self, set: &Arc<WaitSet>) {
        self.forget(|other| matches!(other, Continuation::Notice(other, _) if Arc::ptr_eq(other, set)));
    }

    fn forget(&self, is_it: impl Fn(&Continuation) -> bool) {
        let word = self.state.load(Relaxed);
        if is_done(word) || word & CONTINUATIONS == 0 {
            return;
        }
        let mut list = self.continuations.lock();
        let forgotten = list.as_mut().and_then(|all| all.remove(is_it));
        // The user's code, with no lock held.
        drop(list);
        drop(forgotten);
    }
}
