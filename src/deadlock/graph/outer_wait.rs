//! Contexts inside of contexts: what each runs inside of, and what runs inside of it.

use std::cell::Cell;
use std::ptr::NonNull;
use std::time::Instant;

use super::Graph;
use super::blocker::{Blocker, Need, Provider, Visit};
use super::context::Context;
use super::record::{Entry, Failure, Summons, erase};
use super::reported::Reported;
use super::resource::{ResourceFacts, Site};

/// What a context's own thread notes on the contexts around it.
pub(in crate::deadlock) struct Nesting {
    /// The wait of the context around it, while it runs a body. Lives on the stack of
    /// [`run_nested`](crate::deadlock::nested::run_nested) until the body has ended.
    pub(in crate::deadlock) outer_wait: Cell<Option<NonNull<OuterWait>>>,
    /// The context that runs inside of it, or did and holds nothing.
    pub(in crate::deadlock) inner: Cell<Option<&'static Context>>,
}

impl Nesting {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { outer_wait: Cell::new(None), inner: Cell::new(None) }
    }

    /// Returns the context that runs inside of it, or did. For the thread itself, or a caller that knows that the
    /// thread is gone.
    pub(in crate::deadlock) fn inner(&self) -> Option<&'static Context> {
        self.inner.get()
    }

    /// Forgets the notes of a thread that is gone. Returns the context that ran inside.
    pub(in crate::deadlock) fn clear(&self) -> Option<&'static Context> {
        self.outer_wait.set(None);
        self.inner.take()
    }
}

/// The wait of an outer context for the body that runs inside of it.
pub(in crate::deadlock) struct OuterWait {
    pub(in crate::deadlock) outer: &'static Context,
    pub(in crate::deadlock) inner: &'static Context,
    pub(in crate::deadlock) facts: ResourceFacts,
    pub(in crate::deadlock) site: Site,
}

impl OuterWait {
    /// Returns the key by which the outer context's wait is found. Nobody parks on it: the context waits for its own
    /// thread.
    pub(in crate::deadlock) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Returns the entry of the outer context. It bears the `since` of the inner wait, although it has lasted longer:
    /// its own beginning is not noted, since a look at the clock would be a good part of what a short body costs.
    pub(in crate::deadlock) fn entry(&self, reported: Reported, since: Instant) -> Entry {
        Entry {
            blocker: erase(self),
            key: self.key(),
            held_key: self.key(),
            is_chained: true,
            site: self.site,
            since,
            timed: false,
            failure: Failure::Never,
            // The walk of the innermost context judges this wait too: each path through this one leads through that
            // one.
            summons: Summons::None,
            reported,
            not_handed_over: Cell::new(false),
            is_stuck: false,
            finder: None,
            thread_id: None,
            span: None,
        }
    }
}

impl Context {
    /// Returns the wait of the context around this one, if this one runs a body. Called by its own thread alone, or
    /// with the graph's mutex held while the context is registered.
    pub(in crate::deadlock) fn outer_wait(&self) -> Option<&OuterWait> {
        // SAFETY:
        // - `run_nested` stores an outer wait that lies on its own stack, for as long as it runs, and takes it out
        //   again however it ends; the borrow ends with a wait of the body, or before.
        self.nesting.outer_wait.get().map(|outer| unsafe { outer.as_ref() })
    }
}

impl Blocker for OuterWait {
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
