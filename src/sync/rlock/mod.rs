//! The re-entrant lock.

mod guard;
mod raw;

use std::cell::UnsafeCell;
use std::fmt;
use std::time::{Duration, Instant};

pub use guard::{MappedRLockGuard, RLockGuard};
pub(crate) use raw::RawRLock;

use self::raw::RawRLockGuard;
use super::guard::{Guard, Guarded};
#[cfg(feature = "serde")]
use crate::deadlock::resource::{DESERIALIZED, SERIALIZED};
use crate::deadlock::resource::{FORMATTED, ResourceType};
use crate::deadlock::{Deadlock, Name};

/// A mutual exclusion lock that its owner may take again: Python's `threading.RLock` with the data inside.
///
/// The same lock word, cost, wait-for graph and lack of poisoning as a [`Lock`](crate::Lock); taking it again costs two
/// loads and two stores, no atomic read-modify-write. It is free once every guard is dropped, in any order. Guards give
/// shared references, since several of them exist at once: put a [`Cell`](std::cell::Cell) or a
/// [`RefCell`](std::cell::RefCell) inside to mutate.
///
/// The owner is named by a number that no other thread ever gets: if a thread forgets a guard and ends, the lock stays
/// held.
///
/// # Deadlocks
///
/// As [`Lock`](crate::Lock), except that taking it again is no `Relock`. A helper of yours that locks should be
/// `#[track_caller]` here, too, so that reports name its callers' lines.
///
/// # Beside parking_lot's `ReentrantMutex`
///
/// Left out: `raw`, `force_unlock`, `data_ptr` and `bump`, as for [`Lock`](crate::Lock); `unlocked`, which cannot
/// promise that the lock is free meanwhile; guards that keep an [`Arc`](std::sync::Arc).
///
/// # Examples
///
/// ```
/// use bowline::RLock;
/// use std::cell::Cell;
///
/// let count = RLock::new(Cell::new(0));
/// let outer = count.lock();
/// let inner = count.lock(); // the same thread, again
/// inner.set(inner.get() + 1);
/// assert_eq!(count.depth(), 2);
/// assert_eq!(outer.get(), 1);
/// ```
pub struct RLock<T: ?Sized> {
    raw: RawRLock,
    data: UnsafeCell<T>,
}

// SAFETY:
// - the value is reached by the owner only, one thread at a time: it is sent between threads, never shared.
unsafe impl<T: ?Sized + Send> Sync for RLock<T> {}

// SAFETY:
// - both are fields; no method moves the value out of a shared lock.
// - the value is reached through guards, and otherwise through `&mut self` or `self` alone, while none borrows the lock;
//   no guard of this lock is exclusive.
unsafe impl<T: ?Sized> Guarded for RLock<T> {
    type Raw = RawRLock;
    type Value = T;

    #[inline]
    fn raw(&self) -> &RawRLock {
        &self.raw
    }

    #[inline]
    fn value(&self) -> *mut T {
        self.data.get()
    }
}

impl<T> RLock<T> {
    /// Makes a free lock. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { raw: RawRLock::new(None), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock that reports call `name`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, value: T) -> Self {
        Self { raw: RawRLock::new(Some(name)), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock with a name and a rank. A thread may wait for it only while all locks that it holds have lower ranks,
    /// or none: otherwise that is a [hazard](crate::deadlock::Hazard), told by [policy](crate::deadlock::HazardPolicy).
    ///
    /// See [`Lock::ranked`](crate::Lock::ranked).
    ///
    /// A rank costs a few nanoseconds at each acquisition and release; locks without one pay nothing. What is acquired by
    /// `try_` or with a time-out is not checked, and counts as held from then on. Nor is taking it again.
    ///
    /// # Panics
    ///
    /// Where addresses have 32 bits: if the name is longer than 65,535 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    ///
    /// static LOG: RLock<()> = RLock::ranked("log", 100, ());
    ///
    /// let outer = LOG.lock();
    /// let inner = LOG.lock(); // again: the owner waits for nobody
    /// # drop((outer, inner));
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn ranked(name: &'static str, rank: u16, value: T) -> Self {
        Self { raw: RawRLock::ranked(name, rank), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    ///
    /// let shards: Vec<_> = (0..4).map(|at| RLock::with_name(format!("shard {at}"), at)).collect();
    /// # assert!(format!("{:?}", shards[3]).contains("shard 3"));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, value: T) -> Self {
        Self { raw: RawRLock::new(Some(name.into().as_str())), data: UnsafeCell::new(value) }
    }

    /// Consumes the lock and returns the value.
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RLock<T> {
    fn describe() -> ResourceType {
        ResourceType::exclusive::<T>("RLock")
    }

    /// Locks, waiting while another thread holds the lock.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`; if this thread holds the
    /// lock 2³² − 1 times.
    ///
    /// # Deadlocks
    ///
    /// `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    /// use std::cell::RefCell;
    ///
    /// let names = RLock::new(RefCell::new(Vec::new()));
    /// let add = |name| names.lock().borrow_mut().push(name);
    /// let guard = names.lock();
    /// add("bight"); // locks again
    /// assert_eq!(*guard.borrow(), ["bight"]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> RLockGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.guard(self.raw.lock(Self::describe)) }
    }

    /// Locks, waiting while another thread holds the lock, or returns why that can never end.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`.
    ///
    /// # Panics
    ///
    /// If this thread holds the lock 2³² − 1 times.
    ///
    /// # Deadlocks
    ///
    /// `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    ///
    /// let lock = RLock::new(42);
    /// let outer = lock.acquire()?;
    /// let inner = lock.acquire()?; // no deadlock: the same thread
    /// assert_eq!((*outer, lock.depth()), (42, 2));
    /// # drop(inner);
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Result<RLockGuard<'_, T>, Deadlock> {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(unsafe { self.guard(self.raw.acquire(Self::describe)?) })
    }

    /// Locks if no other thread holds the lock right now. Never waits.
    ///
    /// # Panics
    ///
    /// If this thread holds the lock 2³² − 1 times.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RLock::new(());
    /// let guard = lock.lock();
    /// assert!(lock.try_lock().is_some());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.try_lock().is_none()));
    /// });
    /// # drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> Option<RLockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock(Self::describe)?) })
    }

