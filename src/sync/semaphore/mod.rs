//! The semaphore whose permits anybody may add.

mod guard;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use guard::{ArcSemaphoreGuard, SemaphoreGuard};

use super::permits::{MAX_PERMITS, Permits};
use crate::deadlock::Name;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};

/// A number of permits that threads take and give back: Python's `threading.Semaphore`.
///
/// [`acquire`](Self::acquire) takes a permit, and waits while there is none; the guard that it returns gives the permit back
/// when it is dropped. Any thread may [`release`](Self::release) permits that nobody has acquired, to count events or to
/// admit more work, and a guard may be sent to another thread or [forgotten](SemaphoreGuard::forget). Where permits are
/// only lent, a [`BoundedSemaphore`](crate::BoundedSemaphore) is the better choice: the graph knows who holds its permits,
/// and finds its deadlocks.
///
/// Acquiring a free permit and giving it back cost one atomic operation each. [`release`](Self::release) lets there be at most
/// [`MAX_PERMITS`](Self::MAX_PERMITS) free permits; guards of still more that are given back are not counted beyond twice that. What happened before a release *happens before* what follows an
/// acquisition that it made possible.
///
/// # One blocking form
///
/// A [`Lock`](crate::Lock) has two, since its wait can be part of a deadlock: `lock` panics, and `acquire` returns the
/// deadlock. The wait for a permit is never part of a verdict, as nobody knows who will release one. So there is one form,
/// under the name that the operation has in Python, and no error to return.
///
/// # Fairness
///
/// First come, first served, among threads that are parked: permits that become free are handed over in the order in which these
/// parked, and `release(n)` wakes those that get what they asked for, and nobody else. A request for several permits stops those behind it, and those that
/// come, until it is served: what is free is kept for it. So a request is overtaken by those that parked before it, by
/// those that come until the first release after it parked (they share the permits that are free then), and once more when
/// its wait outlasts the [grace](crate::deadlock::set_grace) and parks anew; large requests are not starved by small ones. It also
/// parks anew when a hook for [long waits](crate::deadlock::warn_after) is installed or runs, or the policy is changed; and, under a
/// grace of more than 50 ms, every 50 ms until that is over: set no such grace where the order matters.
/// The price is a switch of threads at each hand-over.
///
/// # Deadlocks
///
/// None is reported: a wait for a permit is in [snapshots](crate::deadlock::snapshot), dumps and reports of [long
/// waits](crate::deadlock::warn_after), with the line that waits, and with the
/// [suspicion](crate::deadlock::report::StuckThread::suspicions) that a thread which waits for what the waiter holds is the
/// one to release a permit. A thread that holds permits and asks for more can wait for
/// ever: for permits that it holds itself, or behind a large request that waits for those.
///
/// # Examples
///
/// At most two threads are in the section at a time:
///
/// ```
/// use bowline::Semaphore;
/// use std::thread;
///
/// static DOWNLOADS: Semaphore = Semaphore::named("downloads", 2);
///
/// thread::scope(|s| {
///     for _ in 0..8 {
///         s.spawn(|| {
///             let _permit = DOWNLOADS.acquire();
///             assert!(DOWNLOADS.available_permits() < 2);
///         });
///     }
/// });
/// assert_eq!(DOWNLOADS.available_permits(), 2);
/// ```
///
/// One thread counts, another takes what was counted:
///
/// ```
/// use bowline::Semaphore;
/// use std::thread;
///
/// let arrived = Semaphore::new(0);
/// thread::scope(|s| {
///     s.spawn(|| (0..3).for_each(|_| arrived.release(1)));
///     arrived.acquire_many(3).forget();
/// });
/// assert_eq!(arrived.available_permits(), 0);
/// ```
pub struct Semaphore {
    permits: Permits<true>,
    origin: Origin,
}

impl Semaphore {
    /// The highest number of free permits.
    pub const MAX_PERMITS: usize = MAX_PERMITS;

