//! The walk along a chain: as long as each wait on the way can be ended by one context alone, this is all of a
//! judgement. The first wait on the way that has alternatives, or needs several, passes the judgement to the
//! [reduction](super::reduction).

use std::ops::ControlFlow;

use super::{Judge, Judgement};
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::blocker::{Need, Provider};
use crate::deadlock::graph::context::Context;
use crate::primitive::{Ingredient, is_removed};

/// Where a chain of waits leads from one of them.
enum Way {
    /// The wait may end without any registered context acting.
    Open,
    /// Only this context can end it.
    To(&'static Context),
    /// It has alternatives, or takes several.
    Forks,
}

/// Returns where the way leads from a registered wait.
fn way(graph: &Graph, context: &'static Context) -> Way {
    let Some(entry) = graph.entry(context).filter(|entry| !entry.is_live()) else { return Way::Open };
    if entry.blocker().need() != Need::One {
        return Way::Forks;
    }
    let mut way = Way::Open;
    entry.look(graph, &mut |provider| {
        way = match provider {
            Provider::Context(id) => graph.context(id).map_or(Way::Open, |provider| Way::To(graph.actor(provider))),
            Provider::AnyOf(_) => Way::Forks,
            Provider::Permits { .. } => Way::Forks,
            Provider::External | Provider::Process(_) => Way::Open,
        };
        ControlFlow::Break(())
    });
    way
}

impl Judge {
    /// Judges the wait of `me`: follows the chain from there, and visits each context at most once.
    ///
    /// A context on the way may wait for a resource that names that context as its owner: handed over to it a moment
    /// ago, or asked for again while it held it. Either way the walk comes back to that context and ends: the first is
    /// live, the second is a deadlock of its own.
    pub(in crate::deadlock) fn judge(&mut self, graph: &Graph, me: &'static Context) -> Judgement {
        if !self.visited.fit(graph) {
            return self.want_capacity(graph, 0);
        }
        self.visited.clear();
        self.reduction.forget_ends();
        let mut at = me;
        loop {
            self.visited.set(at, None);
            let blocker = match way(graph, at) {
                Way::Open => return Judgement::NotDeadlocked,
                Way::Forks => return self.reduce(graph, me),
                Way::To(blocker) => blocker,
            };
            if blocker == me {
                let found = if at == me { Judgement::Relock } else { Judgement::Cycle };
                if at == me
                    && let Some(entry) = graph.entry(me)
                {
                    entry.not_handed_over.set(true);
                }
                return self.note_cycle(graph, me, found);
            }
            if graph.entry(blocker).is_none() {
                return if at == me {
                    self.judge_owner(graph, me, blocker)
                } else {
                    judge_other_owner(graph, at, blocker)
                };
            }
            if self.visited.is_set(blocker) {
                let handed_over = blocker == at && graph.entry(at).is_some_and(|entry| !entry.not_handed_over.get());
                return if handed_over { Judgement::NotDeadlocked } else { Judgement::Bystander };
            }
            at = blocker;
        }
    }

    /// Judges the wait of `me` by whether the owner of the resource, which is not registered, is gone.
    fn judge_owner(&mut self, graph: &Graph, me: &'static Context, owner: &'static Context) -> Judgement {
        let ended = graph.thread(owner).ended;
        if !graph.is_gone(owner) {
            return if ended { Judgement::OwnerEnding { stuck: false } } else { Judgement::NotDeadlocked };
        }
        // The owner may have released between the look at the resource and its end: now that it can do nothing more,
        // look again.
        if matches!(way(graph, me), Way::To(now) if now == owner) || is_removed(Ingredient::SecondLook) {
            self.note_cycle(graph, me, Judgement::Abandoned(owner))
        } else {
            Judgement::NotDeadlocked
        }
    }

    /// Notes the ring that `me` is on, or `me` alone, as the deadlock that was found.
    fn note_cycle(&mut self, graph: &Graph, me: &'static Context, found: Judgement) -> Judgement {
        self.core.clear();
        let mut at = me;
        loop {
            if !self.core.add(at) {
                return self.want_capacity(graph, self.core.capacity());
            }
            match way(graph, at) {
                Way::To(next) if graph.entry(next).is_some() && !self.core.contains(next) => at = next,
                _ => return found,
            }
        }
    }
}

/// Judges a walk that ends at another context's wait, whose owner is not registered. That wait is stuck if the owner is
/// known to be gone and a report has said so. Until then it is live: it may be the victim.
fn judge_other_owner(graph: &Graph, waiter: &'static Context, owner: &'static Context) -> Judgement {
    let was_reported = graph.entry(waiter).is_some_and(|entry| entry.reported.is_abandoned());
    if was_reported && graph.thread(owner).gone.get() { Judgement::Bystander } else { Judgement::NotDeadlocked }
}
