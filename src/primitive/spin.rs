//! A short wait without sleeping, as long as it pays.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::yield_now;

/// The longest spin: a sleeper is woken in about that time.
pub(crate) const MAX_SPIN: Duration = Duration::from_micros(50);
/// How often the condition is looked at between two looks at the clock.
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
        if start.elapsed() > MAX_SPIN {
            return;
        }
        yield_now();
    }
}
