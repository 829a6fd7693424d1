//! The end of a process pool, and the wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::core::Core;
use super::supervisor::supervises;
use crate::deadlock::door::{Failure, Limit};
use crate::deadlock::resource::Site;
use crate::primitive::join_thread;
use crate::task::error::Rejected;
use crate::task::wait::one::{Ended, wait_done};
use crate::thread_pool::{ShutdownOptions, ShutdownReport};

/// Shuts the pool down.
pub(in crate::process_pool) fn shutdown(core: &Arc<Core>, options: ShutdownOptions, site: Site) -> ShutdownReport {
    if core.is_forked() {
        return nothing();
    }
    let start = Start::now(core);
    core.carry_out(core.dispatcher.close());
    let mut cancelled = 0;
    if options.cancels_pending() {
        let todo = core.dispatcher.cancel_queued();
        cancelled = todo.failed.len();
        core.carry_out(todo);
    }
    let ended = options.waits().then(|| wait(core, options.limit(), Failure::Value, site));
    if options.detaches() {
        core.detach();
    }
    let mut report = start.report(core, cancelled, ended);
    report.detached = options.detaches() && report.workers > 0;
    report
}

/// Ends the pool now.
fn end_now(core: &Arc<Core>, signal: Signal, waits: bool, site: Site) -> ShutdownReport {
    if core.is_forked() {
        return nothing();
    }
    let start = Start::now(core);
    let failed = core.end_now(signal, Rejected::Killed);
    start.report(core, failed, waits.then(|| wait(core, Limit::None, Failure::Value, site)))
}

/// Ends the pool now, by SIGKILL, and waits until that is done.
pub(in crate::process_pool) fn kill(core: &Arc<Core>, site: Site) -> ShutdownReport {
    end_now(core, Signal::KILL, true, site)
}

/// Ends the pool now, by SIGTERM, and does not wait.
pub(in crate::process_pool) fn terminate(core: &Arc<Core>, site: Site) -> ShutdownReport {
    end_now(core, Signal::TERM, false, site)
}

/// What is done to the workers of another process. Its locks are as they were at that moment, perhaps held.
fn nothing() -> ShutdownReport {
    ShutdownReport {
        completed: 0,
        cancelled: 0,
        queued: 0,
        workers: 0,
        detached: false,
        took: Duration::ZERO,
        deadlock: None,
    }
}

/// The end of the last handle.
pub(in crate::process_pool) fn drop_pool(core: &Arc<Core>) {
    if core.is_forked() {
        return;
    }
    core.carry_out(core.dispatcher.close());
    if !core.is_detached() {
        let _ = wait(core, Limit::None, Failure::Never, core.settings.made_at);
    }
}

/// Waits until the last worker is gone, its supervisor's thread with it, and the callbacks have run. These may wait for
/// whoever waits here.
fn wait(core: &Core, limit: Limit, failure: Failure, site: Site) -> Result<(), Ended> {
    if supervises(core) {
        // It would wait for itself.
        return Ok(());
    }
    wait_done(core.ended(), limit, site)?;
    if matches!(limit, Limit::None) {
        core.take_threads().into_iter().for_each(join_thread);
        if let Some(callbacks) = core.callbacks() {
            callbacks.end(failure, site)?;
        }
    }
    Ok(())
}

struct Start {
    at: Instant,
    completed: u64,
}

impl Start {
    fn now(core: &Core) -> Self {
        Self { at: Instant::now(), completed: core.dispatcher.counts().completed }
    }

    fn report(self, core: &Core, cancelled: usize, ended: Option<Result<(), Ended>>) -> ShutdownReport {
        let counts = core.dispatcher.counts();
        ShutdownReport {
            completed: counts.completed - self.completed,
            cancelled,
            queued: counts.queued,
            workers: counts.workers,
            detached: false,
            took: self.at.elapsed(),
            deadlock: if let Some(Err(Ended::Deadlock(deadlock))) = ended { Some(deadlock) } else { None },
        }
    }
}
