//! A group as the graph knows it, and its members.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Graph;
use super::context::Context;
use super::id::GroupId;
use super::resource::Site;

/// The graph's notes on one group.
pub(in crate::deadlock) struct GroupRecord {
    pub(in crate::deadlock) name: Arc<str>,
    #[expect(dead_code, reason = "for reports that tell pools of one name apart")]
    pub(in crate::deadlock) made_at: Site,
    /// Members that are being started.
    pub(in crate::deadlock) expected: usize,
    pub(in crate::deadlock) first: Option<&'static Context>,
    /// Whether a walk came by since the waits that count on the group were last re-checked.
    is_counted_on: Cell<bool>,
}

impl GroupRecord {
    pub(in crate::deadlock) fn new(name: Arc<str>, made_at: Site) -> Self {
        Self { name, made_at, expected: 0, first: None, is_counted_on: Cell::new(false) }
    }

    /// Returns the id of the group whose record is here.
    pub(in crate::deadlock) fn id(record: NonNull<Self>) -> GroupId {
        GroupId::at(record)
    }

    /// Notes that a walk came by: a wait may count on the group.
    pub(in crate::deadlock) fn count_on(&self) {
        self.is_counted_on.set(true);
    }
}

impl Graph {
    /// Returns the notes on a group.
    pub(in crate::deadlock) fn group(&self, group: GroupId) -> &GroupRecord {
        // SAFETY:
        // - the id is from `Group::id`, of a group that is alive: borrowed by the caller or by a registered
        //   wait, or known to a member, which gives it up when the group is dropped.
        // - records are reached only through a `Graph`, which exists once and under a mutex: `&self` excludes any
        //   `&mut` from `group_mut`.
        unsafe { group.address::<GroupRecord>().as_ref() }
    }

    /// Returns the notes on a group.
    pub(in crate::deadlock) fn group_mut(&mut self, group: GroupId) -> &mut GroupRecord {
        // SAFETY:
        // - as in `group`; `&mut self` makes this the only reference.
        unsafe { group.address::<GroupRecord>().as_mut() }
    }

    pub(in crate::deadlock) fn members(&self, group: GroupId) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(self.group(group).first, |&member| self.record(member).next_member)
    }

    /// Re-checks the waits that count on a group, if there may be any: the group has lost a context that could have
    /// ended them.
    ///
    /// A deadlock that the loss completes was live by this group alone, so the last walk in it came by the group
    /// (`README.md`, Groups). If no walk has come by since the last re-check, all waits concerned have been summoned.
    /// So the end of a worker takes constant time, whatever else is registered.
    pub(in crate::deadlock) fn recheck_if_counted_on(&mut self, group: GroupId) {
        if self.group(group).is_counted_on.get() {
            self.recheck_group(group);
        }
    }

    /// Notes that the waits that count on a group are being re-checked.
    pub(in crate::deadlock) fn forget_walks(&mut self, group: GroupId) {
        self.group_mut(group).is_counted_on.set(false);
    }

    pub(in crate::deadlock) fn add_member(&mut self, group: GroupId, context: &'static Context) {
        debug_assert!(self.record(context).group.is_none(), "a worker works for one pool");
        let next = self.group_mut(group).first.replace(context);
        if let Some(next) = next {
            self.record_mut(next).previous_member = Some(context);
        }
        let record = self.record_mut(context);
        record.previous_member = None;
        record.next_member = next;
        record.group = Some(group);
    }

    pub(in crate::deadlock) fn remove_member(&mut self, group: GroupId, context: &'static Context) {
        let record = self.record_mut(context);
        let (previous, next) = (record.previous_member.take(), record.next_member.take());
        record.group = None;
        record.serves = false;
        match previous {
            Some(previous) => self.record_mut(previous).next_member = next,
            None => self.group_mut(group).first = next,
        }
        if let Some(next) = next {
            self.record_mut(next).previous_member = previous;
        }
    }
}
