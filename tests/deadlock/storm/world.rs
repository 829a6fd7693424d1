//! What the threads and tasks of a round share, and how a script is carried out.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Deadlock};
use bowline::task::{Rejected, Status};
use bowline::thread_pool::{CancelToken, ShutdownOptions};
use bowline::{Future, Promise, ReturnWhen, SharedFuture, TaskError, ThreadPoolExecutor, promise, wait};

use super::guards::{self, Holding};
use super::locks::{AnyLock, next_where, noted, unlocked, upgrade};
use super::log::{Event, Failure, LOG, Limit, Outcome, What, is_known, note};
use super::replay::State;
use super::script::{LOCKS, POOLS, Patience, PoolPlan, Program, Script, Step, Submission, TASKS};
use crate::support::message;

/// More addresses than the system has: it starts no thread with such a stack.
const STACK_THAT_IS_REFUSED: usize = 1 << 46;

pub(crate) struct World {
    pub(crate) program: Program,
    pub(super) locks: Vec<AnyLock>,
    pub(crate) pools: Vec<ThreadPoolExecutor>,
    futures: Vec<OnceLock<SharedFuture<()>>>,
    /// Of the tasks that have begun and have one.
    tokens: Vec<OnceLock<CancelToken>>,
    promises: Vec<Mutex<Option<Promise<()>>>>,
    promised: Vec<SharedFuture<()>>,
    next_task: AtomicUsize,
    /// Whether a task was submitted without a name. A second one could not be told from it.
    is_one_unnamed: AtomicBool,
}

/// Somebody was chosen to break a deadlock, and was told so by a value or by a panic.
pub(crate) enum Victim {
    Value,
    Panic(Box<dyn Any + Send>),
}

