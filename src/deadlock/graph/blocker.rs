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
    AtLeast(u32),
}

/// Something that can end a wait.
#[derive(Clone, Copy)]
pub(crate) enum Provider {
    /// The context with this number.
    Context(ContextId),
    /// Any member of the group.
    AnyOf(GroupId),
    /// Something that the graph does not know, or nothing in particular.
    External,
    /// Several at once: this many permits, which one context holds. `None`: which are free, or with contexts that run.
    Permits { holder: Option<ContextId>, count: u32 },
    /// Another process, by its id: as unknown to the graph as any other outsider, but it can be named in reports.
    Process(u32),
}

impl Provider {
    /// Returns the context that this names, if it names one.
    pub(in crate::deadlock) fn context(self) -> Option<ContextId> {
        match self {
            Self::Context(id) => Some(id),
            Self::Permits { holder, .. } => holder,
            Self::AnyOf(_) | Self::External | Self::Process(_) => None,
        }
    }

    /// Returns how many providers this counts as.
    pub(in crate::deadlock) fn count(self) -> u32 {
        if let Self::Permits { count, .. } = self { count } else { 1 }
    }
}

/// The callback that is given each provider of a wait. It returns `Break` when it needs no further one.
pub(crate) type Visit<'v> = dyn FnMut(Provider) -> ControlFlow<()> + 'v;

/// What the graph asks about a wait: who can end it.
///
/// A type that can be waited for needs nothing else. One whose waiters park at the door implements
/// [`Park`](crate::deadlock::waitable::Park) as well.
pub(crate) trait Blocker {
    /// Returns what is waited for, for reports: the resource of the `nth` of the [`providers`](Self::providers).
    fn facts(&self, nth: usize) -> ResourceFacts;

    /// Returns how many of the [providers](Self::providers) it takes to end this wait.
    fn need(&self) -> Need;

    /// Calls `visit` with each provider of this wait, until it returns `Break`. Called under the graph's mutex; changes
    /// nothing that anybody else could see.
    ///
    /// Where any one of many providers is enough, the one at which the last visit broke off comes first, so that most
    /// visits are short.
    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>);

    /// Subscribes this wait to alternatives that go without anybody beginning to wait, which a judge cannot learn from
    /// the waits. Every judge, whichever wait it judges, calls this under the graph's mutex before each look at the
    /// [providers](Self::providers) of this wait, and at how many it [needs](Self::need).
    ///
    /// For each alternative that goes in this way, one of two things holds: it went before, and the look that follows
    /// counts on it no longer; or the thread that takes it away later sees the subscription and re-checks this wait,
    /// under the graph's mutex and so after the judgement. Then the wait subscribes again. A wait without such
    /// alternatives does nothing.
    fn subscribe(&self) {}

    /// Returns what ends this wait, as a text says it (`a notification`), if it is a signal that any thread may give, so that
    /// the only [provider](Self::providers) is [`External`](Provider::External).
    ///
    /// Snapshots and long waits then tell, as a suspicion, what the waiter holds that other threads wait for: the signal may
    /// have to come from one of them.
    fn signal(&self) -> Option<&'static str> {
        None
    }

    /// Returns whether a waiter that is named as its own provider may have been handed the resource. If not, it waits
    /// for itself.
    fn may_be_handed_over(&self) -> bool {
        true
    }

    /// Returns whether this wait is meant to last until its limit. Then it is never a long wait.
    fn is_sleep(&self) -> bool {
        false
    }

    /// Returns whether one context alone can end this wait, whenever it is asked: never a group, never one of several. One
    /// provider that is unknown counts as that.
    fn is_chained(&self) -> bool {
        false
    }
}
