//! The non-reentrant lock.

mod guard;
mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use guard::{ArcLockGuard, LockGuard, MappedLockGuard};
pub(crate) use raw::{RawLock, RawLockGuard};

use super::guard::{Guard, Guarded};
#[cfg(feature = "serde")]
use crate::deadlock::resource::{DESERIALIZED, SERIALIZED};
use crate::deadlock::resource::{FORMATTED, ResourceType, TypeOf};
use crate::deadlock::{Deadlock, Name};

/// A mutual exclusion lock that explains its deadlocks: Python's `threading.Lock` with the data inside.
///
/// Locking and unlocking a free lock costs two atomic operations and a few stores to a line of the thread's own; no
/// allocation, no registration, no system call. A contended lock parks its waiters. Waits longer than the
/// [grace](crate::deadlock::set_grace) enter the [wait-for graph](crate::deadlock), and one that can never end becomes
/// a panic ([`lock`](Self::lock)) or an error ([`acquire`](Self::acquire)) with a full report.
///
/// What happened before an unlock *happens before* what follows the next lock. The lock is not fair: a running thread
/// may take a free lock before a thread that was woken for it; [`LockGuard::unlock_fair`] hands over instead.
///
/// A lock is never poisoned: if its holder panics, it is released as it is. Validate before you mutate, or use
/// [`acquire`](Self::acquire).
///
/// # Deadlocks
///
/// Asking for a lock that the same thread holds is [`Relock`](crate::deadlock::Kind::Relock) (use an
/// [`RLock`](crate::RLock) where that is meant); threads that wait for each other in a ring are a
/// [`Cycle`](crate::deadlock::Kind::Cycle); a lock whose guard was leaked by a thread that has ended is
/// [`Abandoned`](crate::deadlock::Kind::Abandoned). Waits with a time-out are never part of a verdict.
///
/// # Helpers that lock
///
/// Reports name the line that called `lock`. A function of yours that locks on behalf of its callers, such as a method
/// `fn lock(&self)` of a type that has a lock inside, should be `#[track_caller]`: reports then name the callers' lines,
/// which differ, instead of the one line in that function. A function that is passed on as a value (`map(Lock::new)`,
/// `map(Lock::lock)`, `Arc::default()`) is called by a line of the standard library: write a closure where the line matters.
///
/// [`Debug`](fmt::Debug) and serde know no line of the program: if they lock, reports give the line that made the lock, and
/// say [what it is held for](crate::deadlock::report::Held::purpose). A lock that serde makes is reported as
/// [deserialized](crate::deadlock::report::Resource::is_deserialized).
///
/// # Beside parking_lot's `Mutex`
///
/// Left out on purpose: `raw`, `force_unlock` and `data_ptr`, which release or bypass what the graph believes to be
/// held; `bump` and `unlocked_fair`, which cannot report a deadlock on the way back
/// ([`LockGuard::unlocked`] and [`LockGuard::unlock_fair`] can).
///
/// # Examples
///
/// ```
/// use bowline::Lock;
/// use std::thread;
///
/// static TOTAL: Lock<u64> = Lock::named("total", 0);
///
/// thread::scope(|s| {
///     for n in 1..=10 {
///         s.spawn(move || *TOTAL.lock() += n);
///     }
/// });
/// assert_eq!(*TOTAL.lock(), 55);
/// ```
pub struct Lock<T: ?Sized> {
    raw: RawLock,
    data: UnsafeCell<T>,
}

// SAFETY:
// - the value is reached by the owner only, one thread at a time: it is sent between threads, never shared.
unsafe impl<T: ?Sized + Send> Sync for Lock<T> {}

// SAFETY:
// - both are fields; no method moves the value out of a shared lock.
// - the value is reached through guards, and otherwise through `&mut self` or `self` alone, while none borrows the lock;
//   it is in an `UnsafeCell`.
unsafe impl<T: ?Sized> Guarded for Lock<T> {
    type Raw = RawLock;
    type Value = T;

    #[inline]
    fn raw(&self) -> &RawLock {
        &self.raw
    }

    #[inline]
    fn value(&self) -> *mut T {
        self.data.get()
    }
}

