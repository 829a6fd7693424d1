//! A worker, as the others see it.

use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, SpinWait, new_atomic, yield_now};
use crate::task::stats::Stats;

/// What others may know of a worker.
pub(super) struct Member {
    pub(super) stats: Stats,
    /// The number of results that the worker published, or gave up publishing, while it counted as idle already, twice;
    /// one more while it is about to. Written by the worker alone.
    publications: AtomicU64,
}

impl Member {
    pub(super) fn new() -> Self {
        Self { stats: Stats::default(), publications: new_atomic(0) }
    }

    /// Notes that the worker is about to count as idle, and then to publish a result, or that it has done so.
    #[inline]
    pub(super) fn turn_publication(&self) {
        // ORDERING: Release: whoever sees that the publication is over sees the result. That it has begun is published by
        // the transition that follows.
        self.publications.store(self.publications.load(Relaxed) + 1, Release);
    }

    /// Waits until the publication that is under way at this moment, if there is one, is over. No code of the user's runs
    /// meanwhile, and the worker waits for nobody.
    pub(super) fn wait_for_publication(&self) {
        // ORDERING: Acquire pairs with the Release in `turn_publication`.
        let now = || self.publications.load(Acquire);
        let number = now();
        let mut spin = SpinWait::new();
        while number % 2 == 1 && now() == number {
            if !spin.spin() {
                yield_now();
            }
        }
    }
}
