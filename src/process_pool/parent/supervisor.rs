//! The thread that looks after a worker process: starts it, reads its replies, and sees its end.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::longer;
use super::dispatcher::{
    AfterReply, FailedStart, Farewell, Left, Link, PoolEnd, SendNext, StartAttempt, StartPolicy, Todo, Unexpected,
};
use super::growth::Growth;
use super::job::Job;
use super::link::{Exchange, SocketLink};
use super::notes::{Note, Said, Speaker};
use super::shared::{Deferred, Shared};
use super::startup::{Ended, NotStarted, Started, StreamState, start};
use crate::deadlock::print_line;
use crate::primitive::spawn_thread;
use crate::process_pool::wire::blob::Attached;
use crate::process_pool::wire::call::{CallFailure, CallResult};
use crate::process_pool::wire::codec;
use crate::process_pool::wire::frame::{FrameReader, Kind, LostDescriptors, Message, NoMemory};
use crate::process_pool::wire::progress;
use crate::process_pool::wire::region::{Assembly, Copied, Place};
use crate::task::error::{CodecError, LastLines, Rejected, StartError, TaskError, Terminated, WorkerExit, WorkerLost};
use crate::task::panic;

/// Of a supervisor. If the system refuses other threads it runs callbacks, too.
const STACK_SIZE: usize = 2 << 20;
/// How many attempts to start a worker fail before the tasks that need it do.
const MAX_STARTS: u32 = 3;
/// A worker that lived for longer did not die young.
const LONG_LIFE: Duration = Duration::from_secs(1);

thread_local! {
    /// The pool whose supervisor this thread is.
    static SUPERVISES: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

/// Runs code on a thread of this pool that is none of its supervisors, and that is waited for as they are.
pub(super) fn as_one_of<R>(shared: &Arc<Shared>, run: impl FnOnce() -> R) -> R {
    let before = SUPERVISES.replace(Arc::as_ptr(shared));
    let result = run();
    SUPERVISES.set(before);
    result
}

/// Returns whether the calling thread is a supervisor of this pool.
pub(super) fn supervises(shared: &Shared) -> bool {
    SUPERVISES.try_with(Cell::get).is_ok_and(|supervised| ptr::eq(supervised, shared))
}

impl Shared {
    /// Does what the dispatcher left to be done.
    pub(super) fn carry_out(self: &Arc<Self>, todo: Todo<SocketLink>) {
        let mut deferred = Vec::new();
        let mut start = self.carry_out_but_start(todo, &mut deferred);
        while let Some(number) = start
            && let Err(error) = self.start_supervisor(number)
        {
            let reason = Rejected::NoThread(Arc::new(error));
            if let FailedStart::GiveUp(mut todo) = self.dispatcher.start_failed(&reason, StartAttempt::Last) {
                self.flush_and_fail(&mut todo, &mut deferred);
            }
            start = match self.dispatcher.leave(number, StartPolicy::OnlyIfNone) {
                Left::Replace => Some(number),
                Left::Gone(todo) => self.carry_out_but_start(todo, &mut deferred),
            };
        }
        deferred.into_iter().for_each(|run| run());
    }

    /// Does what the dispatcher left to be done, and returns the number of the worker that is yet to be started.
    fn carry_out_but_start(&self, mut todo: Todo<SocketLink>, deferred: &mut Vec<Deferred>) -> Option<usize> {
        self.flush_and_fail(&mut todo, deferred);
        let end = match todo.end() {
            PoolEnd::AskWhenFailed => self.dispatcher.have_failed(),
            end => end,
        };
        if end == PoolEnd::Reached {
            self.tell_end();
        }
        todo.start()
    }

    fn start_supervisor(self: &Arc<Self>, number: usize) -> io::Result<()> {
        let shared = Arc::clone(self);
        let thread = spawn_thread(self.next_thread_name(), STACK_SIZE, move || run(shared, number))?;
        self.add_thread(thread);
        Ok(())
    }

    /// Fails what was lost with a worker that is gone, and counts the worker no more. Returns what its supervisor does
    /// next.
    fn leave(self: &Arc<Self>, number: usize, mut lost: Todo<SocketLink>, policy: StartPolicy) -> Next {
        let mut deferred = Vec::new();
        self.flush_and_fail(&mut lost, &mut deferred);
        let next = match self.dispatcher.leave(number, policy) {
            Left::Replace => Next::StartAnother,
            Left::Gone(todo) => {
                self.carry_out(todo);
                Next::End
            }
        };
        deferred.into_iter().for_each(|run| run());
        next
    }
}

/// What a supervisor does when its worker is gone, or did not get up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    StartAnother,
    End,
}

