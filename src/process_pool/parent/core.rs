//! What a process pool's handles and supervisors share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::callbacks::Callbacks;
use super::dispatcher::{Counts, Dispatcher, Todo};
use super::fork::Generation;
use super::home::Sender;
use super::job::Job;
use super::link::SocketLink;
use super::process::{Process, Program};
use super::supervisor::{self, longer};
use crate::deadlock::resource::{Origin, Site};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, PoisonError};
use crate::primitive::{Thread, spawn_thread};
use crate::process_pool::wire::call::Call;
use crate::task::cell::ResultSlot;
use crate::task::error::{Rejected, TaskError};
use crate::task::header::Header;
use crate::task::panic::PanicInfo;
use crate::task::task_ref::TaskRef;
use crate::task::trace;
use crate::task::when_done::Then;

/// Of a supervisor. If the system refuses other threads it runs callbacks, too.
const STACK_SIZE: usize = 2 << 20;

/// What was decided when the pool was made.
pub(in crate::process_pool) struct Settings {
    pub(in crate::process_pool) name: Arc<str>,
    pub(in crate::process_pool) made_at: Site,
    pub(in crate::process_pool) max_workers: usize,
    pub(in crate::process_pool) program: Program,
    pub(in crate::process_pool) start_timeout: Duration,
    pub(in crate::process_pool) most: usize,
    pub(in crate::process_pool) retries: u32,
    pub(in crate::process_pool) initializer: Option<Call>,
}

pub(crate) struct Core {
    /// The process that made the pool: in one that was forked off it there are no supervisors, and the streams are the other's.
    made_in: Generation,
    pub(in crate::process_pool) settings: Settings,
    pub(in crate::process_pool) dispatcher: Dispatcher<SocketLink>,
    processes: Mutex<Vec<Arc<Process>>>,
    threads: Mutex<Vec<Thread>>,
    started: AtomicU64,
    /// Done when the last worker is gone and nothing will follow.
    ended: TaskRef,
    /// The workers are to be killed.
    killed: Order,
    /// No worker is started before, but for tasks that have none; and how long that pause is.
    no_start_before: Mutex<Option<(Instant, Duration)>>,
    has_failed_to_start: AtomicBool,
    /// A shutdown was told not to wait, or not for longer: the end of the last handle does not wait either.
    is_detached: AtomicBool,
    callbacks: Mutex<Option<Arc<Callbacks>>>,
}

/// Something that supervisors do as soon as it is said. Not a wait in the graph: that may run the user's hooks.
#[derive(Default)]
pub(in crate::process_pool) struct Order {
    is_given: Mutex<bool>,
    given: Condvar,
}

impl Order {
    fn give(&self) {
        *lock(&self.is_given) = true;
        self.given.notify_all();
    }

    pub(in crate::process_pool) fn is_given(&self) -> bool {
        *lock(&self.is_given)
    }

