//! A worker: takes tasks out of the queue and runs them, and those it waits for.

use std::ptr;
use std::sync::Arc;

use super::core::Core;
use crate::primitive::{current_worker, set_current_worker};
use crate::task::panic;
use crate::task::stack;
use crate::task::stats::Stats;

/// What a worker's thread knows of itself.
pub(super) struct Worker {
    pub(super) core: Arc<Core>,
    pub(super) stats: Arc<Stats>,
}

impl Worker {
    /// The life of a worker that is counted, and expected by the pool's group.
    pub(super) fn run(core: Arc<Core>, number: usize, stats: &Arc<Stats>) {
        stack::begin(core.settings().stack_size);
        let worker = Self { core, stats: Arc::clone(stats) };
        let core = &worker.core;
        // All of the user's code is contained. Whoever is counted and goes without a word would leave tasks behind.
        panic::never_unwinds(|| {
            set_current_worker(ptr::from_ref(&worker).cast());
            core.group().join();
            if let Err(reason) = worker.initialize() {
                core.break_down(&reason);
            }
            let mut last = None;
            while let Some((task, word)) = core.next(last) {
                last = Some(word);
                match core.broken_by(word) {
                    Some(error) => task.fail(error),
                    None => task.run(stats),
                }
            }
            core.group().leave();
            set_current_worker(ptr::null());
            core.threads().end(number);
            core.exited();
        });
        // It may have the last reference to the pool, and with that to the user's initializer.
        panic::contain(|| drop(worker));
    }

    fn initialize(&self) -> Result<(), String> {
        let Some(initializer) = &self.core.settings().initializer else { return Ok(()) };
        let ended = panic::catch(initializer).unwrap_or_else(|panic| Err(panic.to_string()));
        ended.map_err(|reason| format!("the initializer failed: {reason}"))
    }

    /// The calling thread's, if it is a worker.
    pub(super) fn current<'w>() -> Option<&'w Self> {
        // SAFETY:
        // - null, or set by `run`, on this thread or on one that this one stands in for and that waits meanwhile, to a value
        //   that lives until it sets null.
        unsafe { current_worker().cast::<Self>().as_ref() }
    }
}

/// Whether the calling thread works for this pool.
pub(super) fn works_for(core: *const Core) -> bool {
    Worker::current().is_some_and(|worker| ptr::eq(Arc::as_ptr(&worker.core), core))
}
