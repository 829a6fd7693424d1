//! The condition variable.

use std::fmt;
use std::time::{Duration, Instant};

use bowline::facade::RawCondvar;

use crate::mutex::{MutexGuard, RawMutex};

/// Whether a wait ended because its time was over.
#[derive(Debug, PartialEq, Eq, Copy, Clone)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns whether the wait ended because its time was over.
    #[inline]
    pub fn timed_out(self) -> bool {
        self.0
    }
}

/// A condition variable. It has the size of a word.
///
/// A notification wakes a waiter, which then locks the mutex; no waiter is put into the mutex's queue. There are no spurious
/// wake-ups. The first wait allocates.
pub struct Condvar(RawCondvar);

impl Condvar {
    /// Makes one that nobody waits for.
    #[inline]
    pub const fn new() -> Self {
        Self(RawCondvar::new())
    }

    /// Wakes the waiter that has waited for longest. Returns whether there was one.
    #[inline]
    pub fn notify_one(&self) -> bool {
        self.0.notify(1) != 0
    }

    /// Wakes all waiters. Returns how many there were.
    #[inline]
    pub fn notify_all(&self) -> usize {
        self.0.notify(usize::MAX)
    }

    /// Unlocks the mutex, waits for a notification, and locks it again.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait<T: ?Sized>(&self, mutex_guard: &mut MutexGuard<'_, T>) {
        // SAFETY:
        // - the guard has locked the mutex, and is borrowed until the wait is over.
        checked(unsafe { self.0.wait(raw(mutex_guard)) });
    }

    /// [`wait`](Self::wait), until `timeout` at most.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait_until<T: ?Sized>(&self, mutex_guard: &mut MutexGuard<'_, T>, timeout: Instant) -> WaitTimeoutResult {
        // SAFETY:
        // - the guard has locked the mutex, and is borrowed until the wait is over.
        checked(unsafe { self.0.wait_until(raw(mutex_guard), timeout) })
    }

    /// [`wait`](Self::wait), for `timeout` at most.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait_for<T: ?Sized>(&self, mutex_guard: &mut MutexGuard<'_, T>, timeout: Duration) -> WaitTimeoutResult {
        // SAFETY:
        // - the guard has locked the mutex, and is borrowed until the wait is over.
        checked(unsafe { self.0.wait_for(raw(mutex_guard), timeout) })
    }

    /// Waits while the condition holds.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait_while<T, F>(&self, mutex_guard: &mut MutexGuard<'_, T>, mut condition: F)
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        while condition(mutex_guard) {
            self.wait(mutex_guard);
        }
    }

    /// Waits while the condition holds, until `timeout` at most.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait_while_until<T, F>(
        &self,
        mutex_guard: &mut MutexGuard<'_, T>,
        mut condition: F,
        timeout: Instant,
    ) -> WaitTimeoutResult
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        let mut is_over = false;
        while !is_over && condition(mutex_guard) {
            is_over = self.wait_until(mutex_guard, timeout).timed_out();
        }
        WaitTimeoutResult(is_over)
    }

    /// Waits while the condition holds, for `timeout` at most.
    ///
    /// # Panics
    ///
    /// If others wait with another mutex.
    #[inline]
    #[track_caller]
    pub fn wait_while_for<T: ?Sized, F>(
        &self,
        mutex_guard: &mut MutexGuard<'_, T>,
        mut condition: F,
        timeout: Duration,
    ) -> WaitTimeoutResult
    where
        F: FnMut(&mut T) -> bool,
    {
        match Instant::now().checked_add(timeout) {
            Some(limit) => self.wait_while_until(mutex_guard, condition, limit),
            None => {
                self.wait_while(mutex_guard, &mut condition);
                WaitTimeoutResult(false)
            }
        }
    }
}

impl Default for Condvar {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Condvar { .. }")
    }
}

fn raw<'g, T: ?Sized>(guard: &'g mut MutexGuard<'_, T>) -> &'g bowline::facade::RawMutex<crate::ownership::Ownership> {
    // SAFETY:
    // - it is not unlocked but for as long as the guard is borrowed.
    let raw: &RawMutex = unsafe { MutexGuard::mutex(guard).raw() };
    raw.facade()
}

#[track_caller]
fn checked(notified: Option<bool>) -> WaitTimeoutResult {
    match notified {
        Some(notified) => WaitTimeoutResult(!notified),
        None => panic!("attempted to use a condition variable with more than one mutex"),
    }
}