impl<T> Lock<T> {
    /// Makes a free lock. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { raw: RawLock::new(None), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock that reports call `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    ///
    /// let accounts = Lock::named("accounts", vec![100, 200]);
    /// let _guard = accounts.lock();
    /// let deadlock = accounts.acquire().unwrap_err();
    /// assert!(deadlock.to_string().contains("accounts"));
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, value: T) -> Self {
        Self { raw: RawLock::new(Some(name)), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock with a name and a rank. A thread may wait for it only while all locks that it holds have lower ranks,
    /// or none: otherwise that is a [hazard](crate::deadlock::Hazard), told by [policy](crate::deadlock::HazardPolicy).
    ///
    /// So the ranks are the order in which locks are taken, the lowest first. Threads that keep to it never wait for each other
    /// in a circle, and the first one that does not is told, whether another is there at that moment or not.
    ///
    /// A rank costs a few nanoseconds at each acquisition and release; locks without one pay nothing. What is acquired by
    /// `try_` or with a time-out is not checked, and counts as held from then on.
    ///
    /// # Panics
    ///
    /// Where addresses have 32 bits: if the name is longer than 65,535 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::deadlock::{self, HazardPolicy};
    /// use std::panic::catch_unwind;
    ///
    /// static ACCOUNTS: Lock<u64> = Lock::ranked("accounts", 10, 0);
    /// static JOURNAL: Lock<Vec<u64>> = Lock::ranked("journal", 20, Vec::new());
    ///
    /// deadlock::set_hazard_policy(HazardPolicy::Panic);
    /// let in_order = || (ACCOUNTS.lock(), JOURNAL.lock());
    /// drop(in_order());
    /// let the_other_way_round = || drop((JOURNAL.lock(), ACCOUNTS.lock()));
    /// assert!(catch_unwind(the_other_way_round).is_err());
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn ranked(name: &'static str, rank: u16, value: T) -> Self {
        Self { raw: RawLock::ranked(name, rank), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    ///
    /// let shards: Vec<_> = (0..4).map(|at| Lock::with_name(format!("shard {at}"), at)).collect();
    /// # assert!(format!("{:?}", shards[3]).contains("shard 3"));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, value: T) -> Self {
        Self { raw: RawLock::new(Some(name.into().as_str())), data: UnsafeCell::new(value) }
    }

    /// Consumes the lock and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::Lock::new(vec![1]);
    /// lock.lock().push(2);
    /// assert_eq!(lock.into_inner(), [1, 2]);
    /// ```
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    fn describe() -> ResourceType {
        ResourceType::exclusive::<T>("Lock")
    }

    /// Locks, waiting until the lock is free.
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
    /// let lock = bowline::Lock::new(1);
    /// *lock.lock() += 1;
    /// assert_eq!(*lock.lock(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.guard(self.raw.lock(Self::describe)) }
    }

    /// Locks, waiting until the lock is free, or returns why it never will be.
    ///
    /// The same wait as [`lock`](Self::lock); it costs the same.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`. What
    /// the thread holds stays held: drop it (back off) before trying again.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Lock, deadlock::Kind};
    ///
    /// let lock = Lock::new(());
    /// let guard = lock.acquire()?;
    /// assert_eq!(lock.acquire().unwrap_err().report().kind(), Kind::Relock);
    /// drop(guard);
    /// assert!(lock.acquire().is_ok());
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Result<LockGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.guard(self.raw.acquire(Self::describe)?) })
    }

    /// Locks if the lock is free right now. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::Lock::new(());
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some());
    /// assert!(lock.try_lock().is_none());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock(Self::describe)?) })
    }

    /// Locks if the lock becomes free within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock), if `timeout` is longer than the clock can represent, as `Duration::MAX` is: that is no
    /// time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. Even a wait for a lock that this thread holds
    /// lasts until its time-out. A wait whose `timeout` is longer than the clock can represent is judged like any other.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = bowline::Lock::new(());
    /// let guard = lock.try_lock_for(Duration::MAX).unwrap();
    /// assert!(lock.try_lock_for(Duration::from_millis(1)).is_none());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<LockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock_for(Self::describe, timeout)?) })
    }

    /// Locks if the lock becomes free before `deadline`. See [`try_lock_for`](Self::try_lock_for).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (left, right) = (bowline::Lock::new(1), bowline::Lock::new(2));
    /// let deadline = Instant::now() + Duration::from_secs(1); // one limit for both
    /// let both = (left.try_lock_until(deadline), right.try_lock_until(deadline));
    /// assert!(both.0.is_some() && both.1.is_some());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<LockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock_until(Self::describe, deadline)?) })
    }

    /// Locks as [`lock`](Self::lock) does, with a guard that keeps the lock alive instead of borrowing it.
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
    /// use bowline::Lock;
    /// use std::sync::Arc;
    ///
    /// let guard = Arc::new(Lock::new(7)).lock_arc();
    /// assert_eq!(*guard, 7);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock_arc(self: &Arc<Self>) -> ArcLockGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.guard_arc(self.raw.lock(Self::describe)) }
    }

    /// Locks as [`acquire`](Self::acquire) does, with a guard that keeps the lock alive.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Deadlocks
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Lock, deadlock::Kind};
    /// use std::sync::Arc;
    ///
    /// let lock = Arc::new(Lock::new(42));
    /// let guard = lock.acquire_arc()?;
    /// assert_eq!(lock.acquire_arc().unwrap_err().report().kind(), Kind::Relock);
    /// # drop(guard);
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_arc(self: &Arc<Self>) -> Result<ArcLockGuard<T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.guard_arc(self.raw.acquire(Self::describe)?) })
    }

    /// Locks as [`try_lock`](Self::try_lock) does, with a guard that keeps the lock alive.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = std::sync::Arc::new(bowline::Lock::new(42));
    /// let guard = lock.try_lock_arc();
    /// assert!(guard.is_some());
    /// assert!(lock.try_lock_arc().is_none());
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_arc(self: &Arc<Self>) -> Option<ArcLockGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard_arc(self.raw.try_lock(Self::describe)?) })
    }

    /// Locks as [`try_lock_for`](Self::try_lock_for) does, with a guard that keeps the lock alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcLockGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard_arc(self.raw.try_lock_for(Self::describe, timeout)?) })
    }

    /// Locks as [`try_lock_until`](Self::try_lock_until) does, with a guard that keeps the lock alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc_until(self: &Arc<Self>, deadline: Instant) -> Option<ArcLockGuard<T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard_arc(self.raw.try_lock_until(Self::describe, deadline)?) })
    }

    /// Returns whether the lock is held at this moment. The answer may be out of date when it is returned.
    #[inline]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Returns the value without locking: `&mut self` proves that no guard exists.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lock = bowline::Lock::new(40);
    /// *lock.get_mut() += 2;
    /// assert_eq!(lock.into_inner(), 42);
    /// ```
    #[inline]
    pub const fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Locks as [`lock`](Self::lock) does. Reports name the type that `type_of` says: one that wraps this.
    #[inline]
    #[track_caller]
    pub(crate) fn lock_as(&self, type_of: TypeOf) -> LockGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.guard(self.raw.lock(type_of)) }
    }

    /// Locks as [`try_lock`](Self::try_lock) does. Reports name the type that `type_of` says: one that wraps this.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_as(&self, type_of: TypeOf) -> Option<LockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock(type_of)?) })
    }

    /// Locks on behalf of a `Debug`, if the lock is free.
    pub(crate) fn try_lock_to_format(&self, type_of: TypeOf) -> Option<LockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock_at(type_of, FORMATTED)?) })
    }

    /// Locks on behalf of a `Serialize`.
    #[cfg(feature = "serde")]
    pub(crate) fn acquire_to_serialize(&self, type_of: TypeOf) -> Result<LockGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.guard(self.raw.acquire_at(type_of, SERIALIZED)?) })
    }

    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn guard(&self, raw_guard: RawLockGuard) -> LockGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        LockGuard::of(unsafe { Guard::new(self, raw_guard) })
    }

    /// Makes a guard of a raw one; it keeps the lock alive.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn guard_arc(self: &Arc<Self>, raw_guard: RawLockGuard) -> ArcLockGuard<T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        ArcLockGuard::of(unsafe { Guard::new(Arc::clone(self), raw_guard) })
    }
}

