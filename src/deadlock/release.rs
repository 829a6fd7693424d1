//! Releases for which no guard speaks: whose hold they end.
//!
//! A guard knows its context, and the place of its hold. A lock that is released without one knows its owner, if there is one; and
//! whoever releases it may be another context of the owner's thread, or another thread altogether: the lock was acquired by hand,
//! or its guard was forgotten.

use super::detector;
use super::graph::Graph;
use super::graph::context::{Context, ContextId};
use super::graph::holds::HoldIndex;
use super::graph::resource::{HoldMode, SharedId};
use super::registry;

/// Removes from its owner's list what the calling thread is about to release. The lock is held in this way by one context alone.
#[cold]
pub(crate) fn unlist(owner: ContextId, key: usize, mode: HoldMode) {
    let me = registry::current();
    let mine = if me.id() == owner { Some(me) } else { unlist_elsewhere(owner, key, mode) };
    if let Some(context) = mine {
        context.holds.for_each_held(key, mode, |hold| context.holds.give(hold));
    }
}

/// Makes void what the owner lists, or returns the owner if it is another context of the calling thread.
fn unlist_elsewhere(owner: ContextId, key: usize, mode: HoldMode) -> Option<&'static Context> {
    let me = registry::current();
    detector::with(|graph| {
        let context = graph.context(owner)?;
        if graph.is_same_thread(context, me) {
            return Some(context);
        }
        context.holds.for_each_held(key, mode, |hold| context.holds.make_void(hold));
        graph.free_if_gone(context);
        None
    })
}

/// Returns which of the calling thread's shares of a resource it is about to release, if it has one.
#[cold]
pub(crate) fn find_share(id: SharedId, mode: HoldMode) -> Option<(&'static Context, HoldIndex)> {
    let me = registry::current();
    let listed = |context: &'static Context| context.holds.find_held(id.key(), mode).map(|hold| (context, hold));
    let by_another = || {
        detector::with(|graph| graph.contexts().filter(|&context| graph.is_same_thread(context, me)).find_map(listed))
    };
    listed(me).or_else(by_another)
}

impl Graph {
    fn is_same_thread(&self, one: &'static Context, other: &'static Context) -> bool {
        self.first_of(one) == self.first_of(other)
    }
}
