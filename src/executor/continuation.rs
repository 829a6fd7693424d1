//! What is run when a task is done.

use std::sync::Arc;
use std::task::Waker;

use super::future::Status;
use super::panic;
use super::wait_set::WaitSet;
use crate::deadlock::deferred;

/// One thing to be run when a task is done.
pub(super) enum Continuation {
    /// Polls a future again: the owner's number, 0 for the only one.
    Waker(u64, Waker),
    /// The user's code.
    Callback(Box<dyn FnOnce(Status) + Send>),
    /// Tells a wait for several futures that the one with this number is done.
    Notice(Arc<WaitSet>, usize),
}

impl Continuation {
    pub(super) fn is_waker_of(&self, owner: u64) -> bool {
        matches!(self, Self::Waker(other, _) if *other == owner)
    }

    /// Runs what is to be run when a task is done. A panic is contained.
    pub(super) fn run(self, status: Status) {
        match self {
            Self::Waker(_, waker) => drop(panic::contain(|| waker.wake())),
            Self::Callback(callback) => drop(panic::contain(|| callback(status))),
            Self::Notice(set, number) => set.notice(number, status),
        }
    }
}

/// What is to be run of a task that is done.
pub(super) struct Then {
    pub(super) continuations: Box<Continuations>,
    pub(super) status: Status,
}

impl Then {
    /// Whether the user's code is among it that may take as long as it likes.
    #[cfg(feature = "process")]
    pub(super) fn has_callbacks(&self) -> bool {
        self.continuations.0.iter().any(|continuation| matches!(continuation, Continuation::Callback(_)))
    }

    /// Runs all of it on this thread, in order: here, or soon.
    pub(super) fn run(self) {
        let run = move || self.continuations.in_order().for_each(|continuation| continuation.run(self.status));
        deferred::run(run, |run| Box::new(run));
    }
}

/// All of them, in the order in which they were added. Boxed by each cell: most have none, and keep room for a pointer.
#[derive(Default)]
pub(super) struct Continuations(Vec<Continuation>);

impl Continuations {
    pub(super) fn push(&mut self, continuation: Continuation) {
        self.0.push(continuation);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Continuation> {
        self.0.iter_mut()
    }

    pub(super) fn in_order(self) -> impl Iterator<Item = Continuation> {
        self.0.into_iter()
    }

    /// Takes the first that is meant off the list.
    pub(super) fn remove(&mut self, is_it: impl Fn(&Continuation) -> bool) -> Option<Continuation> {
        self.0.iter().position(is_it).map(|at| self.0.remove(at))
    }
}
