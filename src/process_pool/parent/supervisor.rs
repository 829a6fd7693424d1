//! The thread that has a worker process: starts it, reads its replies, and sees its end.

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::dispatcher::{Link, Unexpected};
use super::link::{Exchange, SocketLink};
use super::startup::{NotStarted, Started, start};
use crate::deadlock::print_line;
use crate::process_pool::lost::{WorkerExit, WorkerLost};
use crate::process_pool::start_error::StartError;
use crate::process_pool::wire::call::{Failure, Outcome};
use crate::process_pool::wire::codec::{self, CodecError};
use crate::process_pool::wire::frame::{FrameReader, Kind};
use crate::task::error::{Rejected, TaskError};
use crate::task::panic;

/// So often a worker is started in vain before the tasks that need it fail.
const MOST_STARTS: u32 = 3;
/// The pause before the next start. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A worker that lived for longer was none of those that die at once.
const LONG_LIFE: Duration = Duration::from_secs(1);

thread_local! {
    /// Whose supervisor this thread is.
    static SUPERVISES: Cell<*const Core> = const { Cell::new(ptr::null()) };
}

/// Whether the calling thread is a supervisor of this pool.
pub(in crate::process_pool) fn supervises(core: &Core) -> bool {
    SUPERVISES.try_with(Cell::get).is_ok_and(|supervised| ptr::eq(supervised, core))
}

/// The life of a supervisor: as long as there is something to do for the worker with this number.
pub(in crate::process_pool) fn run(core: Arc<Core>, number: usize) {
    SUPERVISES.set(Arc::as_ptr(&core));
    // Whoever waits for a task of this worker counts on this thread: it runs no code of the user's.
    panic::never_unwinds(|| supervise(&core, number));
    SUPERVISES.set(ptr::null());
    drop(core);
}

fn supervise(core: &Arc<Core>, number: usize) {
    let (mut pause, mut failures) = (Duration::ZERO, 0);
    loop {
        if !pause.is_zero() {
            // Until then, or until the pool is killed.
            core.killed().wait(pause);
        }
        let started = match start(core) {
            Ok(started) => started,
            Err(failure) => {
                failures += 1;
                pause = longer(pause);
                let (reason, is_last) = not_started(core, failure, failures);
                let (again, todo) = core.dispatcher.start_failed(&reason, is_last);
                if again {
                    continue;
                }
                if !core.leave(number, todo, core.may_start()) {
                    return;
                }
                if is_last {
                    // For tasks that came after the others had failed: they know of no failure.
                    (pause, failures) = (Duration::ZERO, 0);
                }
                continue;
            }
        };
        failures = 0;
        core.has_started();
        let began = Instant::now();
        let life = live(core, number, started);
        if !life.goes_on {
            return;
        }
        // A task that kills its worker costs no pause: each does so once.
        pause = if life.began_a_task || began.elapsed() > LONG_LIFE { Duration::ZERO } else { longer(pause) };
    }
}

/// Why there is no worker, and whether that is not to be tried again.
fn not_started(core: &Arc<Core>, failure: NotStarted, failures: u32) -> (Rejected, bool) {
    match failure {
        NotStarted::Broken(reason) => {
            break_down(core, &reason);
            (Rejected::Broken(reason.into()), true)
        }
        NotStarted::Failed { failure, stderr } => {
            core.note_failed_start();
            let program = core.settings.program.path.clone();
            let reason = Rejected::NoWorker(StartError::new(program, failures, failure, stderr));
            (reason, failures >= MOST_STARTS || core.killed().is_given())
        }
    }
}

/// The pause after this one.
pub(in crate::process_pool) fn longer(pause: Duration) -> Duration {
    (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE)
}

/// An initializer failed: what no worker has begun fails for this reason, and nothing is taken any more.
fn break_down(core: &Arc<Core>, reason: &str) {
    let (was_open, todo) = core.dispatcher.close_now(Rejected::Broken(reason.into()));
    if was_open {
        print_line(format_args!("bowline: {} is broken: {reason}", core.settings.name));
    }
    let event = if was_open { core.trace_broken(reason) } else { None };
    core.carry_out(todo);
    if let Some(event) = event {
        event();
    }
}

/// What came of a worker.
struct Life {
    /// It ended in the middle of a task, or had ended some.
    began_a_task: bool,
    /// Another one is to follow.
    goes_on: bool,
}

