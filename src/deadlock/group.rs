//! A pool's workers, as the graph knows them: any of them can end a wait for what is queued.

use std::ptr::NonNull;
use std::sync::Arc;

use super::detector;
use super::graph::Graph;
use super::graph::blocker::{Provider, Visit};
use super::graph::context::{Context, ContextId};
use super::graph::id::GroupId;
use super::graph::members::GroupRecord;
use super::graph::resource::Site;
use super::registry;

/// A set of contexts any one of which can do what is asked of the whole: the workers of a pool.
///
/// A member that is not registered is live, and so is a group of which a member is still [expected](Self::expect), or
/// that has no member at all.
pub(crate) struct Group {
    /// Made by `Box::into_raw`: the members point to it.
    record: NonNull<GroupRecord>,
}

// SAFETY:
// - the record is only reached with the graph's mutex held.
unsafe impl Sync for Group {}
// SAFETY:
// - as above.
unsafe impl Send for Group {}

impl Group {
    pub(crate) fn new(name: Arc<str>, made_at: Site) -> Self {
        Self { record: NonNull::from(Box::leak(Box::new(GroupRecord::new(name, made_at)))) }
    }

    /// Returns the group's id, which is valid for as long as the group lives.
    pub(crate) fn id(&self) -> GroupId {
        GroupRecord::id(self.record)
    }

    /// Expects a member that is about to be started: it is live until it [joins](Self::join), or [is not
    /// coming](Self::is_not_coming). Called *before* anybody may count on it.
    pub(crate) fn expect(&self) {
        detector::with(|graph| graph.group_mut(self.id()).expected += 1);
    }

    /// Gives up an expected member, which could not be started or is not needed. Re-checks the waits that count on the
    /// group.
    pub(crate) fn is_not_coming(&self) {
        detector::with(|graph| {
            graph.group_mut(self.id()).expected -= 1;
            graph.recheck_if_counted_on(self.id());
        });
    }

    /// Re-checks the waits that count on the group: something else that could have ended them is gone.
    pub(crate) fn recheck(&self) {
        detector::with(|graph| graph.recheck_group(self.id()));
    }

    /// Makes the calling thread's context, which was expected, a member, until it [leaves](Self::leave): at the latest
    /// when its thread ends. `serves`: see [`serve`](Self::serve).
    pub(crate) fn join(&self, serves: bool) {
        let me = registry::current();
        detector::with(|graph| {
            graph.group_mut(self.id()).expected -= 1;
            graph.add_member(self.id(), me);
            graph.record_mut(me).serves = serves;
        });
    }

    /// Marks the calling member as serving: from now on its waits are part of what was asked of the group, until it
    /// [stops](Self::stop_serving) or leaves.
    pub(crate) fn serve(&self) {
        let me = registry::current();
        detector::with(|graph| graph.record_mut(me).serves = true);
    }

    /// Marks the calling member as no longer serving.
    pub(crate) fn stop_serving(&self) {
        let me = registry::current();
        detector::with(|graph| graph.record_mut(me).serves = false);
    }

    /// Removes the calling thread's context from the members. Re-checks the waits that count on the group.
    pub(crate) fn leave(&self) {
        let me = registry::current();
        detector::with(|graph| {
            if graph.record(me).group == Some(self.id()) {
                graph.remove_member(self.id(), me);
                graph.recheck_if_counted_on(self.id());
            }
        });
    }

    /// Calls `visit` with each member.
    pub(crate) fn for_each_member(&self, graph: &Graph, visit: impl FnMut(ContextId)) {
        graph.members(self.id()).map(Context::id).for_each(visit);
    }

