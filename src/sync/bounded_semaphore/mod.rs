//! The semaphore whose permits have owners.

mod guard;
mod raw;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use guard::{ArcBoundedSemaphoreGuard, BoundedSemaphoreGuard};

use crate::deadlock::door::Limit;
use crate::deadlock::resource::{Origin, Site};
use crate::deadlock::{Deadlock, Name};
use raw::{MAX_PERMITS, RawBoundedSemaphore, RawPermits, Request};

/// A fixed number of permits that are lent to threads, and whose deadlocks are found: Python's `BoundedSemaphore`, whose
/// permits have owners.
///
/// A permit is held as a lock is: by the thread that took it, until its guard is dropped there. With one permit this is a
/// [`Lock`](crate::Lock) without a value. So nobody can give back more than was taken, and the graph knows who holds what: a
/// wait that can never end becomes a panic ([`lock`](Self::lock)) or an error ([`acquire`](Self::acquire)) with a report. If
/// permits have to travel between threads, or count events, use a [`Semaphore`](crate::Semaphore): then nobody can know who
/// will release one.
///
/// Taking a free permit and giving it back cost one atomic operation each and a few stores to a line of the thread's own,
/// however many permits a guard has. A wait that outlasts the [grace](crate::deadlock::set_grace) enters the wait-for graph;
/// to judge it takes time in proportion to the threads that hold permits and wait. What happened before a permit is given back
/// *happens before* what follows when it is taken.
///
/// # Names
///
/// As in all locks of this crate: `lock` panics if the wait is a deadlock, `acquire` returns the deadlock, and `try_lock…`
/// does not wait, or not past a limit.
///
/// # Fairness
///
/// Permits that become free are handed over to the threads that are parked, in the order in which these parked, to each
/// that gets as many as it asked for; a request that does not fit is passed over, and a thread that comes takes what is
/// free. So no permit is idle that anybody could use, and no request waits for another one to be served: there are no
/// deadlocks but those of the permits themselves. The price is that a request for many may be overtaken by smaller ones as
/// long as these keep coming; nothing bounds that. Requests for one permit are never passed over: each is overtaken by those
/// that parked before it, and once more whenever it parks anew: when it enters the graph, and where a
/// [`Semaphore`](crate::Semaphore#fairness) does as well, which serves in order.
///
/// # Deadlocks
///
/// A wait for `k` permits is live while the permits that are free, and those of threads that can go on, are `k` or more.
/// Otherwise it is part of a deadlock: [`Relock`](crate::deadlock::Kind::Relock) if the thread holds so many itself that the
/// rest is too few, [`Cycle`](crate::deadlock::Kind::Cycle) if threads wait for each other, by permits, locks, tasks or
/// joins, and [`Abandoned`](crate::deadlock::Kind::Abandoned) if too many were leaked by threads that have ended. Waits with a
/// time-out are never part of a verdict.
///
/// # Examples
///
/// ```
/// use bowline::BoundedSemaphore;
/// use std::thread;
///
/// static CONNECTIONS: BoundedSemaphore = BoundedSemaphore::named("connections", 2);
///
/// thread::scope(|s| {
///     for _ in 0..8 {
///         s.spawn(|| {
///             let _connection = CONNECTIONS.lock(); // at most two at a time
///         });
///     }
/// });
/// assert_eq!(CONNECTIONS.available_permits(), 2);
/// ```
///
/// Taking one permit after the other is how a semaphore deadlocks, and here it is explained. Taking them in one call is how it does
/// not:
///
/// ```
/// use bowline::{BoundedSemaphore, deadlock::Kind, thread};
/// use std::sync::Barrier;
///
/// let (slots, each_has_one) = (BoundedSemaphore::named("slots", 2), Barrier::new(2));
/// let one_then_another = || {
///     let _one = slots.lock();
///     each_has_one.wait();
///     slots.acquire().map(drop).err() // of two threads that do this, one is told
/// };
/// thread::scope(|s| {
///     let other = s.spawn(one_then_another);
///     let told = [one_then_another(), other.join().unwrap()];
///     let deadlock = told.into_iter().flatten().next().unwrap();
///     assert_eq!(deadlock.report().kind(), Kind::Cycle);
/// });
///
/// let both = slots.lock_many(2); // waits until two are free at once
/// assert_eq!(both.permits(), 2);
/// ```
pub struct BoundedSemaphore {
    raw: RawBoundedSemaphore,
}

impl BoundedSemaphore {
    /// The highest number of permits.
    pub const MAX_PERMITS: usize = MAX_PERMITS;