/// A worker's life.
fn live(core: &Arc<Core>, number: usize, mut started: Started) -> Life {
    core.carry_out(core.dispatcher.up(number, Arc::clone(&started.link)));
    let mut began_before = false;
    let nonsense = serve(core, number, &started.link, &mut started.reader, &mut began_before).err();
    let exit = started.end(core, nonsense.is_none());
    let exit = nonsense.map_or(exit, |reason| WorkerExit::Protocol(reason.into()));
    let (loss, mut todo) = core.dispatcher.lost(number);
    todo.flush();
    let began_a_task = !loss.killed.is_empty() || began_before;
    for sent in loss.killed {
        let Some(job) = sent.job else { continue };
        let lines = started.process.last_lines();
        let lost = WorkerLost::new(started.process.pid(), exit.clone(), job.name(), sent.since.elapsed(), lines);
        todo.failed.push((job, TaskError::WorkerLost(lost)));
    }
    Life { began_a_task, goes_on: core.leave(number, todo, !loss.was_told_to_stop) }
}

/// Reads replies until the worker is gone. The error: it sent nonsense.
///
/// Notes whether it has ended a task.
fn serve(
    core: &Arc<Core>,
    number: usize,
    link: &SocketLink,
    reader: &mut FrameReader,
    has_ended_a_task: &mut bool,
) -> Result<(), String> {
    // The worker has asked for what it waits for: until that is sent this waits for room, too.
    let (mut sends, mut sends_later) = (false, false);
    loop {
        while let Some(message) = reader.next_message().map_err(|error| error.to_string())? {
            let (kind, id) = (message.kind, message.id);
            if kind == Kind::More {
                sends = true;
                continue;
            }
            if !matches!(kind, Kind::Done | Kind::Failed | Kind::Skipped) {
                return Err(format!("a frame of the kind {kind:?}"));
            }
            let replied = core.dispatcher.replied(number, id);
            let (job, mut todo) = replied.map_err(|Unexpected| format!("a reply to task {id}, which it has not"))?;
            *has_ended_a_task |= job.is_some();
            // The worker first; unless it has enough to do: then what it gets for several replies is sent at once.
            if todo.can_wait {
                todo.flush_no_more();
                sends_later = true;
            } else {
                todo.flush();
            }
            let mut event = None;
            let then = match (job, kind) {
                (None, Kind::Skipped) => None,
                (Some(job), Kind::Done) => job.complete(match message.into_payload() {
                    Ok((bytes, start)) => Outcome::Value(bytes, start),
                    Err(lost) => Outcome::Error(TaskError::Decode(CodecError::new(lost.to_string()))),
                }),
                (Some(job), Kind::Failed) if let Some(lost) = message.lost() => {
                    job.complete(Outcome::Error(TaskError::Decode(CodecError::new(lost.to_string()))))
                }
                (Some(job), Kind::Failed) => {
                    let error = match codec::decode::<Failure>(message.payload()) {
                        Ok(failure) => failure.into_error(link.pid()),
                        Err(error) => TaskError::Decode(error),
                    };
                    if let TaskError::Panicked(panic) = &error {
                        event = core.trace_panic(&job, panic);
                    }
                    job.complete(Outcome::Error(error))
                }
                (None, _) => return Err(format!("a reply to task {id}, which was taken back")),
                (Some(job), _) => {
                    let reason = format!("it skipped task {id}, which it was to run");
                    let lost = WorkerExit::Protocol(reason.as_str().into());
                    let lost = WorkerLost::new(link.pid(), lost, job.name(), Duration::ZERO, Vec::new());
                    todo.failed.push((job, TaskError::WorkerLost(lost)));
                    core.carry_out(todo);
                    return Err(reason);
                }
            };
            if let Some(then) = then {
                core.run_later(then);
            }
            core.carry_out(todo);
            if let Some(event) = event {
                event();
            }
        }
        if sends {
            match link.exchange(reader).map_err(|error| error.to_string())? {
                Exchange::Sent => sends = false,
                Exchange::Again => {}
                Exchange::Gone => return Ok(()),
            }
            continue;
        }
        // That, and what found the stream full before.
        if std::mem::take(&mut sends_later) || link.has_rest() {
            link.flush();
        }
        if link.receive(reader).map_err(|error| error.to_string())? == 0 {
            return Ok(());
        }
    }
}
