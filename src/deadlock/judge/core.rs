//! The deadlock that a judge found.

use super::marks::Marks;
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::context::Context;
use crate::deadlock::graph::id::GroupId;

/// The core of the deadlock that the last judgement found: its members, contexts and groups. Victims are chosen from
/// them, and reports describe them.
pub(in crate::deadlock) struct Core {
    members: Vec<&'static Context>,
    contexts: Marks<()>,
    /// A group is marked at its first member, which is in no other group.
    groups: Marks<()>,
    /// Whether each member waits for the next one alone.
    pub(super) is_chained: bool,
}

impl Core {
    #[cfg(not(all(test, loom)))]
    pub(super) const fn new() -> Self {
        Self { members: Vec::new(), contexts: Marks::new(), groups: Marks::new(), is_chained: true }
    }

    /// Returns an empty core with capacity for this many members among this many contexts. Called without the graph's
    /// mutex.
    pub(super) fn with_capacity(members: usize, contexts: usize) -> Self {
        Self {
            members: Vec::with_capacity(members),
            contexts: Marks::with_capacity(contexts),
            groups: Marks::with_capacity(contexts),
            is_chained: true,
        }
    }

    /// Returns its contexts, beginning with the one that was judged. In a chained core each waits for the next.
    pub(in crate::deadlock) fn members(&self) -> &[&'static Context] {
        &self.members
    }

    /// Returns whether a context is in it.
    pub(in crate::deadlock) fn contains(&self, context: &'static Context) -> bool {
        self.contexts.is_set(context)
    }

    /// Returns whether a group is in it.
    pub(in crate::deadlock) fn contains_group(&self, graph: &Graph, group: GroupId) -> bool {
        graph.group(group).first.is_some_and(|first| self.groups.is_set(first))
    }

    /// Returns how many members it has capacity for.
    pub(super) fn capacity(&self) -> usize {
        self.members.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.contexts.clear();
        self.groups.clear();
        self.is_chained = true;
    }

    /// Adds a context. Returns `false` if the capacity is used up.
    pub(super) fn add(&mut self, context: &'static Context) -> bool {
        if self.members.len() == self.members.capacity() {
            return false;
        }
        self.contexts.set(context, ());
        self.members.push(context);
        true
    }

    pub(super) fn add_group(&mut self, graph: &Graph, group: GroupId) {
        if let Some(first) = graph.group(group).first {
            self.groups.set(first, ());
        }
    }

    /// Takes the larger buffers of two, and forgets what was found.
    pub(super) fn take_larger(&mut self, other: &mut Self) {
        if self.members.capacity() < other.members.capacity() {
            std::mem::swap(&mut self.members, &mut other.members);
        }
        self.contexts.take_larger(&mut other.contexts);
        self.groups.take_larger(&mut other.groups);
        self.clear();
    }
}