    /// Makes a semaphore with this many permits, all of them free. Reports name it by the line of this call.
    ///
    /// # Panics
    ///
    /// If there are no permits, or more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(permits: usize) -> Self {
        Self::at(Origin::here(None), permits)
    }

    /// Makes a semaphore with this many permits, that reports call `name`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, permits: usize) -> Self {
        Self::at(Origin::here(Some(name)), permits)
    }

    /// Makes a semaphore under a name that is made at run time. What that costs, and how long the name is kept: [`Name`].
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, permits: usize) -> Self {
        Self::at(Origin::here(Some(name.into().as_str())), permits)
    }

    #[track_caller]
    const fn at(origin: Origin, permits: usize) -> Self {
        assert!(permits > 0, "a bounded semaphore needs at least one permit");
        assert!(permits <= MAX_PERMITS, "a bounded semaphore has at most `BoundedSemaphore::MAX_PERMITS` permits");
        Self { raw: RawBoundedSemaphore::new(origin, permits) }
    }

    /// Takes a permit, waiting until there is one.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = bowline::BoundedSemaphore::new(1);
    /// let permit = slots.lock();
    /// assert!(slots.try_lock().is_none());
    /// # drop(permit);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> BoundedSemaphoreGuard<'_> {
        self.lock_many(1)
    }

    /// Takes this many permits at once, waiting until there are enough.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock); and if there are not so many permits in all.
    ///
    /// # Deadlocks
    ///
    /// As [`lock`](Self::lock).
    #[inline]
    #[track_caller]
    pub fn lock_many(&self, permits: usize) -> BoundedSemaphoreGuard<'_> {
        // SAFETY:
        // - the permits are of this semaphore.
        unsafe { BoundedSemaphoreGuard::new(self, self.raw_lock(permits)) }
    }

    /// Takes a permit, waiting until there is one, or returns why there never will be.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`. What the
    /// thread holds stays held: drop it (back off) before trying again.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{BoundedSemaphore, deadlock::Kind};
    ///
    /// let slots = BoundedSemaphore::new(2);
    /// let (one, two) = (slots.acquire()?, slots.acquire()?);
    /// assert_eq!(slots.acquire().unwrap_err().report().kind(), Kind::Relock);
    /// # drop((one, two));
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Result<BoundedSemaphoreGuard<'_>, Deadlock> {
        self.acquire_many(1)
    }

    /// Takes this many permits at once, waiting until there are enough, or returns why there never will be.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// If there are not so many permits in all.
    ///
    /// # Deadlocks
    ///
    /// As [`acquire`](Self::acquire).
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, permits: usize) -> Result<BoundedSemaphoreGuard<'_>, Deadlock> {
        // SAFETY:
        // - the permits are of this semaphore.
        Ok(unsafe { BoundedSemaphoreGuard::new(self, self.raw_acquire(permits)?) })
    }

    /// Takes a permit if one is free right now. Never waits.
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<BoundedSemaphoreGuard<'_>> {
        self.try_lock_many(1)
    }

    /// Takes this many permits if enough are free right now. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let slots = bowline::BoundedSemaphore::new(3);
    /// let two = slots.try_lock_many(2);
    /// assert!(two.is_some());
    /// assert!(slots.try_lock_many(2).is_none());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_many(&self, permits: usize) -> Option<BoundedSemaphoreGuard<'_>> {
        // SAFETY:
        // - the permits are of this semaphore.
        Some(unsafe { BoundedSemaphoreGuard::new(self, self.raw_try_lock(permits)?) })
    }

    /// Takes a permit if one becomes free within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let slots = bowline::BoundedSemaphore::new(1);
    /// let permit = slots.lock();
    /// assert!(slots.try_lock_for(Duration::from_millis(1)).is_none());
    /// # drop(permit);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<BoundedSemaphoreGuard<'_>> {
        self.try_lock_many_for(1, timeout)
    }

    /// Takes a permit if one becomes free before `deadline`. See [`try_lock_for`](Self::try_lock_for).
    #[inline]
    #[track_caller]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<BoundedSemaphoreGuard<'_>> {
        self.try_lock_many_until(1, deadline)
    }

    /// Takes this many permits if enough become free within `timeout`. See [`try_lock_for`](Self::try_lock_for).
    ///
    /// # Panics
    ///
    /// As [`try_lock_for`](Self::try_lock_for); and if there are not so many permits in all.
    #[inline]
    #[track_caller]
    pub fn try_lock_many_for(&self, permits: usize, timeout: Duration) -> Option<BoundedSemaphoreGuard<'_>> {
        // SAFETY:
        // - the permits are of this semaphore.
        Some(unsafe { BoundedSemaphoreGuard::new(self, self.raw_try_lock_limited(permits, || Limit::after(timeout))?) })
    }

    /// Takes this many permits if enough become free before `deadline`. See [`try_lock_for`](Self::try_lock_for).
    ///
    /// # Panics
    ///
    /// If there are not so many permits in all.
    #[inline]
    #[track_caller]
    pub fn try_lock_many_until(&self, permits: usize, deadline: Instant) -> Option<BoundedSemaphoreGuard<'_>> {
        // SAFETY:
        // - the permits are of this semaphore.
        Some(unsafe {
            BoundedSemaphoreGuard::new(self, self.raw_try_lock_limited(permits, || Limit::Until(deadline))?)
        })
    }

    /// Takes a permit as [`lock`](Self::lock) does, with a guard that keeps the semaphore alive instead of borrowing it.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Deadlocks
    ///
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::BoundedSemaphore;
    /// use std::sync::Arc;
    ///
    /// let permit = Arc::new(BoundedSemaphore::new(2)).lock_arc();
    /// assert_eq!(permit.semaphore().available_permits(), 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock_arc(self: &Arc<Self>) -> ArcBoundedSemaphoreGuard {
        self.lock_many_arc(1)
    }

    /// Takes permits as [`lock_many`](Self::lock_many) does, with a guard that keeps the semaphore alive.
    ///
    /// # Panics
    ///
    /// As [`lock_many`](Self::lock_many).
    ///
    /// # Deadlocks
    ///
    /// As [`lock`](Self::lock).
    #[inline]
    #[track_caller]
    pub fn lock_many_arc(self: &Arc<Self>, permits: usize) -> ArcBoundedSemaphoreGuard {
        let held = self.raw_lock(permits);
        // SAFETY:
        // - the permits are of this semaphore.
        unsafe { ArcBoundedSemaphoreGuard::new(Arc::clone(self), held) }
    }

    /// Takes a permit as [`acquire`](Self::acquire) does, with a guard that keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire`](Self::acquire).
    #[inline]
    #[track_caller]
    pub fn acquire_arc(self: &Arc<Self>) -> Result<ArcBoundedSemaphoreGuard, Deadlock> {
        self.acquire_many_arc(1)
    }

    /// Takes permits as [`acquire_many`](Self::acquire_many) does, with a guard that keeps the semaphore alive.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Panics
    ///
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire`](Self::acquire).
    #[inline]
    #[track_caller]
    pub fn acquire_many_arc(self: &Arc<Self>, permits: usize) -> Result<ArcBoundedSemaphoreGuard, Deadlock> {
        let held = self.raw_acquire(permits)?;
        // SAFETY:
        // - the permits are of this semaphore.
        Ok(unsafe { ArcBoundedSemaphoreGuard::new(Arc::clone(self), held) })
    }

    /// Takes a permit as [`try_lock`](Self::try_lock) does, with a guard that keeps the semaphore alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc(self: &Arc<Self>) -> Option<ArcBoundedSemaphoreGuard> {
        self.try_lock_many_arc(1)
    }

    /// Takes permits as [`try_lock_many`](Self::try_lock_many) does, with a guard that keeps the semaphore alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_many_arc(self: &Arc<Self>, permits: usize) -> Option<ArcBoundedSemaphoreGuard> {
        let held = self.raw_try_lock(permits)?;
        // SAFETY:
        // - the permits are of this semaphore.
        Some(unsafe { ArcBoundedSemaphoreGuard::new(Arc::clone(self), held) })
    }

    /// Returns how many permits are free at this moment. The answer may be out of date when it is returned.
    #[inline]
    #[must_use]
    pub fn available_permits(&self) -> usize {
        self.raw.available()
    }

    /// Returns how many permits there are, free or not.
    #[inline]
    #[must_use]
    pub fn max_permits(&self) -> usize {
        self.raw.total()
    }

    #[inline]
    #[track_caller]
    fn raw_lock(&self, permits: usize) -> RawPermits {
        let request = self.request(permits, Location::caller());
        match self.raw.try_take_fast(request) {
            Some(held) => held,
            None => self.raw.lock_slow(request),
        }
    }

    #[inline]
    #[track_caller]
    fn raw_acquire(&self, permits: usize) -> Result<RawPermits, Deadlock> {
        let request = self.request(permits, Location::caller());
        match self.raw.try_take_fast(request) {
            Some(held) => Ok(held),
            None => self.raw.acquire_slow(request),
        }
    }

    #[inline]
    #[track_caller]
    fn raw_try_lock(&self, permits: usize) -> Option<RawPermits> {
        let is_possible = permits <= self.max_permits();
        is_possible.then(|| self.request(permits, Location::caller())).and_then(|request| self.raw.try_take(request))
    }

    #[inline]
    #[track_caller]
    fn raw_try_lock_limited(&self, permits: usize, limit: impl FnOnce() -> Limit) -> Option<RawPermits> {
        let request = self.request(permits, Location::caller());
        match self.raw.try_take_fast(request) {
            Some(held) => Some(held),
            None => self.raw.try_take_limited(request, limit()),
        }
    }

    /// Returns the request for permits, if there are so many in all.
    #[inline]
    #[track_caller]
    fn request(&self, permits: usize, site: Site) -> Request {
        let total = self.max_permits();
        assert!(permits <= total, "{permits} permits are asked for at once, of a semaphore that has {total}");
        Request { permits: permits as u32, site }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.raw.has_waiters()
    }
}

/// Makes a semaphore with one permit, as Python does.
impl Default for BoundedSemaphore {
    #[track_caller]
    fn default() -> Self {
        Self::new(1)
    }
}

/// Shows how many permits are free, and how many there are; never waits.
impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("BoundedSemaphore");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        out.field("available_permits", &self.available_permits()).field("max_permits", &self.max_permits()).finish()
    }
}