/// The life of a supervisor: as long as there is something to do for the worker with this number.
fn run(shared: Arc<Shared>, number: usize) {
    SUPERVISES.set(Arc::as_ptr(&shared));
    // Those who wait for a task of this worker count on this thread: it runs no code of the user's.
    panic::never_unwinds(|| supervise(&shared, number));
    SUPERVISES.set(ptr::null());
    drop(shared);
}

fn supervise(shared: &Arc<Shared>, number: usize) {
    let (mut pause, mut failures) = (Duration::ZERO, 0);
    loop {
        if !pause.is_zero() {
            // A kill of the pool ends the pause.
            shared.killed().wait(pause);
        }
        let started = match start(shared) {
            Ok(started) => started,
            Err(failure) => {
                failures += 1;
                pause = longer(pause);
                let Failed { reason, attempt } = note_failure(shared, failure, failures);
                let todo = match shared.dispatcher.start_failed(&reason, attempt) {
                    FailedStart::Retry => continue,
                    FailedStart::GiveUp(todo) => todo,
                };
                if shared.leave(number, todo, shared.start_policy()) == Next::End {
                    return;
                }
                if attempt == StartAttempt::Last {
                    // For tasks that came after the others had failed: no start has failed for them.
                    (pause, failures) = (Duration::ZERO, 0);
                }
                continue;
            }
        };
        failures = 0;
        shared.backoff().note_success();
        let began = Instant::now();
        let life = live(shared, number, started);
        if life.next == Next::End {
            return;
        }
        // A task that kills its worker costs no pause: each does so once.
        let was_good = life.work == Work::Begun || began.elapsed() > LONG_LIFE;
        pause = if was_good { Duration::ZERO } else { longer(pause) };
    }
}

/// A start that failed.
struct Failed {
    reason: Rejected,
    attempt: StartAttempt,
}

/// Notes that a start failed. Returns why, and whether it may be tried again.
fn note_failure(shared: &Arc<Shared>, failure: NotStarted, failures: u32) -> Failed {
    match failure {
        NotStarted::Broken(reason) => {
            break_down(shared, &reason);
            Failed { reason: Rejected::Broken(reason.into()), attempt: StartAttempt::Last }
        }
        NotStarted::Failed { failure, lines } => {
            shared.backoff().note_failure();
            let program = shared.settings.program.path.clone();
            let reason = Rejected::NoWorker(StartError::new(program, failures, failure, lines));
            let is_last = failures >= MAX_STARTS || shared.killed().is_set();
            Failed { reason, attempt: if is_last { StartAttempt::Last } else { StartAttempt::MayRetry } }
        }
    }
}

/// Breaks the pool because an initializer failed: what no worker has begun fails for this reason, and nothing is taken
/// any more.
fn break_down(shared: &Arc<Shared>, reason: &str) {
    let closed = shared.dispatcher.close_now(Rejected::Broken(reason.into()));
    if closed.was_open {
        print_line(format_args!("bowline: {} is broken: {reason}", shared.settings.name));
    }
    let event = if closed.was_open { shared.trace_broken(reason) } else { None };
    shared.carry_out(closed.todo);
    if let Some(event) = event {
        event();
    }
}

/// Whether a worker has begun a task, as far as its supervisor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    None,
    /// The worker ended in the middle of a task, or had ended some.
    Begun,
}

/// The life of a worker, when it is over.
struct Life {
    work: Work,
    next: Next,
}

/// Gives a worker that is up its tasks, and returns when it is gone.
fn live(shared: &Arc<Shared>, number: usize, mut started: Started) -> Life {
    let growth = Growth::watch(started.process.pid(), shared.settings.lifespan.max_growth);
    shared.carry_out(shared.dispatcher.up(number, Arc::clone(&started.link)));
    shared.look_later();
    let mut work = Work::None;
    let nonsense = serve(shared, number, &started.link, &mut started.reader, (&mut work, growth)).err();
    let stream = if nonsense.is_some() { StreamState::Open } else { StreamState::Ended };
    let Ended { exit, reason: why } = started.end(shared, stream);
    let exit = nonsense.map_or(exit, |reason| WorkerExit::Protocol(reason.into()));
    let mut loss = shared.dispatcher.lost(number);
    loss.todo.flush();
    if loss.was_in_a_task {
        work = Work::Begun;
    }
    for killed in loss.killed {
        let lines = started.process.last_lines();
        let ran_for = killed.since.elapsed();
        let (pid, exit, name) = (started.process.pid(), exit.clone(), killed.job.name());
        let error = match killed.asked {
            None => TaskError::WorkerLost(WorkerLost::new(pid, exit, name, ran_for, lines).with_reason(why)),
            Some((cause, asked)) => TaskError::Terminated(Terminated::new(
                name,
                pid,
                cause,
                exit,
                asked.saturating_duration_since(killed.since),
                asked.elapsed(),
                lines,
            )),
        };
        loss.todo.will_fail(killed.job, error);
    }
    let policy = match loss.farewell {
        Farewell::ToldToStop => StartPolicy::OnlyIfNone,
        Farewell::Unasked => StartPolicy::AsNeeded,
    };
    Life { work, next: shared.leave(number, loss.todo, policy) }
}

