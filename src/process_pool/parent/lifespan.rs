//! How long a worker serves.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How long a worker serves, before another one takes its place.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::process_pool) struct Lifespan {
    /// How many tasks it runs at most.
    pub(in crate::process_pool) max_tasks: Option<NonZeroU64>,
    /// Its age, since it was ready.
    pub(in crate::process_pool) max_age: Option<Duration>,
    /// How long it has nothing to run.
    pub(in crate::process_pool) idle_timeout: Option<Duration>,
    /// By how many bytes its memory grows, since it was ready.
    pub(in crate::process_pool) max_growth: Option<u64>,
}

impl Lifespan {
    /// Returns how often to look at workers that have nothing to run, if that can matter.
    pub(super) fn look_each(&self) -> Option<Duration> {
        const SHORTEST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_secs(60);
        let shorter = [self.max_age, self.idle_timeout].into_iter().flatten().min()?;
        Some((shorter / 4).clamp(SHORTEST, LONGEST))
    }

    /// Returns whether a worker that has been up since `born`, and idle since then if it is idle, has served its time.
    pub(super) fn is_over(&self, born: Instant, idle_since: Option<Instant>, now: Instant) -> bool {
        let has_passed = |limit: Option<Duration>, since: Instant| {
            limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit)
        };
        has_passed(self.max_age, born) || idle_since.is_some_and(|since| has_passed(self.idle_timeout, since))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_serves_until_it_is_too_old_or_idle_for_too_long() {
        let (born, second) = (Instant::now(), Duration::from_secs(1));
        let lifespan = Lifespan { max_age: Some(10 * second), idle_timeout: Some(2 * second), ..Lifespan::default() };
        let is_over =
            |idle: Option<u32>, age| lifespan.is_over(born, idle.map(|at| born + at * second), born + age * second);
        assert!(!is_over(None, 9) && is_over(None, 10));
        assert!(!is_over(Some(3), 4) && is_over(Some(3), 5) && is_over(Some(9), 10));
        assert_eq!(lifespan.look_each(), Some(second / 2));
        assert_eq!(Lifespan::default().look_each(), None);
        assert!(!Lifespan::default().is_over(born, Some(born), born + 1000 * second));
    }
}
