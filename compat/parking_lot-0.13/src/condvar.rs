//! The condition variable.

use std::time::{Duration, Instant};

use bowline::facade;
pub use lock_api::WaitTimeoutResult;

use crate::mutex::RawMutex;
use crate::ownership::Marker;

/// A condition variable. It has the size of a word.
///
/// A notification wakes a waiter, which then locks the mutex; no waiter is put into the mutex's queue. There are no spurious
/// wake-ups. The first wait allocates.
///
/// In reports the line of a wait is one of `lock_api`'s, whose `Condvar` does not pass on who calls it. The mutex is held from where
/// it was locked, also after a wait.
pub type Condvar = lock_api::Condvar<RawCondvar>;

/// The word of a [`Condvar`].
///
/// There are no spurious wake-ups, and a notification returns how many it woke.
pub struct RawCondvar(facade::RawCondvar);

// SAFETY:
// - `bowline`'s queue has the waiter before the mutex is unlocked, and a wait locks the mutex again, also when it unwinds.
unsafe impl lock_api::RawCondvar for RawCondvar {
    const INIT: Self = Self(facade::RawCondvar::new());

    type RawMutex = RawMutex;

    #[inline]
    #[track_caller]
    unsafe fn wait(&self, mutex: &RawMutex, _: &mut Marker) {
        // SAFETY:
        // - it is locked, and nobody uses what it protects meanwhile (caller).
        has_timed_out(unsafe { self.0.wait(mutex.facade()) });
    }

    #[inline]
    fn notify_one(&self) -> bool {
        self.0.notify(1) != 0
    }

    #[inline]
    fn notify_all(&self) -> usize {
        self.0.notify(usize::MAX)
    }
}

// SAFETY:
// - as for `RawCondvar`.
unsafe impl lock_api::RawCondvarTimed for RawCondvar {
    #[inline]
    fn checked_duration_to_instant(timeout: &Duration) -> Option<Instant> {
        Instant::now().checked_add(*timeout)
    }

    #[inline]
    #[track_caller]
    unsafe fn wait_until(&self, mutex: &RawMutex, _: &mut Marker, timeout: &Instant) -> bool {
        // SAFETY:
        // - as for `wait`.
        has_timed_out(unsafe { self.0.wait_until(mutex.facade(), *timeout) })
    }

    #[inline]
    #[track_caller]
    unsafe fn wait_for(&self, mutex: &RawMutex, _: &mut Marker, timeout: &Duration) -> bool {
        // SAFETY:
        // - as for `wait`.
        has_timed_out(unsafe { self.0.wait_for(mutex.facade(), *timeout) })
    }
}

#[track_caller]
fn has_timed_out(notified: Option<bool>) -> bool {
    match notified {
        Some(notified) => !notified,
        None => panic!("attempted to use a condition variable with more than one mutex"),
    }
}
