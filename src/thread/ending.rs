//! How far a thread has come: the event that joins and the ends of scopes wait for.

use std::cell::Cell;
use std::sync::Arc;

use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{JOIN_HANDLE, Origin, ResourceFacts, ResourceType, Site, TypeOf};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, new_atomic, quiet, unpark_filter};

/// How far a thread has come.
///
/// ```text
/// bit      set by                                                    read by
/// DONE     the thread, after its closure and whatever that borrowed  the end of its scope, `is_finished`
/// ENDED    the thread, after the destructors of its thread-locals    whoever joins it
/// WAITERS  a waiter about to park                                    the thread, which wakes them all at either event
/// ```
///
/// No bit is ever cleared. It knows no type of the user's, so that it may outlive a scope.
pub(super) struct Ending {
    state: AtomicU64,
    /// The number of the thread's context, 0 before there is one.
    context: quiet::AtomicU64,
    /// The line that spawned the thread.
    origin: Origin,
    type_of: TypeOf,
}

const WAITERS: u64 = 1 << 2;

/// An event that a thread comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Event {
    /// The closure has returned or unwound, and nothing that it borrowed is used any more.
    Done = 1,
    /// The destructors of the thread's thread-locals have run.
    Ended = 1 << 1,
}

impl Ending {
    /// Returns the ending of a thread that is about to be spawned by this line, and whose result is of type `T`.
    pub(super) fn new<T>(spawned_at: Site) -> Arc<Self> {
        Arc::new(Self {
            state: new_atomic(0),
            context: quiet::AtomicU64::new(0),
            origin: Origin::at(spawned_at, None),
            type_of: || ResourceType::exclusive::<T>(JOIN_HANDLE),
        })
    }

    /// Returns whether the thread has come to `event`. If so, everything that it did before is seen.
    pub(super) fn has(&self, event: Event) -> bool {
        // ORDERING: Acquire pairs with the Release in `set`.
        self.state.load(Acquire) & event as u64 != 0
    }

    /// Records that the calling thread is the one, before it runs any code of the user's. Returns whether
    /// [`Ended`](Event::Ended) will be set at its end; otherwise the caller has to set it.
    pub(super) fn begin(self: &Arc<Self>) -> bool {
        let me = registry::current();
        // ORDERING: Relaxed: a judge that finds this context registered took the graph's mutex after it did.
        if !is_removed(Ingredient::ContextTold) {
            self.context.store(me.id().get(), Relaxed);
        }
        let theirs = Arc::into_raw(Arc::clone(self)).cast();
        let is_announced = registry::run_at_end(me, at_thread_end, theirs);
        if !is_announced {
            // SAFETY:
            // - made by `into_raw` above, and nobody else was given it.
            drop(unsafe { Arc::from_raw(theirs.cast::<Self>()) });
        }
        is_announced
    }

    /// Sets `event`, and wakes those that wait.
    pub(super) fn set(&self, event: Event) {
        // ORDERING: Release pairs with the Acquire in `has`, and in `try_grant` by way of it.
        if self.state.fetch_or(event as u64, Release) & WAITERS != 0 {
            // SAFETY:
            // - the key is this ending's own address, and the caller has a reference to it.
            // - the closures neither unwind nor park nor unpark.
            unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
        }
    }

    /// Waits for `event`.
    pub(super) fn wait(&self, event: Event, limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
        if self.has(event) {
            return Ok(());
        }
        let me = registry::current();
        let relock = self.context() == Some(me.id());
        door::wait(me, &JoinWait { ending: self, event }, Terms { site, limit, failure, relock })
    }

