//! A pool's workers, as the graph knows them: any of them can end a wait for what is queued.

use std::ptr::NonNull;
use std::sync::Arc;

use super::context::{self, Context, ContextId};
use super::graph::{self, Graph, Mark};
use super::resource::Site;

/// A set of contexts any one of which can do what is asked of the whole: the workers of a pool.
///
/// A member that is not registered is live, and so is a group of which a member is still [expected](Self::expect), or
/// that has no member at all.
pub(crate) struct Group {
    /// Made by `Box::into_raw`: the members point to it.
    record: NonNull<GroupRecord>,
}

/// The graph's notes on one group.
pub(super) struct GroupRecord {
    pub(super) name: Arc<str>,
    #[expect(dead_code, reason = "for reports that tell pools of one name apart")]
    pub(super) made_at: Site,
    /// Members that are being started.
    pub(super) expected: usize,
    pub(super) first: Option<&'static Context>,
    pub(super) mark: Mark,
}

// SAFETY:
// - the record is only reached with the graph's mutex held.
unsafe impl Sync for Group {}
// SAFETY:
// - as above.
unsafe impl Send for Group {}

impl Group {
    pub(crate) fn new(name: Arc<str>, made_at: Site) -> Self {
        let record = Box::new(GroupRecord { name, made_at, expected: 0, first: None, mark: Mark::new() });
        Self { record: NonNull::from(Box::leak(record)) }
    }

    /// Where the group's record is, for as long as the group lives.
    pub(super) fn address(&self) -> NonNull<GroupRecord> {
        self.record
    }

    /// A member is about to be started: until it [joins](Self::join), or [is not coming](Self::is_not_coming), it is
    /// live. Said *before* anybody may count on it.
    pub(crate) fn expect(&self) {
        graph::with(|graph| graph.group_mut(self.record).expected += 1);
    }

    /// An expected member could not be started, or is not needed. Those who count on the group are judged again.
    pub(crate) fn is_not_coming(&self) {
        graph::with(|graph| {
            graph.group_mut(self.record).expected -= 1;
            graph.recheck_group(self.record);
        });
    }

    /// Those who count on the group are judged again: something else that could have helped them is gone.
    pub(crate) fn recheck(&self) {
        graph::with(|graph| graph.recheck_group(self.record));
    }

    /// The calling thread's context, which was expected, is a member from now on, until it [leaves](Self::leave): at
    /// the latest when its thread ends.
    pub(crate) fn join(&self) {
        let me = context::current();
        graph::with(|graph| {
            graph.group_mut(self.record).expected -= 1;
            graph.add_member(self.record, me);
        });
    }

    /// The calling thread's context is no member any more. Those who count on the group are judged again.
    pub(crate) fn leave(&self) {
        let me = context::current();
        graph::with(|graph| {
            if graph.record(me).group == Some(self.record) {
                graph.remove_member(self.record, me);
                graph.recheck_group(self.record);
            }
        });
    }

    /// Calls `visit` with each member.
    pub(crate) fn for_each_member(&self, graph: &Graph, visit: impl FnMut(ContextId)) {
        graph.members(self.record).map(Context::id).for_each(visit);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A member that was never taken out, on a thread that was ended by force, points here no longer.
        graph::with(|graph| {
            while let Some(member) = graph.group(self.record).first {
                graph.remove_member(self.record, member);
            }
        });
        // SAFETY:
        // - it came from a box, and nobody else has it: the members gave it up, a registered wait for the group has
        //   borrowed the group, and a walk keeps no pointer past the mutex that it runs under.
        drop(unsafe { Box::from_raw(self.record.as_ptr()) });
    }
}

impl Graph {
    /// The notes on a group.
    pub(super) fn group(&self, group: NonNull<GroupRecord>) -> &GroupRecord {
        // SAFETY:
        // - the pointer is from `Group::address`, of a group that is alive: borrowed by the caller or by a registered
        //   wait, or known to a member, which gives it up when the group is dropped.
        // - records are reached only through a `Graph`, which exists once and under a mutex: `&self` excludes any
        //   `&mut` from `group_mut`.
        unsafe { group.as_ref() }
    }

    /// The notes on a group.
    pub(super) fn group_mut(&mut self, mut group: NonNull<GroupRecord>) -> &mut GroupRecord {
        // SAFETY:
        // - as in `group`; `&mut self` makes this the only reference.
        unsafe { group.as_mut() }
    }

    pub(super) fn members(&self, group: NonNull<GroupRecord>) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(self.group(group).first, |&member| self.record(member).next_member)
    }

    pub(super) fn add_member(&mut self, group: NonNull<GroupRecord>, context: &'static Context) {
        debug_assert!(self.record(context).group.is_none(), "a worker works for one pool");
        let next = self.group_mut(group).first.replace(context);
        let record = self.record_mut(context);
        record.next_member = next;
        record.group = Some(group);
    }

    pub(super) fn remove_member(&mut self, group: NonNull<GroupRecord>, context: &'static Context) {
        let record = self.record_mut(context);
        let next = record.next_member.take();
        record.group = None;
        if self.group(group).first == Some(context) {
            self.group_mut(group).first = next;
            return;
        }
        let previous = self.members(group).find(|&member| self.record(member).next_member == Some(context));
        if let Some(previous) = previous {
            self.record_mut(previous).next_member = next;
        }
    }
}
