//! A short wait without sleeping, as long as it pays.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Ordering::Relaxed;
use super::quiet::AtomicU32;
use super::yield_now;

/// Longer than this nobody spins: a sleeper is woken in about that time.
const LONGEST: Duration = Duration::from_micros(50);
/// So many looks pass between two looks at the clock.
const LOOKS: u32 = 32;

/// With one processor the other side can't get on while this one spins.
fn pays() -> bool {
    static PAYS: OnceLock<bool> = OnceLock::new();
    *PAYS.get_or_init(|| std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1))
}

/// Spins until it `has_come`, for a moment at most. Whoever needs this processor gets it meanwhile.
pub(crate) fn spin_until(mut has_come: impl FnMut() -> bool) {
    // In a model, every turn would be one more interleaving of the same thing.
    if cfg!(all(test, loom)) || !pays() {
        return;
    }
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if has_come() {
                return;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > LONGEST {
            return;
        }
        yield_now();
    }
}

/// Once in so many times it is tried again whether it pays.
const TRIES: u32 = 16;

/// How long something takes, about: the mean of what it was and what it is.
pub(crate) struct Usual {
    nanoseconds: AtomicU32,
    /// What is shorter is short.
    limit: u32,
    asked: AtomicU32,
}

impl Usual {
    /// Nothing is known yet. Less than a spin lasts is short.
    pub(crate) fn unknown() -> Self {
        Self::unknown_below(LONGEST)
    }

    /// Nothing is known yet. Less than this, which is at most a second, is short.
    pub(crate) fn unknown_below(limit: Duration) -> Self {
        let limit = limit.as_nanos() as u32;
        Self { nanoseconds: AtomicU32::new(Self::longest(limit)), limit, asked: AtomicU32::new(0) }
    }

    /// Longer times count as this: after a long time one short one is enough to be short, and after a short one two long
    /// ones are too long.
    fn longest(limit: u32) -> u32 {
        limit + limit / 2
    }

    pub(crate) fn note(&self, took: Duration) {
        let took = took.as_nanos().min(Self::longest(self.limit).into()) as u32;
        // Of two at once one is forgotten.
        self.nanoseconds.store(self.nanoseconds.load(Relaxed) / 2 + took / 2, Relaxed);
    }

    /// Whether it is short, as far as is known.
    pub(crate) fn was_short(&self) -> bool {
        self.nanoseconds.load(Relaxed) < self.limit
    }

    /// Whether to spin for it. Now and then that is tried, to find out.
    pub(crate) fn is_worth_a_spin(&self) -> bool {
        self.was_short() || self.asked.fetch_add(1, Relaxed).is_multiple_of(TRIES)
    }
}