/// The result of a task whose reply there is no memory for.
fn without_memory(lost: NoMemory) -> CallResult {
    CallResult::Error(TaskError::Decode(CodecError::new(lost.to_string())))
}

/// Takes the worker's region for results, if it came and is one.
#[cold]
fn open_results(link: &SocketLink, came: Result<Vec<OwnedFd>, LostDescriptors>) -> Option<Copied> {
    let results = Copied::open(came.ok()?.pop()?).ok()?;
    link.page().note_taken();
    Some(results)
}

/// Copies a result, or a part of one, out of the region. `None`: there is no such place, or it is too long.
fn read_bulk(shared: &Shared, place: Place, results: Option<&Copied>, to: &mut Assembly) -> Option<()> {
    let whole = to.len().checked_add(place.rest()?)?;
    if whole > shared.settings.max_message_size {
        return None;
    }
    results?.read(place, to)
}

impl Shared {
    /// Passes what the task of this number says to its audience, if it has one and is the task that the worker runs.
    ///
    /// # Errors
    ///
    /// The worker has not waited until it was heard.
    #[cold]
    fn hear(&self, number: usize, link: &Arc<SocketLink>, mut message: Message<'_>) -> Result<(), String> {
        let (kind, id) = (message.kind, message.id);
        let length = message.lost().map_or(message.payload().len(), |lost| lost.bytes);
        let weight = progress::weight(length, message.announced());
        let attached = Attached::new(message.take_descriptors().map_err(LostDescriptors::text));
        let Ok((bytes, start)) = message.into_payload() else {
            let name = self.name();
            print_line(format_args!("bowline: {name} has no memory for {length} bytes that a task has said"));
            link.note_heard(id, weight);
            return Ok(());
        };
        let said = Said { bytes, start, attached, from: Arc::<SocketLink>::clone(link), id, weight };
        let note = if kind == Kind::Progress { Note::Progress(said) } else { Note::Trace(said) };
        let Some((notes, task)) = self.dispatcher.notes_of(number, id) else { return Ok(()) };
        if notes.is_flooded_by(Link::serial(&**link), self.settings.max_message_size) {
            return Err(format!("more of task {id} than may be unheard"));
        }
        if let Some(run) = self.note(&notes, &task, note) {
            run();
        }
        Ok(())
    }
}

/// Will fail a task whose reply makes no sense.
#[cold]
fn lose(link: &SocketLink, todo: &mut Todo<SocketLink>, job: Job, reason: &str) {
    let exit = WorkerExit::Protocol(reason.into());
    let lost = WorkerLost::new(link.pid(), exit, job.name(), Duration::ZERO, LastLines::default());
    todo.will_fail(job, TaskError::WorkerLost(lost));
}