    /// Visits each member that [serves](Self::serve).
    pub(crate) fn for_each_serving_member(&self, graph: &Graph, visit: &mut Visit<'_>) {
        let mut serving = graph.members(self.id()).filter(|&member| graph.record(member).serves);
        _ = serving.try_for_each(|member| visit(Provider::Context(member.id())));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Takes out the members whose threads were ended by force, so that none points here any longer.
        detector::with(|graph| {
            while let Some(member) = graph.group(self.id()).first {
                graph.remove_member(self.id(), member);
            }
        });
        // SAFETY:
        // - it came from a box, and nobody else has it: the members gave it up, a registered wait for the group has
        //   borrowed the group, and a walk keeps no pointer past the mutex that it runs under.
        drop(unsafe { Box::from_raw(self.record.as_ptr()) });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::deadlock::graph::blocker::{Blocker, Need};
    use crate::deadlock::graph::record::{Entry, Failure, Summons, erase};
    use crate::deadlock::graph::reported::Reported;
    use crate::deadlock::graph::resource::{Origin, ResourceFacts, ResourceType};
    use crate::deadlock::judge::{Judge, Judgement};
    use crate::primitive::now;

    /// A wait that counts how often its providers are looked at.
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
            _ = visit(self.group.map_or(Provider::External, |group| Provider::AnyOf(group.id())));
        }
    }

    fn entry_of<B: Blocker>(wait: &B) -> Entry {
        Entry {
            blocker: erase(wait),
            key: std::ptr::from_ref(wait).addr(),
            held_key: 0,
            is_chained: false,
            site: std::panic::Location::caller(),
            since: now(),
            timed: false,
            failure: Failure::Value,
            summons: Summons::None,
            reported: Reported::NEVER,
            not_handed_over: Cell::new(!wait.may_be_handed_over()),
            is_stuck: false,
            finder: None,
            thread_id: None,
            span: None,
        }
    }

    /// Runs `then` with a graph in which a context waits for a group of `members` members, or for something else.
    fn with_wait(
        members: usize,
        on_group: bool,
        then: impl FnOnce(&mut Graph, &mut Judge, &Group, &'static Context, &Cell<usize>),
    ) {
        let group = Group::new("pool".into(), std::panic::Location::caller());
        let mut graph = Graph::new();
        let mut judge = Judge::with_capacity(1024);
        for _ in 0..members {
            let member = graph.add_for_test();
            graph.add_member(group.id(), member);
        }
        let (wait, waiter) = (Counted { group: on_group.then_some(&group), looks: Cell::new(0) }, graph.add_for_test());
        graph.link(waiter, entry_of(&wait));
        assert_eq!(judge.judge(&graph, waiter), Judgement::NotDeadlocked);
        wait.looks.set(0);
        then(&mut graph, &mut judge, &group, waiter, &wait.looks);
        graph.unlink(waiter);
        let rest: Vec<_> = graph.members(group.id()).collect();
        rest.into_iter().for_each(|member| graph.remove_member(group.id(), member));
    }

    impl Graph {
        fn let_leave(&mut self, group: &Group, member: &'static Context) {
            self.remove_member(group.id(), member);
            self.recheck_if_counted_on(group.id());
        }
    }

    /// A wait that needs any provider until it subscribes, and then all: an outsider, and its own waiter.
    struct Changing {
        me: Cell<Option<ContextId>>,
        needs_all: Cell<bool>,
    }

    impl Blocker for Changing {
        fn facts(&self, _: usize) -> ResourceFacts {
            let type_of = || ResourceType::exclusive::<u32>("Lock");
            ResourceFacts { key: std::ptr::from_ref(self).addr(), origin: Origin::here(None), type_of }
        }

        fn need(&self) -> Need {
            if self.needs_all.get() { Need::All } else { Need::Any }
        }

        fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
            if visit(Provider::External).is_continue()
                && let Some(me) = self.me.get()
            {
                _ = visit(Provider::Context(me));
            }
        }

        fn subscribe(&self) {
            self.needs_all.set(true);
        }

        fn may_be_handed_over(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_judge_asks_what_a_wait_needs_after_it_has_subscribed() {
        let (mut graph, mut judge) = (Graph::new(), Judge::with_capacity(64));
        let (wait, waiter) = (Changing { me: Cell::new(None), needs_all: Cell::new(false) }, graph.add_for_test());
        wait.me.set(Some(waiter.id()));
        graph.link(waiter, entry_of(&wait));
        assert_eq!(judge.judge(&graph, waiter), Judgement::Relock);
        graph.unlink(waiter);
    }

    #[test]
    fn members_leave_in_any_order() {
        with_wait(7, false, |graph, _, group, _, _| {
            let mut members: Vec<_> = graph.members(group.id()).collect();
            for at in [3, 0, 4, 2, 0] {
                graph.remove_member(group.id(), members.remove(at));
                assert!(graph.members(group.id()).eq(members.iter().copied()), "without the one at {at}");
            }
            let late = graph.add_for_test();
            graph.add_member(group.id(), late);
            assert_eq!(graph.members(group.id()).count(), 3);
        });
    }

    #[test]
    fn a_group_that_nobody_counts_on_loses_its_members_without_a_look_at_any_wait() {
        with_wait(500, false, |graph, _, group, _, looks| {
            while let Some(member) = graph.group(group.id()).first {
                graph.let_leave(group, member);
            }
            assert_eq!(looks.get(), 0);
        });
    }

    #[test]
    fn whoever_counts_on_a_group_is_told_of_each_loss_until_it_was_told() {
        with_wait(500, true, |graph, judge, group, waiter, looks| {
            let leave = |graph: &mut Graph| {
                let member = graph.group(group.id()).first.expect("there are enough");
                graph.let_leave(group, member);
                graph.entry(waiter).expect("it waits").summons
            };
            for _ in 0..3 {
                assert_eq!(leave(graph), Summons::Recheck);
                let before = looks.get();
                for _ in 0..100 {
                    leave(graph);
                }
                assert_eq!(looks.get(), before, "it has yet to look for itself");
                assert_eq!(graph.answer_summons(waiter), Summons::Recheck);
                assert_eq!(judge.judge(graph, waiter), Judgement::NotDeadlocked);
            }
        });
    }
}
