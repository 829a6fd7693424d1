//! The judge: whether a wait that is registered can ever end. It reads the graph, and owns its buffers and marks.

mod bystanders;
mod chain;
mod core;
mod marks;
mod reduction;

pub(super) use self::core::Core;
use marks::Marks;
use reduction::Reduction;

use super::graph::Graph;
use super::graph::context::Context;

/// What a walk from one waiter found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deadlock) enum Judgement {
    /// A context on the way may still run.
    NotDeadlocked,
    /// The way leads into a deadlock that this waiter is no part of: it is stuck until that is broken.
    Bystander,
    /// The thread of an owner may be gone soon, and nothing will announce it: ask again. `stuck`: the wait would be
    /// stuck even if that owner released.
    OwnerEnding { stuck: bool },
    /// The walk needs larger buffers: grow them, outside the mutex, and judge again.
    NoCapacity,
    /// The waiter waits for itself.
    Relock,
    /// The waiter is on a cycle.
    Cycle,
    /// The waiter is on a cycle that leads through a group.
    Starvation,
    /// What the waiter waits for belongs to a context that is gone.
    Abandoned(&'static Context),
}

impl Judgement {
    /// Returns whether the waiter waits for what a context that is gone left behind.
    pub(super) fn is_abandoned(self) -> bool {
        matches!(self, Self::Abandoned(_))
    }
}

/// What the walks need, and what they find. Its buffers grow outside the graph's mutex only.
pub(super) struct Judge {
    /// The contexts that a walk along a chain has visited; for a walk that follows waits back, each with the one that
    /// comes next.
    visited: Marks<Option<&'static Context>>,
    reduction: Reduction,
    core: Core,
    /// The capacity that a walk lacked.
    wanted: Option<Capacity>,
}

/// The capacity that a walk needs.
#[derive(Clone, Copy)]
pub(super) struct Capacity {
    /// The number of waits.
    waits: usize,
    /// The number of contexts that they are among.
    contexts: usize,
}

/// The number of waits that the first buffers are for: enough for most programs.
const FIRST_CAPACITY: usize = 64;

impl Judge {
    #[cfg(not(all(test, loom)))]
    pub(super) const fn new() -> Self {
        Self { visited: Marks::new(), reduction: Reduction::new(), core: Core::new(), wanted: None }
    }

    /// Returns the deadlock that the last judgement found.
    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    /// Returns whether the last wait that was judged waits for a context, among others, whose thread may be gone soon. Nothing
    /// will announce that.
    pub(super) fn met_an_end(&self) -> bool {
        self.reduction.is_ending()
    }

    /// Notes that a walk lacks capacity: for more waits than it had, or for the marks of all contexts.
    fn want_capacity(&mut self, graph: &Graph, had: usize) -> Judgement {
        let before = self.wanted.map_or(0, |wanted| wanted.waits);
        // The vector of contexts grows before contexts are added, and the marks are as many as it has capacity for.
        let contexts = graph.contexts.capacity();
        self.wanted = Some(Capacity { waits: before.max(had * 2).max(FIRST_CAPACITY), contexts });
        Judgement::NoCapacity
    }

    /// Takes the capacity that a walk lacked since the last call.
    pub(super) fn take_wanted(&mut self) -> Option<Capacity> {
        self.wanted.take()
    }

    /// Takes the larger buffers of two, leaves the others, and forgets what was found.
    pub(super) fn take_larger(&mut self, Buffers(larger): &mut Buffers) {
        self.visited.take_larger(&mut larger.visited);
        self.reduction.take_larger(&mut larger.reduction);
        self.core.take_larger(&mut larger.core);
    }

    /// Returns a judge with capacity for this many waits and contexts.
    #[cfg(test)]
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let Buffers(judge) = Buffers::new(Capacity { waits: capacity, contexts: capacity });
        judge
    }

    #[cfg(all(test, not(loom)))]
    fn grow(&mut self) {
        if let Some(wanted) = self.take_wanted() {
            self.take_larger(&mut Buffers::new(wanted));
        }
    }
}

/// Buffers for the walks and what they find, as they are made without the mutex.
pub(super) struct Buffers(Judge);

impl Buffers {
    pub(super) fn new(Capacity { waits, contexts }: Capacity) -> Self {
        Self(Judge {
            visited: Marks::with_capacity(contexts),
            reduction: Reduction::with_capacity(waits, contexts),
            core: Core::with_capacity(waits, contexts),
            wanted: None,
        })
    }
}