/// What went wrong where nobody can panic.
pub(crate) static FAULTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn fault(text: String) {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

thread_local! {
    /// How many tasks run on this thread, each in place of the one before.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// The innermost of them.
    static RUNS: Cell<Option<usize>> = const { Cell::new(None) };
    /// Whether it is one of the program's threads, and not a worker.
    static IS_PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Whether a task runs here in place of somebody who waits for it.
fn is_in_place() -> bool {
    DEPTH.get() > usize::from(!IS_PLAIN.get())
}

fn make_pool(plan: &PoolPlan, name: &'static str) -> ThreadPoolExecutor {
    let mut builder = ThreadPoolExecutor::builder().max_workers(plan.max_workers).thread_name_prefix(name);
    builder = builder.when_full(plan.when_full);
    if let Some(capacity) = plan.capacity {
        builder = builder.queue_capacity(capacity);
    }
    if plan.refused {
        builder = builder.stack_size(STACK_THAT_IS_REFUSED);
    }
    builder.build()
}

impl World {
    pub(crate) fn new(program: Program) -> Arc<Self> {
        let (promises, promised): (Vec<_>, Vec<_>) = (0..program.promises)
            .map(|_| {
                let (promise, future) = promise();
                (Mutex::new(Some(promise)), future.shared())
            })
            .unzip();
        Arc::new(Self {
            locks: program.locks.iter().enumerate().map(|(at, &sort)| AnyLock::new(sort, LOCKS[at])).collect(),
            pools: program.pools.iter().zip(POOLS).map(|(plan, name)| make_pool(plan, name)).collect(),
            futures: program.tasks.iter().map(|_| OnceLock::new()).collect(),
            tokens: program.tasks.iter().map(|_| OnceLock::new()).collect(),
            promises,
            promised,
            next_task: AtomicUsize::new(0),
            is_one_unnamed: AtomicBool::new(false),
            program,
        })
    }

    /// The life of one of the program's threads.
    pub(crate) fn run_thread(self: &Arc<Self>, at: usize) {
        IS_PLAIN.set(true);
        let ended = catch_unwind(AssertUnwindSafe(|| self.run(&self.program.threads[at])));
        if let Err(payload) = ended {
            check_panic(&*payload);
        }
        note(Event::Leaves);
    }

    fn run_task(self: &Arc<Self>, task: usize, token: Option<&CancelToken>) {
        if let Some(token) = token {
            assert!(self.tokens[task].set(token.clone()).is_ok(), "run once");
        }
        let (pool, script) = &self.program.tasks[task];
        if !is_known() {
            LOG.enter(thread::current().name().unwrap_or_default(), Some(*pool));
        }
        note(Event::Begins(task));
        DEPTH.set(DEPTH.get() + 1);
        let outer = RUNS.replace(Some(task));
        let ended = catch_unwind(AssertUnwindSafe(|| self.run(script)));
        RUNS.set(outer);
        DEPTH.set(DEPTH.get() - 1);
        note(Event::Ends { task, failed: ended.is_err() });
        if let Err(payload) = ended {
            check_panic(&*payload);
            resume_unwind(payload);
        }
    }

    /// What is left for the destructor of a thread-local. Nothing unwinds out of it: that would end the process.
    pub(crate) fn run_late(self: &Arc<Self>, steps: &[Step]) {
        let script = Script { steps: steps.to_vec(), goes_on: true };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.run(&script))) {
            check_panic(&*payload);
        }
    }

    fn run(self: &Arc<Self>, script: &Script) {
        let mut guards = Vec::new();
        for step in &script.steps {
            match self.step(step, &mut guards) {
                Ok(()) => {}
                Err(_) if script.goes_on => guards.clear(),
                Err(Victim::Value) => return,
                // The guards drop while it unwinds.
                Err(Victim::Panic(payload)) => resume_unwind(payload),
            }
        }
    }

    fn step<'w>(self: &'w Arc<Self>, step: &Step, guards: &mut Vec<Holding<'w>>) -> Result<(), Victim> {
        let nth = |at: usize, guards: &Vec<Holding<'w>>| (!guards.is_empty()).then(|| at % guards.len());
        match *step {
            Step::Take(lock, way) => guards.extend(self.take(lock, way)?),
            Step::TakeShared(lock, mode, way) => guards.extend(self.take_shared(lock, mode, way)?),
            Step::Upgrade { at, way } => {
                if let Some(at) = next_where(Holding::is_upgradable, at, guards) {
                    let holding = guards.swap_remove(at);
                    upgrade(holding, way, guards)?;
                }
            }
            Step::Downgrade { at, to_upgradable } => {
                if let Some(at) = next_where(Holding::can_downgrade, at, guards) {
                    let holding = guards.swap_remove(at);
                    guards.push(holding.downgrade(to_upgradable));
                }
            }
            Step::Release { at, fair } => {
                if let Some(at) = nth(at, guards) {
                    guards.swap_remove(at).release(fair);
                }
            }
            Step::ReleaseAll => guards.clear(),
            Step::Map(at) => {
                if let Some(at) = nth(at, guards) {
                    guards[at].narrow();
                }
            }
            Step::Unlocked { at, by_value } => {
                if let Some(at) = nth(at, guards).filter(|&at| guards[at].can_unlock()) {
                    let holding = guards.swap_remove(at);
                    guards.extend(unlocked(holding, by_value)?);
                }
            }
            Step::Forget(at) => {
                if let Some(at) = nth(at, guards) {
                    guards.swap_remove(at).forget();
                }
            }
            Step::Keep(lock, mode, way, keeper) => self.keep(lock, mode, way, keeper)?,
            Step::DropKept => drop(guards::take_kept()),
            Step::Late(ref steps) => {
                if IS_PLAIN.get() && !is_in_place() {
                    guards::run_late(Arc::clone(self), steps.clone());
                }
            }
            Step::Submit(submission) => self.submit(submission)?,
            Step::Scope(pool, tasks) => self.scope(pool, tasks)?,
            Step::Look => drop(deadlock::snapshot()),
            Step::Wait(ref tasks, when, patience) => self.wait(tasks, when, patience)?,
            Step::Result(task, patience) => self.result(task, patience)?,
            Step::Promise(number, patience) => {
                let future = &self.promised[number];
                noted(What::Promise(number), patience.limit(), Failure::Value, || result_of(future, patience))?;
            }
            Step::Token(patience) => self.wait_for_token(patience)?,
            Step::Sleep(micros) => thread::sleep(Duration::from_micros(micros)),
            Step::Panic => resume_unwind(Box::new("on purpose")),
            Step::Policy(policy) => set_policy(policy),
            Step::Grace(grace) => set_grace(grace),
            Step::Cancel(task) => {
                if let Some(future) = self.futures[task].get() {
                    note(Event::Cancels(task));
                    let was = future.cancel();
                    note(Event::Cancelled { task, was });
                }
            }
            Step::Resize(pool, to) => {
                note(Event::Resizes { pool, to });
                self.pools[pool].set_max_workers(to);
                note(Event::Resized(pool));
            }
            Step::ShutDown { pool, cancels, waits } => self.shut_down(pool, cancels, waits)?,
            Step::Fulfil { promise, keeps } => self.fulfil(promise, keeps),
        }
        Ok(())
    }

    fn submit(self: &Arc<Self>, mut submission: Submission) -> Result<(), Victim> {
        let task = self.next_task.fetch_add(1, SeqCst);
        let Some((pool, _)) = self.program.tasks.get(task) else { return Ok(()) };
        let (theirs, executor) = (Arc::clone(self), &self.pools[*pool]);
        let has_name = matches!(submission, Submission::Plain | Submission::Cancellable);
        if !has_name && self.is_one_unnamed.swap(true, SeqCst) {
            submission = Submission::Plain;
        }
        if submission == Submission::Cancellable {
            note(Event::Submits { task, named: true });
            return self.noted_submission(task, What::Room(*pool), Limit::Never, || {
                Ok(executor.submit_cancellable_named(TASKS[task], move |token| theirs.run_task(task, Some(token))))
            });
        }
        let run = move || theirs.run_task(task, None);
        let limit = if matches!(submission, Submission::For(_)) { Limit::Soon } else { Limit::Never };
        note(Event::Submits { task, named: submission == Submission::Plain });
        self.noted_submission(task, What::Room(*pool), limit, || match submission {
            Submission::Plain | Submission::Cancellable => Ok(executor.submit_named(TASKS[task], run)),
            Submission::Try => executor.try_submit(run).map_err(|error| error.reason().clone()),
            Submission::For(micros) => {
                let timeout = Duration::from_micros(micros);
                executor.submit_timeout(run, timeout).map_err(|error| error.reason().clone())
            }
        })
    }

    /// Submits a task, and notes before and after.
    fn noted_submission(
        &self,
        task: usize,
        what: What,
        limit: Limit,
        submit: impl FnOnce() -> Result<Future<()>, Rejected>,
    ) -> Result<(), Victim> {
        note(Event::Waits(what, limit, Failure::Value));
        let submitted = submit().map(Future::shared);
        let refusal = match &submitted {
            Err(refusal) => Some(refusal.clone()),
            Ok(future) => match future.try_result() {
                Some(Err(TaskError::Rejected(refusal))) => Some(refusal),
                _ => None,
            },
        };
        let outcome = match refusal {
            Some(Rejected::Deadlock(_)) => Outcome::Deadlock,
            Some(Rejected::Timeout) => Outcome::TimedOut,
            _ => Outcome::Granted,
        };
        note(Event::Waited(outcome));
        note(Event::Submitted { task, accepted: refusal.is_none() });
        if let Ok(future) = submitted {
            assert!(self.futures[task].set(future).is_ok(), "submitted once");
        }
        if outcome == Outcome::Deadlock { Err(Victim::Value) } else { Ok(()) }
    }

    /// Submits some tasks in a scope, whose end waits for them and cannot fail.
    fn scope(self: &Arc<Self>, pool: usize, tasks: usize) -> Result<(), Victim> {
        let ended = self.pools[pool].scope(|scope| {
            let mut ended = Ok(());
            let mut mine = Vec::new();
            for _ in 0..tasks {
                let task = self.next_task.load(SeqCst);
                let is_of_pool = self.program.tasks.get(task).is_some_and(|&(other, _)| other == pool);
                if !is_of_pool || self.next_task.compare_exchange(task, task + 1, SeqCst, SeqCst).is_err() {
                    break;
                }
                note(Event::Submits { task, named: true });
                ended = self.noted_submission(task, What::Room(pool), Limit::Never, || {
                    Ok(match task % 2 {
                        0 => scope.submit_named(TASKS[task], move || self.run_task(task, None)),
                        _ => scope.submit_cancellable_named(TASKS[task], move |token| self.run_task(task, Some(token))),
                    })
                });
                mine.push(task);
                if ended.is_err() {
                    break;
                }
            }
            note(Event::Waits(What::Tasks(mine, ReturnWhen::AllCompleted), Limit::Never, Failure::Never));
            ended
        });
        note(Event::Waited(Outcome::Granted));
        ended
    }

    /// Lets the task that runs here wait until it is told to stop.
    fn wait_for_token(&self, patience: Patience) -> Result<(), Victim> {
        let Some(task) = RUNS.get() else { return Ok(()) };
        let Some(token) = self.tokens[task].get() else { return Ok(()) };
        noted(What::Token(task), patience.limit(), Failure::Never, || match patience.duration() {
            None => {
                token.wait();
                Ok(Some(()))
            }
            Some(timeout) => Ok(token.wait_for(timeout).then_some(())),
        })?;
        Ok(())
    }

    /// Tells a task to stop.
    pub(crate) fn ask_to_stop(&self, task: usize) {
        if let Some(token) = self.tokens[task].get() {
            note(Event::Asks(task));
            token.cancel();
        }
    }

    fn result(&self, task: usize, patience: Patience) -> Result<(), Victim> {
        let Some(future) = self.futures[task].get() else { return Ok(()) };
        let what = What::Tasks(vec![task], ReturnWhen::AllCompleted);
        noted(what, patience.limit(), Failure::Value, || result_of(future, patience))?;
        Ok(())
    }

    fn wait(&self, tasks: &[usize], when: ReturnWhen, patience: Patience) -> Result<(), Victim> {
        let mut tasks: Vec<_> = tasks.iter().copied().filter(|&task| self.futures[task].get().is_some()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        if tasks.is_empty() {
            return Ok(());
        }
        let futures: Vec<_> = tasks.iter().filter_map(|&task| self.futures[task].get()).collect();
        noted(What::Tasks(tasks, when), patience.limit(), Failure::Value, || {
            let set = wait(futures.iter().copied(), when, patience.duration());
            if let Some(deadlock) = set.deadlock {
                return Err(deadlock);
            }
            let is_over = match when {
                ReturnWhen::FirstCompleted => !set.done.is_empty(),
                ReturnWhen::AllCompleted => set.not_done.is_empty(),
                ReturnWhen::FirstException => {
                    set.not_done.is_empty() || set.done.iter().any(|future| future.status() != Status::Finished)
                }
            };
            Ok(is_over.then_some(()))
        })?;
        Ok(())
    }

    pub(crate) fn shut_down(&self, pool: usize, cancels: bool, waits: bool) -> Result<(), Victim> {
        note(Event::ShutsDown { pool, cancels });
        let pool_ends = ShutdownOptions::new().cancel_pending(cancels).wait(false);
        let _ = self.pools[pool].shutdown_with(pool_ends);
        note(Event::HasShutDown { pool, cancels });
        if waits {
            let wait = || self.pools[pool].shutdown().deadlock.map_or(Ok(Some(())), Err);
            noted(What::Workers(pool), Limit::Never, Failure::Value, wait)?;
        }
        Ok(())
    }

    /// Looks whether a task that was not noted to begin still waits for that, or never will. No shutdown is under way.
    pub(crate) fn look_at(&self, task: usize) {
        match self.futures[task].get().map(SharedFuture::status) {
            Some(Status::Pending) => note(Event::Seen { task, cancelled: false }),
            // It failed if there was no thread for it. One that ran has noted that before.
            Some(Status::Cancelled | Status::Failed | Status::Finished) => note(Event::Seen { task, cancelled: true }),
            _ => {}
        }
    }

    /// Checks what is left when every thread has ended.
    pub(crate) fn check_end(&self, state: &State) -> Result<(), String> {
        for (at, lock) in self.locks.iter().enumerate() {
            let is_locked = lock.is_locked();
            if is_locked != state.is_held(at) {
                return Err(format!("{} is held: {is_locked}, and by the log {}", LOCKS[at], !is_locked));
            }
        }
        match self.futures.iter().position(|future| future.get().is_some_and(|future| !future.done())) {
            Some(task) => Err(format!("{} is never done", TASKS[task])),
            None => Ok(()),
        }
    }

    /// Keeps a promise, or breaks it, if that was not done before.
    pub(crate) fn fulfil(&self, number: usize, keeps: bool) {
        let promise = self.promises[number].lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(promise) = promise {
            note(Event::Fulfils(number));
            if keeps {
                promise.set_result(()).expect("nobody cancels it");
            }
        }
    }

    /// Waits for the end of all workers. Not for ever: a pool that does not end is returned.
    pub(crate) fn end_pools(&self, patience: Duration) -> Option<usize> {
        self.pools.iter().position(|pool| {
            // With a limit it does not wait for the threads themselves.
            let is_complete = pool.shutdown_with(ShutdownOptions::new().timeout(patience)).is_complete();
            !is_complete || !pool.shutdown().is_complete()
        })
    }
}

fn result_of(future: &SharedFuture<()>, patience: Patience) -> Result<Option<()>, Deadlock> {
    let result = match patience.duration() {
        None => future.result(),
        Some(timeout) => future.result_timeout(timeout),
    };
    match result {
        Err(TaskError::Deadlock(deadlock)) => Err(deadlock),
        Err(TaskError::Timeout) => Ok(None),
        Ok(()) | Err(_) => Ok(Some(())),
    }
}

/// A panic of a script is one that was meant, or a victim's.
fn check_panic(payload: &(dyn Any + Send)) {
    let text = message(payload);
    if text != "on purpose" && !text.starts_with("deadlock: ") {
        fault(format!("a panic: {text}"));
    }
}

pub(crate) fn set_policy(policy: deadlock::Policy) {
    note(Event::SetsPolicy(policy));
    deadlock::set_policy(policy);
    note(Event::HasSetPolicy);
}

pub(crate) fn set_grace(grace: Duration) {
    note(Event::SetsGrace(grace));
    deadlock::set_grace(grace);
}
