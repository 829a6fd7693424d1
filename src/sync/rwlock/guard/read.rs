//! The guards of a reader.

use std::sync::Arc;

use crate::sync::guard::{Guard, Part, guard_type};
use crate::sync::rwlock::RwLock;
use crate::sync::rwlock::raw::{RawRwLock, RawRwLockGuard, Reading};

guard_type! {
    /// Shared access to what an [`RwLock`] protects; stops reading when dropped.
    ///
    /// Stays on its thread (it is not `Send`). Guards may be dropped in any order. A guard that is forgotten keeps writers
    /// out; once its thread has ended, a writer that waits gets [`Abandoned`](crate::deadlock::Kind::Abandoned).
    ///
    /// ```compile_fail
    /// let lock = bowline::RwLock::new(0);
    /// *lock.read() += 1; // only a writer writes
    /// ```
    ///
    /// ```compile_fail
    /// let lock = bowline::RwLock::new(0);
    /// let guard = lock.read();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(guard)); // only the reader stops reading
    /// });
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// let names = bowline::RwLock::new(vec!["bight"]);
    /// let guard = names.read();
    /// assert_eq!(guard.len(), 1); // the methods of the value
    /// ```
    pub struct RwLockReadGuard<'a, T>: shared Guard<&'a RwLock<T>, RawRwLockGuard<Reading>>;
}

impl<'a, T: ?Sized> RwLockReadGuard<'a, T> {
    /// Returns the lock that is read.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a RwLock<T> {
        guard.inner.guarded()
    }

    /// Narrows the guard to a part of the value.
    ///
    /// An associated function: `RwLockReadGuard::map(guard, |pair| &pair.0)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockReadGuard;
    ///
    /// let pair = RwLock::new((1, "one"));
    /// let number = RwLockReadGuard::map(pair.read(), |pair| &pair.0);
    /// assert_eq!(*number, 1);
    /// ```
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        MappedRwLockReadGuard::of(guard.inner.map(f))
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
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockReadGuard;
    ///
    /// let names = RwLock::new(vec!["bight"]);
    /// let guard = RwLockReadGuard::try_map(names.read(), |names| names.get(7)).unwrap_err();
    /// let first = RwLockReadGuard::try_map(guard, |names| names.first()).unwrap();
    /// assert_eq!(*first, "bight");
    /// ```
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self> {
        guard.inner.try_map(f).map(MappedRwLockReadGuard::of).map_err(Self::of)
    }

    /// Stops reading, runs `f`, and reads again. If `f` panics the lock is not read any more.
    ///
    /// # Panics
    ///
    /// As [`RwLock::read`], on the way back; the lock is then not read.
    ///
    /// # Deadlocks
    ///
    /// As [`RwLock::read`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockReadGuard;
    ///
    /// let lock = RwLock::new(0);
    /// let guard = RwLockReadGuard::unlocked(lock.read(), || *lock.write() += 1);
    /// assert_eq!(*guard, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn unlocked(guard: Self, f: impl FnOnce()) -> Self {
        let lock = guard.inner.release();
        f();
        lock.read()
    }
}

guard_type! {
    /// Shared access to a part of what an [`RwLock`] protects: made by [`RwLockReadGuard::map`].
    pub struct MappedRwLockReadGuard<'a, T>: shared Guard<Part<'a, RawRwLock, T>, RawRwLockGuard<Reading>>;
}

impl<'a, T: ?Sized> MappedRwLockReadGuard<'a, T> {
    /// Narrows the guard further.
    #[inline]
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&T) -> &U) -> MappedRwLockReadGuard<'a, U> {
        MappedRwLockReadGuard::of(guard.inner.map(f))
    }

    /// Narrows the guard further, if there is a part to narrow it to.
    ///
    /// # Errors
    ///
    /// The guard itself, if `f` returns `None`.
    #[inline]
    pub fn try_map<U: ?Sized>(
        guard: Self,
        f: impl FnOnce(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self> {
        guard.inner.try_map(f).map(MappedRwLockReadGuard::of).map_err(Self::of)
    }
}

guard_type! {
    /// Shared access to what an [`RwLock`] in an [`Arc`] protects, without a borrow: made by [`RwLock::read_arc`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::ArcRwLockReadGuard;
    /// use std::sync::Arc;
    ///
    /// struct View {
    ///     ports: ArcRwLockReadGuard<Vec<u16>>, // no lifetime
    /// }
    ///
    /// let view = View { ports: Arc::new(RwLock::new(vec![80])).read_arc() };
    /// assert_eq!(view.ports[0], 80);
    /// ```
    pub struct ArcRwLockReadGuard<T>: shared Guard<Arc<RwLock<T>>, RawRwLockGuard<Reading>>;
}

impl<T: ?Sized> ArcRwLockReadGuard<T> {
    /// Returns the lock that is read.
    #[must_use]
    pub fn lock(guard: &Self) -> &Arc<RwLock<T>> {
        guard.inner.guarded()
    }

    /// Stops reading and returns the lock.
    #[must_use]
    pub fn into_arc(guard: Self) -> Arc<RwLock<T>> {
        guard.inner.release()
    }
}