    /// Waits until it is given, or the time is over.
    pub(in crate::process_pool) fn wait(&self, limit: Duration) {
        let wait = self.given.wait_timeout_while(lock(&self.is_given), limit, |is_given| !*is_given);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Core {
    fn drop(&mut self) {
        if self.is_forked() {
            // Its thread is in the other process, and may have held a lock of it at the fork.
            std::mem::forget(self.callbacks.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Sender for Core {
    fn claim_to_cancel(&self, task: &Header) -> bool {
        // What is taken back in a fork would be taken from the other process.
        !self.is_forked() && self.dispatcher.claim_to_cancel(task)
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

/// Callbacks that there is no thread for, deferred until the dispatcher is up to date; they may call back into the pool.
type Late = Vec<Box<dyn FnOnce() + Send>>;

impl Core {
    pub(in crate::process_pool) fn new(settings: Settings) -> Arc<Self> {
        let site = settings.made_at;
        Arc::new(Self {
            made_in: Generation::now(),
            dispatcher: Dispatcher::new(settings.max_workers),
            settings,
            processes: Mutex::default(),
            threads: Mutex::default(),
            started: AtomicU64::new(0),
            ended: event(Origin::at(site, Some("end of the workers"))),
            killed: Order::default(),
            no_start_before: Mutex::new(None),
            has_failed_to_start: AtomicBool::new(false),
            is_detached: AtomicBool::new(false),
            callbacks: Mutex::new(None),
        })
    }

    /// Whether this is another process than the one that made the pool.
    pub(in crate::process_pool) fn is_forked(&self) -> bool {
        self.made_in.is_past()
    }

    pub(in crate::process_pool) fn name(&self) -> &Arc<str> {
        &self.settings.name
    }

    pub(in crate::process_pool) fn max_workers(&self) -> usize {
        self.settings.max_workers
    }

    /// Whether no more tasks are taken.
    pub(in crate::process_pool) fn is_closed(&self) -> bool {
        self.dispatcher.is_closed()
    }

    pub(in crate::process_pool) fn counts(&self) -> Counts {
        self.dispatcher.counts()
    }

    /// The worker processes that are up.
    pub(in crate::process_pool) fn pids(&self) -> Vec<u32> {
        self.dispatcher.pids()
    }

    /// Takes a task.
    pub(in crate::process_pool) fn submit(self: &Arc<Self>, job: Job) {
        if self.is_forked() {
            return drop(job.fail(TaskError::Rejected(Rejected::Forked)));
        }
        let todo = self.dispatcher.submit(job, self.may_start());
        self.carry_out(todo);
    }

    /// Whether no start has failed lately.
    pub(in crate::process_pool) fn may_start(&self) -> bool {
        !self.has_failed_to_start.load(Relaxed)
            || lock(&self.no_start_before).is_none_or(|(instant, _)| Instant::now() >= instant)
    }

    /// A worker did not start: for a while none is started, while there are others; longer each time.
    pub(in crate::process_pool) fn note_failed_start(&self) {
        let mut before = lock(&self.no_start_before);
        let pause = longer(before.map_or(Duration::ZERO, |(_, pause)| pause));
        *before = Some((Instant::now() + pause, pause));
        self.has_failed_to_start.store(true, Relaxed);
    }

    pub(in crate::process_pool) fn has_started(&self) {
        if self.has_failed_to_start.swap(false, Relaxed) {
            *lock(&self.no_start_before) = None;
        }
    }

    /// Does what the dispatcher left to be done.
    pub(in crate::process_pool) fn carry_out(self: &Arc<Self>, mut todo: Todo<SocketLink>) {
        let mut late = Late::new();
        while let Some((number, error)) = self.try_carry_out(&mut todo, &mut late) {
            let reason = Rejected::NoThread(Arc::new(error));
            let (_, mut failed) = self.dispatcher.start_failed(&reason, true);
            self.fail(&mut failed, &mut late);
            todo = self.dispatcher.leave(number, false);
        }
        late.into_iter().for_each(|run| run());
    }

    /// The worker that there is no thread for.
    fn try_carry_out(
        self: &Arc<Self>,
        todo: &mut Todo<SocketLink>,
        late: &mut Late,
    ) -> Option<(usize, std::io::Error)> {
        self.fail(todo, late);
        let is_over = todo.is_over || todo.tells_when_failed && self.dispatcher.have_failed().is_over;
        if is_over {
            happened(&self.ended);
        }
        let number = todo.start?;
        Some((number, self.start(number).err()?))
    }

    /// A worker is gone: fails what was lost with it, and has it counted no more. Whether the caller is to start another one
    /// under this number.
    pub(in crate::process_pool) fn leave(
        self: &Arc<Self>,
        number: usize,
        mut lost: Todo<SocketLink>,
        start_allowed: bool,
    ) -> bool {
        let mut late = Late::new();
        self.fail(&mut lost, &mut late);
        let mut todo = self.dispatcher.leave(number, start_allowed);
        let again = todo.start.take().is_some();
        self.carry_out(todo);
        late.into_iter().for_each(|run| run());
        again
    }

    /// Sends what is to be sent, and fails the tasks that will not run.
    fn fail(&self, todo: &mut Todo<SocketLink>, late: &mut Late) {
        todo.flush();
        let then = todo.failed.drain(..).filter_map(|(job, error)| job.fail(error));
        late.extend(then.filter_map(|then| self.hand_over(then)));
    }

    fn start(self: &Arc<Self>, number: usize) -> std::io::Result<()> {
        let core = Arc::clone(self);
        let name = format!("{}_{}", self.settings.name, self.started.fetch_add(1, Relaxed));
        let thread = spawn_thread(name, STACK_SIZE, move || supervisor::run(core, number))?;
        let mut threads = lock(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Runs what is to be run of a task that is done.
    pub(in crate::process_pool) fn run_later(&self, then: Then) {
        if let Some(run) = self.hand_over(then) {
            run();
        }
    }

    /// Tells the waits for several tasks, and leaves wakers and callbacks, which may wait for anything, to [`Callbacks`]. What comes
    /// back is what there is no thread for.
    fn hand_over(&self, mut then: Then) -> Option<Box<dyn FnOnce() + Send>> {
        then.notify_waits();
        if then.is_empty() {
            return None;
        }
        let callbacks = self.callbacks_or_new();
        callbacks.submit(then.origin, Box::new(move || then.run())).err()
    }

    fn callbacks_or_new(&self) -> Arc<Callbacks> {
        let make = || Arc::new(Callbacks::new(&self.settings.name, self.settings.made_at));
        Arc::clone(lock(&self.callbacks).get_or_insert_with(make))
    }

    /// Tells the `tracing` subscriber, which is the user's code, of a task's panic. What comes back is for the caller to run when all
    /// else is done, as there is no thread for it.
    pub(in crate::process_pool) fn trace_panic(
        &self,
        job: &Job,
        panic: &PanicInfo,
    ) -> Option<Box<dyn FnOnce() + Send>> {
        let (task, panic) = (job.name(), panic.clone());
        self.trace(job.task.origin(), move || trace::task_panicked(task, &panic))
    }

    /// Tells the `tracing` subscriber that the pool is broken. As above.
    pub(in crate::process_pool) fn trace_broken(&self, reason: &str) -> Option<Box<dyn FnOnce() + Send>> {
        let (name, reason) = (Arc::clone(&self.settings.name), Box::<str>::from(reason));
        self.trace(Origin::at(self.settings.made_at, None), move || trace::pool_broken(&name, &reason))
    }

    fn trace(&self, of: Origin, run: impl FnOnce() + Send + 'static) -> Option<Box<dyn FnOnce() + Send>> {
        if !trace::is_on() {
            return None;
        }
        self.callbacks_or_new().submit(of, Box::new(run)).err()
    }

    /// The threads that run callbacks, if there were any.
    pub(in crate::process_pool) fn callbacks(&self) -> Option<Arc<Callbacks>> {
        lock(&self.callbacks).clone()
    }

    /// A process was started. One that comes too late is killed at once.
    pub(in crate::process_pool) fn add_process(&self, process: &Arc<Process>) {
        lock(&self.processes).push(Arc::clone(process));
        if self.killed.is_given() {
            process.signal(Signal::KILL);
        }
    }

    /// A process was reaped.
    pub(in crate::process_pool) fn remove_process(&self, process: &Arc<Process>) {
        lock(&self.processes).retain(|other| !Arc::ptr_eq(other, process));
    }

    /// Has every process sent this signal, those that are being started killed, and starts no more.
    pub(in crate::process_pool) fn end_now(self: &Arc<Self>, signal: Signal, reason: Rejected) -> usize {
        let (_, todo) = self.dispatcher.close_now(reason);
        let failed = todo.failed.len();
        self.killed.give();
        for process in &*lock(&self.processes) {
            process.signal(signal);
        }
        if signal == Signal::KILL {
            // Somebody else may have the other end: what was forked off the worker, or off this process as it started.
            self.dispatcher.links().iter().for_each(|link| link.cut());
        }
        self.carry_out(todo);
        failed
    }

    /// The end of the last handle waits for nobody.
    pub(in crate::process_pool) fn detach(&self) {
        self.is_detached.store(true, Relaxed);
    }

    pub(in crate::process_pool) fn is_detached(&self) -> bool {
        // Relaxed: who asks has the last handle, and whoever detached had one.
        self.is_detached.load(Relaxed)
    }

    pub(in crate::process_pool) fn ended(&self) -> &TaskRef {
        &self.ended
    }

    pub(in crate::process_pool) fn killed(&self) -> &Order {
        &self.killed
    }

    pub(in crate::process_pool) fn take_threads(&self) -> Vec<Thread> {
        std::mem::take(&mut lock(&self.threads))
    }
}
