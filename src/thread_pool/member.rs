//! A worker, as the others see it.

use super::metrics::RunTimes;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet::AtomicUsize;
use crate::primitive::{AtomicU64, SpinWait, new_atomic, yield_now};
use crate::task::stats::Stats;

/// The place of a worker that has left.
const NO_INDEX: usize = usize::MAX;

/// What others may know of a worker.
pub(super) struct Member {
    pub(super) stats: Stats,
    /// How long its tasks ran, if the pool counts that.
    pub(super) run_times: Option<Box<RunTimes>>,
    /// Its place among the workers, or [`NO_INDEX`]. Written by the worker alone.
    index: AtomicUsize,
    /// The number of results that the worker published, or gave up publishing, while it counted as idle already, twice;
    /// one more while it is about to. Written by the worker alone.
    publications: AtomicU64,
}

impl Member {
    pub(super) fn new(index: usize, counts_times: bool) -> Self {
        Self {
            stats: Stats::default(),
            run_times: counts_times.then(|| Box::new(RunTimes::new())),
            index: AtomicUsize::new(index),
            publications: new_atomic(0),
        }
    }

    /// Makes what is known of a submitter that runs a task itself.
    pub(super) fn of_submitter(counts_times: bool) -> Self {
        Self::new(NO_INDEX, counts_times)
    }

    /// Returns its place among the workers, unless it has left.
    pub(super) fn index(&self) -> Option<usize> {
        Some(self.index.load(Relaxed)).filter(|&index| index != NO_INDEX)
    }

    /// Takes its place away. Returns it.
    pub(super) fn take_index(&self) -> Option<usize> {
        let index = self.index();
        self.index.store(NO_INDEX, Relaxed);
        index
    }

    /// Notes that the worker is about to count as idle, and then to publish a result; or that it has done so, or is busy again.
    #[inline]
    pub(super) fn turn_publication(&self) {
        // ORDERING: Release: whoever sees that the publication is over sees the result, or that the worker is busy again. That
        // it has begun is published by the transition that follows.
        self.publications.store(self.publications.load(Relaxed) + 1, Release);
    }

    /// Waits until the publication that is under way at this moment, if there is one, is over or given up. No code of the
    /// user's runs until then, and the worker waits for nobody.
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
