//! Waits that take their guard by value, and return a deadlock in its place.

use std::panic::Location;
use std::time::{Duration, Instant};

use super::{Condition, ConditionGuard, GuardAccess, WaitTimeoutResult, Waiter};
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::resource::Site;

impl Condition {
    /// Releases the lock, waits for a notification, and locks again, or returns why that can never be.
    ///
    /// The same wait as [`wait`](Self::wait). It takes the guard by value, since there is none if it fails.
    ///
    /// # Errors
    ///
    /// - [`Deadlock`](crate::deadlock::Deadlock) if locking again is part of a deadlock and was chosen to break it. The lock
    ///   is not held. A notification has come, which this waiter has used up: if another waiter could do what it was for,
    ///   [notify](Self::notify_one) that.
    /// - For an [`RLock`](crate::RLock) it comes in [`RLockWaitError`](crate::sync::RLockWaitError), which also tells that the
    ///   thread has other guards of the lock: then nothing was waited for, and the guard is dropped.
    ///
    /// # Deadlocks
    ///
    /// None while it waits for the notification; after that, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock};
    /// use std::thread;
    ///
    /// let (turn, changed) = (Lock::new("bow"), Condition::new());
    /// thread::scope(|s| {
    ///     let guard = turn.lock();
    ///     s.spawn(|| {
    ///         *turn.lock() = "line";
    ///         changed.notify_one();
    ///     });
    ///     let guard = changed.acquire_wait(guard)?;
    ///     assert_eq!(*guard, "line");
    ///     Ok::<(), bowline::deadlock::Deadlock>(())
    /// })?;
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[track_caller]
    pub fn acquire_wait<G: ConditionGuard>(&self, guard: G) -> Result<G, G::Error> {
        Ok(self.acquire_within(guard, Limit::None, Location::caller())?.0)
    }

    /// Waits as [`wait_while`](Self::wait_while) does, or returns why locking again can never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_wait`](Self::acquire_wait).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_wait`](Self::acquire_wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock};
    /// use std::thread;
    ///
    /// let (orders, arrived) = (Lock::new(Vec::new()), Condition::new());
    /// thread::scope(|s| {
    ///     s.spawn(|| {
    ///         orders.lock().push("rope");
    ///         arrived.notify_one();
    ///     });
    ///     let mut orders = arrived.acquire_wait_while(orders.acquire()?, |orders| orders.is_empty())?;
    ///     assert_eq!(orders.pop(), Some("rope"));
    ///     Ok::<(), bowline::deadlock::Deadlock>(())
    /// })?;
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[track_caller]
    pub fn acquire_wait_while<G: ConditionGuard>(
        &self,
        guard: G,
        condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
    ) -> Result<G, G::Error> {
        Ok(self.acquire_while_within(guard, condition, Limit::None, Location::caller())?.0)
    }

    /// Waits as [`wait_for`](Self::wait_for) does, or returns why locking again can never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_wait`](Self::acquire_wait), with or without a notification.
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_wait`](Self::acquire_wait): locking again has no limit.
    #[track_caller]
    pub fn acquire_wait_for<G: ConditionGuard>(
        &self,
        guard: G,
        timeout: Duration,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        self.acquire_within(guard, Limit::after(timeout), Location::caller())
    }

    /// Waits as [`wait_until`](Self::wait_until) does, or returns why locking again can never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_wait`](Self::acquire_wait), with or without a notification.
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_wait`](Self::acquire_wait): locking again has no limit.
    #[track_caller]
    pub fn acquire_wait_until<G: ConditionGuard>(
        &self,
        guard: G,
        deadline: Instant,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        self.acquire_within(guard, Limit::Until(deadline), Location::caller())
    }

    /// Waits as [`wait_while_for`](Self::wait_while_for) does, or returns why locking again can never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_wait`](Self::acquire_wait), with or without a notification.
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_wait`](Self::acquire_wait): locking again has no limit.
    #[track_caller]
    pub fn acquire_wait_while_for<G: ConditionGuard>(
        &self,
        guard: G,
        condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        timeout: Duration,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        self.acquire_while_within(guard, condition, Limit::after(timeout), Location::caller())
    }

    /// Waits as [`wait_while_until`](Self::wait_while_until) does, or returns why locking again can never be.
    ///
    /// # Errors
    ///
    /// As [`acquire_wait`](Self::acquire_wait), with or without a notification.
    ///
    /// # Deadlocks
    ///
    /// As [`acquire_wait`](Self::acquire_wait): locking again has no limit.
    #[track_caller]
    pub fn acquire_wait_while_until<G: ConditionGuard>(
        &self,
        guard: G,
        condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        deadline: Instant,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        self.acquire_while_within(guard, condition, Limit::Until(deadline), Location::caller())
    }

    #[track_caller]
    fn acquire_within<G: ConditionGuard>(
        &self,
        guard: G,
        limit: Limit,
        site: Site,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        // Hooks may run, and keep a guard: so this comes first.
        guard.check_rank(site);
        let guard = guard.alone()?;
        let waiter = Waiter::new(registry::current());
        // SAFETY:
        // - it is dropped in this function, before the waiter, which stays where it is.
        // - the waiter is new.
        let queued = unsafe { self.raw.enqueue(&waiter) };
        let (guard, notified) = guard.try_suspend(site, || queued.wait(site, limit))?;
        Ok((guard, WaitTimeoutResult(!notified)))
    }

    #[track_caller]
    fn acquire_while_within<G: ConditionGuard>(
        &self,
        mut guard: G,
        mut condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        limit: Limit,
        site: Site,
    ) -> Result<(G, WaitTimeoutResult), G::Error> {
        while condition(guard.access()) {
            let result;
            (guard, result) = self.acquire_within(guard, limit, site)?;
            if result.timed_out() {
                let result = WaitTimeoutResult(condition(guard.access()));
                return Ok((guard, result));
            }
        }
        Ok((guard, WaitTimeoutResult(false)))
    }
}
