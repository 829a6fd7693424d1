//! The event: a flag that threads wait for.

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::deadlock::Name;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, unpark_filter};

/// Set while a thread is parked or about to park.
const WAITERS: u64 = 1;
/// Set while the event is.
const SET: u64 = 1 << 1;
/// The rest of the word counts how often the event was set.
const GENERATION: u64 = 1 << 2;

/// A flag that threads wait for: Python's `threading.Event`.
///
/// One thread [sets](Self::set) it, and every thread that waits goes on; further waits return at once until it is
/// [cleared](Self::clear). A wait that began before a `set` ends with it, even if the event is cleared before the waiter
/// gets to run.
///
/// A look at an event, a wait for one that is set, `clear`, and a `set` that nobody waits for cost one atomic operation
/// each. A `set` wakes all waiters, which takes time in proportion to their number. There is nothing to be fair about: a
/// `set` passes over no waiter.
///
/// What happened before a `set` *happens before* what follows a wait that it ended, or a look that saw it.
///
/// # Deadlocks
///
/// Anybody who has a reference can set an event, so the graph does not know who will: a wait is never part of a verdict. It
/// is in [snapshots](crate::deadlock::snapshot) and dumps, and in reports of [long waits](crate::deadlock::warn_after), with
/// the line that waits, and with the [suspicion](crate::deadlock::report::StuckThread::suspicions) that a thread which waits for
/// what the waiter holds is the one to set the event.
///
/// # Examples
///
/// ```
/// use bowline::Event;
/// use std::thread;
///
/// static READY: Event = Event::named("ready");
///
/// thread::scope(|s| {
///     s.spawn(|| {
///         READY.wait();
///         println!("go");
///     });
///     READY.set();
/// });
/// ```
pub struct Event {
    /// ```text
    /// generation | SET | WAITERS |
    ///     n      |  0  |    0    | clear; nobody is parked
    ///     n      |  0  |    1    | clear; threads are parked or about to park
    ///     n      |  1  |    0    | set, for the n-th time
    ///     n      |  1  |    1    | set; the thread that set it is about to wake those that are parked
    /// ```
    ///
    /// WAITERS is cleared only under the queue's lock, when the queue is empty: *a thread is parked* implies WAITERS.
    word: AtomicU64,
    origin: Origin,
}

