//! The non-reentrant lock.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lock_guard::{ArcLockGuard, LockGuard};
use super::raw_lock::RawLock;
use crate::deadlock::Deadlock;
#[cfg(feature = "serde")]
use crate::deadlock::resource::{DESERIALIZED, SERIALIZED};
use crate::deadlock::resource::{FORMATTED, ResourceType};

/// A mutual exclusion lock that explains its deadlocks: Python's `threading.Lock` with the data inside.
///
/// Locking and unlocking a free lock costs two atomic operations and a few stores to a line of the thread's own; no
/// allocation, no registration, no system call. A contended lock parks its waiters. Waits longer than the
/// [grace](crate::deadlock::set_grace) enter the [wait-for graph](crate::deadlock), and one that can never end becomes
/// a panic ([`lock`](Self::lock)) or an error ([`acquire`](Self::acquire)) with a full report.
///
/// What happened before an unlock *happens before* what follows the next lock. The lock is not fair: a running thread
/// may take a free lock before those who were woken for it; [`LockGuard::unlock_fair`] hands over instead.
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
/// `fn lock(&self)` of a type that has a lock inside, should be `#[track_caller]`: then they name the callers' lines, which
/// differ, and not the one line in that function. A function that is passed on as a value (`map(Lock::new)`,
/// `map(Lock::lock)`, `Arc::default()`) is called by a line of the standard library: write a closure where the line matters.
///
/// [`Debug`](fmt::Debug) and serde know no line of the program: a lock that they take is told as that, with the line that
/// [made](crate::deadlock::Held::purpose) it, and one that they make [as that](crate::deadlock::Resource::is_deserialized).
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
#[repr(transparent)]
pub struct Lock<T: ?Sized>(pub(super) lock_api::Mutex<RawLock, T>);

impl<T> Lock<T> {
    /// Makes a free lock. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self(lock_api::Mutex::from_raw(RawLock::new(None), value))
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
        Self(lock_api::Mutex::from_raw(RawLock::new(Some(name)), value))
    }

    /// Takes the value out.
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Lock<T> {
    #[inline]
    fn raw(&self) -> &RawLock {
        // SAFETY:
        // - nothing below unlocks the raw lock but with a guard of its own.
        unsafe { self.0.raw() }
    }

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
        let guard = self.raw().lock(Self::describe);
        // SAFETY:
        // - `guard` proves that the lock is held.
        LockGuard(unsafe { self.0.make_guard_unchecked(guard) })
    }

    /// Locks, waiting until the lock is free, or says why it never will be.
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
        let guard = self.raw().acquire(Self::describe)?;
        // SAFETY:
        // - `guard` proves that the lock is held.
        Ok(LockGuard(unsafe { self.0.make_guard_unchecked(guard) }))
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
        let guard = self.raw().try_lock(Self::describe)?;
        // SAFETY:
        // - `guard` proves that the lock is held.
        Some(LockGuard(unsafe { self.0.make_guard_unchecked(guard) }))
    }

    /// Locks if the lock becomes free within `timeout`.
    ///
    /// # Panics
    ///
    /// As [`lock`](Self::lock), if `timeout` is past what the clock can tell, as `Duration::MAX` is: that is no time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself, so it is never part of a verdict. Even a wait for a lock that this thread holds
    /// lasts until its time-out. A wait whose `timeout` is past what the clock can tell is judged like any other.
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
        let guard = self.raw().try_lock_for(Self::describe, timeout)?;
        // SAFETY:
        // - `guard` proves that the lock is held.
        Some(LockGuard(unsafe { self.0.make_guard_unchecked(guard) }))
    }

    /// Locks if the lock becomes free before `deadline`. See [`try_lock_for`](Self::try_lock_for).
    #[inline]
    #[track_caller]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<LockGuard<'_, T>> {
        let guard = self.raw().try_lock_until(Self::describe, deadline)?;
        // SAFETY:
        // - `guard` proves that the lock is held.
        Some(LockGuard(unsafe { self.0.make_guard_unchecked(guard) }))
    }

    /// [`lock`](Self::lock), with a guard that keeps the lock alive instead of borrowing it.
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
        ArcLockGuard::new(self, self.raw().lock(Self::describe))
    }

    /// [`acquire`](Self::acquire), with a guard that keeps the lock alive.
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
    pub fn acquire_arc(self: &Arc<Self>) -> Result<ArcLockGuard<T>, Deadlock> {
        Ok(ArcLockGuard::new(self, self.raw().acquire(Self::describe)?))
    }

    /// [`try_lock`](Self::try_lock), with a guard that keeps the lock alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc(self: &Arc<Self>) -> Option<ArcLockGuard<T>> {
        Some(ArcLockGuard::new(self, self.raw().try_lock(Self::describe)?))
    }

    /// [`try_lock_for`](Self::try_lock_for), with a guard that keeps the lock alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc_for(self: &Arc<Self>, timeout: Duration) -> Option<ArcLockGuard<T>> {
        Some(ArcLockGuard::new(self, self.raw().try_lock_for(Self::describe, timeout)?))
    }

    /// [`try_lock_until`](Self::try_lock_until), with a guard that keeps the lock alive.
    #[inline]
    #[track_caller]
    pub fn try_lock_arc_until(self: &Arc<Self>, deadline: Instant) -> Option<ArcLockGuard<T>> {
        Some(ArcLockGuard::new(self, self.raw().try_lock_until(Self::describe, deadline)?))
    }

    /// Whether anybody holds the lock at this moment. Out of date as soon as it is known.
    #[inline]
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw().is_locked()
    }

    /// The value, without locking: `&mut self` proves that nobody holds a guard.
    #[inline]
    pub const fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// The guard of an acquisition.
    ///
    /// # Safety
    ///
    /// The raw guard is of this lock.
    unsafe fn guard(&self, guard: super::raw_lock::RawGuard) -> LockGuard<'_, T> {
        // SAFETY:
        // - the guard proves that this lock is held (caller).
        LockGuard(unsafe { self.0.make_guard_unchecked(guard) })
    }

    /// Unlocks a guard whose lock is known.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(super) unsafe fn unlock(&self, guard: super::raw_lock::RawGuard) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { self.raw().unlock(guard) };
    }

    pub(super) fn data(&self) -> *mut T {
        self.0.data_ptr()
    }
}

// A panic under the lock leaves the value as it is, as it does with any lock that is not poisoned: what is unwind safe
// about the lock is that it is released.
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
impl<T: ?Sized + fmt::Debug> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Lock");
        if let Some(name) = self.raw().name() {
            out.field("name", &name);
        }
        match self.raw().try_lock_at(Self::describe, FORMATTED) {
            // SAFETY:
            // - `guard` is of this lock.
            Some(guard) => out.field("data", &&*unsafe { self.guard(guard) }),
            None => out.field("data", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Serializes the value, which is locked meanwhile. A deadlock is the serializer's error.
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for Lock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let guard = self.raw().acquire_at(Self::describe, SERIALIZED).map_err(serde::ser::Error::custom)?;
        // SAFETY:
        // - `guard` is of this lock.
        let guard = unsafe { self.guard(guard) };
        guard.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Lock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        Ok(Self(lock_api::Mutex::from_raw(RawLock::made_at(DESERIALIZED), value)))
    }
}
