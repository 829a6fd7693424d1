//! The guards of an upgradable reader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ArcRwLockReadGuard, ArcRwLockWriteGuard, RwLockReadGuard, RwLockWriteGuard, UpgradeError};
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::sync::guard::{Guard, Guarded, guard_type};
use crate::sync::rwlock::RwLock;
use crate::sync::rwlock::raw::{RawRwLock, RawRwLockGuard, Reading, UpgradablyReading, Writing};

guard_type! {
    /// Shared access to what an [`RwLock`] protects, by one who may become the writer; stops reading when dropped.
    ///
    /// Plain readers may read at the same time; a second upgradable reader may not, so that nobody writes between the look
    /// and the [upgrade](Self::upgrade). Stays on its thread (it is not `Send`).
    ///
    /// ```compile_fail
    /// let lock = bowline::RwLock::new(0);
    /// *lock.upgradable_read() += 1; // only a writer writes: upgrade first
    /// ```
    ///
    /// ```compile_fail
    /// let lock = bowline::RwLock::new(0);
    /// let guard = lock.upgradable_read();
    /// std::thread::scope(|s| {
    ///     s.spawn(move || drop(guard)); // only the reader stops reading
    /// });
    /// ```
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockUpgradableReadGuard;
    ///
    /// let cache = RwLock::new(None);
    /// let guard = cache.upgradable_read();
    /// if guard.is_none() {
    ///     let mut guard = RwLockUpgradableReadGuard::upgrade(guard);
    ///     *guard = Some(42);
    /// }
    /// assert_eq!(*cache.read(), Some(42));
    /// ```
    pub struct RwLockUpgradableReadGuard<'a, T>: shared Guard<&'a RwLock<T>, RawRwLockGuard<UpgradablyReading>>;
}

type Upgradable<G> = Guard<G, RawRwLockGuard<UpgradablyReading>>;
type Writer<G> = Guard<G, RawRwLockGuard<Writing>>;

/// Exchanges the guard for a writer's once nobody else reads. Ranks are checked if it is `untimed`.
#[inline]
#[track_caller]
fn upgrade<G: Guarded<Raw = RawRwLock>, T: ?Sized>(
    guard: Upgradable<G>,
    limit: Limit,
    failure: Failure,
    untimed: bool,
) -> Result<Writer<G>, (Upgradable<G>, WaitError)> {
    let request = RwLock::<T>::writing();
    let (guarded, raw_guard) = guard.into_parts();
    // SAFETY:
    // - the raw guard is of this lock (`Guard::new`'s contract).
    match unsafe { guarded.raw().upgrade(raw_guard, request, limit, failure, untimed) } {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(raw_guard) => Ok(unsafe { Guard::new(guarded, raw_guard) }),
        // SAFETY:
        // - as above.
        Err((raw_guard, error)) => Err((unsafe { Guard::new(guarded, raw_guard) }, error)),
    }
}

/// Exchanges the guard for a writer's if nobody else reads.
#[inline]
#[track_caller]
fn try_upgrade<G: Guarded<Raw = RawRwLock>, T: ?Sized>(guard: Upgradable<G>) -> Result<Writer<G>, Upgradable<G>> {
    let request = RwLock::<T>::writing();
    let (guarded, raw_guard) = guard.into_parts();
    // SAFETY:
    // - the raw guard is of this lock (`Guard::new`'s contract).
    match unsafe { guarded.raw().try_upgrade(raw_guard, request) } {
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(raw_guard) => Ok(unsafe { Guard::new(guarded, raw_guard) }),
        // SAFETY:
        // - as above.
        Err(raw_guard) => Err(unsafe { Guard::new(guarded, raw_guard) }),
    }
}

/// Exchanges the guard for a plain reader's.
#[inline]
#[track_caller]
fn downgrade<G: Guarded<Raw = RawRwLock>, T: ?Sized>(guard: Upgradable<G>) -> Guard<G, RawRwLockGuard<Reading>> {
    let request = RwLock::<T>::reading();
    let (guarded, raw_guard) = guard.into_parts();
    // SAFETY:
    // - the raw guard is of this lock (`Guard::new`'s contract).
    let raw_guard = unsafe { guarded.raw().downgrade_upgradable(raw_guard, request) };
    // SAFETY:
    // - the raw guard is of this lock.
    unsafe { Guard::new(guarded, raw_guard) }
}

