//! The back-off after starts that failed.

use std::time::{Duration, Instant};

use super::dispatcher::StartPolicy;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, Mutex, MutexGuard, PoisonError};

/// The pause before the next start. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Returns the pause that follows this one.
pub(super) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE)
}

/// A pause in which only a pool without workers starts one.
#[derive(Clone, Copy)]
struct Pause {
    end: Instant,
    length: Duration,
}

/// Whether workers are started for tasks beside those that there are: not for a while after a start that failed.
#[derive(Default)]
pub(super) struct Backoff {
    has_failed: AtomicBool,
    pause: Mutex<Option<Pause>>,
}

impl Backoff {
    /// Returns under which policy a worker may be started now.
    pub(super) fn policy(&self) -> StartPolicy {
        let may_start = !self.has_failed.load(Relaxed) || self.lock().is_none_or(|pause| Instant::now() >= pause.end);
        if may_start { StartPolicy::AsNeeded } else { StartPolicy::OnlyIfNone }
    }

    /// Begins a pause after a start that failed. It is longer each time.
    pub(super) fn note_failure(&self) {
        let mut pause = self.lock();
        let length = longer(pause.map_or(Duration::ZERO, |pause| pause.length));
        *pause = Some(Pause { end: Instant::now() + length, length });
        self.has_failed.store(true, Relaxed);
    }

    /// Ends the pause: a worker has started.
    pub(super) fn note_success(&self) {
        if self.has_failed.swap(false, Relaxed) {
            *self.lock() = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
