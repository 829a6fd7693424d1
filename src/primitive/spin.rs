//! A short wait without sleeping, where it pays.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::yield_now;

/// The longest spin: about the time that waking a sleeper takes.
pub(crate) const MAX_SPIN: Duration = Duration::from_micros(50);
/// The number of checks of the condition between two reads of the clock.
const CHECKS_PER_CLOCK_READ: u32 = 32;

/// Returns whether spinning pays: with one processor, the other side cannot get on while this one spins.
fn spinning_pays() -> bool {
    static PAYS: OnceLock<bool> = OnceLock::new();
    *PAYS.get_or_init(|| std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1))
}

/// Spins until `has_come` returns `true`, for a moment at most. A thread that needs this processor gets it meanwhile.
pub(crate) fn spin_until(mut has_come: impl FnMut() -> bool) {
    // In a model, every turn would be one more interleaving of the same thing.
    if cfg!(all(test, loom)) || !spinning_pays() {
        return;
    }
    let start = Instant::now();
    loop {
        for _ in 0..CHECKS_PER_CLOCK_READ {
            if has_come() {
                return;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > MAX_SPIN {
            return;
        }
        yield_now();
    }
}
