//! What a walk notes on the contexts that it visits.

use crate::deadlock::graph::Graph;
use crate::deadlock::graph::context::Context;

/// A `T` for each context that was given one since the last [`clear`](Self::clear), which takes constant time. Found by
/// the index of the context.
pub(super) struct Marks<T> {
    marks: Vec<(u64, T)>,
    stamp: u64,
}

impl<T: Copy + Default> Marks<T> {
    pub(super) const fn new() -> Self {
        Self { marks: Vec::new(), stamp: 1 }
    }

    /// Returns marks for this many contexts. Called without the graph's mutex.
    pub(super) fn with_capacity(contexts: usize) -> Self {
        Self { marks: vec![(0, T::default()); contexts], ..Self::new() }
    }

    /// Returns whether there is a mark for each context of this graph.
    pub(super) fn fit(&self, graph: &Graph) -> bool {
        graph.contexts.len() <= self.marks.len()
    }

    pub(super) fn clear(&mut self) {
        self.stamp += 1;
    }

    pub(super) fn get(&self, context: &'static Context) -> Option<T> {
        let (stamp, mark) = self.marks[context.index()];
        (stamp == self.stamp).then_some(mark)
    }

    pub(super) fn is_set(&self, context: &'static Context) -> bool {
        self.get(context).is_some()
    }

    pub(super) fn set(&mut self, context: &'static Context, mark: T) {
        self.marks[context.index()] = (self.stamp, mark);
    }

    /// Takes the other's buffer if it is larger, and forgets all marks.
    pub(super) fn take_larger(&mut self, other: &mut Self) {
        if self.marks.len() < other.marks.len() {
            std::mem::swap(self, other);
        }
    }
}