    /// Makes a semaphore with this many free permits; none is allowed. Reports name it by the line of this call.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(permits: usize) -> Self {
        Self { permits: Permits::new(checked(permits)), origin: Origin::here(None) }
    }

    /// Makes a semaphore with this many free permits, that reports call `name`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, permits: usize) -> Self {
        Self { permits: Permits::new(checked(permits)), origin: Origin::here(Some(name)) }
    }

    /// Makes a semaphore under a name that is made at run time. What that costs, and how long the name is kept: [`Name`].
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, permits: usize) -> Self {
        Self { permits: Permits::new(checked(permits)), origin: Origin::here(Some(name.into().as_str())) }
    }

    /// Takes a permit, and waits until there is one.
    ///
    /// # Deadlocks
    ///
    /// None is reported: see [the type](Self#deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = bowline::Semaphore::new(1);
    /// let permit = semaphore.acquire();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> SemaphoreGuard<'_> {
        self.acquire_many(1)
    }

    /// Takes this many permits at once, and waits until there are enough.
    ///
    /// # Panics
    ///
    /// If `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    ///
    /// # Deadlocks
    ///
    /// None is reported: see [the type](Self#deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = bowline::Semaphore::new(5);
    /// let three = semaphore.acquire_many(3);
    /// assert_eq!((three.permits(), semaphore.available_permits()), (3, 2));
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> SemaphoreGuard<'_> {
        self.take(permits, || Limit::None, Location::caller());
        SemaphoreGuard::new(self, permits)
    }

    /// Takes a permit if there is one right now, and nobody is to be served before. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = bowline::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some());
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<SemaphoreGuard<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes this many permits if there are enough right now, and nobody is to be served before. Never waits.
    #[inline]
    pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphoreGuard<'_>> {
        self.try_take(permits).then(|| SemaphoreGuard::new(self, permits))
    }

    /// Takes a permit if there is one within `timeout`.
    ///
    /// A time-out that is longer than the clock can represent, as `Duration::MAX` is, is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let semaphore = bowline::Semaphore::new(0);
    /// assert!(semaphore.try_acquire_for(Duration::from_millis(1)).is_none());
    /// semaphore.release(1);
    /// assert!(semaphore.try_acquire_for(Duration::from_millis(1)).is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_acquire_for(&self, timeout: Duration) -> Option<SemaphoreGuard<'_>> {
        self.try_acquire_many_for(1, timeout)
    }

    /// Takes a permit if there is one before `deadline`.
    #[inline]
    #[track_caller]
    pub fn try_acquire_until(&self, deadline: Instant) -> Option<SemaphoreGuard<'_>> {
        self.try_acquire_many_until(1, deadline)
    }

    /// Takes this many permits if there are enough within `timeout`. One that times out takes none.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    #[inline]
    #[track_caller]
    pub fn try_acquire_many_for(&self, permits: usize, timeout: Duration) -> Option<SemaphoreGuard<'_>> {
        self.take(permits, || Limit::after(timeout), Location::caller()).then(|| SemaphoreGuard::new(self, permits))
    }

    /// Takes this many permits if there are enough before `deadline`. One that times out takes none.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    #[inline]
    #[track_caller]
    pub fn try_acquire_many_until(&self, permits: usize, deadline: Instant) -> Option<SemaphoreGuard<'_>> {
        self.take(permits, || Limit::Until(deadline), Location::caller()).then(|| SemaphoreGuard::new(self, permits))
    }

    /// Takes a permit as [`acquire`](Self::acquire) does, with a guard that keeps the semaphore alive instead of
    /// borrowing it.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Semaphore;
    /// use std::{sync::Arc, thread};
    ///
    /// let workers = Arc::new(Semaphore::new(2));
    /// let permit = workers.acquire_arc();
    /// thread::spawn(move || drop(permit)).join().unwrap(); // given back when the work is done
    /// assert_eq!(workers.available_permits(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_arc(self: &Arc<Self>) -> ArcSemaphoreGuard {
        self.acquire_many_arc(1)
    }

    /// Takes permits as [`acquire_many`](Self::acquire_many) does, with a guard that keeps the semaphore alive.
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    #[inline]
    #[track_caller]
    pub fn acquire_many_arc(self: &Arc<Self>, permits: usize) -> ArcSemaphoreGuard {
        self.take(permits, || Limit::None, Location::caller());
        ArcSemaphoreGuard::new(Arc::clone(self), permits)
    }

    /// Takes a permit as [`try_acquire`](Self::try_acquire) does, with a guard that keeps the semaphore alive.
    #[inline]
    pub fn try_acquire_arc(self: &Arc<Self>) -> Option<ArcSemaphoreGuard> {
        self.try_acquire_many_arc(1)
    }

    /// Takes permits as [`try_acquire_many`](Self::try_acquire_many) does, with a guard that keeps the semaphore alive.
    #[inline]
    pub fn try_acquire_many_arc(self: &Arc<Self>, permits: usize) -> Option<ArcSemaphoreGuard> {
        self.try_take(permits).then(|| ArcSemaphoreGuard::new(Arc::clone(self), permits))
    }

    /// Adds free permits, and wakes those whose requests they fulfil. Any thread may do so, whether or not it has acquired
    /// any.
    ///
    /// # Panics
    ///
    /// If there would be more than [`MAX_PERMITS`](Self::MAX_PERMITS) free permits. Then none is added.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = bowline::Semaphore::new(0);
    /// semaphore.release(2);
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn release(&self, permits: usize) {
        assert!(self.permits.add(permits, MAX_PERMITS), "{TOO_MANY}");
    }

    /// Returns how many permits are free at this moment. The answer may be out of date when it is returned.
    #[inline]
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.permits.available()
    }

    /// Gives the permits of a guard back.
    #[inline]
    fn give_back(&self, permits: usize) {
        // Above what `release` lets there be is room for as many once more. What does not fit is lost: nobody will miss it.
        let _fits = self.permits.add(permits, 2 * MAX_PERMITS);
    }

    #[inline]
    fn try_take(&self, permits: usize) -> bool {
        permits == 0 || self.permits.try_take(permits)
    }

    /// Takes permits; returns whether it did, before the limit.
    #[inline]
    #[track_caller]
    fn take(&self, permits: usize, limit: impl FnOnce() -> Limit, site: Site) -> bool {
        self.try_take(permits) || self.wait(checked(permits), limit(), site)
    }

    #[cold]
    #[inline(never)]
    fn wait(&self, permits: usize, limit: Limit, site: Site) -> bool {
        let me = registry::current();
        let waiter = SemaphoreWait { semaphore: self, me, permits };
        door::wait(me, &waiter, Terms { site, limit, failure: Failure::Never, relock: false }).is_ok()
    }

    /// Makes a semaphore of this origin.
    #[cfg(feature = "process")]
    pub(crate) fn at(origin: Origin, permits: usize) -> Self {
        Self { permits: Permits::new(checked(permits)), origin }
    }

    /// Takes a permit on behalf of that line, if there is one before the limit.
    #[cfg(feature = "process")]
    pub(crate) fn take_arc(self: &Arc<Self>, limit: impl FnOnce() -> Limit, site: Site) -> Option<ArcSemaphoreGuard> {
        self.take(1, limit, site).then(|| ArcSemaphoreGuard::new(Arc::clone(self), 1))
    }

    #[cfg(all(test, loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.permits.has_waiters()
    }
}

