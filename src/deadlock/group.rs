//! A pool's workers, as the graph knows them: any of them can end a wait for what is queued.

use std::cell::UnsafeCell;
use std::sync::Arc;

use super::context::{self, Context, ContextId};
use super::graph::{self, Graph};
use super::resource::Site;

/// A set of contexts any one of which can do what is asked of the whole: the workers of a pool.
///
/// A member that is not registered is live, and so is a group of which a member is still [expected](Self::expect).
pub(crate) struct Group {
    /// Reached with the graph's mutex held.
    record: UnsafeCell<GroupRecord>,
}

pub(super) struct GroupRecord {
    pub(super) name: Arc<str>,
    pub(super) made_at: Site,
    /// Members that are being started.
    pub(super) expected: usize,
    pub(super) first: Option<&'static Context>,
}

// SAFETY:
// - the record is only reached with the graph's mutex held.
unsafe impl Sync for Group {}
// SAFETY:
// - as above.
unsafe impl Send for Group {}

impl Group {
    pub(crate) fn new(name: Arc<str>, made_at: Site) -> Self {
        Self { record: UnsafeCell::new(GroupRecord { name, made_at, expected: 0, first: None }) }
    }

    fn record<'g>(&'g self, _: &'g Graph) -> &'g GroupRecord {
        // SAFETY:
        // - a `Graph` exists once and under a mutex: `&Graph` excludes any `&mut` from `record_mut`.
        unsafe { &*self.record.get() }
    }

    #[expect(clippy::mut_from_ref, reason = "the graph is what is borrowed mutably: it exists once")]
    fn record_mut<'g>(&'g self, _: &'g mut Graph) -> &'g mut GroupRecord {
        // SAFETY:
        // - as in `record`; `&mut Graph` makes this the only reference.
        unsafe { &mut *self.record.get() }
    }

    /// A member is about to be started: until it [joins](Self::join), or [is not coming](Self::is_not_coming), it is
    /// live. Said *before* anybody may count on it.
    pub(crate) fn expect(&self) {
        graph::with(|graph| self.record_mut(graph).expected += 1);
    }

    /// An expected member could not be started, or is not needed. Those who count on the group are judged again.
    pub(crate) fn is_not_coming(&self) {
        graph::with(|graph| {
            self.record_mut(graph).expected -= 1;
            graph.recheck_group();
        });
    }

    /// The calling thread's context, which was expected, is a member from now on.
    pub(crate) fn join(&self) {
        let me = context::current();
        graph::with(|graph| {
            let record = self.record_mut(graph);
            record.expected -= 1;
            let next = record.first.replace(me);
            graph.record_mut(me).next_member = next;
        });
    }

    /// The calling thread's context is no member any more. Those who count on the group are judged again.
    pub(crate) fn leave(&self) {
        let me = context::current();
        graph::with(|graph| {
            let mine = graph.record_mut(me).next_member.take();
            if self.record(graph).first == Some(me) {
                self.record_mut(graph).first = mine;
            } else {
                let mut at = self.record(graph).first;
                while let Some(member) = at {
                    at = graph.record(member).next_member;
                    if at == Some(me) {
                        graph.record_mut(member).next_member = mine;
                        break;
                    }
                }
            }
            graph.recheck_group();
        });
    }

    /// Nobody will ask for this group any more: whoever still does so now, under the graph's mutex, comes before.
    pub(crate) fn close(&self) {
        graph::with(|graph| debug_assert!(self.record(graph).first.is_none(), "members leave before their group goes"));
    }

    /// Calls `visit` with each member.
    pub(crate) fn for_each_member(&self, graph: &Graph, mut visit: impl FnMut(ContextId)) {
        let mut at = self.record(graph).first;
        while let Some(member) = at {
            visit(member.id());
            at = graph.record(member).next_member;
        }
    }
}
