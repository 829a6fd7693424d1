//! The threads that have arrived at a barrier: a record on the stack of each, and the list of those of one generation.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::deadlock::context::ContextId;
use crate::primitive::Ordering::{Acquire, Release};
use crate::primitive::{AtomicU64, new_atomic};

/// The others are still to come.
const PENDING: u64 = 0;
const PASSED: u64 = 1;
const BROKEN: u64 = 3;

/// How a generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Broken,
}

/// The record of a thread that waits: how its generation ended, once it has.
pub(super) struct Arrival {
    /// [`PENDING`]; the number of the context that runs the action, which is even; or the outcome, which stays.
    word: AtomicU64,
    /// The generation that it belongs to.
    generation: u64,
    /// The one that arrived before. Written before it is in a list, read by the owner of the list.
    before: Cell<Option<NonNull<Arrival>>>,
}

impl Arrival {
    pub(super) fn of(generation: u64) -> Self {
        Self { word: new_atomic(PENDING), generation, before: Cell::new(None) }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns how its generation ended, if it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        // ORDERING: Acquire pairs with the Release in `Arrivals::end`.
        match self.word.load(Acquire) {
            PASSED => Some(Outcome::Passed),
            BROKEN => Some(Outcome::Broken),
            _ => None,
        }
    }

    /// Returns the context that runs the action, if one does and the outcome is open.
    pub(super) fn runner(&self) -> Option<ContextId> {
        // ORDERING: Acquire pairs with the Release in `Arrivals::end`: a judge that finds the runner registered for a later
        // wait sees the outcome, which came first. (The graph's mutex alone would order the two.)
        let word = self.word.load(Acquire);
        ContextId::from_word(word).filter(|_| word.is_multiple_of(2))
    }
}

/// Those who have arrived and wait, of one generation.
pub(super) struct Arrivals {
    /// Each is on the stack of a thread that waits for its outcome.
    last: Option<NonNull<Arrival>>,
    count: usize,
}

// SAFETY:
// - a record in a list is alive and is read through shared references; `before` is reached by the list's owner alone.
unsafe impl Send for Arrivals {}

impl Arrivals {
    pub(super) const fn none() -> Self {
        Self { last: None, count: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a record.
    ///
    /// # Safety
    ///
    /// - The record stays where it is until it has an outcome.
    pub(super) unsafe fn add(&mut self, arrival: &Arrival) {
        arrival.before.set(self.last.replace(NonNull::from(arrival)));
        self.count += 1;
    }

    /// Takes all records, and leaves none.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::none())
    }

    /// Lets the graph know which context runs the action.
    pub(super) fn name_runner(&self, runner: ContextId) {
        self.for_each(|arrival| arrival.word.store(runner.get(), Release));
    }

    /// Gives all records their outcome. Their threads have to be woken.
    pub(super) fn end(self, outcome: Outcome) {
        let word = match outcome {
            Outcome::Passed => PASSED,
            Outcome::Broken => BROKEN,
        };
        // ORDERING: Release pairs with the Acquire in `outcome`: what was done before is seen by all that pass.
        self.for_each(|arrival| arrival.word.store(word, Release));
    }

    /// Calls `visit` with each record, which may be gone when it returns.
    fn for_each(&self, visit: impl Fn(&Arrival)) {
        let mut next = self.last;
        while let Some(arrival) = next {
            // SAFETY:
            // - a record in a list is alive until it has an outcome (`add`), which it gets from the list's owner.
            let arrival = unsafe { arrival.as_ref() };
            next = arrival.before.get();
            visit(arrival);
        }
    }
}
