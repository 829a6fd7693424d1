//! The end of a pool, and the wait for it.

use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::room::facts;
use super::word::{CLOSED, JOINERS, queued, workers};
use super::worker::works_for;
use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::{Failure, Limit, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::primitive::join_thread;
use crate::task::wait::one::{self, Ended};

/// How to [shut down](super::ThreadPoolExecutor::shutdown_with) a pool.
///
/// # Examples
///
/// ```
/// use bowline::{ShutdownOptions, ThreadPoolExecutor};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(1);
/// let done = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true).timeout(Duration::from_secs(5)));
/// assert!(done.is_complete());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ShutdownOptions {
    wait: bool,
    cancel_pending: bool,
    timeout: Option<Duration>,
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ShutdownOptions {
    /// Waits for all tasks, the queued ones too.
    pub const fn new() -> Self {
        Self { wait: true, cancel_pending: false, timeout: None }
    }

    /// Whether to wait for the workers to end. Without that they run what is queued, and then end by themselves: they are
    /// [detached](ShutdownReport::detached).
    pub const fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Whether to cancel the tasks that nobody has begun.
    pub const fn cancel_pending(mut self, cancel_pending: bool) -> Self {
        self.cancel_pending = cancel_pending;
        self
    }

    /// How long to wait for the workers to end. (Not for the destructors of their thread-locals, as without a limit.) Those
    /// that have not ended by then are [detached](ShutdownReport::detached).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    #[cfg(feature = "process")]
    pub(crate) fn cancels_pending(&self) -> bool {
        self.cancel_pending
    }

    #[cfg(feature = "process")]
    pub(crate) fn waits(&self) -> bool {
        self.wait
    }

    /// Whether the caller does not wait, or not for longer: nor will the end of the last handle.
    pub(crate) fn detaches(&self) -> bool {
        !self.wait || self.timeout.is_some()
    }

    /// Counted from this call.
    pub(crate) fn limit(&self) -> Limit {
        self.timeout.map_or(Limit::None, Limit::after)
    }
}

/// What a shutdown did, and what it left.
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
    /// Whether these workers were detached: the shutdown was told not to wait, or not for longer, and so the drop of the last
    /// handle does not wait for them either. They go on in the background, run what is queued, and end by themselves, or with
    /// the program. A later [`shutdown`](super::ThreadPoolExecutor::shutdown) can still wait for them.
    pub detached: bool,
    /// How long it took.
    pub took: Duration,
    /// Why the wait ended early, if it was part of a deadlock.
    pub deadlock: Option<Deadlock>,
}

impl ShutdownReport {
    /// Whether every worker has ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.workers == 0
    }
}

/// Shuts the pool down.
pub(super) fn shutdown(core: &Core, options: ShutdownOptions, failure: Failure, site: Site) -> ShutdownReport {
    let start = Instant::now();
    let (before, _) = core.threads().totals();
    core.close();
    let cancelled = if options.cancel_pending { core.cancel_queued() } else { 0 };
    let ended = if options.wait { wait_for_workers(core, options.limit(), failure, site) } else { Ok(()) };
    // The destructors of a worker's thread-locals end when they like: with a limit, they are not waited for.
    if ended.is_ok() && options.wait && options.timeout.is_none() {
        join_threads(core);
    }
    if options.detaches() {
        core.detach();
    }
    let word = core.word();
    ShutdownReport {
        completed: core.threads().totals().0 - before,
        cancelled,
        queued: queued(word) as usize,
        workers: workers(word) as usize,
        detached: options.detaches() && workers(word) > 0,
        took: start.elapsed(),
        deadlock: if let Err(Ended::Deadlock(deadlock)) = ended { Some(deadlock) } else { None },
    }
}

/// Takes no more tasks and waits for the end of the workers, as anybody else may at the same time; unless this is one of
/// them, which would wait for itself.
pub(super) fn end(core: &Arc<Core>, failure: Failure, site: Site) -> Result<(), Ended> {
    core.close();
    if !works_for(Arc::as_ptr(core)) {
        wait_for_workers(core, Limit::None, failure, site)?;
        join_threads(core);
    }
    Ok(())
}

#[cfg(feature = "process")]
impl super::ThreadPoolExecutor {
    /// As the end of the last handle, for the executor that this one is a part of.
    pub(crate) fn end(&self, failure: Failure, site: Site) -> Result<(), Ended> {
        end(self.core(), failure, site)
    }
}

fn wait_for_workers(core: &Core, limit: Limit, failure: Failure, site: Site) -> Result<(), Ended> {
    let wait = JoinWait(core);
    if workers(core.word()) == 0 {
        return Ok(());
    }
    // A worker that waits for its own end.
    let relock = works_for(ptr::from_ref(core));
    one::wait(registry::current(), &wait, Terms { site, limit, failure, relock })
}

/// The workers have left: what is left of their threads is the destructors of their thread-locals. One of these may be
/// what drops the last handle.
fn join_threads(core: &Core) {
    let handles = core.threads().take_handles();
    handles.into_iter().for_each(join_thread);
}

struct JoinWait<'c>(&'c Core);

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
        workers(self.0.word()) == 0
    }

    fn announce(&self) -> bool {
        debug_assert!(self.0.word() & CLOSED != 0, "nobody waits for the end of an open pool");
        self.0.announce(JOINERS, |word| workers(word) > 0)
    }

    fn is_announced(&self) -> bool {
        workers(self.0.word()) > 0
    }
}
