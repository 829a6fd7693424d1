//! The read-write lock that is poisoned.

use std::fmt;
use std::sync::{LockResult, TryLockError, TryLockResult};

use super::poison::{Poison, Watch};
use super::rwlock_guards::{RwLockReadGuard, RwLockWriteGuard};
use crate::sync;

/// A lock of many readers or one writer with std's signatures and poisoning, that explains its deadlocks:
/// [`std::sync::RwLock`] in the [wait-for graph](crate::deadlock).
///
/// It is an [`RwLock`](crate::RwLock) and a flag. Reading and writing cost what they cost there; writing also costs two looks at
/// whether the thread panics, as std's does. Beside its value it takes 56 bytes.
///
/// A writer that waits goes ahead of all readers that come after it. So does std's on most systems; std promises no order.
///
/// # Poisoning
///
/// If a thread begins to panic while it *writes*, and drops the guard as it unwinds, the lock is poisoned: from then on
/// [`read`](Self::read), [`write`](Self::write) and their kin return the guard inside of an error, until somebody
/// [clears that](Self::clear_poison). The panic of a deadlock's victim is no exception. A reader that panics poisons nothing.
///
/// # Deadlocks
///
/// As of an [`RwLock`](crate::RwLock#deadlocks): `Relock`, where a thread writes what it reads or writes already; `Cycle`, as
/// where a thread reads twice and a writer comes in between; `Abandoned`. A thread that reads twice is a
/// [hazard](crate::RwLock#hazards), which builds with debug assertions print by default.
///
/// # Examples
///
/// ```
/// use bowline::std_sync::RwLock; // was: use std::sync::RwLock;
///
/// let ports = RwLock::new(vec![80, 443]);
/// ports.write().unwrap().push(8080);
/// assert_eq!(ports.read().unwrap().len(), 3);
/// ```
pub struct RwLock<T: ?Sized> {
    poison: Poison,
    lock: sync::RwLock<T>,
}

impl<T> RwLock<T> {
    /// Makes a free lock. Reports name it by its type and the line of this call.
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { poison: Poison::new(), lock: sync::RwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    #[inline]
    fn read_guard<'a>(&'a self, inner: sync::RwLockReadGuard<'a, T>) -> LockResult<RwLockReadGuard<'a, T>> {
        self.poison.wrap(RwLockReadGuard { inner })
    }

    #[inline]
    fn write_guard<'a>(
        &'a self,
        watch: Watch<'a>,
        inner: sync::RwLockWriteGuard<'a, T>,
    ) -> LockResult<RwLockWriteGuard<'a, T>> {
        self.poison.wrap(RwLockWriteGuard { poison: watch.arm(), inner })
    }

    /// Reads, waiting while a writer is in or waits.
    ///
    /// # Errors
    ///
    /// The guard, inside of a [`PoisonError`](super::PoisonError), if the lock is poisoned.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message; if this thread reads already and the [hazard policy](crate::deadlock::HazardPolicy) is `Panic`. What the thread
    /// holds is poisoned as it unwinds, but for what it reads.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread writes; `Cycle`, also through a writer that waits and is next; `Abandoned`. By policy a
    /// panic, an abort, or a printed report and a wait for ever.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        self.read_guard(self.lock.read())
    }

    /// Reads if no writer is in or waits right now. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if a writer is in or waits; else the guard, inside of `Poisoned`, if the lock is poisoned.
    #[inline]
    #[track_caller]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        match self.lock.try_read() {
            Some(inner) => Ok(self.read_guard(inner)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Writes, waiting until nobody else reads or writes. Readers that come meanwhile wait until this writer has left.
    ///
    /// # Errors
    ///
    /// The guard, inside of a [`PoisonError`](super::PoisonError), if the lock is poisoned.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message. What the thread holds is poisoned as it unwinds, but for what it reads.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread reads or writes the lock already; `Cycle` as soon as one of the readers waited for is part of
    /// it; `Abandoned`. By policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::std_sync::RwLock::new(1);
    /// *lock.write().unwrap() += 1;
    /// assert_eq!(*lock.read().unwrap(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let watch = self.poison.watch();
        self.write_guard(watch, self.lock.write())
    }

    /// Writes if nobody reads or writes right now. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if somebody reads or writes; else the guard, inside of `Poisoned`, if the lock is poisoned.
    #[inline]
    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let watch = self.poison.watch();
        match self.lock.try_write() {
            Some(inner) => Ok(self.write_guard(watch, inner)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Returns whether the lock is poisoned. Unless the caller has a guard, the answer may be out of date when it is returned.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Clears the poison: the next guard comes without an error.
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Consumes the lock and returns the value.
    ///
    /// # Errors
    ///
    /// The value, inside of a [`PoisonError`](super::PoisonError), if the lock is poisoned.
    pub fn into_inner(self) -> LockResult<T>
    where
        T: Sized,
    {
        let Self { poison, lock } = self;
        poison.wrap(lock.into_inner())
    }

    /// Returns the value without locking: `&mut self` proves that no guard exists.
    ///
    /// # Errors
    ///
    /// The value, inside of a [`PoisonError`](super::PoisonError), if the lock is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.lock.get_mut())
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shows the value, or that it is written, and whether it is poisoned, as std's does; never waits.
///
/// # Examples
///
/// ```
/// let lock = bowline::std_sync::RwLock::new(42);
/// assert_eq!(format!("{lock:?}"), "RwLock { data: 42, poisoned: false, .. }");
/// ```
impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        match self.lock.try_read_to_format() {
            Some(guard) => out.field("data", &&*guard),
            None => out.field("data", &format_args!("<locked>")),
        };
        out.field("poisoned", &self.poison.is_set()).finish_non_exhaustive()
    }
}

/// Reads the lock while it serializes the value, as serde's implementation for std's does. Poison and a deadlock are errors of
/// the serializer.
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for RwLock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let inner = self.lock.acquire_read_to_serialize().map_err(S::Error::custom)?;
        match self.read_guard(inner) {
            Ok(guard) => guard.inner.serialize(serializer),
            Err(_) => Err(S::Error::custom("lock poisoned while serializing")),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for RwLock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { poison: Poison::new(), lock: sync::RwLock::deserialize(deserializer)? })
    }
}
