//! The barrier.

mod arrival;
mod broken;

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

pub use broken::BrokenBarrier;

use crate::deadlock::Name;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::{FilterOp, Ingredient, Mutex, is_removed, unpark_filter};
use arrival::{Arrival, Arrivals, Outcome};

/// A place where a number of threads wait for each other: Python's `threading.Barrier`.
///
/// Each party [waits](Self::wait); when the last one has arrived, all go on, and the barrier can be used again. It *breaks*
/// if a party [aborts](Self::abort) it, if the limit of a wait is over, or if its [action](Self::with_action) panics: then
/// all that wait, and all that come, get [`BrokenBarrier`], so that no party waits for one that will not come. A
/// [`reset`](Self::reset) mends it.
///
/// The arrivals between two passes are a *generation*. Each generation ends once, and all of it in the same way. One that
/// has passed is not broken by what happens before its threads get to run, and a thread that arrives again is in the next
/// one. Which threads arrive does not matter: if there are more than parties, those that come first are the generation.
///
/// An arrival costs a short critical section of a mutex, and the last one wakes all the others; nothing is allocated. What
/// happened before a thread arrived *happens before* the action, and that before what follows the pass in all parties.
///
/// # Deadlocks
///
/// The graph does not know who is still to come, so the wait for the others is part of no verdict. It is in
/// [snapshots](crate::deadlock::snapshot), dumps and reports of [long waits](crate::deadlock::warn_after), with the line
/// that waits, and with the [suspicion](crate::deadlock::report::StuckThread::suspicions) that a thread which waits for what
/// a party holds is one that has yet to arrive. While the action runs it is known who runs it: an action that waits for what one of the parties holds is a
/// [`Cycle`](crate::deadlock::Kind::Cycle), whose victim is the wait in the action.
///
/// # Beside std's `Barrier`
///
/// [`BarrierWait::is_leader`] is the same; `wait` returns a `Result`, since a barrier here can break.
///
/// # Examples
///
/// ```
/// use bowline::Barrier;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::thread;
///
/// let (barrier, sum) = (Barrier::named("summed", 4), AtomicU32::new(0));
/// thread::scope(|s| {
///     for n in 1..=4 {
///         let (barrier, sum) = (&barrier, &sum);
///         s.spawn(move || {
///             sum.fetch_add(n, Ordering::Relaxed);
///             let pass = barrier.wait().unwrap();
///             assert_eq!(sum.load(Ordering::Relaxed), 10); // everybody has added
///             if pass.is_leader() {
///                 println!("the sum is 10"); // one of the four
///             }
///         });
///     }
/// });
/// ```
pub struct Barrier {
    parties: usize,
    state: Mutex<State>,
    action: Option<Box<dyn Fn() + Send + Sync>>,
    timeout: Option<Duration>,
    origin: Origin,
}

/// The generation that is arriving, and whether there can be one.
struct State {
    waiting: Arrivals,
    /// How many generations have ended, or have at least all arrived.
    generation: u64,
    is_broken: bool,
}

impl State {
    /// Takes the generation that is arriving, and begins the next one.
    fn next_generation(&mut self) -> Arrivals {
        self.generation += 1;
        self.waiting.take()
    }
}

/// A pass through a [`Barrier`].
///
/// # Examples
///
/// ```
/// let barrier = bowline::Barrier::new(1);
/// let pass = barrier.wait().unwrap();
/// assert_eq!((pass.index(), pass.is_leader()), (0, true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BarrierWait {
    index: usize,
    is_leader: bool,
}

impl BarrierWait {
    /// Returns how many parties of this generation had arrived before: a number from 0 to `parties - 1`, another one for
    /// each.
    #[must_use]
    pub fn index(self) -> usize {
        self.index
    }

    /// Returns whether this party was the last to arrive, and ran the action: one in each generation was.
    #[must_use]
    pub fn is_leader(self) -> bool {
        self.is_leader
    }
}

impl Barrier {
    /// Makes a barrier for this many parties. Reports name it by the line of this call.
    ///
    /// # Panics
    ///
    /// If there are no parties.
    #[must_use]
    #[track_caller]
    pub const fn new(parties: usize) -> Self {
        Self::at(Origin::here(None), parties)
    }

