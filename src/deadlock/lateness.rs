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

    /// Returns whether a grace of this length is over, when a timer has just fired. If so, learns how late that was.
    pub(super) fn is_over(self, grace: Duration) -> bool {
        let now = now();
        let Some(due) = self.wake_at(grace).filter(|due| *due <= now) else { return false };
        let typical = TYPICAL.load(Relaxed);
        let was_later = now - due > Duration::from_nanos(typical);
        // Threads that learn at the same time may overwrite each other.
        TYPICAL.store(if was_later { typical.saturating_add(STEP) } else { typical.saturating_sub(STEP) }, Relaxed);
        true
    }
}
