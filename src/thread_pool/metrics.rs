//! What a pool has done, at one moment.

use std::time::{Duration, Instant};

use super::ThreadPoolExecutor;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;
use crate::task::end::AtEnd;

/// The buckets of a histogram: one for each power of two of nanoseconds.
const BUCKETS: usize = u64::BITS as usize;

/// The run times of tasks, as their runner counts them.
pub(super) struct RunTimes([AtomicU64; BUCKETS]);

impl RunTimes {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }

    fn count(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.0[nanos.ilog2() as usize].fetch_add(1, Relaxed);
    }

    /// Adds these to others.
    pub(super) fn add_to(&self, sum: &mut RunTimeHistogram) {
        sum.counts.iter_mut().zip(&self.0).for_each(|(sum, count)| *sum += count.load(Relaxed));
    }
}

/// Counts the run time of one task, if the pool wants it, at the moment before the task is done.
pub(super) struct RunTimer<'t>(Option<(&'t RunTimes, Instant)>);

impl<'t> RunTimer<'t> {
    #[inline]
    pub(super) fn start(times: Option<&'t RunTimes>) -> Self {
        Self(times.map(|times| (times, Instant::now())))
    }

    #[inline]
    pub(super) fn stop(&mut self) {
        if let Some((times, start)) = self.0.take() {
            times.count(start.elapsed());
        }
    }
}

impl AtEnd for RunTimer<'_> {
    #[inline]
    fn nearly_done(&mut self) {
        self.stop();
    }

    #[inline]
    fn busy_again(&mut self) {
        self.stop();
    }
}

/// How long tasks ran, in buckets by powers of two. A value of the [metrics](Metrics::run_times) of a pool.
///
/// The time of a task includes its waits, and the tasks that it ran in place, which count for themselves as well.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let pool = bowline::ThreadPoolExecutor::builder().max_workers(1).run_times(true).build();
/// for n in 0..10 {
///     pool.submit(move || std::thread::sleep(Duration::from_millis(n / 9 * 4))).result().unwrap();
/// }
/// let times = pool.metrics().run_times.unwrap();
/// assert_eq!(times.count(), 10);
/// assert!(times.quantile(0.5).unwrap() < times.quantile(1.0).unwrap());
/// assert!(times.quantile(1.0).unwrap() >= Duration::from_millis(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTimeHistogram {
    counts: [u64; BUCKETS],
}

impl RunTimeHistogram {
    pub(super) const EMPTY: Self = Self { counts: [0; BUCKETS] };

    /// Returns the number of tasks.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns all 64 buckets, empty ones too, from the shortest times to the longest: the exclusive upper bound, and the number of
    /// tasks. The lower bound is half of it: the bucket of 1024 ns has 512 to 1023 ns.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(exponent, &count)| (end_of_bucket(exponent), count))
    }

    /// Returns an upper bound of this quantile (0 to 1) of the run times, at most twice the true value. `None` if there are no tasks.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all = self.count();
        let mut below = 0;
        self.buckets().find_map(|(end, count)| {
            below += count;
            (all > 0 && below as f64 >= part * all as f64 && below > 0).then_some(end)
        })
    }
}

fn end_of_bucket(exponent: usize) -> Duration {
    Duration::from_nanos(2_u64.checked_pow(exponent as u32 + 1).unwrap_or(u64::MAX))
}

/// What a pool has done, and what it does at this moment: see [`ThreadPoolExecutor::metrics`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// The [maximum number of workers](ThreadPoolExecutor::max_workers).
    pub max_workers: usize,
    /// The [number of workers](ThreadPoolExecutor::worker_count).
    pub workers: usize,
    /// The number of workers that [run a task](ThreadPoolExecutor::active_count).
    pub active: usize,
    /// The largest [number of workers](ThreadPoolExecutor::largest_size) that there have been at a time.
    pub largest_size: usize,
    /// The number of [queued](ThreadPoolExecutor::queued) tasks.
    pub queued: usize,
    /// The number of tasks that [have run](ThreadPoolExecutor::completed).
    pub completed: u64,
    /// The number of tasks that [have panicked](ThreadPoolExecutor::panic_count).
    pub panicked: u64,
    /// How long tasks ran, if the pool [counts](super::ThreadPoolBuilder::run_times) that.
    pub run_times: Option<RunTimeHistogram>,
}

impl ThreadPoolExecutor {
    /// Returns the figures of the pool. They are read one after the other, so they may be of slightly different moments.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// pool.submit(|| 42).result().unwrap();
    /// let metrics = pool.metrics();
    /// assert_eq!((metrics.workers, metrics.active, metrics.queued, metrics.completed), (1, 0, 0, 1));
    /// assert!(metrics.run_times.is_none()); // nobody asked for them
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let pool = self.pool();
        let counts = pool.occupancy.read();
        let threads = pool.threads();
        let (completed, panicked) = threads.totals();
        Metrics {
            max_workers: pool.max_workers(),
            workers: counts.workers() as usize,
            active: counts.workers().saturating_sub(counts.idle()) as usize,
            largest_size: threads.largest(),
            queued: counts.queued() as usize,
            completed,
            panicked,
            run_times: pool.settings().run_times.then(|| threads.run_times()),
        }
    }

    /// Returns the largest number of workers that this pool has had at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(4);
    /// assert_eq!(pool.largest_size(), 0);
    /// pool.prestart(3);
    /// pool.shutdown();
    /// assert_eq!((pool.worker_count(), pool.largest_size()), (0, 3));
    /// ```
    #[must_use]
    pub fn largest_size(&self) -> usize {
        self.pool().threads().largest()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_by_powers_of_two() {
        let times = RunTimes::new();
        for nanos in [0, 1, 2, 3, 1023, 1024, u64::MAX] {
            times.count(Duration::from_nanos(nanos));
        }
        times.count(Duration::MAX);
        let mut sum = RunTimeHistogram::EMPTY;
        times.add_to(&mut sum);
        let filled: Vec<_> = sum.buckets().filter(|&(_, count)| count > 0).collect();
        let nanos = Duration::from_nanos;
        assert_eq!(filled, [(nanos(2), 2), (nanos(4), 2), (nanos(1024), 1), (nanos(2048), 1), (nanos(u64::MAX), 2)]);
        assert_eq!((sum.count(), sum.quantile(0.5), sum.quantile(0.0)), (8, Some(nanos(4)), Some(nanos(2))));
        assert_eq!((sum.quantile(1.0), RunTimeHistogram::EMPTY.quantile(0.5)), (Some(nanos(u64::MAX)), None));
    }
}