    /// Locks if that is possible within `timeout`.
    ///
    /// # Panics
    ///
    /// If this thread holds the lock 2³² − 1 times. As [`lock`](Self::lock), if `timeout` is longer than the clock can
    /// represent, as `Duration::MAX` is: that is no time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself. One whose `timeout` is longer than the clock can represent is judged like any other.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = bowline::RLock::new(());
    /// let guard = lock.lock();
    /// assert!(lock.try_lock_for(Duration::from_millis(1)).is_some());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.try_lock_for(Duration::from_millis(1)).is_none()));
    /// });
    /// # drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<RLockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock_for(Self::describe, timeout)?) })
    }

    /// Locks if that is possible before `deadline`. See [`try_lock_for`](Self::try_lock_for).
    ///
    /// # Panics
    ///
    /// If this thread holds the lock 2³² − 1 times.
    #[inline]
    #[track_caller]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<RLockGuard<'_, T>> {
        // SAFETY:
        // - the raw guard is of this lock.
        Some(unsafe { self.guard(self.raw.try_lock_until(Self::describe, deadline)?) })
    }

    /// Returns whether the lock is held at this moment. The answer may be out of date when it is returned, unless this
    /// thread holds the lock.
    #[inline]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Returns whether this thread holds the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RLock::new(());
    /// let _guard = lock.lock();
    /// assert!(lock.is_owned());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.is_locked() && !lock.is_owned()));
    /// });
    /// ```
    #[inline]
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.raw.is_owned()
    }

    /// Returns how many times this thread holds the lock, 0 if it does not.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RLock::new(());
    /// let _outer = lock.lock();
    /// let _inner = lock.lock();
    /// assert_eq!(lock.depth(), 2);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(lock.depth(), 0));
    /// });
    /// ```
    #[inline]
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.raw.depth()
    }

    /// Returns the value without locking: `&mut self` proves that no guard exists.
    #[inline]
    pub const fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// Makes a guard of a raw one.
    ///
    /// # Safety
    ///
    /// - The raw guard is of this lock.
    #[inline]
    unsafe fn guard(&self, raw_guard: RawRLockGuard) -> RLockGuard<'_, T> {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        RLockGuard::of(unsafe { Guard::new(self, raw_guard) })
    }
}

// As with `Lock`: a panic releases the lock and leaves the value as it is.
impl<T: ?Sized> std::panic::RefUnwindSafe for RLock<T> {}
impl<T: ?Sized> std::panic::UnwindSafe for RLock<T> {}

impl<T: Default> Default for RLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shows the depth and the value, or that another thread holds the lock; never waits.
impl<T: ?Sized + fmt::Debug> fmt::Debug for RLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RLock");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        let depth = self.depth();
        match self.raw.try_lock_at(Self::describe, FORMATTED) {
            // SAFETY:
            // - the raw guard is of this lock.
            Some(raw_guard) => out.field("depth", &depth).field("data", &&*unsafe { self.guard(raw_guard) }),
            None => out.field("data", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Locks while it serializes the value. A deadlock is an error of the serializer.
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for RLock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw_guard = self.raw.acquire_at(Self::describe, SERIALIZED).map_err(serde::ser::Error::custom)?;
        // SAFETY:
        // - the raw guard is of this lock.
        unsafe { self.guard(raw_guard) }.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for RLock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        Ok(Self { raw: RawRLock::made_at(DESERIALIZED), data: UnsafeCell::new(value) })
    }
}
