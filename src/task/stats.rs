//! The totals of tasks, counted by the runners.

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;

/// One runner's totals, in a cache line of its own: written by that runner, read by anybody.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Stats {
    completed: AtomicU64,
    panicked: AtomicU64,
}

impl Stats {
    /// Counts a task that has run. Called before the task is done, so that whoever has its result finds it counted.
    pub(crate) fn count(&self, panicked: bool) {
        // One writer: no read-modify-write.
        self.completed.store(self.completed() + 1, Relaxed);
        if panicked {
            self.panicked.store(self.panicked() + 1, Relaxed);
        }
    }

    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Relaxed)
    }

    pub(crate) fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }
}