// A panic under the lock leaves the value as it is, as it does with any lock that is not poisoned: the lock is released,
// and that is what unwind safety means for it.
impl<T: ?Sized> std::panic::RefUnwindSafe for Lock<T> {}
impl<T: ?Sized> std::panic::UnwindSafe for Lock<T> {}

impl<T: Default> Default for Lock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Lock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shows the value, or that it is locked; never waits.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(42);
/// assert_eq!(format!("{lock:?}"), "Lock { data: 42 }");
/// let _guard = lock.lock();
/// assert_eq!(format!("{lock:?}"), "Lock { data: <locked> }");
/// ```
impl<T: ?Sized + fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Lock");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        match self.try_lock_to_format(Self::describe) {
            Some(guard) => out.field("data", &&*guard),
            None => out.field("data", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Locks while it serializes the value. A deadlock is an error of the serializer.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new([40, 2]);
/// assert_eq!(serde_json::to_string(&lock)?, "[40,2]");
/// let _guard = lock.lock();
/// assert!(serde_json::to_string(&lock).unwrap_err().to_string().contains("deadlock: "));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for Lock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.acquire_to_serialize(Self::describe).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Lock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        Ok(Self { raw: RawLock::made_at(DESERIALIZED), data: UnsafeCell::new(value) })
    }
}
