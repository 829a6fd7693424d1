//! A worker: takes tasks out of the queue and runs them, and those it waits for.

use std::ptr;
use std::sync::Arc;

use super::pool::Pool;
use crate::primitive::{current_worker, set_current_worker};
use crate::task::panic;
use crate::task::stack;
use crate::task::stats::Stats;

/// A worker, as its own thread knows it.
pub(super) struct Worker {
    pub(super) pool: Arc<Pool>,
    pub(super) stats: Arc<Stats>,
}

impl Worker {
    /// Runs a worker, which is counted, and expected by the pool's group, until it ends.
    pub(super) fn run(pool: Arc<Pool>, number: usize, stats: &Arc<Stats>) {
        stack::begin(pool.settings().stack_size);
        let worker = Self { pool, stats: Arc::clone(stats) };
        let pool = &worker.pool;
        // All of the user's code is contained. A worker that is counted and goes without a word would leave tasks
        // behind.
        panic::never_unwinds(|| {
            set_current_worker(ptr::from_ref(&worker).cast());
            let begins_at_once = pool.settings().initializer.is_none();
            pool.group().join(begins_at_once);
            if let Err(reason) = worker.initialize() {
                pool.break_down(&reason);
            }
            if !begins_at_once {
                pool.group().serve();
            }
            let mut last = None;
            while let Some((task, counts)) = pool.next(last) {
                last = Some(counts);
                match pool.broken_by(counts) {
                    Some(error) => task.fail(error),
                    None => task.run(stats),
                }
            }
            pool.group().leave();
            pool.recheck_joiners();
            set_current_worker(ptr::null());
            pool.threads().end(number);
            pool.exited();
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

/// Returns whether the calling thread works for this pool.
pub(super) fn works_for(pool: *const Pool) -> bool {
    Worker::current().is_some_and(|worker| ptr::eq(Arc::as_ptr(&worker.pool), pool))
}