const TOO_MANY: &str = "a semaphore has at most `Semaphore::MAX_PERMITS` permits";

/// Returns the number, if there can be so many permits.
#[track_caller]
const fn checked(permits: usize) -> usize {
    assert!(permits <= MAX_PERMITS, "{}", TOO_MANY);
    permits
}

/// Makes a semaphore with one permit, as Python does.
impl Default for Semaphore {
    #[track_caller]
    fn default() -> Self {
        Self::new(1)
    }
}

/// Shows how many permits are free; never waits.
impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Semaphore");
        if let Some(name) = self.origin.name() {
            out.field("name", &name);
        }
        out.field("available_permits", &self.available_permits()).finish()
    }
}

/// One thread's wait for permits.
struct SemaphoreWait<'s> {
    semaphore: &'s Semaphore,
    me: &'static Context,
    permits: usize,
}

impl Blocker for SemaphoreWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        let type_of = || ResourceType { primitive: "Semaphore", data: "", mode: HoldMode::Permit, id_of: None };
        ResourceFacts { key: self.key(), origin: self.semaphore.origin, type_of }
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(Provider::External);
    }

    fn signal(&self) -> Option<&'static str> {
        Some("a release")
    }
}

impl Park for SemaphoreWait<'_> {
    fn key(&self) -> usize {
        self.semaphore.permits.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.semaphore.permits.take_waiting(self.permits)
    }

    fn has_queue(&self) -> bool {
        self.semaphore.permits.has_queue()
    }

    fn announce(&self) -> bool {
        self.semaphore.permits.announce(self.me, self.permits)
    }

    fn is_announced(&self) -> bool {
        self.semaphore.permits.is_announced(self.permits)
    }

    fn left_queue(&self, last: bool) {
        self.semaphore.permits.left_queue(last);
    }
}