    /// Makes a barrier that reports call `name`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, parties: usize) -> Self {
        Self::at(Origin::here(Some(name)), parties)
    }

    /// Makes a barrier under a name that is made at run time. What that costs, and how long the name is kept: [`Name`].
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, parties: usize) -> Self {
        Self::at(Origin::here(Some(name.into().as_str())), parties)
    }

    #[track_caller]
    const fn at(origin: Origin, parties: usize) -> Self {
        assert!(parties > 0, "a barrier needs at least one party");
        let state = State { waiting: Arrivals::none(), generation: 0, is_broken: false };
        Self { parties, state: Mutex::new(state), action: None, timeout: None, origin }
    }

    /// Gives the barrier an action, which the last party of each generation runs before any of them goes on.
    ///
    /// It runs while no lock of the barrier is held. If it panics, the panic leaves the `wait` of that party, and the barrier
    /// breaks. The limits of the others do not end their waits while it runs. (Threads beyond the number of parties can
    /// arrive meanwhile: only then may the action of one generation begin while that of the last still runs.)
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Barrier, Lock};
    /// use std::{sync::Arc, thread};
    ///
    /// let rounds = Arc::new(Lock::new(0));
    /// let counted = Arc::clone(&rounds);
    /// let barrier = Barrier::new(2).with_action(move || *counted.lock() += 1);
    /// thread::scope(|s| {
    ///     for _ in 0..2 {
    ///         s.spawn(|| (1..=3).for_each(|round| {
    ///             barrier.wait().unwrap();
    ///             assert!(*rounds.lock() >= round);
    ///         }));
    ///     }
    /// });
    /// assert_eq!(*rounds.lock(), 3);
    /// ```
    ///
    /// The action is `'static`: give it an `Arc`, or a static. What may run after the others go on is for the party that
    /// [is the leader](BarrierWait::is_leader).
    #[must_use]
    pub fn with_action(mut self, action: impl Fn() + Send + Sync + 'static) -> Self {
        self.action = Some(Box::new(action));
        self
    }

    /// Gives [`wait`](Self::wait) a limit: a party that has waited for `timeout` breaks the barrier.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Barrier;
    /// use std::time::Duration;
    ///
    /// static START: Barrier = Barrier::named("start", 2).with_timeout(Duration::from_millis(1));
    ///
    /// assert!(START.wait().unwrap_err().timed_out());
    /// ```
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits until all parties have arrived, within the [limit](Self::with_timeout) of the barrier if it has one.
    ///
    /// # Errors
    ///
    /// [`BrokenBarrier`] if the barrier is broken, breaks, or is reset during the wait.
    ///
    /// # Panics
    ///
    /// If the [action](Self::with_action) panics, in the party that runs it.
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks). The wait is never the victim.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = bowline::Barrier::new(2);
    /// std::thread::scope(|s| {
    ///     let other = s.spawn(|| barrier.wait().unwrap().index());
    ///     let mine = barrier.wait().unwrap().index();
    ///     assert_eq!(mine + other.join().unwrap(), 1); // 0 and 1
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> Result<BarrierWait, BrokenBarrier> {
        self.arrive(self.timeout.map_or(Limit::None, Limit::after), Location::caller())
    }

    /// Waits until all parties have arrived, for at most `timeout`, whatever the [limit](Self::with_timeout) of the barrier
    /// is. One that is longer than the clock can represent is none.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait); if this wait timed out, [`BrokenBarrier::timed_out`] says so.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_for(&self, timeout: Duration) -> Result<BarrierWait, BrokenBarrier> {
        self.arrive(Limit::after(timeout), Location::caller())
    }

    /// Waits until all parties have arrived, but not past `deadline`. See [`wait_for`](Self::wait_for).
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> Result<BarrierWait, BrokenBarrier> {
        self.arrive(Limit::Until(deadline), Location::caller())
    }

    /// Breaks the barrier: those that wait and those that come get [`BrokenBarrier`], until a [`reset`](Self::reset).
    ///
    /// A generation that has arrived altogether passes all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// let barrier = bowline::Barrier::new(2);
    /// barrier.abort();
    /// assert!(barrier.is_broken() && barrier.wait().is_err());
    /// barrier.reset();
    /// assert!(!barrier.is_broken());
    /// ```
    pub fn abort(&self) {
        self.end_waits(true);
    }

    /// Makes the barrier as it was when it was new: those that wait get [`BrokenBarrier`], and those that come are a new
    /// generation.
    pub fn reset(&self) {
        self.end_waits(false);
    }

    fn end_waits(&self, breaks: bool) {
        let waiting = {
            let mut state = self.state.lock();
            state.is_broken = breaks;
            state.next_generation()
        };
        self.end(waiting, Outcome::Broken);
    }

    /// Returns whether the barrier is broken at this moment.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state.lock().is_broken
    }

    /// Returns the number of parties.
    #[must_use]
    pub const fn parties(&self) -> usize {
        self.parties
    }

    /// Returns how many parties wait for others at this moment.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        self.state.lock().waiting.count()
    }

    fn arrive(&self, limit: Limit, site: Site) -> Result<BarrierWait, BrokenBarrier> {
        let me = registry::current();
        let mut state = self.state.lock();
        if state.is_broken {
            return Err(BrokenBarrier { timed_out: false });
        }
        let index = state.waiting.count();
        if index + 1 == self.parties {
            let others = state.next_generation();
            drop(state);
            self.pass(me, others);
            return Ok(BarrierWait { index, is_leader: true });
        }
        let arrival = Arrival::of(state.generation);
        // SAFETY:
        // - it is on this stack, which `outcome_of` leaves with an outcome or not at all.
        unsafe { state.waiting.add(&arrival) };
        drop(state);
        self.outcome_of(me, &arrival, limit, site)?;
        Ok(BarrierWait { index, is_leader: false })
    }

    /// Runs the action and lets the others pass. If the action panics, breaks the barrier.
    fn pass(&self, me: &'static Context, others: Arrivals) {
        /// Ends the generation when it is dropped.
        struct Passing<'b> {
            barrier: &'b Barrier,
            others: Arrivals,
            outcome: Outcome,
        }
        impl Drop for Passing<'_> {
            fn drop(&mut self) {
                if self.outcome == Outcome::Broken {
                    self.barrier.abort();
                }
                self.barrier.end(self.others.take(), self.outcome);
            }
        }
        let mut passing = Passing { barrier: self, others, outcome: Outcome::Broken };
        if let Some(action) = &self.action {
            passing.others.name_runner(me.id());
            action();
        }
        passing.outcome = Outcome::Passed;
    }

    /// Waits for the outcome of this arrival's generation. Breaks the barrier when the limit is over, unless all have
    /// arrived by then.
    fn outcome_of(
        &self,
        me: &'static Context,
        arrival: &Arrival,
        mut limit: Limit,
        site: Site,
    ) -> Result<(), BrokenBarrier> {
        /// Ends the process if a thread leaves its wait without an outcome: others have a pointer to its stack.
        struct Abort;
        impl Drop for Abort {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        // A model fails by a panic of its own, wherever it is.
        let abort = (!cfg!(all(test, loom))).then(|| Abort);
        let wait = ArrivalWait { barrier: self, arrival };
        let outcome = loop {
            let terms = Terms { site, limit, failure: Failure::Never, relock: false };
            let waited = door::wait(me, &wait, terms);
            if let Some(outcome) = arrival.outcome() {
                break outcome;
            }
            debug_assert!(waited.is_err(), "a wait that is granted has an outcome");
            let mut state = self.state.lock();
            if state.generation == arrival.generation() {
                state.is_broken = true;
                let waiting = state.next_generation();
                drop(state);
                self.end(waiting, Outcome::Broken);
                std::mem::forget(abort);
                return Err(BrokenBarrier { timed_out: true });
            }
            // It is no longer among those that wait for others: the outcome comes with the end of the action.
            limit = Limit::None;
        };
        std::mem::forget(abort);
        match outcome {
            Outcome::Passed => Ok(()),
            Outcome::Broken => Err(BrokenBarrier { timed_out: false }),
        }
    }

    /// Ends a generation and wakes its threads.
    fn end(&self, waiting: Arrivals, outcome: Outcome) {
        if waiting.count() == 0 {
            return;
        }
        waiting.end(outcome);
        // SAFETY:
        // - the key is this barrier's own address.
        // - the closures do nothing.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

// A panic of the action breaks the barrier, which is what its users are told.
impl std::panic::RefUnwindSafe for Barrier {}
impl std::panic::UnwindSafe for Barrier {}

/// Shows the parties, those that wait, and whether it is broken; never waits for a thread.
impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, is_broken) = {
            let state = self.state.lock();
            (state.waiting.count(), state.is_broken)
        };
        let mut out = f.debug_struct("Barrier");
        if let Some(name) = self.origin.name() {
            out.field("name", &name);
        }
        out.field("parties", &self.parties).field("n_waiting", &waiting).field("is_broken", &is_broken).finish()
    }
}

/// One party's wait for the rest of its generation.
struct ArrivalWait<'b> {
    barrier: &'b Barrier,
    arrival: &'b Arrival,
}

impl Blocker for ArrivalWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        let type_of = || ResourceType { primitive: "Barrier", data: "", mode: HoldMode::Exclusive, id_of: None };
        ResourceFacts { key: self.barrier.key(), origin: self.barrier.origin, type_of }
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(self.arrival.runner().map_or(Provider::External, Provider::Context));
    }

    /// While the action runs, it is known who ends the wait.
    fn signal(&self) -> Option<&'static str> {
        self.arrival.runner().is_none().then_some("an arrival")
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for ArrivalWait<'_> {
    fn key(&self) -> usize {
        self.barrier.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.arrival.outcome().is_some()
    }

    fn announce(&self) -> bool {
        // The thread that ends a generation wakes all, announced or not.
        self.arrival.outcome().is_none()
    }

    fn is_announced(&self) -> bool {
        self.arrival.outcome().is_none() || is_removed(Ingredient::ValidatedAnnouncement)
    }
}
