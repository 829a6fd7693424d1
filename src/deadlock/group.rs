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
    /// The last walk before those who count on the group were told to judge again.
    pub(super) rechecked_at: u64,
}

// SAFETY:
// - the record is only reached with the graph's mutex held.
unsafe impl Sync for Group {}
// SAFETY:
// - as above.
unsafe impl Send for Group {}

impl Group {
    pub(crate) fn new(name: Arc<str>, made_at: Site) -> Self {
        let record =
            Box::new(GroupRecord { name, made_at, expected: 0, first: None, mark: Mark::new(), rechecked_at: 0 });
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
            graph.recheck_if_counted_on(self.record);
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
                graph.recheck_if_counted_on(self.record);
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

    /// Re-checks the waits that count on a group, if any may: the group has lost one who could have helped them.
    ///
    /// A deadlock that the loss completes lives by this group alone, so the last walk in it came by the group (`README.md`,
    /// Groups). If no walk has since the last recheck, all waits concerned have been told. So the end of a worker costs
    /// constant time, whatever else is registered.
    fn recheck_if_counted_on(&mut self, group: NonNull<GroupRecord>) {
        let record = self.group(group);
        if record.mark.stamp.get() > record.rechecked_at {
            self.recheck_group(group);
        }
    }

    pub(super) fn add_member(&mut self, group: NonNull<GroupRecord>, context: &'static Context) {
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

    pub(super) fn remove_member(&mut self, group: NonNull<GroupRecord>, context: &'static Context) {
        let record = self.record_mut(context);
        let (previous, next) = (record.previous_member.take(), record.next_member.take());
        record.group = None;
        match previous {
            Some(previous) => self.record_mut(previous).next_member = next,
            None => self.group_mut(group).first = next,
        }
        if let Some(next) = next {
            self.record_mut(next).previous_member = previous;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::super::graph::Entry;
    use super::super::judge::Judgement;
    use super::super::resource::{Origin, ResourceFacts, ResourceType};
    use super::super::summons::Summons;
    use super::super::told::Told;
    use super::super::wait::{Failure, erase};
    use super::super::waitable::{Blocker, Need, Provider, Visit};
    use super::*;
    use crate::primitive::now;

    /// A wait that counts how often somebody looks at who can end it.
    struct Counted<'g> {
        group: Option<&'g Group>,
        looks: Cell<usize>,
    }

    impl Blocker for Counted<'_> {
        fn facts(&self, _: usize) -> ResourceFacts {
            let type_of = || ResourceType::exclusive::<u32>("Lock");
            ResourceFacts { key: std::ptr::from_ref(self).addr(), origin: Origin::here(None), type_of }
        }

        fn need(&self) -> Need {
            Need::One
        }

        fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
            self.looks.set(self.looks.get() + 1);
            _ = visit(self.group.map_or(Provider::External, Provider::AnyOf));
        }
    }

    /// A graph in which somebody waits for a group with so many members, or for something else.
    fn with_wait(
        members: usize,
        on_group: bool,
        then: impl FnOnce(&mut Graph, &Group, &'static Context, &Cell<usize>),
    ) {
        let group = Group::new("pool".into(), std::panic::Location::caller());
        let mut graph = Graph::new();
        graph.make_room_for_test(16);
        for _ in 0..members {
            let member = graph.add_for_test();
            graph.add_member(group.record, member);
        }
        let (wait, waiter) = (Counted { group: on_group.then_some(&group), looks: Cell::new(0) }, graph.add_for_test());
        let entry = Entry {
            blocker: erase(&wait),
            key: std::ptr::from_ref(&wait).addr(),
            is_chained: false,
            site: std::panic::Location::caller(),
            since: now(),
            timed: false,
            failure: Failure::Value,
            summons: Summons::None,
            told: Told::NOTHING,
            own: false,
            is_stuck: false,
            finder: None,
        };
        graph.link(waiter, entry);
        assert_eq!(graph.judge(waiter), Judgement::NotDeadlocked);
        wait.looks.set(0);
        then(&mut graph, &group, waiter, &wait.looks);
        graph.unlink(waiter);
        let rest: Vec<_> = graph.members(group.record).collect();
        rest.into_iter().for_each(|member| graph.remove_member(group.record, member));
    }

    impl Graph {
        fn let_leave(&mut self, group: &Group, member: &'static Context) {
            self.remove_member(group.record, member);
            self.recheck_if_counted_on(group.record);
        }
    }

    #[test]
    fn members_leave_in_any_order() {
        with_wait(7, false, |graph, group, _, _| {
            let mut members: Vec<_> = graph.members(group.record).collect();
            for at in [3, 0, 4, 2, 0] {
                graph.remove_member(group.record, members.remove(at));
                assert!(graph.members(group.record).eq(members.iter().copied()), "without the one at {at}");
            }
            let late = graph.add_for_test();
            graph.add_member(group.record, late);
            assert_eq!(graph.members(group.record).count(), 3);
        });
    }

    #[test]
    fn a_group_that_nobody_counts_on_loses_its_members_without_a_look_at_any_wait() {
        with_wait(500, false, |graph, group, _, looks| {
            while let Some(member) = graph.group(group.record).first {
                graph.let_leave(group, member);
            }
            assert_eq!(looks.get(), 0);
        });
    }

    #[test]
    fn whoever_counts_on_a_group_is_told_of_each_loss_until_it_was_told() {
        with_wait(500, true, |graph, group, waiter, looks| {
            let leave = |graph: &mut Graph| {
                let member = graph.group(group.record).first.expect("there are enough");
                graph.let_leave(group, member);
                graph.entry(waiter).expect("it waits").summons
            };
            for _ in 0..3 {
                assert_eq!(leave(graph), Summons::Recheck);
                let told = looks.get();
                for _ in 0..100 {
                    leave(graph);
                }
                assert_eq!(looks.get(), told, "it has yet to look for itself");
                assert_eq!(graph.answer_summons(waiter), Summons::Recheck);
                assert_eq!(graph.judge(waiter), Judgement::NotDeadlocked);
            }
        });
    }
}