/// Ends an upgrade without a limit by a panic, and releases the guard first.
#[track_caller]
fn raise<G>((guard, error): (G, WaitError)) -> ! {
    drop(guard);
    error.deadlock().raise()
}

/// Ends an upgrade with a limit: returns the guard if the limit came first.
#[track_caller]
fn timed_out<G>((guard, error): (G, WaitError)) -> G {
    match error {
        WaitError::TimedOut => guard,
        // The time-out was longer than the clock can represent.
        WaitError::Deadlock(_) => raise((guard, error)),
    }
}

impl<'a, T: ?Sized> RwLockUpgradableReadGuard<'a, T> {
    /// Returns the lock that is read.
    #[must_use]
    pub fn lock(guard: &Self) -> &'a RwLock<T> {
        guard.inner.guarded()
    }

    /// Becomes the writer, waiting for the other readers to leave. New readers wait meanwhile.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report as the
    /// message; the lock is then not held.
    ///
    /// # Deadlocks
    ///
    /// `Relock` if this thread also reads by another guard; `Cycle` as soon as one of the readers waited for is part of
    /// it; `Abandoned`. By policy a panic, an abort, or a printed report and a wait for ever.
    #[inline]
    #[track_caller]
    pub fn upgrade(guard: Self) -> RwLockWriteGuard<'a, T> {
        match upgrade::<_, T>(guard.inner, Limit::None, Failure::Unwind, true) {
            Ok(guard) => RwLockWriteGuard::of(guard),
            Err(failed) => raise(failed),
        }
    }

    /// Becomes the writer, waiting for the other readers to leave, or returns why they never will.
    ///
    /// # Errors
    ///
    /// [`UpgradeError`], with the guard, if this wait is part of a deadlock and was chosen to break it: under every policy
    /// but `Off`.
    ///
    /// # Deadlocks
    ///
    /// As [`upgrade`](Self::upgrade); they come as the error.
    #[inline]
    #[track_caller]
    pub fn acquire_upgrade(guard: Self) -> Result<RwLockWriteGuard<'a, T>, UpgradeError<Self>> {
        match upgrade::<_, T>(guard.inner, Limit::None, Failure::Value, true) {
            Ok(guard) => Ok(RwLockWriteGuard::of(guard)),
            Err((guard, error)) => Err(UpgradeError::new(Self::of(guard), error.deadlock())),
        }
    }

    /// Becomes the writer if nobody else reads right now. Never waits.
    ///
    /// # Errors
    ///
    /// The guard itself, if somebody does.
    #[inline]
    #[track_caller]
    pub fn try_upgrade(guard: Self) -> Result<RwLockWriteGuard<'a, T>, Self> {
        try_upgrade::<_, T>(guard.inner).map(RwLockWriteGuard::of).map_err(Self::of)
    }

    /// Becomes the writer if the other readers leave within `timeout`.
    ///
    /// # Errors
    ///
    /// The guard itself, if they do not.
    ///
    /// # Panics
    ///
    /// As [`upgrade`](Self::upgrade), if `timeout` is longer than the clock can represent: that is no time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself.
    #[inline]
    #[track_caller]
    pub fn try_upgrade_for(guard: Self, timeout: Duration) -> Result<RwLockWriteGuard<'a, T>, Self> {
        match upgrade::<_, T>(guard.inner, Limit::after(timeout), Failure::Unwind, false) {
            Ok(guard) => Ok(RwLockWriteGuard::of(guard)),
            Err(failed) => Err(Self::of(timed_out(failed))),
        }
    }

    /// Becomes the writer if the other readers leave before `deadline`: see [`try_upgrade_for`](Self::try_upgrade_for).
    ///
    /// # Errors
    ///
    /// The guard itself, if they do not.
    #[inline]
    #[track_caller]
    pub fn try_upgrade_until(guard: Self, deadline: Instant) -> Result<RwLockWriteGuard<'a, T>, Self> {
        match upgrade::<_, T>(guard.inner, Limit::Until(deadline), Failure::Unwind, false) {
            Ok(guard) => Ok(RwLockWriteGuard::of(guard)),
            Err(failed) => Err(Self::of(timed_out(failed))),
        }
    }

    /// Becomes a plain reader, so that another thread can read upgradably, or wait to write. Never waits.
    #[inline]
    #[track_caller]
    pub fn downgrade(guard: Self) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard::of(downgrade::<_, T>(guard.inner))
    }

    /// Writes for as long as `f` runs, waiting for the other readers to leave, and reads upgradably again.
    ///
    /// # Panics
    ///
    /// As [`upgrade`](Self::upgrade).
    ///
    /// # Deadlocks
    ///
    /// As [`upgrade`](Self::upgrade).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    /// use bowline::sync::RwLockUpgradableReadGuard;
    ///
    /// let lock = RwLock::new(1);
    /// let (guard, was) = RwLockUpgradableReadGuard::with_upgraded(lock.upgradable_read(), |n| std::mem::replace(n, 2));
    /// assert_eq!((*guard, was), (2, 1));
    /// ```
    #[inline]
    #[track_caller]
    pub fn with_upgraded<R>(guard: Self, f: impl FnOnce(&mut T) -> R) -> (Self, R) {
        let mut guard = Self::upgrade(guard);
        let result = f(&mut guard);
        (RwLockWriteGuard::downgrade_to_upgradable(guard), result)
    }
}

