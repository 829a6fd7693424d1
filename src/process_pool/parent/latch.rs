//! A latch: set once, and waited for with a time limit.

use std::time::Duration;

use crate::primitive::quiet::{Condvar, Mutex, MutexGuard, PoisonError};

/// Something that supervisors act on as soon as it is set. Not a wait in the graph: that may run the user's hooks.
#[derive(Default)]
pub(super) struct Latch {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Latch {
    pub(super) fn set(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    pub(super) fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits until it is set, or this time has passed.
    pub(super) fn wait(&self, limit: Duration) {
        let wait = self.changed.wait_timeout_while(self.lock(), limit, |is_set| !*is_set);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
