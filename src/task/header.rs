//! The header of a cell, which has the same type for all tasks: the state, the runner, and the continuations.

use std::ptr::NonNull;

use super::continuation::Continuations;
use super::error::TaskError;
use super::home::Home;
use super::runner::Runner;
use super::state::{ID_TOLD, Phase, WAITERS, id_in, is_done, with_id};
use super::stats::Stats;
use super::status::Status;
use super::task_ref::TaskRef;
use super::trace::TaskSpan;
use crate::deadlock::context::ContextId;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::graph::task_id::{ReportedId, TaskId};
use crate::deadlock::resource::{Origin, ResourceFacts, Site, TypeOf};
use crate::deadlock::waitable::RETRY;
use crate::primitive::Ordering::{Acquire, Relaxed};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, Mutex, is_removed, new_atomic, quiet, unpark_filter};

/// The operations that depend on the types of a cell's home, closure and result. Each function has the contract of the
/// method of [`Slot`](super::slot::Slot) with its name; the pointer is to the header of a cell with this vtable.
pub(crate) struct VTable {
    pub(super) run: unsafe fn(NonNull<Header>, &Stats) -> Phase,
    pub(super) fail: unsafe fn(NonNull<Header>, TaskError),
    pub(super) put: unsafe fn(NonNull<Header>, *mut ()) -> Phase,
    pub(super) take: unsafe fn(NonNull<Header>, *mut ()),
    pub(super) peek: unsafe fn(NonNull<Header>) -> *const (),
    pub(super) error: unsafe fn(NonNull<Header>) -> Option<TaskError>,
    pub(super) put_back: unsafe fn(NonNull<Header>, TaskError),
    pub(super) settle: unsafe fn(NonNull<Header>, Limit, Site) -> Result<(), WaitError>,
    pub(super) settling: unsafe fn(NonNull<Header>) -> Option<TaskRef>,
    pub(super) empty: unsafe fn(NonNull<Header>),
    pub(super) free: unsafe fn(NonNull<Header>),
    pub(super) home: unsafe fn(NonNull<Header>) -> *const dyn Home,
    pub(super) type_of: TypeOf,
}

/// The part of a cell that the queue, the futures and the waits see.
pub(crate) struct Header {
    pub(crate) state: AtomicU64,
    pub(crate) references: quiet::AtomicU64,
    /// The [`Runner`]'s word, 0 before there is one.
    runner: quiet::AtomicU64,
    pub(crate) vtable: &'static VTable,
    /// The line that submitted the task, and its name.
    pub(crate) origin: Origin,
    pub(crate) span: TaskSpan,
    pub(crate) continuations: Mutex<Option<Box<Continuations>>>,
}

impl Header {
    /// Makes the header of a pending task.
    pub(crate) fn new(vtable: &'static VTable, references: u64, origin: Origin, span: TaskSpan) -> Self {
        Self {
            state: new_atomic(Phase::Pending as u64),
            references: quiet::AtomicU64::new(references),
            runner: quiet::AtomicU64::new(0),
            vtable,
            origin,
            span,
            continuations: Mutex::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::of(self.state.load(Relaxed))
    }

    /// Returns whether the task is done. If so, everything that its runner did is seen.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `end`.
        is_done(self.state.load(Acquire))
    }

    pub(crate) fn status(&self) -> Status {
        // ORDERING: Acquire pairs with the Release in `end`.
        Status::from(Phase::of(self.state.load(Acquire)))
    }

    /// Returns the id of the task, which is made when it is first asked for.
    #[cold]
    pub(crate) fn id(&self) -> TaskId {
        self.id_noting(ID_TOLD).id
    }

    /// Returns the id of the task for a report. Neither allocates nor blocks.
    #[cold]
    pub(crate) fn reported_id(&self) -> ReportedId {
        self.id_noting(0)
    }

    /// Returns the id of the task, and notes this bit.
    fn id_noting(&self, bit: u64) -> ReportedId {
        let mut word = self.state.load(Relaxed);
        let mut made = None;
        loop {
            let id = id_in(word).unwrap_or_else(|| *made.get_or_insert_with(TaskId::new));
            let noted = with_id(word, id) | bit;
            // ORDERING: Relaxed: it publishes nothing but the word itself.
            if noted == word {
                return ReportedId { id, is_told: word & ID_TOLD != 0 };
            }
            match self.state.compare_exchange_weak(word, noted, Relaxed, Relaxed) {
                Ok(_) => word = noted,
                Err(now) => word = now,
            }
        }
    }

    /// Returns whether the context with this number runs the task.
    pub(crate) fn is_run_by(&self, context: ContextId) -> bool {
        self.phase() == Phase::Running && self.runner() == Some(Runner::Context(context))
    }

    /// Records who runs the task. Called again if the task moves on to another process, or if a thread of this one ends
    /// it.
    pub(crate) fn set_runner(&self, runner: Runner) {
        self.runner.store(runner.word(), Relaxed);
    }

    /// Returns who runs the task, or ran it; `None` before.
    pub(crate) fn runner(&self) -> Option<Runner> {
        Runner::of(self.runner.load(Relaxed))
    }

    /// Claims the task, to run it. Returns `false` if it was claimed already.
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

    /// Returns the line that submitted the task.
    pub(crate) fn site(&self) -> Site {
        self.origin.made_at()
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// Returns the name of the closure's type.
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
        // Exposed for `id_of`.
        let key = std::ptr::from_ref(self).expose_provenance();
        ResourceFacts { key, origin: self.origin, type_of: self.vtable.type_of }
    }

    /// Announces a waiter that is about to park. Returns `false` if the task is done.
    pub(crate) fn announce(&self) -> bool {
        let mut word = self.state.load(Relaxed);
        while !is_done(word) && word & WAITERS == 0 {
            // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the waker's look.
            match self.state.compare_exchange_weak(word, word | WAITERS, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        !is_done(word)
    }

    /// Returns whether an announced waiter will be woken. Called under the parking queue's lock.
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
}