guard_type! {
    /// Shared access to what an [`RwLock`] in an [`Arc`] protects, by one who may become the writer, without a borrow: made by
    /// [`RwLock::upgradable_read_arc`].
    pub struct ArcRwLockUpgradableReadGuard<T>: shared Guard<Arc<RwLock<T>>, RawRwLockGuard<UpgradablyReading>>;
}

impl<T: ?Sized> ArcRwLockUpgradableReadGuard<T> {
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

    /// Becomes the writer: see [`RwLockUpgradableReadGuard::upgrade`].
    ///
    /// # Panics
    ///
    /// As [`RwLockUpgradableReadGuard::upgrade`].
    ///
    /// # Deadlocks
    ///
    /// As [`RwLockUpgradableReadGuard::upgrade`].
    #[inline]
    #[track_caller]
    pub fn upgrade(guard: Self) -> ArcRwLockWriteGuard<T> {
        match upgrade::<_, T>(guard.inner, Limit::None, Failure::Unwind, true) {
            Ok(guard) => ArcRwLockWriteGuard::of(guard),
            Err(failed) => raise(failed),
        }
    }

    /// Becomes the writer, or returns why that will never be: see [`RwLockUpgradableReadGuard::acquire_upgrade`].
    ///
    /// # Errors
    ///
    /// As [`RwLockUpgradableReadGuard::acquire_upgrade`].
    ///
    /// # Deadlocks
    ///
    /// As [`RwLockUpgradableReadGuard::upgrade`]; they come as the error.
    #[inline]
    #[track_caller]
    pub fn acquire_upgrade(guard: Self) -> Result<ArcRwLockWriteGuard<T>, UpgradeError<Self>> {
        match upgrade::<_, T>(guard.inner, Limit::None, Failure::Value, true) {
            Ok(guard) => Ok(ArcRwLockWriteGuard::of(guard)),
            Err((guard, error)) => Err(UpgradeError::new(Self::of(guard), error.deadlock())),
        }
    }

    /// Becomes the writer if nobody else reads right now. Never waits.
    ///
    /// # Errors
    ///
    /// The guard itself, if somebody does.
    #[inline]
    #[track_caller]
    pub fn try_upgrade(guard: Self) -> Result<ArcRwLockWriteGuard<T>, Self> {
        try_upgrade::<_, T>(guard.inner).map(ArcRwLockWriteGuard::of).map_err(Self::of)
    }

    /// Becomes the writer if the other readers leave within `timeout`: see
    /// [`RwLockUpgradableReadGuard::try_upgrade_for`].
    ///
    /// # Errors
    ///
    /// The guard itself, if they do not.
    #[inline]
    #[track_caller]
    pub fn try_upgrade_for(guard: Self, timeout: Duration) -> Result<ArcRwLockWriteGuard<T>, Self> {
        match upgrade::<_, T>(guard.inner, Limit::after(timeout), Failure::Unwind, false) {
            Ok(guard) => Ok(ArcRwLockWriteGuard::of(guard)),
            Err(failed) => Err(Self::of(timed_out(failed))),
        }
    }

    /// Becomes a plain reader. Never waits.
    #[inline]
    #[track_caller]
    pub fn downgrade(guard: Self) -> ArcRwLockReadGuard<T> {
        ArcRwLockReadGuard::of(downgrade::<_, T>(guard.inner))
    }
}
