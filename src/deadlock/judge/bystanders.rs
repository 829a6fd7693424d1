//! Finds the bystanders of a deadlock: stuck behind it, and no part of it.

use super::Judge;
use super::core::Core;
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::blocker::Provider;
use crate::deadlock::graph::context::Context;

impl Judge {
    /// Calls `visit` with each context that is stuck behind the deadlock that was found, and is no part of it. `me` is
    /// the context that found it; `is_whole` says whether its members wait for each other. Returns `false` if the judge
    /// lacks capacity, or if more contexts wait for each other by now than when the deadlock was found (a queue has
    /// filled up, say): judge again.
    ///
    /// As long as no wait is forked, this follows the waits for what the members hold, and costs what it finds;
    /// otherwise it is linear in the registered waits and their providers.
    pub(in crate::deadlock) fn for_each_bystander(
        &mut self,
        graph: &Graph,
        me: &'static Context,
        is_whole: bool,
        mut visit: impl FnMut(&Core, &'static Context),
    ) -> bool {
        if graph.waits == self.core.members().len() {
            return true;
        }
        if graph.forked.is_none() {
            self.follow_back(graph, visit);
            return true;
        }
        let Self { reduction, core, .. } = self;
        if !reduction.run(graph, me, true) {
            let had = reduction.capacity();
            self.want_capacity(graph, had);
            return false;
        }
        let is_same = reduction.look_behind(core.members()) == core.members().len() || !is_whole;
        if is_same {
            reduction.for_each_behind(|context| {
                if !core.contains(context) {
                    visit(core, context);
                }
            });
        }
        is_same
    }

    /// Follows the waits backward from the members of the deadlock, where each wait has one provider: a wait for a
    /// stuck context is stuck.
    fn follow_back(&mut self, graph: &Graph, mut visit: impl FnMut(&Core, &'static Context)) {
        let Self { visited: after, core, .. } = self;
        let Some((&first, rest)) = core.members().split_first() else { return };
        after.clear();
        after.set(first, None);
        let mut last = first;
        for &member in rest {
            after.set(member, None);
            after.set(last, Some(member));
            last = member;
        }
        let mut next = Some(first);
        while let Some(at) = next {
            for_each_waiter(graph, at, |waiter| {
                if !after.is_set(waiter) {
                    after.set(waiter, None);
                    after.set(last, Some(waiter));
                    last = waiter;
                    visit(core, waiter);
                }
            });
            next = after.get(at).flatten();
        }
    }
}

/// Calls `visit` with each registered wait, without a limit, that `provider` alone can end.
fn for_each_waiter(graph: &Graph, provider: &'static Context, mut visit: impl FnMut(&'static Context)) {
    let waits_for_it = |waiter: &&'static Context| {
        graph.entry(waiter).is_some_and(|entry| {
            !entry.is_live()
                && entry.any_provider(graph, |ends| match ends {
                    Provider::Context(id) => graph.context(id).is_some_and(|ends| graph.actor(ends) == provider),
                    _ => false,
                })
        })
    };
    let mut visit_key = |key| graph.chained_at(key).filter(waits_for_it).for_each(&mut visit);
    // If it runs inside of another context, that one waits for its end.
    if let Some(wait) = provider.outer_wait() {
        visit_key(wait.key());
    }
    for holder in std::iter::once(provider).chain(graph.retired(provider)) {
        holder.holds.for_each(|hold| visit_key(hold.resource.key));
    }
}
