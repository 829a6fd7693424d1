//! The words by which a worker process and its parent decide which of them has a task.
//!
//! A worker may have several tasks: one that runs, and some that were sent ahead. The latter can still be taken back,
//! and the two processes decide that by one word, which each of them changes from [`SENT`] by a compare-and-swap:
//!
//! ```text
//! slots[id % 16]:  (anything) --offer--> id SENT --start---> id STARTED     the worker runs it
//!                                              \--recall--> id RECALLED    the worker skips it
//! ```

use crate::primitive::Ordering::{self, Acquire, Relaxed, Release};
use crate::primitive::{Ingredient, is_removed, quiet};

/// The task was sent, and neither process has claimed it.
const SENT: u64 = 1;
/// The worker has begun it.
const STARTED: u64 = 2;
/// The parent has taken it back.
const RECALLED: u64 = 3;

/// Keeps two words that different processes write out of one cache line, and out of a pair of lines that are fetched
/// together.
#[repr(C, align(128))]
pub(in crate::process_pool) struct Line<T>(pub(in crate::process_pool) T);

/// An atomic word of a claim: in memory that is shared with another process, or one that a model explores.
pub(in crate::process_pool) trait ClaimWord {
    fn store(&self, value: u64, order: Ordering);
    /// Changes the word from `old` to `new`. Returns whether it was `old`.
    fn change(&self, old: u64, new: u64, order: Ordering) -> bool;
}

macro_rules! word {
    ($atomic:ty) => {
        impl ClaimWord for $atomic {
            fn store(&self, value: u64, order: Ordering) {
                self.store(value, order);
            }

            fn change(&self, old: u64, new: u64, order: Ordering) -> bool {
                // ORDERING: a failure says only that the other process was first.
                self.compare_exchange(old, new, order, Relaxed).is_ok()
            }
        }
    };
}

word!(quiet::AtomicU64);
#[cfg(all(test, loom))]
word!(crate::primitive::AtomicU64);

/// How many tasks a worker may have at a time. (A model explores fewer.)
pub(in crate::process_pool) const SLOTS: usize = if cfg!(all(test, loom)) { 2 } else { 16 };

/// A word for each of the last tasks that were sent: its number times four, and its state.
#[repr(C)]
pub(in crate::process_pool) struct Claims<A> {
    slots: [Line<A>; SLOTS],
}

impl<A: ClaimWord> Claims<A> {
    #[cfg(test)]
    pub(in crate::process_pool) fn new(make: impl Fn() -> A) -> Self {
        Self { slots: std::array::from_fn(|_| Line(make())) }
    }

    fn slot(&self, id: u64) -> &A {
        &self.slots[(id % SLOTS as u64) as usize].0
    }

    /// The parent offers task `id` before it sends it: it may be started from now on.
    ///
    /// The task that had the slot before, 16 tasks ago, has been replied to.
    pub(in crate::process_pool) fn offer(&self, id: u64) {
        // ORDERING: Release, for the Acquire of `start`: the worker that starts the task sees what the parent wrote
        // before. (The frame itself comes through the kernel after this.)
        self.slot(id).store(word(id, SENT), Release);
    }

    /// The worker claims task `id` before it looks at it. `false`: it was recalled, and is not to be run.
    pub(in crate::process_pool) fn start(&self, id: u64) -> bool {
        self.decide(id, STARTED) || is_removed(Ingredient::ClaimBeforeBegin)
    }

    /// The parent takes task `id` back. `false`: the worker has started it, or the parent had taken it back before.
    pub(in crate::process_pool) fn recall(&self, id: u64) -> bool {
        self.decide(id, RECALLED)
    }

    fn decide(&self, id: u64, state: u64) -> bool {
        // ORDERING: of `start` and `recall` one finds `SENT`, in any order. Acquire, for the Release of `offer`.
        self.slot(id).change(word(id, SENT), word(id, state), Acquire)
    }
}

#[cfg(all(test, not(loom), not(miri)))]
impl Claims<quiet::AtomicU64> {
    /// Returns whether the worker has started task `id` (and perhaps ended it), as long as its slot was not offered
    /// again.
    pub(in crate::process_pool) fn is_started(&self, id: u64) -> bool {
        self.slot(id).load(Relaxed) == word(id, STARTED)
    }
}

/// Returns the word for a task in this state. Numbers of tasks stay below 2⁶².
fn word(id: u64, state: u64) -> u64 {
    id << 2 | state
}
