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
        while let Some(hold) = context.holds.find_held(key, mode) {
            context.holds.give(hold);
        }
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
        while let Some(hold) = context.holds.find_held(key, mode) {
            context.holds.make_void(hold);
        }
        graph.free_if_gone(context);
        None
    })
}

/// Whose share is released.
pub(crate) enum Share {
    /// One of the calling thread's, in this context's list.
    Mine(&'static Context, HoldIndex),
    /// The only one that there is. Its thread does not know: it was made void.
    Theirs(&'static Context, HoldIndex),
    /// One of several that other threads have listed, or one that nobody has.
    Unknown,
}

/// Returns the share of a resource that the calling thread is about to release: one of its own, if it has one.
#[cold]
pub(crate) fn find_share(id: SharedId, mode: HoldMode) -> Share {
    let me = registry::current();
    if let Some(hold) = me.holds.find_held(id.key(), mode) {
        return Share::Mine(me, hold);
    }
    detector::with(|graph| {
        let mut theirs = None;
        let mut count = 0_usize;
        for context in graph.contexts() {
            let Some(hold) = context.holds.find_held(id.key(), mode) else { continue };
            if graph.is_same_thread(context, me) {
                return Share::Mine(context, hold);
            }
            count += context.holds.permits_of(id) as usize;
            theirs = Some((context, hold));
        }
        match theirs {
            Some((context, hold)) if count == 1 => {
                context.holds.make_void(hold);
                graph.free_if_gone(context);
                Share::Theirs(context, hold)
            }
            _ => Share::Unknown,
        }
    })
}

impl Graph {
    fn is_same_thread(&self, one: &'static Context, other: &'static Context) -> bool {
        self.first_of(one) == self.first_of(other)
    }
}
