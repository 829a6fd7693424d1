//! How late this system's timers fire, as the waits that outlast their grace find out.

use std::time::{Duration, Instant};

use crate::primitive::Ordering::Relaxed;
use crate::primitive::now;
use crate::primitive::quiet::AtomicU64;

/// The lateness that half of the timers stay below, in nanoseconds. At first a guess: Linux adds 50 µs, unless a thread sets
/// this otherwise by `PR_SET_TIMERSLACK`, and a sleeping processor takes some time to wake up.
static TYPICAL: AtomicU64 = AtomicU64::new(if cfg!(target_os = "linux") { 75_000 } else { 0 });

/// How far the guess moves with each timer, in nanoseconds.
const STEP: u64 = 4_000;

/// More is no timer's lateness: the thread had to wait for a processor.
const MAX_TYPICAL: u64 = 250_000;

/// The beginning of a grace, and how late its timer will probably be.
#[derive(Clone, Copy)]
pub(super) struct GraceStart {
    pub(super) at: Instant,
    lateness: Duration,
}

impl GraceStart {
    pub(super) fn now() -> Self {
        Self { at: now(), lateness: Duration::from_nanos(TYPICAL.load(Relaxed)) }
    }

    /// Returns when to wake up, so that a grace of this length ends on time: earlier by what the timer will be late, and at
    /// most by a quarter. `None` if the clock cannot represent that.
    pub(super) fn wake_at(self, grace: Duration) -> Option<Instant> {
        self.at.checked_add(grace - self.lateness.min(grace / 4))
    }

    /// Returns whether it is time to wake up from a grace of this length.
    pub(super) fn is_over(self, grace: Duration) -> bool {
        self.wake_at(grace).is_some_and(|end| now() >= end)
    }
}

/// Learns from a timer that was set for `due`, before that, and has just fired.
pub(super) fn learn(due: Instant) {
    let typical = TYPICAL.load(Relaxed);
    let was_later = now().saturating_duration_since(due) > Duration::from_nanos(typical);
    // Threads that learn at the same time may overwrite each other.
    let next = if was_later { (typical + STEP).min(MAX_TYPICAL) } else { typical.saturating_sub(STEP) };
    TYPICAL.store(next, Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_grace_is_cut_by_the_lateness_and_at_most_by_a_quarter() {
        let start = GraceStart { at: Instant::now(), lateness: Duration::from_micros(75) };
        let waits = |grace| start.wake_at(grace).unwrap() - start.at;
        assert_eq!(waits(Duration::from_micros(400)), Duration::from_micros(325));
        assert_eq!(waits(Duration::from_micros(100)), Duration::from_micros(75), "a quarter, and no more");
        assert_eq!(waits(Duration::ZERO), Duration::ZERO);
        assert_eq!(start.wake_at(Duration::MAX), None, "past what the clock can represent");
    }
}
