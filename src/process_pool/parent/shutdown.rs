//! The end of a process pool, and the wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::shared::Shared;
use super::supervisor::supervises;
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::resource::Site;
use crate::primitive::join_thread;
use crate::task::error::Rejected;
use crate::task::wait::one::wait_done;
use crate::thread_pool::{ShutdownOptions, ShutdownReport};

/// Shuts the pool down.
pub(in crate::process_pool) fn shutdown(shared: &Arc<Shared>, options: ShutdownOptions, site: Site) -> ShutdownReport {
    if shared.is_forked() {
        return nothing();
    }
    let start = Start::now(shared);
    shared.carry_out(shared.dispatcher.close());
    let mut cancelled = 0;
    if options.cancel_pending {
        let todo = shared.dispatcher.cancel_queued();
        cancelled = todo.failed_count();
        shared.carry_out(todo);
    }
    let ended = options.wait.then(|| wait(shared, options.limit(), Failure::Value, site));
    if options.detaches() {
        shared.detach();
    }
    let mut report = start.report(shared, cancelled, ended);
    report.detached = options.detaches() && report.workers > 0;
    report
}

/// Ends the pool now, by SIGKILL, and waits until that is done.
pub(in crate::process_pool) fn kill(shared: &Arc<Shared>, site: Site) -> ShutdownReport {
    if shared.is_forked() {
        return nothing();
    }
    let start = Start::now(shared);
    let failed = end_now(shared, Signal::KILL);
    // It depends on whoever reads the program's streams.
    shared.leave_output();
    start.report(shared, failed, Some(wait(shared, Limit::None, Failure::Value, site)))
}

/// Ends the pool now, by SIGTERM, and does not wait.
pub(in crate::process_pool) fn terminate(shared: &Arc<Shared>) -> ShutdownReport {
    if shared.is_forked() {
        return nothing();
    }
    let start = Start::now(shared);
    let failed = end_now(shared, Signal::TERM);
    start.report(shared, failed, None)
}

/// Fails what no worker has begun, sends every process this signal, and starts no more. Returns how many tasks failed.
fn end_now(shared: &Arc<Shared>, signal: Signal) -> usize {
    let todo = shared.dispatcher.close_now(Rejected::Killed).todo;
    let failed = todo.failed_count();
    shared.end_processes(signal);
    shared.carry_out(todo);
    failed
}

/// What is done in a process that was forked off the pool's: its locks are as they were at that moment, perhaps held.
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

/// Closes the pool at the end of its last handle, and waits for its end unless it is detached.
pub(in crate::process_pool) fn drop_pool(shared: &Arc<Shared>) {
    if shared.is_forked() {
        return;
    }
    shared.carry_out(shared.dispatcher.close());
    if !shared.is_detached() {
        let _ = wait(shared, Limit::None, Failure::Never, shared.settings.made_at);
    }
}

/// Waits until the last worker is gone, and, without a limit, until the supervisors' threads are gone, the callbacks
/// have run, and what the workers wrote is passed on. The callbacks may wait for whoever waits here.
fn wait(shared: &Shared, limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
    if supervises(shared) {
        // It would wait for itself.
        return Ok(());
    }
    wait_done(shared.ended(), limit, site)?;
    if matches!(limit, Limit::None) {
        shared.take_threads().into_iter().for_each(join_thread);
        if let Some(callbacks) = shared.callbacks() {
            callbacks.end(failure, site)?;
        }
        shared.finish_output();
    }
    Ok(())
}

/// The beginning of a shutdown, for its report.
struct Start {
    at: Instant,
    completed: u64,
}

impl Start {
    fn now(shared: &Shared) -> Self {
        Self { at: Instant::now(), completed: shared.dispatcher.counts().completed }
    }

    fn report(self, shared: &Shared, cancelled: usize, ended: Option<Result<(), WaitError>>) -> ShutdownReport {
        let counts = shared.dispatcher.counts();
        ShutdownReport {
            completed: counts.completed - self.completed,
            cancelled,
            queued: counts.queued,
            workers: counts.workers,
            detached: false,
            took: self.at.elapsed(),
            deadlock: if let Some(Err(WaitError::Deadlock(deadlock))) = ended { Some(deadlock) } else { None },
        }
    }
}
