//! The condition variable.

mod acquire;
mod error;
mod guard;
mod queue;
mod raw;

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

pub use error::{RLockWaitError, WaitTimeoutResult};
pub(super) use guard::suspend::Suspend;
pub use guard::{ConditionGuard, GuardAccess};
pub(crate) use queue::Waiter;
pub(crate) use raw::RawCondition;

use crate::deadlock::Name;
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::resource::{Site, TypeOf};

/// A condition variable: threads that hold a lock wait, with the lock released, until another thread notifies them. Python's
/// `threading.Condition`, with the methods of parking_lot's `Condvar`.
///
/// A wait releases the lock and begins to wait in one step: a thread that takes the lock afterwards, changes what it
/// protects and [notifies](Self::notify_one), under the lock or after it, finds the waiter. The lock is held again when the
/// wait returns, and what happened before the notification *happens before* that.
///
/// A wait ends by a notification or by its limit, and by nothing else: there are no spurious wake-ups. Nevertheless wait
/// [while a predicate holds](Self::wait_while): between the notification and the return another thread may take the lock
/// and change the value again.
///
/// Waiters are notified in the order in which they began to wait. Then each locks as any other thread does, in an order
/// that the [lock](crate::Lock) decides; the lock is not handed over, and a running thread may overtake. A woken thread never
/// sleeps on: it is not moved from one queue to another while it sleeps, so that reports show where it really waits.
///
/// A notification that finds no waiter costs one load. Each wait costs a system call for its sleep and its waker one more,
/// as with any condition variable, and three short critical sections of a mutex of the condition. Nothing is allocated;
/// [`new`](Self::new) is `const`.
///
/// The guard is that of a [`Lock`](crate::Lock), or of an [`RLock`](crate::RLock) that the thread holds once: see
/// [`ConditionGuard`]. One condition may be used with several locks, even at the same time: each waiter takes its own lock
/// again. `notify_one` then wakes the one that has waited for longest, whichever lock that is.
///
/// # Deadlocks
///
/// A wait for a notification is part of no verdict: any thread may notify. It is in
/// [snapshots](crate::deadlock::snapshot), [dumps](crate::deadlock::dump) and [long waits](crate::deadlock::warn_after).
/// If the waiter holds something else, and another thread waits for that, these say so, as a
/// [suspicion](crate::deadlock::report::StuckThread::suspicions): if that thread is the one that has to notify, neither will
/// go on.
///
/// The wait for the lock that follows is like any other, and can be part of a `Cycle` or be `Abandoned`. The forms that
/// take `&mut` return with the lock held, always, so they cannot be the victim: another member of the cycle is. Where
/// none can be, [`Policy::Panic`](crate::deadlock::Policy) prints the report and aborts. The forms that take the guard by
/// value, [`acquire_wait`](Self::acquire_wait) and its kin, return the deadlock as an error.
///
/// # Beside parking_lot's `Condvar`
///
/// A [predicate that still holds](Self::wait_while_for) decides whether a wait timed out, as in std; the count of
/// [`notify_all`](Self::notify_all) is exact; two locks are no panic.
///
/// # Examples
///
/// ```
/// use bowline::{Condition, Lock};
/// use std::thread;
///
/// let (orders, arrived) = (Lock::new(Vec::new()), Condition::named("arrived"));
/// thread::scope(|s| {
///     s.spawn(|| {
///         let mut orders = orders.lock();
///         arrived.wait_while(&mut orders, |orders| orders.is_empty());
///         assert_eq!(orders.pop(), Some("rope"));
///     });
///     orders.lock().push("rope");
///     arrived.notify_one();
/// });
/// ```
pub struct Condition {
    raw: RawCondition,
}