    /// Returns the thread's context, once it has begun.
    fn context(&self) -> Option<ContextId> {
        ContextId::from_word(self.context.load(Relaxed))
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn facts(&self) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.origin, type_of: self.type_of }
    }

    /// Returns what sets `event`. Called under the graph's mutex.
    fn provider(&self, event: Event) -> Provider {
        // A thread that is registered set the event, and its number, before it took the graph's mutex.
        match self.context() {
            _ if self.has(event) => Provider::External,
            Some(context) => Provider::Context(context),
            None => Provider::External,
        }
    }

    /// Announces a waiter that is about to park. Returns `false` if the thread has come to `event`.
    fn announce(&self, event: Event) -> bool {
        let mut word = self.state.load(Relaxed);
        while word & event as u64 == 0 && word & WAITERS == 0 {
            // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look at the queue in `set`.
            match self.state.compare_exchange_weak(word, word | WAITERS, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        word & event as u64 == 0
    }

    /// Returns whether an announced waiter will be woken. Called under the parking queue's lock.
    fn is_announced(&self, event: Event) -> bool {
        self.state.load(Relaxed) & event as u64 == 0 || is_removed(Ingredient::ValidatedAnnouncement)
    }
}

/// Ends a thread, at the place that [`Ending::begin`] arranged for.
fn at_thread_end(ending: *const ()) {
    // SAFETY:
    // - `begin` made it by `into_raw`, and it is passed on once.
    let ending = unsafe { Arc::from_raw(ending.cast::<Ending>()) };
    ending.set(Event::Ended);
}

/// The wait for one thread.
struct JoinWait<'e> {
    ending: &'e Ending,
    event: Event,
}

impl Blocker for JoinWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.ending.facts()
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(self.ending.provider(self.event));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for JoinWait<'_> {
    fn key(&self) -> usize {
        self.ending.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.ending.has(self.event)
    }

    /// Spinning does not pay: a thread takes longer to start, or to end, than to wake its joiner.
    fn has_queue(&self) -> bool {
        true
    }

    fn announce(&self) -> bool {
        self.ending.announce(self.event)
    }

    fn is_announced(&self) -> bool {
        self.ending.is_announced(self.event)
    }
}

/// Waits until all of these threads are [done](Event::Done). The wait cannot fail.
pub(super) fn wait_all_done(endings: &[Arc<Ending>], site: Site) {
    let wait = AllWait { endings, at: Cell::new(0) };
    let terms = Terms { site, limit: Limit::None, failure: Failure::Never, relock: false };
    while !wait.advance() && door::wait(registry::current(), &wait, terms).is_err() {}
}

/// The wait of a scope's end for all of its threads, one after the other.
struct AllWait<'e> {
    endings: &'e [Arc<Ending>],
    /// All before this one are done. Moved on by the waiter itself, and under the graph's mutex while it is registered.
    at: Cell<usize>,
}

impl AllWait<'_> {
    /// Moves on to the first thread that is not done. Returns `true` if there is none.
    fn advance(&self) -> bool {
        let rest = &self.endings[self.at.get()..];
        let done = rest.iter().take_while(|ending| ending.has(Event::Done)).count();
        self.at.set(self.at.get() + done);
        done == rest.len()
    }

    /// Returns the thread that the waiter parks on: the first that was not done at its last look, or the last of all.
    fn current(&self) -> &Ending {
        &self.endings[self.at.get().min(self.endings.len() - 1)]
    }

    fn pending(&self) -> impl Iterator<Item = &Arc<Ending>> {
        self.endings[self.at.get()..].iter().filter(|ending| !ending.has(Event::Done))
    }
}

impl Blocker for AllWait<'_> {
    fn facts(&self, nth: usize) -> ResourceFacts {
        self.pending().nth(nth).map_or_else(|| self.current().facts(), |ending| ending.facts())
    }

    fn need(&self) -> Need {
        Need::All
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = self.pending().try_for_each(|ending| visit(ending.provider(Event::Done)));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for AllWait<'_> {
    fn key(&self) -> usize {
        self.current().key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.advance()
    }

    /// Spinning does not pay: a thread takes longer to start, or to end, than to wake its joiner.
    fn has_queue(&self) -> bool {
        true
    }

    fn announce(&self) -> bool {
        self.current().announce(Event::Done)
    }

    fn is_announced(&self) -> bool {
        self.current().is_announced(Event::Done)
    }
}
