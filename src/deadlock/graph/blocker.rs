//! What the graph asks about a wait.

use std::ops::ControlFlow;

use super::Graph;
use super::id::{ContextId, GroupId};
use super::resource::ResourceFacts;

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
pub(crate) enum Provider {
    /// The context with this number.
    Context(ContextId),
    /// Any member of the group.
    AnyOf(GroupId),
    /// Somebody the graph does not know, or nobody in particular.
    External,
    /// Another process, by its id: as unknown to the graph as any other outsider, but it can be named in reports.
    Process(u32),
}

/// What is called with each provider of a wait. `Break`: no further one is needed.
pub(crate) type Visit<'v> = dyn FnMut(Provider) -> ControlFlow<()> + 'v;

/// What the graph asks about a wait: who can end it?
///
/// That is all that it takes to be waited for. Whoever parks at the door answers for
/// [`Park`](crate::deadlock::waitable::Park) as well.
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
    /// Guarantees of each alternative that goes in this way: either it went before, and the look that follows counts on it no
    /// longer; or whoever takes it away later sees the subscription, and re-checks this wait, under the graph's mutex and so
    /// after the judgement. Then the wait subscribes again. A wait without such alternatives does nothing.
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