impl Event {
    /// Makes an event that is not set. Reports name it by the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self { word: AtomicU64::new(0), origin: Origin::here(None) }
    }

    /// Makes an event that is not set and that reports call `name`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        Self { word: AtomicU64::new(0), origin: Origin::here(Some(name)) }
    }

    /// Makes an event that is not set under a name that is made at run time. What that costs, and how long the name is
    /// kept: [`Name`].
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>) -> Self {
        Self { word: AtomicU64::new(0), origin: Origin::here(Some(name.into().as_str())) }
    }

    /// Sets the event and wakes all threads that wait for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = bowline::Event::new();
    /// event.set();
    /// event.set(); // it is set already
    /// assert!(event.is_set());
    /// event.wait();
    /// ```
    pub fn set(&self) {
        let mut word = self.word.load(Relaxed);
        loop {
            // Where it is set already, a no-op read-modify-write: what this thread did before is published all the same.
            let set = if word & SET == 0 { (word | SET).wrapping_add(GENERATION) } else { word };
            // ORDERING: Release pairs with the Acquire loads in `is_set`, `wait_until_limit` and `try_grant`. The word
            // changes by read-modify-writes alone, so that each later value publishes this one, too.
            match self.word.compare_exchange_weak(word, set, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        // If it was set already, the thread that set it wakes those that were parked.
        if word & (WAITERS | SET) == WAITERS {
            self.wake_all();
        }
    }

    /// Clears the event: waits that begin from now on last until it is set again.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = bowline::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    #[inline]
    pub fn clear(&self) {
        self.word.fetch_and(!SET, Relaxed);
    }

    /// Returns whether the event is set at this moment.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `set`.
        self.word.load(Acquire) & SET != 0
    }

    /// Waits until the event is set.
    ///
    /// # Deadlocks
    ///
    /// None is reported: see [the type](Self#deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// let (start, done) = (bowline::Event::new(), bowline::Event::new());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| {
    ///         start.wait();
    ///         done.set();
    ///     });
    ///     start.set();
    ///     done.wait();
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        self.wait_until_limit(Limit::None, Location::caller());
    }

    /// Waits until the event is set, for at most `timeout`. Returns whether it was set.
    ///
    /// A time-out that is longer than the clock can represent, as `Duration::MAX` is, is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event = bowline::Event::new();
    /// assert!(!event.wait_for(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_for(Duration::ZERO));
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until_limit(Limit::after(timeout), Location::caller())
    }

    /// Waits until the event is set, but not past `deadline`. Returns whether it was set.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Instant;
    ///
    /// let event = bowline::Event::new();
    /// assert!(!event.wait_until(Instant::now()));
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.wait_until_limit(Limit::Until(deadline), Location::caller())
    }

    fn wait_until_limit(&self, limit: Limit, site: Site) -> bool {
        // ORDERING: Acquire pairs with the Release in `set`.
        let word = self.word.load(Acquire);
        word & SET != 0 || self.wait_slow(word / GENERATION, limit, site)
    }

    #[cold]
    #[inline(never)]
    fn wait_slow(&self, generation: u64, limit: Limit, site: Site) -> bool {
        let waiter = EventWait { event: self, generation };
        match door::wait(registry::current(), &waiter, Terms { site, limit, failure: Failure::Never, relock: false }) {
            Ok(()) => true,
            Err(WaitError::TimedOut) => false,
            Err(WaitError::Deadlock(_)) => unreachable!("a wait that cannot fail is no victim"),
        }
    }

    #[cold]
    fn wake_all(&self) {
        // SAFETY:
        // - the key is this event's own address.
        // - the closures only touch the word.
        unsafe {
            unpark_filter(
                self.key(),
                |_| FilterOp::Unpark,
                |_| {
                    // ORDERING: Relaxed: the queue's lock orders this with every announcement's check.
                    self.word.fetch_and(!WAITERS, Relaxed);
                    RETRY
                },
            );
        }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Default for Event {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Shows whether it is set; never waits.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Event");
        if let Some(name) = self.origin.name() {
            out.field("name", &name);
        }
        out.field("is_set", &self.is_set()).finish()
    }
}

/// One thread's wait for one event.
struct EventWait<'e> {
    event: &'e Event,
    /// How often the event had been set when the wait began: a later number ends it, even if the event is clear again.
    generation: u64,
}

impl EventWait<'_> {
    fn is_over(&self, word: u64) -> bool {
        word & SET != 0 || word / GENERATION != self.generation && !is_removed(Ingredient::GenerationOfWaits)
    }
}

impl Blocker for EventWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        let type_of = || ResourceType { primitive: "Event", data: "", mode: HoldMode::Exclusive, id_of: None };
        ResourceFacts { key: self.event.key(), origin: self.event.origin, type_of }
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(Provider::External);
    }

    fn signal(&self) -> Option<&'static str> {
        Some("a `set`")
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for EventWait<'_> {
    fn key(&self) -> usize {
        self.event.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        // ORDERING: Acquire pairs with the Release in `set`.
        self.is_over(self.event.word.load(Acquire))
    }

    fn has_queue(&self) -> bool {
        self.event.word.load(Relaxed) & WAITERS != 0
    }

    fn announce(&self) -> bool {
        let word = self.event.word.load(Relaxed);
        if self.is_over(word) {
            return false;
        }
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look of the thread that sets.
        word & WAITERS != 0 || self.event.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed).is_ok()
    }

    fn is_announced(&self) -> bool {
        let word = self.event.word.load(Relaxed);
        word & WAITERS != 0 && !self.is_over(word) || is_removed(Ingredient::ValidatedAnnouncement)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.event.word.fetch_and(!WAITERS, Relaxed);
        }
    }
}