/// Reads replies until the worker is gone, and notes whether it has ended a task.
///
/// # Errors
///
/// It sent nonsense.
fn serve(
    shared: &Arc<Shared>,
    number: usize,
    link: &Arc<SocketLink>,
    reader: &mut FrameReader,
    (work, mut growth): (&mut Work, Option<Growth>),
) -> Result<(), String> {
    // The worker has asked for the rest of a frame: until that is sent, this thread waits for space in the socket, too.
    let mut sends = false;
    // What the worker gets for several replies is sent before this thread sleeps.
    let mut sends_later = false;
    let (mut results, mut long_result, mut long_id) = (None, Assembly::new(), 0);
    loop {
        while let Some(mut message) = reader.next_message().map_err(|error| error.to_string())? {
            let (kind, id) = (message.kind, message.id);
            if kind == Kind::More {
                if id > 0 {
                    link.note_part();
                }
                sends = true;
                continue;
            }
            if kind == Kind::Region {
                match message.take_descriptors() {
                    // The answer to that for calls.
                    Ok(descriptors) if descriptors.is_empty() => link.open_region(),
                    // Without it results go on coming through the stream.
                    descriptors => results = open_results(link, descriptors),
                }
                continue;
            }
            if matches!(kind, Kind::Progress | Kind::Trace) {
                shared.hear(number, link, message)?;
                continue;
            }
            let in_region = (kind == Kind::DoneInRegion).then(|| Place::of_bytes(message.payload())).flatten();
            // Whatever comes after a part is the rest of the same result.
            if long_result.is_begun() && (kind != Kind::DoneInRegion || id != long_id) {
                return Err(format!(
                    "a part of the result of task {long_id}, and then a frame of the kind {kind:?} of task {id}"
                ));
            }
            if let Some(part) = in_region.filter(|part| part.left > 0) {
                long_id = id;
                let is_read = read_bulk(shared, part, results.as_ref(), &mut long_result);
                is_read.ok_or_else(|| format!("a part of the result of task {id} in no region"))?;
                link.page().note_taken();
                continue;
            }
            if !matches!(kind, Kind::Done | Kind::DoneInRegion | Kind::Failed | Kind::Skipped) {
                return Err(format!("a frame of the kind {kind:?}"));
            }
            // Before the next task takes more.
            let has_grown = growth.as_mut().is_some_and(Growth::is_too_far);
            link.note_reply(id);
            let replied = shared.dispatcher.replied(number, id);
            let AfterReply { job, send, mut todo } =
                replied.map_err(|Unexpected| format!("a reply to task {id}, which it has not"))?;
            if job.is_some() {
                *work = Work::Begun;
            }
            // The worker gets its next task before anybody gets the result.
            match send {
                SendNext::Now => todo.flush(),
                SendNext::WithLaterReplies => {
                    todo.skip_flush(link);
                    sends_later = true;
                }
                SendNext::Never => link.kill(),
            }
            let mut event = None;
            let deferred = match (job, kind) {
                (None, Kind::Skipped) => None,
                (Some(job), Kind::Done) => {
                    let attached = Attached::new(message.take_descriptors().map_err(LostDescriptors::text));
                    let result = match message.into_payload() {
                        Ok((bytes, start)) => CallResult::Value { bytes, start, attached },
                        Err(lost) => without_memory(lost),
                    };
                    shared.finish(job, result)
                }
                (Some(job), Kind::DoneInRegion) => {
                    let read = in_region.and_then(|place| read_bulk(shared, place, results.as_ref(), &mut long_result));
                    link.page().note_taken();
                    if read.is_none() {
                        let reason = format!("the result of task {id} in no region");
                        lose(link, &mut todo, job, &reason);
                        shared.carry_out(todo);
                        return Err(reason);
                    }
                    let result = match long_result.take() {
                        Ok(bytes) => CallResult::Value { bytes, start: 0, attached: Attached::none() },
                        Err(lost) => without_memory(lost),
                    };
                    shared.finish(job, result)
                }
                (Some(job), Kind::Failed) if let Some(lost) = message.lost() => {
                    shared.finish(job, without_memory(lost))
                }
                (Some(job), Kind::Failed) => {
                    let error = match codec::decode::<CallFailure>(message.payload()) {
                        Ok(failure) => failure.into_error(link.pid()),
                        Err(error) => TaskError::Decode(error),
                    };
                    if let TaskError::Panicked(panic) = &error {
                        shared.count_panic();
                        event = shared.trace_panic(&job, panic);
                    }
                    shared.finish(job, CallResult::Error(error))
                }
                (None, _) => return Err(format!("a reply to task {id}, which was taken back")),
                (Some(job), _) => {
                    let reason = format!("it skipped task {id}, which it was to run");
                    lose(link, &mut todo, job, &reason);
                    shared.carry_out(todo);
                    return Err(reason);
                }
            };
            shared.carry_out(todo);
            deferred.into_iter().chain(event).for_each(|run| run());
            if has_grown {
                let (will_end, todo) = shared.dispatcher.retire(number);
                growth.take_if(|_| will_end);
                shared.carry_out(todo);
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
        // What was left for later, and what found the socket full before.
        if std::mem::take(&mut sends_later) || link.has_rest() {
            link.flush();
        }
        if link.receive(reader).map_err(|error| error.to_string())? == 0 {
            return Ok(());
        }
    }
}
