//! What the handles and the supervisors of a process pool share.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::backoff::Backoff;
use super::callbacks::Callbacks;
use super::deadlines::Deadlines;
use super::dispatcher::{Counts, Dispatcher, FailedJob, StartPolicy, Todo};
use super::home::Sender;
use super::job::Job;
use super::latch::Latch;
use super::link::SocketLink;
use super::notes::{Audience, Note, Notes, Taker};
use super::output::Tail;
use super::process::Process;
use super::room::Room;
use super::settings::Settings;
use crate::deadlock::resource::Origin;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::Thread;
use crate::primitive::quiet::{AtomicBool, AtomicU64, Mutex, MutexGuard, PoisonError};
use crate::process_pool::wire::call::CallResult;
use crate::process_pool::wire::fork::Generation;
use crate::task::cell::ResultSlot;
use crate::task::header::Header;
use crate::task::panic::{self, PanicInfo};
use crate::task::task_ref::TaskRef;
use crate::task::trace;
use crate::task::when_done::Then;

/// What the handles and the supervisors of a pool share.
pub(crate) struct Shared {
    /// The process that made the pool: in one that was forked off it there are no supervisors, and the streams are the
    /// other's.
    made_in: Generation,
    pub(super) settings: Settings,
    pub(super) dispatcher: Dispatcher<SocketLink>,
    processes: Mutex<Vec<Arc<Process>>>,
    /// What is not passed on of what workers wrote that have ended. `None` when nobody is to wait for that.
    outputs: Mutex<Option<Vec<Arc<Tail>>>>,
    threads: Mutex<Vec<Thread>>,
    /// How many supervisors were started.
    started: AtomicU64,
    /// How many tasks have panicked.
    panicked: AtomicU64,
    /// Done when the last worker is gone and nothing will follow.
    ended: TaskRef,
    /// Set when the workers are to be killed.
    killed: Latch,
    /// Of the starts that failed.
    backoff: Backoff,
    /// A shutdown was told not to wait, or not for longer: the end of the last handle does not wait either.
    is_detached: AtomicBool,
    deadlines: Arc<Deadlines>,
    callbacks: Mutex<Option<Arc<Callbacks>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_forked() {
            // Its thread is in the other process, and may have held a lock of it at the fork.
            std::mem::forget(self.callbacks.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Sender for Shared {
    fn claim_to_cancel(&self, task: &Header) -> bool {
        // What is taken back in a fork would be taken from the other process.
        !self.is_forked() && self.dispatcher.claim_to_cancel(task)
    }

    fn terminate(self: &Arc<Self>, task: &Header, grace: Duration) -> bool {
        self.end_task(task, grace)
    }

    fn has_short_tasks(&self) -> bool {
        self.dispatcher.has_short_tasks()
    }
}

/// Something that happens once, and that can be waited for like a task.
fn event(origin: Origin) -> TaskRef {
    TaskRef::without_task::<()>(origin).0
}

fn happened(event: &TaskRef) {
    if event.claim() {
        // SAFETY:
        // - the cell was made with this type (`event`).
        unsafe { event.put::<ResultSlot<()>>(Ok(())) };
    }
}

/// A callback that there is no thread for: its caller runs it when the dispatcher is up to date. It may call back into
/// the pool.
pub(super) type Deferred = Box<dyn FnOnce() + Send>;

impl Shared {
    pub(in crate::process_pool) fn new(settings: Settings) -> Arc<Self> {
        let site = settings.made_at;
        Arc::new(Self {
            made_in: Generation::now(),
            dispatcher: Dispatcher::new(settings.max_workers, settings.lifespan, Room::new(settings.capacity, site)),
            settings,
            processes: Mutex::default(),
            outputs: Mutex::new(Some(Vec::new())),
            threads: Mutex::default(),
            started: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            ended: event(Origin::at(site, Some("end of the workers"))),
            killed: Latch::default(),
            backoff: Backoff::default(),
            is_detached: AtomicBool::new(false),
            deadlines: Arc::default(),
            callbacks: Mutex::new(None),
        })
    }

    /// Returns whether this is another process than the one that made the pool.
    pub(super) fn is_forked(&self) -> bool {
        self.made_in.is_past()
    }

    pub(in crate::process_pool) fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    pub(in crate::process_pool) fn max_workers(&self) -> usize {
        self.settings.max_workers
    }

    /// Returns whether no more tasks are taken.
    pub(in crate::process_pool) fn is_closed(&self) -> bool {
        self.dispatcher.is_closed()
    }

    /// Returns whether there is room in the queue.
    pub(in crate::process_pool) fn has_room(&self) -> bool {
        self.dispatcher.room.is_free()
    }

    pub(in crate::process_pool) fn counts(&self) -> Counts {
        self.dispatcher.counts()
    }

    /// Returns the ids of the worker processes that are up.
    pub(in crate::process_pool) fn pids(&self) -> Vec<u32> {
        self.dispatcher.pids()
    }

    /// Returns under which policy a worker may be started now.
    pub(super) fn start_policy(&self) -> StartPolicy {
        self.backoff.policy()
    }

    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Returns the name of the next supervisor's thread.
    pub(super) fn next_thread_name(&self) -> String {
        format!("{}_{}", self.settings.name, self.started.fetch_add(1, Relaxed))
    }

    /// Keeps the thread of a supervisor for [`take_threads`](Self::take_threads).
    pub(super) fn add_thread(&self, thread: Thread) {
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    /// Takes the threads of the supervisors, to be joined.
    pub(super) fn take_threads(&self) -> Vec<Thread> {
        std::mem::take(&mut lock(&self.threads))
    }

    /// Sends what is to be sent, and fails the tasks that will not run.
    pub(super) fn flush_and_fail(&self, todo: &mut Todo<SocketLink>, deferred: &mut Vec<Deferred>) {
        todo.flush();
        let failed = todo.take_failed().into_iter().filter_map(FailedJob::into_end);
        deferred.extend(failed.filter_map(|(job, result)| self.finish(job, result)));
    }

    /// Ends a task, which was claimed: now, or when what it has said before is heard. Returns what there is no thread for.
    pub(super) fn finish(&self, job: Job, result: CallResult) -> Option<Deferred> {
        let audience = match job.notes.clone() {
            Some(notes) if !notes.is_quiet() => {
                return self.note(&notes, &job.task.clone(), Note::End(Box::new(move || job.complete(result))));
            }
            notes => notes.and_then(|notes| notes.take_audience()),
        };
        let origin = job.task.origin();
        let then = job.complete(result);
        self.hand_over(origin, then, audience)
    }

    /// Passes a note of this task to its audience, on a thread of the callbacks. Returns the callback that there is no thread for.
    pub(super) fn note(&self, notes: &Arc<Notes>, task: &TaskRef, note: Note) -> Option<Deferred> {
        match notes.put(note) {
            Taker::IsThere => None,
            Taker::Wanted => {
                let (notes, task) = (Arc::clone(notes), task.clone());
                self.callbacks_or_new().submit(task.origin(), Box::new(move || notes.drain(&task))).err()
            }
        }
    }

    /// Tells the waits for several tasks, and leaves wakers, callbacks and the end of the audience, which may wait for anything, to
    /// [`Callbacks`]. Returns what there is no thread for.
    fn hand_over(&self, of: Origin, mut then: Option<Then>, audience: Option<Audience>) -> Option<Deferred> {
        then.iter_mut().for_each(Then::notify_waits);
        let then = then.filter(|then| !then.is_empty());
        if then.is_none() && audience.is_none() {
            return None;
        }
        let run = move || {
            then.into_iter().for_each(Then::run);
            panic::contain(|| drop(audience));
        };
        self.callbacks_or_new().submit(of, Box::new(run)).err()
    }

    fn callbacks_or_new(&self) -> Arc<Callbacks> {
        let make = || Arc::new(Callbacks::new(&self.settings.name, self.settings.made_at));
        Arc::clone(lock(&self.callbacks).get_or_insert_with(make))
    }

    /// Counts a task that panicked. Called before the task is done, so that who has its result finds it counted.
    pub(super) fn count_panic(&self) {
        self.panicked.fetch_add(1, Relaxed);
    }

    /// Returns how many tasks have panicked.
    pub(in crate::process_pool) fn panic_count(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    /// Tells the `tracing` subscriber, which is the user's code, of a task's panic. Returns what there is no thread
    /// for: the caller runs it when all else is done.
    pub(super) fn trace_panic(&self, job: &Job, panic: &PanicInfo) -> Option<Deferred> {
        let (name, task, panic) = (job.name(), job.task.clone(), panic.clone());
        self.trace(job.task.origin(), move || trace::task_panicked(name, || task.id(), &panic))
    }

    /// Tells the `tracing` subscriber that the pool is broken. Returns what there is no thread for, as
    /// [`trace_panic`](Self::trace_panic) does.
    pub(super) fn trace_broken(&self, reason: &str) -> Option<Deferred> {
        let (name, reason) = (Arc::clone(&self.settings.name), Box::<str>::from(reason));
        self.trace(Origin::at(self.settings.made_at, None), move || trace::pool_broken(&name, &reason))
    }

    fn trace(&self, of: Origin, run: impl FnOnce() + Send + 'static) -> Option<Deferred> {
        if !has_subscriber() {
            return None;
        }
        self.callbacks_or_new().submit(of, Box::new(run)).err()
    }

    /// Returns the threads that run callbacks, if there were any.
    pub(super) fn callbacks(&self) -> Option<Arc<Callbacks>> {
        lock(&self.callbacks).clone()
    }

    /// Adds a process that was started. A process that comes after a kill is killed at once.
    pub(super) fn add_process(&self, process: &Arc<Process>) {
        lock(&self.processes).push(Arc::clone(process));
        if self.killed.is_set() {
            process.signal(Signal::KILL);
        }
    }

    /// Removes a process that was reaped. What it wrote may not be passed on yet.
    pub(super) fn remove_process(&self, process: &Arc<Process>) {
        lock(&self.processes).retain(|other| !Arc::ptr_eq(other, process));
        if let Some(outputs) = &mut *lock(&self.outputs) {
            outputs.retain(|output| !output.is_over());
            outputs.extend(process.rest_of_output());
        }
    }

    /// Waits until what workers wrote that have ended is passed on, unless nobody is to wait for that.
    pub(super) fn finish_output(&self) {
        let outputs = lock(&self.outputs).clone().unwrap_or_default();
        outputs.iter().for_each(|output| output.wait());
    }

    /// Lets nobody wait until what workers wrote is passed on.
    pub(super) fn leave_output(&self) {
        let outputs = lock(&self.outputs).take().unwrap_or_default();
        outputs.iter().for_each(|output| output.leave());
    }

    /// Sends every process this signal, and kills those that are being started.
    pub(super) fn end_processes(&self, signal: Signal) {
        self.killed.set();
        for process in &*lock(&self.processes) {
            process.signal(signal);
        }
        if signal == Signal::KILL {
            // A process that was forked off the worker, or off this process as the worker started, may have the other
            // end.
            self.dispatcher.links().iter().for_each(|link| link.cut());
        }
    }

    /// Lets the end of the last handle wait for nothing.
    pub(super) fn detach(&self) {
        self.is_detached.store(true, Relaxed);
    }

    pub(super) fn is_detached(&self) -> bool {
        // Relaxed: the caller has the last handle, and the thread that detached the pool had one.
        self.is_detached.load(Relaxed)
    }

    /// The end of the workers, which can be waited for like a task.
    pub(super) fn ended(&self) -> &TaskRef {
        &self.ended
    }

    /// When tasks are to end.
    pub(super) fn deadlines(&self) -> &Arc<Deadlines> {
        &self.deadlines
    }

    /// Tells those who wait for the end of the workers.
    pub(super) fn tell_end(&self) {
        self.deadlines.end();
        happened(&self.ended);
    }

    /// Set when the workers are to be killed.
    pub(super) fn killed(&self) -> &Latch {
        &self.killed
    }
}

/// Returns whether there may be a `tracing` subscriber that wants to hear of errors. Runs none of its code.
fn has_subscriber() -> bool {
    #[cfg(feature = "tracing")]
    let has = tracing::Level::ERROR <= tracing::level_filters::LevelFilter::current();
    #[cfg(not(feature = "tracing"))]
    let has = false;
    has
}
