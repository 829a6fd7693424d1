//! The condition variable of a mutex.

use std::fmt;
use std::sync::LockResult;
use std::time::{Duration, Instant};

use super::mutex::Mutex;
use super::mutex_guard::MutexGuard;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::sync::{Condition, LockGuard};

/// A condition variable with std's signatures: [`std::sync::Condvar`] in the [wait-for graph](crate::deadlock).
///
/// It is a [`Condition`](crate::Condition), and takes the guards of a [`Mutex`]. A notification that finds no waiter costs one
/// load; a wait costs a system call for its sleep and its waker one more. It takes 72 bytes, and nothing is allocated. Unlike
/// std's it has no spurious wake-ups, and may be used with several mutexes.
///
/// # Deadlocks
///
/// The wait for a notification is part of no verdict: any thread may notify. The wait for the mutex that follows is like any
/// other, and can be part of a `Cycle` or be `Abandoned`. Its panic leaves the mutex as it is, neither locked nor poisoned by
/// this thread. A notification has come then, which this waiter has used up.
///
/// # Examples
///
/// ```
/// use bowline::std_sync::{Condvar, Mutex}; // was: use std::sync::{Condvar, Mutex};
/// use bowline::thread;
///
/// let (orders, arrived) = (Mutex::new(Vec::new()), Condvar::new());
/// thread::scope(|s| {
///     s.spawn(|| {
///         let mut orders = arrived.wait_while(orders.lock().unwrap(), |orders| orders.is_empty()).unwrap();
///         assert_eq!(orders.pop(), Some("rope"));
///     });
///     orders.lock().unwrap().push("rope");
///     arrived.notify_one();
/// });
/// ```
pub struct Condvar {
    condition: Condition,
}

impl Condvar {
    /// Makes a condition variable without waiters. Reports name it by the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self { condition: Condition::new() }
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// # Errors
    ///
    /// The guard, inside of a [`PoisonError`](super::PoisonError), if the mutex is poisoned when it is locked again.
    ///
    /// # Panics
    ///
    /// If locking again is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`: see
    /// [the type](Self#deadlocks).
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks).
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (guard, _) = self.wait_within(guard, Limit::None);
        guard
    }

    /// Waits while `condition` returns `true`.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait). A mutex that was poisoned before is an error only if there was something to wait for.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait). If `condition` panics, which poisons the mutex.
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks).
    #[track_caller]
    pub fn wait_while<'a, T, F>(&self, mut guard: MutexGuard<'a, T>, mut condition: F) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits as [`wait`](Self::wait) does, for at most so many milliseconds. Returns also whether there was a notification.
    ///
    /// # Errors
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Panics
    ///
    /// As [`wait_timeout`](Self::wait_timeout).
    #[deprecated(since = "0.2.0", note = "replaced by `wait_timeout`, as in std")]
    #[track_caller]
    pub fn wait_timeout_ms<'a, T>(&self, guard: MutexGuard<'a, T>, ms: u32) -> LockResult<(MutexGuard<'a, T>, bool)> {
        match self.wait_timeout(guard, Duration::from_millis(ms.into())) {
            Ok((guard, result)) => Ok((guard, !result.timed_out())),
            Err(poisoned) => {
                let (guard, result) = poisoned.into_inner();
                Err(super::PoisonError::new((guard, !result.timed_out())))
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does, for at most `dur`. One that is longer than the clock can represent is none.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait), with or without a notification: locking again has no limit.
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::std_sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (mutex, changed) = (Mutex::new(()), Condvar::new());
    /// let (_guard, result) = changed.wait_timeout(mutex.lock().unwrap(), Duration::from_millis(1)).unwrap();
    /// assert!(result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        dur: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        let (guard, was_notified) = self.wait_within(guard, Limit::after(dur));
        let result = WaitTimeoutResult(!was_notified);
        match guard {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(super::PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    /// Waits while `condition` returns `true`, for at most `dur`. It timed out if the predicate still asked to wait when the
    /// limit was over.
    ///
    /// # Errors
    ///
    /// As [`wait_while`](Self::wait_while).
    ///
    /// # Panics
    ///
    /// As [`wait_while`](Self::wait_while), with or without a notification: locking again has no limit.
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks).
    #[track_caller]
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        dur: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let start = Instant::now();
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            let Some(rest) = dur.checked_sub(start.elapsed()) else {
                return Ok((guard, WaitTimeoutResult(true)));
            };
            guard = self.wait_timeout(guard, rest)?.0;
        }
    }

    /// Wakes the thread that has waited for longest, if any waits.
    pub fn notify_one(&self) {
        self.condition.notify_one();
    }

    /// Wakes all threads that wait.
    pub fn notify_all(&self) {
        self.condition.notify_all();
    }

    /// Waits, and returns the guard and whether there was a notification.
    #[track_caller]
    fn wait_within<'a, T>(&self, guard: MutexGuard<'a, T>, limit: Limit) -> (LockResult<MutexGuard<'a, T>>, bool) {
        let MutexGuard { poison, inner } = guard;
        // Disarmed: who panics because they can't lock again holds nothing that is half changed.
        let (watch, lock) = (poison.disarm(), LockGuard::lock(&inner));
        let was_notified = self.condition.wait_after(|| drop(inner), limit, describe);
        let inner = lock.lock_as(Mutex::<T>::describe);
        (watch.poison().wrap(MutexGuard { poison: watch.arm(), inner }), was_notified)
    }
}

fn describe() -> ResourceType {
    // It protects nothing, and nobody holds it.
    ResourceType { primitive: "Condvar", data: "", mode: HoldMode::Exclusive, id_of: None }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Whether a wait that had a limit ended by it: [`std::sync::WaitTimeoutResult`].
#[derive(Debug, PartialEq, Eq, Copy, Clone)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns whether the limit came first.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}
