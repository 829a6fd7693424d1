//! The guards of a [`Lock`].

use std::sync::Arc;

use super::Lock;
use super::raw::{RawLock, RawLockGuard};
use crate::deadlock::Deadlock;
use crate::deadlock::resource::Site;
use crate::sync::condition::{ConditionGuard, GuardAccess, Suspend};
use crate::sync::guard::{Guard, Part, guard_type};

guard_type! {
    /// Access to what a [`Lock`] protects; unlocks when dropped.
    ///
    /// Stays on its thread (it is not `Send`). Guards may be dropped in any order. A guard that is forgotten leaves the
    /// lock held; once its thread has ended, a thread that waits for the lock gets
    /// [`Abandoned`](crate::deadlock::Kind::Abandoned).
    ///
    /// ```compile_fail
    /// let lock = bowline::Lock::new(0);
    /// let guard = lock.lock();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(guard)); // only the owner unlocks
    /// });
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// let names = bowline::Lock::new(vec!["bight"]);
    /// let mut guard = names.lock();
    /// guard.push("loop"); // the methods of the value
    /// assert_eq!(guard.len(), 2);
    /// drop(guard);
    /// assert!(!names.is_locked());
    /// ```
    pub struct LockGuard<'a, T>: exclusive Guard<&'a Lock<T>, RawLockGuard>;
}

impl<'a, T: ?Sized> LockGuard<'a, T> {
    /// Returns the lock that is held.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// fn end(guard: LockGuard<'_, u32>) -> &Lock<u32> {
    ///     LockGuard::lock(&guard) // the guard drops here, and the lock outlives it
    /// }
    ///
    /// let lock = Lock::new(42);
    /// assert!(!end(lock.lock()).is_locked());
    /// ```
    #[must_use]
    pub fn lock(guard: &Self) -> &'a Lock<T> {
        guard.inner.guarded()
    }

    /// Narrows the guard to a part of the value.
    ///
    /// An associated function: `LockGuard::map(guard, |pair| &mut pair.0)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// let pair = Lock::new((1, "one"));
    /// let mut number = LockGuard::map(pair.lock(), |pair| &mut pair.0);
    /// *number += 1;
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedLockGuard<'a, U> {
        MappedLockGuard::of(guard.inner.map_mut(f))
    }

    /// Narrows the guard to a part of the value, if there is one.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// let names = Lock::new(vec!["bight"]);
    /// let guard = LockGuard::try_map(names.lock(), |names| names.get_mut(7)).unwrap_err();
    /// assert_eq!(guard.len(), 1); // the guard of the whole
    /// let mut first = LockGuard::try_map(guard, |names| names.first_mut()).unwrap();
    /// *first = "loop";
    /// ```
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedLockGuard<'a, U>, Self> {
        guard.inner.try_map_mut(f).map(MappedLockGuard::of).map_err(Self::of)
    }

    /// Unlocks and hands the lock over to the thread that has waited for longest, if any waits.
    ///
    /// Each hand-over costs a switch to that thread: use it where a thread would otherwise starve the others.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    /// use std::thread;
    ///
    /// let order = Lock::new(vec!["first"]);
    /// thread::scope(|s| {
    ///     let guard = order.lock();
    ///     s.spawn(|| order.lock().push("second"));
    ///     LockGuard::unlock_fair(guard);
    /// });
    /// assert_eq!(order.into_inner(), ["first", "second"]);
    /// ```
    #[inline]
    pub fn unlock_fair(guard: Self) {
        guard.inner.release_fair();
    }

    /// Unlocks, runs `f`, and locks again.
    ///
    /// If `f` panics the lock stays unlocked.
    ///
    /// # Panics
    ///
    /// As [`Lock::lock`], on the way back; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// As [`Lock::lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// let lock = Lock::new(0);
    /// let guard = lock.lock();
    /// let guard = LockGuard::unlocked(guard, || *lock.lock() += 1);
    /// assert_eq!(*guard, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn unlocked(guard: Self, f: impl FnOnce()) -> Self {
        let lock = guard.inner.release();
        f();
        lock.lock()
    }

    /// Unlocks, runs `f`, and locks again, or returns why that can never be.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`], on the way back; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// As [`Lock::acquire`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// let lock = Lock::new(0);
    /// let guard = LockGuard::acquire_unlocked(lock.lock(), || *lock.lock() += 1)?;
    /// assert_eq!(*guard, 1);
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_unlocked(guard: Self, f: impl FnOnce()) -> Result<Self, Deadlock> {
        let lock = guard.inner.release();
        f();
        lock.acquire()
    }

    /// Keeps the lock held for ever and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::LockGuard;
    ///
    /// static DEPTH: Lock<u32> = Lock::new(0);
    ///
    /// let depth: &'static mut u32 = LockGuard::leak(DEPTH.lock());
    /// *depth = 42;
    /// assert!(DEPTH.is_locked());
    /// ```
    #[inline]
    pub fn leak(guard: Self) -> &'a mut T {
        guard.inner.leak()
    }
}

impl<'g, T: ?Sized> GuardAccess<'g> for LockGuard<'_, T> {
    type Value = &'g mut T;

    fn access(&'g mut self) -> &'g mut T {
        self
    }
}

impl<T: ?Sized> ConditionGuard for LockGuard<'_, T> {
    type Error = Deadlock;
}

