//! The guards of an [`RLock`].

use super::RLock;
use super::raw::{RawRLock, RawRLockGuard};
use crate::deadlock::Deadlock;
use crate::deadlock::resource::Site;
use crate::sync::condition::{ConditionGuard, GuardAccess, RLockWaitError, Suspend};
use crate::sync::guard::{Guard, Part, guard_type};

guard_type! {
    /// Shared access to what an [`RLock`] protects; the lock is free once the last guard is dropped.
    ///
    /// Stays on its thread (it is not `Send`):
    ///
    /// ```compile_fail
    /// let lock = bowline::RLock::new(0);
    /// let guard = lock.lock();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(guard)); // only the owner unlocks
    /// });
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RLock::new("rope");
    /// let (first, second) = (lock.lock(), lock.lock());
    /// drop(first);
    /// assert!(lock.is_locked());
    /// assert_eq!(*second, "rope");
    /// drop(second);
    /// assert!(!lock.is_locked());
    /// ```
    pub struct RLockGuard<'a, T>: shared Guard<&'a RLock<T>, RawRLockGuard>;
}

impl<'a, T: ?Sized> RLockGuard<'a, T> {
    /// Returns the lock that is held.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a RLock<T> {
        guard.inner.guarded()
    }

    /// Narrows the guard to a part of the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    /// use bowline::sync::RLockGuard;
    ///
    /// let pair = RLock::new((1, "one"));
    /// let number = RLockGuard::map(pair.lock(), |pair| &pair.0);
    /// assert_eq!(*number, 1);
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRLockGuard<'a, U> {
        MappedRLockGuard::of(guard.inner.map(f))
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
    /// use bowline::RLock;
    /// use bowline::sync::RLockGuard;
    ///
    /// let names = RLock::new(vec!["bight"]);
    /// let guard = RLockGuard::try_map(names.lock(), |names| names.get(7)).unwrap_err();
    /// assert_eq!(guard.len(), 1); // the guard of the whole
    /// let first = RLockGuard::try_map(guard, |names| names.first()).unwrap();
    /// assert_eq!(*first, "bight");
    /// ```
    #[inline]
    pub fn try_map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> Option<&U>) -> Result<MappedRLockGuard<'a, U>, Self> {
        guard.inner.try_map(f).map(MappedRLockGuard::of).map_err(Self::of)
    }

    /// Drops the guard; if it was the last, hands the lock over to the thread that has waited for longest.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    /// use bowline::sync::RLockGuard;
    /// use std::cell::RefCell;
    /// use std::thread;
    ///
    /// let order = RLock::new(RefCell::new(vec!["first"]));
    /// thread::scope(|s| {
    ///     let guard = order.lock();
    ///     s.spawn(|| order.lock().borrow_mut().push("second"));
    ///     RLockGuard::unlock_fair(guard);
    /// });
    /// assert_eq!(order.into_inner().into_inner(), ["first", "second"]);
    /// ```
    #[inline]
    pub fn unlock_fair(guard: Self) {
        guard.inner.release_fair();
    }
}

impl<'g, T: ?Sized> GuardAccess<'g> for RLockGuard<'_, T> {
    type Value = &'g T;

    fn access(&'g mut self) -> &'g T {
        self
    }
}

impl<T: ?Sized> ConditionGuard for RLockGuard<'_, T> {
    type Error = RLockWaitError;

    #[track_caller]
    fn assert_alone(&self) {
        let depth = self.inner.guarded().raw.guards();
        assert!(depth == 1, "{}", RLockWaitError::HeldAgain { depth });
    }

    fn alone(self) -> Result<Self, RLockWaitError> {
        match self.inner.guarded().raw.guards() {
            1 => Ok(self),
            depth => Err(RLockWaitError::HeldAgain { depth }),
        }
    }
}

impl<T: ?Sized> Suspend for RLockGuard<'_, T> {
    #[track_caller]
    fn check_rank(&self, site: Site) {
        self.inner.check_rank(RLock::<T>::describe, site);
    }

    fn suspend<O>(&mut self, site: Site, meanwhile: impl FnOnce() -> O) -> O {
        self.inner.suspend(RLock::<T>::describe, site, meanwhile)
    }

    fn try_suspend<O>(self, site: Site, meanwhile: impl FnOnce() -> O) -> Result<(Self, O), Deadlock> {
        let (inner, output) = self.inner.try_suspend(RLock::<T>::describe, site, meanwhile)?;
        Ok((Self::of(inner), output))
    }
}

guard_type! {
    /// Shared access to a part of what an [`RLock`] protects: made by [`RLockGuard::map`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    /// use bowline::sync::{MappedRLockGuard, RLockGuard};
    ///
    /// fn first(names: &RLock<Vec<String>>) -> MappedRLockGuard<'_, str> {
    ///     RLockGuard::map(names.lock(), |names| names[0].as_str())
    /// }
    ///
    /// let names = RLock::new(vec!["bight".to_owned()]);
    /// assert_eq!(&*first(&names), "bight");
    /// ```
    pub struct MappedRLockGuard<'a, T>: shared Guard<Part<'a, RawRLock, T>, RawRLockGuard>;
}

impl<'a, T: ?Sized> MappedRLockGuard<'a, T> {
    /// Narrows the guard further.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RLock;
    /// use bowline::sync::{MappedRLockGuard, RLockGuard};
    ///
    /// let nested = RLock::new(((1, 42), 3));
    /// let pair = RLockGuard::map(nested.lock(), |nested| &nested.0);
    /// assert_eq!(*MappedRLockGuard::map(pair, |pair| &pair.1), 42);
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRLockGuard<'a, U> {
        MappedRLockGuard::of(guard.inner.map(f))
    }

    /// Drops the guard, and hands the lock over if it was the last: see [`RLockGuard::unlock_fair`].
    #[inline]
    pub fn unlock_fair(guard: Self) {
        guard.inner.release_fair();
    }
}
