//! How long something takes, as a rule: whether to spin for it.

use std::time::Duration;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::primitive::spin::MAX_SPIN;

/// One time in this many, a spin is tried although it did not pay, to find out.
const TRIES: u32 = 16;

/// How long something takes, about: the mean of what it was and what it is.
pub(crate) struct Usual {
    nanoseconds: AtomicU32,
    /// Less than this is short, in nanoseconds.
    limit: u32,
    asked: AtomicU32,
}

impl Usual {
    /// Nothing is known yet. Less than a spin lasts is short.
    pub(crate) fn unknown() -> Self {
        Self::unknown_below(MAX_SPIN)
    }

    /// Nothing is known yet. Less than this, which is at most a second, is short.
    pub(crate) fn unknown_below(limit: Duration) -> Self {
        let limit = limit.as_nanos() as u32;
        Self { nanoseconds: AtomicU32::new(Self::max_counted(limit)), limit, asked: AtomicU32::new(0) }
    }

    /// Returns the time that longer ones count as: after a long time one short one is enough to be short, and after a
    /// short one two long ones are too long.
    fn max_counted(limit: u32) -> u32 {
        limit + limit / 2
    }

    pub(crate) fn note(&self, took: Duration) {
        let took = took.as_nanos().min(Self::max_counted(self.limit).into()) as u32;
        // Of two notes at once one may be lost.
        self.nanoseconds.store(self.nanoseconds.load(Relaxed) / 2 + took / 2, Relaxed);
    }

    /// Returns whether it is short, as far as is known.
    pub(crate) fn was_short(&self) -> bool {
        self.nanoseconds.load(Relaxed) < self.limit
    }

    /// Returns whether to spin for it. Now and then it returns `true` for a long one, to find out.
    pub(crate) fn is_worth_a_spin(&self) -> bool {
        self.was_short() || self.asked.fetch_add(1, Relaxed).is_multiple_of(TRIES)
    }
}
