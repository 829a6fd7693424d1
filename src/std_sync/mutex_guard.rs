//! The guard of a mutex.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::poison::IfPanicking;
use crate::sync::LockGuard;

/// Access to what a [`Mutex`](super::Mutex) protects: [`std::sync::MutexGuard`]. Unlocks when dropped; poisons the mutex if the
/// thread has begun to panic meanwhile.
///
/// Stays on its thread (it is not `Send`).
///
/// # Examples
///
/// ```
/// use bowline::std_sync::Mutex;
///
/// let names = Mutex::new(vec!["bight"]);
/// let mut guard = names.lock().unwrap();
/// guard.push("loop");
/// assert_eq!(guard.len(), 2);
/// drop(guard);
/// assert!(names.try_lock().is_ok());
/// ```
#[must_use = "if unused the mutex is unlocked at once"]
#[clippy::has_significant_drop]
pub struct MutexGuard<'a, T: ?Sized + 'a> {
    // In this order: poisoned first, then unlocked.
    pub(super) poison: IfPanicking<'a>,
    pub(super) inner: LockGuard<'a, T>,
}

// SAFETY:
// - a shared guard gives out `&T` and nothing else: neither the lock nor what the guard knows of its owner.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

// Poison tells of the panic.
impl<T: ?Sized> UnwindSafe for MutexGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for MutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