impl<T: ?Sized> Suspend for LockGuard<'_, T> {
    #[track_caller]
    fn check_rank(&self, site: Site) {
        self.inner.check_rank(Lock::<T>::describe, site);
    }

    fn suspend<O>(&mut self, site: Site, meanwhile: impl FnOnce() -> O) -> O {
        self.inner.suspend(Lock::<T>::describe, site, meanwhile)
    }

    fn try_suspend<O>(self, site: Site, meanwhile: impl FnOnce() -> O) -> Result<(Self, O), Deadlock> {
        let (inner, output) = self.inner.try_suspend(Lock::<T>::describe, site, meanwhile)?;
        Ok((Self::of(inner), output))
    }
}

guard_type! {
    /// Access to a part of what a [`Lock`] protects: made by [`LockGuard::map`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::{LockGuard, MappedLockGuard};
    ///
    /// struct Ship {
    ///     cargo: Lock<(u32, String)>,
    /// }
    ///
    /// impl Ship {
    ///     fn tons(&self) -> MappedLockGuard<'_, u32> {
    ///         LockGuard::map(self.cargo.lock(), |cargo| &mut cargo.0)
    ///     }
    /// }
    ///
    /// let ship = Ship { cargo: Lock::new((40, "rope".to_owned())) };
    /// *ship.tons() += 2;
    /// assert_eq!(*ship.tons(), 42);
    /// ```
    pub struct MappedLockGuard<'a, T>: exclusive Guard<Part<'a, RawLock, T>, RawLockGuard>;
}

impl<'a, T: ?Sized> MappedLockGuard<'a, T> {
    /// Narrows the guard further.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::{LockGuard, MappedLockGuard};
    ///
    /// let nested = Lock::new(((1, 2), 3));
    /// let pair = LockGuard::map(nested.lock(), |nested| &mut nested.0);
    /// *MappedLockGuard::map(pair, |pair| &mut pair.1) += 40;
    /// assert_eq!(*nested.lock(), ((1, 42), 3));
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedLockGuard<'a, U> {
        MappedLockGuard::of(guard.inner.map_mut(f))
    }

    /// Narrows the guard further, if there is a part to narrow it to.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&mut T) -> Option<&mut U>,
    ) -> Result<MappedLockGuard<'a, U>, Self> {
        guard.inner.try_map_mut(f).map(MappedLockGuard::of).map_err(Self::of)
    }

    /// Unlocks and hands the lock over: see [`LockGuard::unlock_fair`].
    #[inline]
    pub fn unlock_fair(guard: Self) {
        guard.inner.release_fair();
    }
}

guard_type! {
    /// Access to what a [`Lock`] in an [`Arc`] protects, without a borrow: made by [`Lock::lock_arc`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::ArcLockGuard;
    /// use std::sync::Arc;
    ///
    /// struct Session {
    ///     account: ArcLockGuard<u32>, // no lifetime
    /// }
    ///
    /// let account = Arc::new(Lock::new(40));
    /// let mut session = Session { account: account.lock_arc() };
    /// *session.account += 2;
    /// drop(session);
    /// assert_eq!(*account.lock(), 42);
    /// ```
    pub struct ArcLockGuard<T>: exclusive Guard<Arc<Lock<T>>, RawLockGuard>;
}

impl<T: ?Sized> ArcLockGuard<T> {
    /// Returns the lock that is held.
    #[must_use]
    pub fn lock(guard: &Self) -> &Arc<Lock<T>> {
        guard.inner.guarded()
    }

    /// Unlocks and returns the lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::Lock;
    /// use bowline::sync::ArcLockGuard;
    /// use std::sync::Arc;
    ///
    /// let guard = Arc::new(Lock::new(42)).lock_arc();
    /// let lock = ArcLockGuard::into_arc(guard);
    /// assert!(!lock.is_locked());
    /// ```
    #[must_use]
    pub fn into_arc(guard: Self) -> Arc<Lock<T>> {
        guard.inner.release()
    }
}

impl<'g, T: ?Sized> GuardAccess<'g> for ArcLockGuard<T> {
    type Value = &'g mut T;

    fn access(&'g mut self) -> &'g mut T {
        self
    }
}

impl<T: ?Sized> ConditionGuard for ArcLockGuard<T> {
    type Error = Deadlock;
}

impl<T: ?Sized> Suspend for ArcLockGuard<T> {
    #[track_caller]
    fn check_rank(&self, site: Site) {
        self.inner.check_rank(Lock::<T>::describe, site);
    }

    fn suspend<O>(&mut self, site: Site, meanwhile: impl FnOnce() -> O) -> O {
        self.inner.suspend(Lock::<T>::describe, site, meanwhile)
    }

    fn try_suspend<O>(self, site: Site, meanwhile: impl FnOnce() -> O) -> Result<(Self, O), Deadlock> {
        let (inner, output) = self.inner.try_suspend(Lock::<T>::describe, site, meanwhile)?;
        Ok((Self::of(inner), output))
    }
}

/// An exclusive guard can be used as one of a shorter borrow of its lock:
///
/// ```
/// use bowline::sync::MappedLockGuard;
///
/// fn shorten<'s>(guard: MappedLockGuard<'static, &'static str>) -> MappedLockGuard<'s, &'static str> {
///     guard
/// }
/// ```
///
/// It is invariant in its value: a shorter-lived value could be written through it otherwise.
///
/// ```compile_fail
/// use bowline::sync::MappedLockGuard;
///
/// fn shorten<'s>(guard: MappedLockGuard<'static, &'static str>) -> MappedLockGuard<'s, &'s str> {
///     guard
/// }
/// ```
#[cfg(doctest)]
struct Variance;