impl Condition {
    /// Makes a condition without waiters. Reports name it by the line of this call.
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self { raw: RawCondition::new(None) }
    }

    /// Makes a condition that reports call `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Condition;
    ///
    /// static ARRIVED: Condition = Condition::named("arrived");
    /// assert_eq!(format!("{ARRIVED:?}"), r#"Condition { name: "arrived", waiting: 0 }"#);
    /// ```
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        Self { raw: RawCondition::new(Some(name)) }
    }

    /// Makes a condition under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>) -> Self {
        Self { raw: RawCondition::new(Some(name.into().as_str())) }
    }

    /// Releases the lock, waits for a notification, and locks again.
    ///
    /// # Panics
    ///
    /// If the guard is that of an [`RLock`](crate::RLock) of which the thread has other guards. What they give access to
    /// may be in use, so that the lock cannot be released: drop all guards but one before the wait.
    ///
    /// # Deadlocks
    ///
    /// None while it waits for the notification. As a wait for the lock it is never the victim:
    /// see [`Condition`](Self#deadlocks).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock};
    /// use std::thread;
    ///
    /// let (turn, changed) = (Lock::new("bow"), Condition::new());
    /// thread::scope(|s| {
    ///     let mut guard = turn.lock();
    ///     s.spawn(|| {
    ///         *turn.lock() = "line"; // free while the other thread waits
    ///         changed.notify_one();
    ///     });
    ///     changed.wait(&mut guard);
    ///     assert_eq!(*guard, "line");
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self, guard: &mut impl ConditionGuard) {
        _ = self.wait_within(guard, Limit::None, Location::caller());
    }

    /// Waits for notifications while `condition` returns `true`, which is asked first, and after each of them. The lock is
    /// held while it runs; if it panics, the lock is still held by the guard.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, RLock};
    /// use std::cell::Cell;
    /// use std::thread;
    ///
    /// let (started, changed) = (RLock::new(Cell::new(false)), Condition::new());
    /// thread::scope(|s| {
    ///     s.spawn(|| {
    ///         started.lock().set(true);
    ///         changed.notify_all();
    ///     });
    ///     changed.wait_while(&mut started.lock(), |started| !started.get());
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
    ) {
        let site = Location::caller();
        while condition(guard.access()) {
            _ = self.wait_within(guard, Limit::None, site);
        }
    }

    /// Waits as [`wait`](Self::wait) does, for at most `timeout`. The time counts for the notification; the lock is waited
    /// for however long that takes. A `timeout` that is longer than the clock can represent is none.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait): locking again has no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock};
    /// use std::time::Duration;
    ///
    /// let (lock, changed) = (Lock::new(()), Condition::new());
    /// let mut guard = lock.lock();
    /// assert!(changed.wait_for(&mut guard, Duration::from_millis(1)).timed_out());
    /// assert!(lock.is_locked());
    /// ```
    #[track_caller]
    pub fn wait_for(&self, guard: &mut impl ConditionGuard, timeout: Duration) -> WaitTimeoutResult {
        self.wait_within(guard, Limit::after(timeout), Location::caller())
    }

    /// Waits as [`wait`](Self::wait) does, until `deadline` at the latest. See [`wait_for`](Self::wait_for).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait): locking again has no limit.
    #[track_caller]
    pub fn wait_until(&self, guard: &mut impl ConditionGuard, deadline: Instant) -> WaitTimeoutResult {
        self.wait_within(guard, Limit::Until(deadline), Location::caller())
    }

    /// Waits as [`wait_while`](Self::wait_while) does, for at most `timeout`. It has timed out if `condition` returns
    /// `true` once more when that is over.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait): locking again has no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock};
    /// use std::time::Duration;
    ///
    /// let (orders, arrived) = (Lock::new(vec!["rope"]), Condition::new());
    /// let limit = Duration::from_millis(1);
    /// let mut guard = orders.lock();
    /// assert!(!arrived.wait_while_for(&mut guard, |orders| orders.is_empty(), limit).timed_out());
    /// guard.pop();
    /// assert!(arrived.wait_while_for(&mut guard, |orders| orders.is_empty(), limit).timed_out());
    /// ```
    #[track_caller]
    pub fn wait_while_for<G: ConditionGuard>(
        &self,
        guard: &mut G,
        condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        self.wait_while_within(guard, condition, Limit::after(timeout), Location::caller())
    }

    /// Waits as [`wait_while`](Self::wait_while) does, until `deadline` at the latest. See
    /// [`wait_while_for`](Self::wait_while_for).
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait): locking again has no limit.
    #[track_caller]
    pub fn wait_while_until<G: ConditionGuard>(
        &self,
        guard: &mut G,
        condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        deadline: Instant,
    ) -> WaitTimeoutResult {
        self.wait_while_within(guard, condition, Limit::Until(deadline), Location::caller())
    }

    /// Wakes the thread that has waited for longest. Returns whether there was one.
    ///
    /// The lock need not be held. If it is not, notify after the change was made under the lock: otherwise the waiter may
    /// look before the change, and begin to wait after the notification.
    ///
    /// # Examples
    ///
    /// ```
    /// let changed = bowline::Condition::new();
    /// assert!(!changed.notify_one()); // nobody waits, and nobody will learn of it
    /// ```
    pub fn notify_one(&self) -> bool {
        self.notify(1) == 1
    }

    /// Wakes all threads that wait at this moment. Returns how many.
    ///
    /// The count is exact, as is that of [`notify`](Self::notify): a thread that is counted returns from its wait as
    /// notified, and a wait that ends by its limit at the same moment is one or the other.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(bowline::Condition::new().notify_all(), 0);
    /// ```
    pub fn notify_all(&self) -> usize {
        self.notify(usize::MAX)
    }

    /// Wakes up to `n` threads, those that have waited for longest. Returns how many. Python's `notify(n)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Condition, Lock, deadlock};
    /// use std::thread;
    ///
    /// let (lock, changed) = (Lock::new(0), Condition::new());
    /// thread::scope(|s| {
    ///     for _ in 0..3 {
    ///         s.spawn(|| changed.wait_while(&mut lock.lock(), |waiting| {
    ///             *waiting += 1; // once before the wait, once after it
    ///             *waiting <= 3
    ///         }));
    ///     }
    ///     while *lock.lock() < 3 {
    ///         thread::yield_now();
    ///     }
    ///     assert_eq!(changed.notify(2), 2);
    ///     assert_eq!(changed.notify(2), 1);
    /// });
    /// ```
    pub fn notify(&self, n: usize) -> usize {
        self.raw.notify(n)
    }

    #[track_caller]
    fn wait_within<G: ConditionGuard>(&self, guard: &mut G, limit: Limit, site: Site) -> WaitTimeoutResult {
        // Hooks may run, and keep a guard: so this comes first.
        guard.check_rank(site);
        guard.assert_alone();
        let waiter = Waiter::new(registry::current());
        // SAFETY:
        // - it is dropped in this function, before the waiter, which stays where it is.
        // - the waiter is new.
        let queued = unsafe { self.raw.enqueue(&waiter) };
        WaitTimeoutResult(!guard.suspend(site, || queued.wait(site, limit)))
    }

    /// Begins to wait, calls `release`, which unlocks what a notifier locks, and waits. Returns whether there was a notification.
    /// Reports name the type that `type_of` says: one that wraps this.
    #[track_caller]
    pub(crate) fn wait_after(&self, release: impl FnOnce(), limit: Limit, type_of: TypeOf) -> bool {
        let waiter = Waiter::new(registry::current());
        // SAFETY:
        // - it is dropped in this function, before the waiter, which stays where it is.
        // - the waiter is new.
        let queued = unsafe { self.raw.enqueue(&waiter) }.named_as(type_of);
        release();
        queued.wait(Location::caller(), limit)
    }

    #[track_caller]
    fn wait_while_within<G: ConditionGuard>(
        &self,
        guard: &mut G,
        mut condition: impl for<'g> FnMut(<G as GuardAccess<'g>>::Value) -> bool,
        limit: Limit,
        site: Site,
    ) -> WaitTimeoutResult {
        while condition(guard.access()) {
            if self.wait_within(guard, limit, site).timed_out() {
                return WaitTimeoutResult(condition(guard.access()));
            }
        }
        WaitTimeoutResult(false)
    }
}

impl Default for Condition {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the name and how many threads wait; never waits.
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Condition");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        out.field("waiting", &self.raw.waiting()).finish()
    }
}
