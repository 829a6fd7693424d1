//! A task that runs on its waiter's thread, as somebody else.
//!
//! Each context keeps the one that runs inside of it for the next time, under the same number: it holds nothing
//! between two bodies, so that its number stands in no lock word. Then running a body takes no mutex and allocates
//! nothing.

use std::cell::Cell;
use std::ptr::NonNull;
use std::time::Instant;

use super::context::{self, Context};
use super::graph::{Entry, Graph};
use super::registry;
use super::resource::{ResourceFacts, Site};
use super::summons::Summons;
use super::told::Told;
use super::wait::{Failure, erase};
use super::waitable::{Blocker, Need, Provider, Visit};
use crate::primitive::set_current_context;

/// What a context's own thread notes on the contexts around it.
pub(super) struct Nesting {
    /// What it runs inside of. Lives on the stack of [`run_nested`] until the body has ended.
    frame: Cell<Option<NonNull<Frame>>>,
    /// What runs inside of it, or did and holds nothing.
    inner: Cell<Option<&'static Context>>,
}

impl Nesting {
    pub(super) const fn new() -> Self {
        Self { frame: Cell::new(None), inner: Cell::new(None) }
    }

    /// What runs inside of it, or did. For the thread itself, or whoever knows that it is gone.
    pub(super) fn inner(&self) -> Option<&'static Context> {
        self.inner.get()
    }

    /// Forgets what a thread noted that is gone. Returns what ran inside.
    pub(super) fn clear(&self) -> Option<&'static Context> {
        self.frame.set(None);
        self.inner.take()
    }
}

/// A context that waits for the body which runs inside of it.
pub(super) struct Frame {
    pub(super) outer: &'static Context,
    inner: &'static Context,
    facts: ResourceFacts,
    site: Site,
}

impl Frame {
    /// What the outer context's wait is found by. Nobody parks on it: the wait is for its own thread.
    pub(super) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The wait of the outer context, which has lasted longer than that of the inner one, `since`: how much longer nobody
    /// notes, for a look at the clock would be a good part of what a short body costs.
    pub(super) fn entry(&self, told: Told, since: Instant) -> Entry {
        Entry {
            blocker: erase(self),
            key: self.key(),
            is_chained: true,
            site: self.site,
            since,
            timed: false,
            failure: Failure::Never,
            // Judged by the walk of the innermost context: whatever leads through this one leads through that.
            summons: Summons::None,
            told,
            own: false,
            is_stuck: false,
            finder: None,
        }
    }
}

impl Context {
    /// What this context runs inside of, if it is that of a body. Its own thread alone calls this, or whoever has the graph's
    /// mutex, while the context is registered.
    pub(super) fn frame(&self) -> Option<&Frame> {
        // SAFETY:
        // - `run_nested` stores a frame of its own stack for as long as it runs, and takes it out again however it
        //   ends; the borrow ends with a wait of the body, or before.
        self.nesting.frame.get().map(|frame| unsafe { frame.as_ref() })
    }
}

impl Blocker for Frame {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.facts
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(Provider::Context(self.inner.id()));
    }

    fn is_chained(&self) -> bool {
        true
    }
}

/// Runs `body` in a context of its own, on this thread, while the calling context waits for it to end.
///
/// What `body` locks belongs to the inner context, so that it does not slip into an RLock which its waiter holds.
/// While the inner context is registered the outer one is, too, and waits for it: as long as both are stuck, both are
/// in the graph. `body` must not unwind; if it does, the outer context is current again all the same.
///
/// `facts` is what the outer context waits for, `site` the line that waits.
pub(crate) fn run_nested<R>(facts: ResourceFacts, site: Site, body: impl FnOnce() -> R) -> R {
    // The body may wait for what is queued, or for whoever does.
    let outer = context::current();
    let inner = inner_of(outer);
    let frame = Frame { outer, inner, facts, site };
    let _nested = enter(&frame);
    body()
}

/// Makes the inner context current until this is dropped.
fn enter(frame: &Frame) -> impl Drop + use<'_> {
    struct Nested<'f>(&'f Frame);
    impl Drop for Nested<'_> {
        fn drop(&mut self) {
            let Frame { outer, inner, .. } = *self.0;
            inner.nesting.frame.set(None);
            set_current_context(std::ptr::from_ref(outer).cast());
            if !inner.holds.is_empty() {
                outer.nesting.inner.set(None);
                registry::retire(inner);
            }
        }
    }
    frame.inner.nesting.frame.set(Some(NonNull::from_ref(frame)));
    set_current_context(std::ptr::from_ref(frame.inner).cast());
    Nested(frame)
}

/// The context that is to run inside of another one of the calling thread.
fn inner_of(outer: &'static Context) -> &'static Context {
    if let Some(inner) = outer.nesting.inner.get() {
        return inner;
    }
    let inner = registry::take_retired(outer).unwrap_or_else(|| registry::take_inner_context(outer));
    outer.nesting.inner.set(Some(inner));
    inner
}

/// The end of a thread: gives back what ran inside of its first context and holds nothing. Returns whether that is all
/// of it.
pub(super) fn leave(first: &'static Context) -> bool {
    give_inner_ones(first);
    let mut kept = None;
    while let Some(retired) = registry::take_any_retired(first) {
        give_inner_ones(retired);
        if retired.holds.is_empty() {
            registry::give_inner_context(retired);
        } else {
            // Linked by what is otherwise the context inside.
            retired.nesting.inner.set(kept.replace(retired));
        }
    }
    let is_all = kept.is_none();
    while let Some(retired) = kept {
        kept = retired.nesting.inner.take();
        registry::retire(retired);
    }
    is_all
}

/// Gives back the contexts inside of `context`. They hold nothing: one that did was retired when its body ended.
fn give_inner_ones(context: &'static Context) {
    let mut next = context.nesting.inner.take();
    while let Some(inner) = next {
        next = inner.nesting.inner.take();
        registry::give_inner_context(inner);
    }
}
