//! The end of a pool, and the wait for it.

use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::occupancy::Sleepers;
use super::pool::Pool;
use super::queue_room::facts;
use super::worker::works_for;
use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::primitive::join_thread;

/// The options of a [shutdown](super::ThreadPoolExecutor::shutdown_with).
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
/// use bowline::thread_pool::ShutdownOptions;
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(1);
/// let done = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true).timeout(Duration::from_secs(5)));
/// assert!(done.is_complete());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ShutdownOptions {
    pub(crate) wait: bool,
    pub(crate) cancel_pending: bool,
    pub(crate) timeout: Option<Duration>,
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ShutdownOptions {
    /// Makes the default options: the shutdown waits for all tasks, the queued ones too.
    pub const fn new() -> Self {
        Self { wait: true, cancel_pending: false, timeout: None }
    }

    /// Sets whether to wait for the workers to end. Without that they run what is queued, and then end by themselves:
    /// they are [detached](ShutdownReport::detached).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use bowline::thread_pool::ShutdownOptions;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.submit(|| 42);
    /// let report = pool.shutdown_with(ShutdownOptions::new().wait(false));
    /// assert!(report.is_complete() || report.detached);
    /// assert_eq!(future.result().unwrap(), 42);
    /// ```
    pub const fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Sets whether to cancel the tasks that have not begun.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::thread_pool::ShutdownOptions;
    /// use bowline::{ThreadPoolExecutor, promise};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (begin, begun) = promise();
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || {
    ///     begin.set_result(()).unwrap();
    ///     opened.result()
    /// });
    /// begun.result().unwrap();
    /// let queued = pool.submit(|| 42);
    /// let report = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true).wait(false));
    /// assert!(report.cancelled == 1 && queued.cancelled());
    /// open.set_result(()).unwrap();
    /// busy.result().unwrap().unwrap(); // a task that has begun runs to its end
    /// ```
    pub const fn cancel_pending(mut self, cancel_pending: bool) -> Self {
        self.cancel_pending = cancel_pending;
        self
    }

    /// Sets how long to wait for the workers to end. (Not for the destructors of their thread-locals, as without a
    /// limit.) Workers that have not ended by then are [detached](ShutdownReport::detached).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Returns whether the caller does not wait, or not for longer: nor does the drop of the last handle then.
    pub(crate) fn detaches(&self) -> bool {
        !self.wait || self.timeout.is_some()
    }

    /// Returns the limit of the wait, counted from this call.
    pub(crate) fn limit(&self) -> Limit {
        self.timeout.map_or(Limit::None, Limit::after)
    }
}

/// The result of a shutdown: what it did, and what it left.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
/// let report = pool.shutdown();
/// assert_eq!((report.cancelled, report.queued, report.workers), (0, 0, 0));
/// assert!(report.deadlock.is_none() && futures.iter().all(|future| future.done()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The tasks that ran to their end during the shutdown.
    pub completed: u64,
    /// The tasks that were cancelled.
    pub cancelled: usize,
    /// The tasks that are still queued.
    pub queued: usize,
    /// The workers that have not ended.
    pub workers: usize,
    /// Whether these workers were detached: the shutdown was told not to wait, or not for longer, and so the drop of
    /// the last handle does not wait for them either. They go on in the background, run what is queued, and end by
    /// themselves, or with the program. A later [`shutdown`](super::ThreadPoolExecutor::shutdown) can still wait for
    /// them.
    pub detached: bool,
    /// The duration of the shutdown.
    pub took: Duration,
    /// The deadlock, if the wait ended early because it was part of one.
    pub deadlock: Option<Deadlock>,
}

impl ShutdownReport {
    /// Returns whether every worker has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.workers == 0
    }
}

/// Shuts the pool down.
pub(super) fn shutdown(pool: &Pool, options: ShutdownOptions, failure: Failure, site: Site) -> ShutdownReport {
    let start = Instant::now();
    let (before, _) = pool.threads().totals();
    pool.close();
    let cancelled = if options.cancel_pending { pool.cancel_queued() } else { 0 };
    let ended = if options.wait { wait_for_workers(pool, options.limit(), failure, site) } else { Ok(()) };
    // The destructors of a worker's thread-locals end when they like: with a limit, they are not waited for.
    if ended.is_ok() && options.wait && options.timeout.is_none() {
        join_threads(pool);
    }
    if options.detaches() {
        pool.detach();
    }
    let counts = pool.occupancy.read();
    ShutdownReport {
        completed: pool.threads().totals().0 - before,
        cancelled,
        queued: counts.queued() as usize,
        workers: counts.workers() as usize,
        detached: options.detaches() && counts.workers() > 0,
        took: start.elapsed(),
        deadlock: if let Err(WaitError::Deadlock(deadlock)) = ended { Some(deadlock) } else { None },
    }
}

/// Closes the pool and waits for the end of its workers, as anybody else may at the same time; unless the caller is one
/// of them, which would wait for itself.
pub(super) fn end(pool: &Arc<Pool>, failure: Failure, site: Site) -> Result<(), WaitError> {
    pool.close();
    if !works_for(Arc::as_ptr(pool)) {
        wait_for_workers(pool, Limit::None, failure, site)?;
        join_threads(pool);
    }
    Ok(())
}

fn wait_for_workers(pool: &Pool, limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
    let wait = JoinWait(pool);
    if pool.occupancy.read().workers() == 0 {
        return Ok(());
    }
    // A worker would wait for its own end.
    let relock = works_for(ptr::from_ref(pool));
    door::wait(registry::current(), &wait, Terms { site, limit, failure, relock })
}

/// Joins the threads of workers that have left. All that these threads still run is the destructors of their
/// thread-locals; one of these may be what drops the last handle.
fn join_threads(pool: &Pool) {
    let handles = pool.threads().take_handles();
    handles.into_iter().for_each(join_thread);
}

struct JoinWait<'c>(&'c Pool);

impl Blocker for JoinWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        facts(self.0, self.key())
    }

    fn need(&self) -> Need {
        Need::All
    }

    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>) {
        self.0.group().for_each_member(graph, |member| _ = visit(Provider::Context(member)));
        // Workers that have not joined yet, or have left already.
        _ = visit(Provider::External);
    }
}

impl Park for JoinWait<'_> {
    fn key(&self) -> usize {
        self.0.join_key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.0.occupancy.read().workers() == 0
    }

    fn announce(&self) -> bool {
        debug_assert!(self.0.occupancy.read().is_closed(), "nobody waits for the end of an open pool");
        self.0.occupancy.announce(Sleepers::Joiners, |counts| counts.workers() > 0)
    }

    fn is_announced(&self) -> bool {
        self.0.occupancy.read().workers() > 0
    }
}
