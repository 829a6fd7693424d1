//! A worker: takes tasks out of the queue and runs them, and those it waits for.

use std::ptr;
use std::sync::Arc;

use super::member::Member;
use super::metrics::RunTimer;
use super::occupancy::{Counts, Was};
use super::pool::Pool;
use crate::primitive::{Ingredient, current_worker, is_removed, set_current_worker};
use crate::task::end::AtEnd;
use crate::task::panic;
use crate::task::stack;
use crate::task::task_ref::TaskRef;

/// A worker, as its own thread knows it.
pub(super) struct Worker {
    pub(super) pool: Arc<Pool>,
    pub(super) member: Arc<Member>,
}

/// The end of a task, in the life of a worker: the worker counts as idle before the result is there, so that whoever has
/// the result, and submits the next task, finds it idle.
struct LastMoments<'w> {
    worker: &'w Worker,
    /// The counts before the worker took the task.
    before: Counts,
    state: Was,
    /// Whether the pool came to rest by that, and joiners have to be told.
    ends_join: bool,
    timer: RunTimer<'w>,
}

impl<'w> LastMoments<'w> {
    fn new(worker: &'w Worker, before: Counts) -> Self {
        let timer = RunTimer::start(worker.member.run_times.as_deref());
        Self { worker, before, state: Was::Busy, ends_join: false, timer }
    }

    /// Returns whether nothing is queued, as far as a worker can tell that leaves the word to others while there is much
    /// to do.
    #[inline]
    fn is_queue_empty(&self) -> bool {
        // It was empty; or it may have become so since.
        self.before.queued() == 1
            || self.before.may_be_empty_by_now() && self.worker.pool.occupancy.peek().queued() == 0
    }

    /// The task is done. Returns the state that the worker is counted in.
    #[inline]
    fn over(self) -> Was {
        if self.state == Was::Idle {
            self.worker.member.turn_publication();
        }
        if self.ends_join {
            self.worker.pool.tell_joiners();
        }
        self.state
    }
}

impl AtEnd for LastMoments<'_> {
    #[inline]
    fn nearly_done(&mut self) {
        self.timer.stop();
        if self.state == Was::Busy && self.is_queue_empty() && !is_removed(Ingredient::RestedFirst) {
            self.worker.member.turn_publication();
            self.ends_join = self.worker.pool.occupancy.rest().ends_join();
            self.state = Was::Idle;
        }
    }

    #[inline]
    fn busy_again(&mut self) {
        self.timer.stop();
        if self.state == Was::Idle {
            self.state = Was::Busy;
            self.worker.pool.stay_busy();
            self.worker.member.turn_publication();
        }
    }
}

impl Worker {
    /// Runs a worker, which is counted, and expected by the pool's group, until it ends.
    pub(super) fn run(pool: Arc<Pool>, number: usize, member: Arc<Member>) {
        stack::begin(pool.settings().stack_size);
        let worker = Self { pool, member };
        let pool = &worker.pool;
        // All of the user's code is contained. A worker that is counted and goes without a word would leave tasks
        // behind.
        panic::never_unwinds(|| {
            set_current_worker(ptr::from_ref(&worker).cast());
            let settings = pool.settings();
            let begins_at_once = settings.initializer.is_none() && settings.on_worker_start.is_none();
            pool.group().join(begins_at_once);
            if let Err(reason) = worker.initialize() {
                pool.break_down(&reason);
            }
            if let Some(hook) = &settings.on_worker_start {
                panic::contain(hook);
            }
            if !begins_at_once {
                pool.group().serve();
            }
            let (mut last, mut state) = (None, Was::Idle);
            while let Some((task, counts)) = pool.next(&worker.member, last, state) {
                (last, state) = (Some(counts), Was::Busy);
                match pool.broken_by(counts) {
                    Some(error) => task.fail(error),
                    None => {
                        let mut end = LastMoments::new(&worker, counts);
                        task.run_telling(&worker.member.stats, &mut end);
                        state = end.over();
                    }
                }
            }
            pool.group().leave();
            pool.recheck_joiners();
            set_current_worker(ptr::null());
            pool.threads().end(number);
            pool.exited();
            // Nobody counts on this thread any more, whatever the hook waits for.
            if let Some(hook) = &settings.on_worker_end {
                panic::contain(hook);
            }
        });
        // It may have the last reference to the pool, and with that to the user's initializer.
        panic::contain(|| drop(worker));
    }

    fn initialize(&self) -> Result<(), String> {
        let Some(initializer) = &self.pool.settings().initializer else { return Ok(()) };
        let ended = panic::catch(initializer).unwrap_or_else(|panic| Err(panic.to_string()));
        ended.map_err(|reason| format!("the initializer failed: {reason}"))
    }

    /// Returns the calling thread's worker, if it is one.
    pub(super) fn current<'w>() -> Option<&'w Self> {
        // SAFETY:
        // - null, or set by `run`, on this thread or on one that this one stands in for and that waits meanwhile, to a
        //   value that lives until it sets null.
        unsafe { current_worker().cast::<Self>().as_ref() }
    }
}

/// Runs a claimed task on a thread that waits meanwhile, and counts it.
pub(super) fn run_counted(task: &TaskRef, member: &Member) {
    task.run_telling(&member.stats, &mut RunTimer::start(member.run_times.as_deref()));
}

/// Returns the index of the worker that runs the calling code: from 0 to one less than the largest
/// [maximum](super::ThreadPoolExecutor::max_workers) that its pool has had. `None` on a thread that is no worker, and in
/// [`on_worker_end`](super::ThreadPoolBuilder::on_worker_end).
///
/// No other living worker of the pool has the same index; when a worker ends, the next one that starts takes the lowest
/// that is free. So it is an index into a table with a place for each worker.
///
/// A task that a worker runs in place, because it waits for it, has the index of the task that waits: do not keep the place borrowed
/// during a wait. A task that another thread runs ([`CallerRuns`](super::WhenFull::CallerRuns),
/// [`PendingTask::run`](super::PendingTask::run)) has that thread's: `None`, or an index of another pool.
///
/// # Examples
///
/// ```
/// use bowline::thread_pool::worker_index;
///
/// let pool = bowline::ThreadPoolExecutor::new(4);
/// let index = pool.submit(worker_index).result().unwrap();
/// assert!(index.unwrap() < 4);
/// assert_eq!(worker_index(), None);
/// ```
#[must_use]
pub fn worker_index() -> Option<usize> {
    Worker::current().and_then(|worker| worker.member.index())
}

/// Returns whether the calling thread works for this pool.
pub(super) fn works_for(pool: *const Pool) -> bool {
    Worker::current().is_some_and(|worker| ptr::eq(Arc::as_ptr(&worker.pool), pool))
}
