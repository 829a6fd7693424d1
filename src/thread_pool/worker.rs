//! A worker: takes tasks out of the queue and runs them, and those it waits for.

use std::ptr;
use std::sync::Arc;

use super::core::Core;
use super::stack::{self, Stack};
use crate::deadlock::nested::run_nested;
use crate::deadlock::resource::Site;
use crate::primitive::{current_worker, set_current_worker};
use crate::task::cell::TaskRef;
use crate::task::panic;
use crate::task::stats::Stats;

/// What a worker's thread knows of itself.
pub(super) struct Worker {
    core: Arc<Core>,
    stats: Arc<Stats>,
    stack: Stack,
}

impl Worker {
    /// The life of a worker that is counted, and expected by the pool's group.
    pub(super) fn run(core: Arc<Core>, number: usize, stats: &Arc<Stats>) {
        let stack = Stack::here(core.settings().stack_size);
        let worker = Self { core, stats: Arc::clone(stats), stack };
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
    fn current<'w>() -> Option<&'w Self> {
        // SAFETY:
        // - null, or set by `run` on this thread to a value that lives until it sets null.
        unsafe { current_worker().cast::<Self>().as_ref() }
    }
}

/// Who works for the pool of the thread that made this, while that one waits: nobody, if it is no worker.
pub(crate) struct Deputy(Option<(Arc<Core>, Arc<Stats>)>);

impl Deputy {
    /// Of the calling thread.
    pub(crate) fn of_this() -> Self {
        Self(Worker::current().map(|worker| (Arc::clone(&worker.core), Arc::clone(&worker.stats))))
    }

    /// Does `work`, which does not unwind, on the calling thread, which has just begun and has a stack of so many bytes.
    pub(crate) fn run(self, stack_size: usize, work: impl FnOnce()) {
        let Some((core, stats)) = self.0 else { return work() };
        let worker = Worker { core, stats, stack: Stack::here(stack_size) };
        set_current_worker(ptr::from_ref(&worker).cast());
        work();
        set_current_worker(ptr::null());
        // As at the end of a worker.
        panic::contain(|| drop(worker));
    }
}

/// Whether the calling thread works for this pool.
pub(super) fn works_for(core: *const Core) -> bool {
    Worker::current().is_some_and(|worker| ptr::eq(Arc::as_ptr(&worker.core), core))
}

/// Whether another task may begin on top of what the calling thread does.
pub(crate) fn has_room_for_task() -> bool {
    Worker::current().map_or_else(stack::has_room_outside, |worker| worker.stack.has_room())
}

/// Runs a task on this thread, in a context of its own, if it is queued in the pool that this thread works for.
///
/// That is progress which the caller has to wait for anyway. The caller waits for the task on the line `site`.
pub(crate) fn run_in_place(task: &TaskRef, site: Site) -> bool {
    let Some(worker) = Worker::current() else { return false };
    if !ptr::eq(Arc::as_ptr(&worker.core), task.pool()) || !worker.stack.has_room() || !task.claim() {
        return false;
    }
    worker.core.unqueue();
    match worker.core.broken() {
        Some(error) => task.fail(error),
        None => run_nested(task.facts(), site, || task.run(&worker.stats)),
    }
    true
}
