//! What can be waited for: the one question that a primitive answers to join the graph.

use std::ops::ControlFlow;

use super::context::{Context, ContextId};
use super::graph::Graph;
use super::group::Group;
use super::resource::ResourceFacts;
use crate::primitive::UnparkToken;

/// The unpark token of a plain wake-up: try again.
pub(crate) const RETRY: UnparkToken = UnparkToken(0);
/// The unpark token of a hand-over: the resource is yours already.
pub(crate) const HANDED_OVER: UnparkToken = UnparkToken(1);

/// How many of a wait's providers it takes to end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The only one there is.
    One,
    /// Every one of them.
    All,
    /// Any one of them.
    Any,
    /// This many of them.
    #[cfg_attr(any(not(test), loom), expect(dead_code, reason = "permits are for primitives that are still to come"))]
    AtLeast(u32),
}

/// Who can end a wait.
#[derive(Clone, Copy)]
pub(crate) enum Provider<'g> {
    /// The context with this number.
    Context(ContextId),
    /// Any member of the group.
    AnyOf(&'g Group),
    /// Somebody the graph does not know, or nobody in particular.
    External,
    /// Another process, by its id: as unknown to the graph as any other outsider, but it can be named in reports.
    Process(u32),
}

/// What is called with each provider of a wait. `Break`: no further one is needed.
pub(crate) type Visit<'v> = dyn FnMut(Provider<'_>) -> ControlFlow<()> + 'v;

/// What the graph asks about a wait: who can end it?
///
/// That is all that it takes to be waited for. Whoever parks at the door answers for [`Park`] as well.
pub(crate) trait Blocker {
    /// What is waited for, for reports: what the provider at this place in [`providers`](Self::providers) provides.
    fn facts(&self, nth: usize) -> ResourceFacts;

    /// How many of the [providers](Self::providers) it takes.
    fn need(&self) -> Need;

    /// Calls `visit` with each of those who can end this wait, until that breaks. Called under the graph's mutex, and
    /// changes nothing that anybody else could see.
    ///
    /// Where any one of many is enough, the one that broke the last visit comes first: then most visits are short.
    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>);

    /// Subscribes this wait to what a judge does not see by the waits themselves: alternatives that go, with nobody
    /// beginning to wait. Called under the graph's mutex by every judge, whoever it judges, before each look at the
    /// [providers](Self::providers) of this wait.
    ///
    /// Guarantees of each alternative, if the wait has any of this kind: either it went before, and the look that follows
    /// does not name it; or whoever takes it away later sees the subscription and re-checks this wait, and takes the
    /// graph's mutex for that, so after the judgement. Then the wait subscribes again. Without alternatives that go
    /// silently there is nothing to do.
    fn subscribe(&self) {}

    /// Whether a waiter that is named as its own provider may have been handed the resource. Otherwise it waits for
    /// itself.
    fn may_be_handed_over(&self) -> bool {
        true
    }

    /// Returns whether one context alone can end this wait, whenever it is asked: never a group, never one of several.
    fn is_chained(&self) -> bool {
        false
    }
}

/// How a thread sleeps at the [door](super::wait::wait) until its wait is over.
pub(crate) trait Park: Blocker {
    /// The address to park on.
    fn key(&self) -> usize;

    /// Takes the resource for `me` and lists the hold, if it is to be had.
    fn try_grant(&self, me: &'static Context) -> bool;

    /// Lists the hold of a resource that was handed over to `me`. What is never handed over lists nothing.
    fn accept(&self, me: &'static Context) {
        let _ = me;
    }

    /// Returns whether others are queueing, so that spinning would be barging.
    fn has_queue(&self) -> bool {
        false
    }

    /// Announces a waiter that is about to park. `false`: the resource changed, try again.
    fn announce(&self) -> bool;

    /// Returns whether the announcement stands, so that whoever frees the resource will wake the queue. Called under the
    /// queue's lock.
    fn is_announced(&self) -> bool;

    /// A parked waiter left the queue at its time-out; `last` if nobody else is queueing. Called under the queue's
    /// lock. Takes the announcement back, where that does not stand for good.
    fn left_queue(&self, last: bool) {
        let _ = last;
    }
}
