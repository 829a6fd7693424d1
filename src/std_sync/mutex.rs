//! The mutex that is poisoned.

use std::fmt;
use std::sync::{LockResult, TryLockError, TryLockResult};

use super::mutex_guard::MutexGuard;
use super::poison::{Poison, Watch};
use crate::deadlock::resource::ResourceType;
use crate::sync::{Lock, LockGuard};

/// A mutual exclusion lock with std's signatures and poisoning, that explains its deadlocks: [`std::sync::Mutex`] in the
/// [wait-for graph](crate::deadlock).
///
/// It is a [`Lock`](crate::Lock) and a flag. Locking and unlocking costs what a `Lock` costs, and two looks at whether the
/// thread panics, as std's does. Beside its value it takes 40 bytes; its guard takes 40. Reports name it by its type,
/// `Mutex<T>`, and the line that made it.
///
/// # Poisoning
///
/// If a thread begins to panic while it has a guard, and drops the guard as it unwinds, the mutex is poisoned: from then on
/// [`lock`](Self::lock) and its kin return the guard inside of an error, until somebody [clears that](Self::clear_poison).
/// The panic of a deadlock's victim is no exception: it poisons what the victim held.
///
/// # Deadlocks
///
/// As of a [`Lock`](crate::Lock#deadlocks): `Relock`, where a thread locks twice; `Cycle`; `Abandoned`.
///
/// # Examples
///
/// ```
/// use bowline::std_sync::Mutex; // was: use std::sync::Mutex;
/// use bowline::thread;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
///
/// thread::scope(|s| {
///     for n in 1..=10 {
///         s.spawn(move || *TOTAL.lock().unwrap() += n);
///     }
/// });
/// assert_eq!(*TOTAL.lock().unwrap(), 55);
/// ```
///
/// A thread that locks twice gets a panic that names both lines, and what it held is poisoned:
///
/// ```
/// use bowline::std_sync::Mutex;
/// use std::panic::catch_unwind;
///
/// let accounts = Mutex::new(0);
/// let panic = catch_unwind(|| {
///     let _first = accounts.lock().unwrap();
///     let _second = accounts.lock().unwrap();
/// });
/// let report = panic.unwrap_err().downcast::<String>().unwrap();
/// assert!(report.contains("Mutex<i32>"));
/// assert!(accounts.is_poisoned());
/// ```
pub struct Mutex<T: ?Sized> {
    poison: Poison,
    lock: Lock<T>,
}

impl<T> Mutex<T> {
    /// Makes a free mutex. Reports name it by its type and the line of this call.
    #[inline]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { poison: Poison::new(), lock: Lock::new(value) }
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(super) fn describe() -> ResourceType {
        ResourceType::exclusive::<T>("Mutex")
    }

    #[inline]
    fn guard<'a>(&'a self, watch: Watch<'a>, inner: LockGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.poison.wrap(MutexGuard { poison: watch.arm(), inner })
    }

    /// Locks, waiting until the mutex is free.
    ///
    /// # Errors
    ///
    /// The guard, inside of a [`PoisonError`](super::PoisonError), if the mutex is poisoned.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message. What the thread holds is poisoned as it unwinds.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = bowline::std_sync::Mutex::new(1);
    /// *mutex.lock().unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let watch = self.poison.watch();
        self.guard(watch, self.lock.lock_as(Self::describe))
    }

    /// Locks if the mutex is free right now. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if the mutex is locked; the guard, inside of `Poisoned`, if it is free and poisoned.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::std_sync::{Mutex, TryLockError};
    ///
    /// let mutex = Mutex::new(1);
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(matches!(mutex.try_lock(), Err(TryLockError::WouldBlock)));
    /// drop(guard);
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let watch = self.poison.watch();
        match self.lock.try_lock_as(Self::describe) {
            Some(inner) => Ok(self.guard(watch, inner)?),
            None => Err(TryLockError::WouldBlock),
        }
    }

    /// Returns whether the mutex is poisoned. Unless the caller has its guard, the answer may be out of date when it is
    /// returned.
    #[inline]
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Clears the poison: the next guard comes without an error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::std_sync::Mutex;
    /// use std::panic::catch_unwind;
    ///
    /// let mutex = Mutex::new(1);
    /// # std::panic::set_hook(Box::new(|_| ()));
    /// assert!(catch_unwind(|| {
    ///     let _guard = mutex.lock().unwrap();
    ///     panic!("halfway");
    /// })
    /// .is_err());
    /// let mut guard = mutex.lock().unwrap_or_else(|poisoned| {
    ///     mutex.clear_poison();
    ///     poisoned.into_inner()
    /// });
    /// *guard = 0;
    /// drop(guard);
    /// assert!(mutex.lock().is_ok());
    /// ```
    #[inline]
    pub fn clear_poison(&self) {
        self.poison.clear();
    }

    /// Consumes the mutex and returns the value.
    ///
    /// # Errors
    ///
    /// The value, inside of a [`PoisonError`](super::PoisonError), if the mutex is poisoned.
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
    /// The value, inside of a [`PoisonError`](super::PoisonError), if the mutex is poisoned.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.poison.wrap(self.lock.get_mut())
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shows the value, or that it is locked, and whether it is poisoned, as std's does; never waits.
///
/// # Examples
///
/// ```
/// let mutex = bowline::std_sync::Mutex::new(42);
/// assert_eq!(format!("{mutex:?}"), "Mutex { data: 42, poisoned: false, .. }");
/// ```
impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mutex");
        let watch = self.poison.watch();
        match self.lock.try_lock_to_format(Self::describe) {
            // As a guard of this type: a `Debug` of the value that panics poisons.
            Some(inner) => match self.guard(watch, inner) {
                Ok(guard) => out.field("data", &&*guard),
                Err(poisoned) => out.field("data", &&**poisoned.get_ref()),
            },
            None => out.field("data", &"<locked>"),
        };
        out.field("poisoned", &self.poison.is_set()).finish_non_exhaustive()
    }
}

/// Locks while it serializes the value, as serde's implementation for std's does. Poison and a deadlock are errors of the
/// serializer.
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for Mutex<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let watch = self.poison.watch();
        let inner = self.lock.acquire_to_serialize(Self::describe).map_err(S::Error::custom)?;
        match self.guard(watch, inner) {
            Ok(guard) => guard.inner.serialize(serializer),
            Err(_) => Err(S::Error::custom("lock poisoned while serializing")),
        }
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Mutex<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { poison: Poison::new(), lock: Lock::deserialize(deserializer)? })
    }
}
