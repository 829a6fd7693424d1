//! Random programs of a process pool against a model that is simple enough to be right.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::time::Duration;

use bowline::task::{Rejected, Status};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRng, TestRunner};

use crate::support::folder::{Folder, begin, die, open, pass};
use crate::support::processes::send_if_there;
use crate::support::workers::lost;
use crate::support::{LIMIT, wait_until, within};

/// What a task does once it has noted its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Returns the number.
    Value,
    Panic,
    /// Takes its worker with it.
    Crash,
    /// Waits until all gates are opened.
    Hold,
}

/// What happens next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Submit(Call),
    Cancel(usize),
    /// The future is dropped: the task runs all the same.
    Forget(usize),
    /// A process is killed, whatever it does.
    Kill(usize),
    Open,
    /// Waits for a task that needs nobody's help.
    Wait(usize),
    Shutdown {
        cancels: bool,
    },
    KillAll,
    Terminate,
}

#[derive(Clone, Debug)]
struct Script {
    workers: usize,
    retries: u32,
    steps: Vec<Step>,
}

fn script() -> impl Strategy<Value = Script> {
    let call = prop_oneof![
        12 => Just(Call::Value),
        2 => Just(Call::Panic),
        1 => Just(Call::Crash),
        3 => Just(Call::Hold),
    ];
    let step = prop_oneof![
        20 => call.prop_map(Step::Submit),
        6 => any::<usize>().prop_map(Step::Cancel),
        2 => any::<usize>().prop_map(Step::Forget),
        1 => any::<usize>().prop_map(Step::Kill),
        2 => Just(Step::Open),
        3 => any::<usize>().prop_map(Step::Wait),
    ];
    let end = prop_oneof![
        2 => any::<bool>().prop_map(|cancels| Step::Shutdown { cancels }),
        1 => Just(Step::KillAll),
        1 => Just(Step::Terminate),
    ];
    // The end comes somewhere, and what comes after it is refused.
    let (steps, late) = (prop::collection::vec(step.clone(), 5..60), prop::collection::vec(step, 0..8));
    (1..=3_usize, 0..=1_u32, steps, prop::option::of(end), late).prop_map(|(workers, retries, mut steps, end, late)| {
        steps.extend(end);
        steps.extend(late);
        Script { workers, retries, steps }
    })
}

fn panic(folder: String, number: u64) -> u64 {
    begin(folder, number);
    panic!("task {number}")
}

/// What the model knows of a task.
struct Task {
    call: Call,
    future: Option<Future<u64>>,
    /// Submitted after the end.
    is_late: bool,
    /// A cancellation was told that it was in time.
    was_cancelled: bool,
}

/// A pool, and what the model knows of it.
struct Run {
    pool: ProcessPoolExecutor,
    folder: Folder,
    retries: u32,
    tasks: Vec<Task>,
    is_open: bool,
    has_ended: bool,
    /// All tasks that were not begun were cancelled by a shutdown.
    cancels: bool,
    /// Whatever has not ended was told to.
    was_killed: bool,
    /// Workers that were killed one by one: none, one or more tasks are lost by that.
    kills: usize,
}

impl Run {
    fn new(script: &Script) -> Self {
        let pool = ProcessPoolExecutor::builder().max_workers(script.workers).retries(script.retries).build();
        Self {
            pool: pool.expect("a pool"),
            folder: Folder::new(),
            retries: script.retries,
            tasks: Vec::new(),
            is_open: false,
            has_ended: false,
            cancels: false,
            was_killed: false,
            kills: 0,
        }
    }

    fn submit(&mut self, call: Call) {
        let (folder, number) = (self.folder.path(), self.tasks.len() as u64);
        let future = match call {
            Call::Value => self.pool.submit(begin, (folder, number)),
            Call::Panic => self.pool.submit(panic, (folder, number)),
            Call::Crash => self.pool.submit(die, (folder.clone(), number, ".".to_owned())),
            Call::Hold => self.pool.submit(pass, (folder, number, open())),
        };
        assert!(!self.has_ended || future.status() == Status::Failed, "it is refused at once");
        self.tasks.push(Task { call, future: Some(future), is_late: self.has_ended, was_cancelled: false });
    }

    fn step(&mut self, step: &Step) {
        let pick = |at: usize, of: usize| (of > 0).then(|| at % of);
        match *step {
            Step::Submit(call) => self.submit(call),
            Step::Cancel(at) => {
                let Some(at) = pick(at, self.tasks.len()) else { return };
                let task = &mut self.tasks[at];
                if let Some(future) = &task.future
                    && future.cancel()
                {
                    assert!(future.cancelled() && !task.is_late);
                    task.was_cancelled = true;
                }
            }
            Step::Forget(at) => {
                let Some(at) = pick(at, self.tasks.len()) else { return };
                let task = &mut self.tasks[at];
                // A cancelled one is kept, for its verdict.
                if !task.future.as_ref().is_some_and(Future::cancelled) {
                    task.future = None;
                }
            }
            Step::Kill(at) => {
                let pids = self.pool.worker_pids();
                let Some(at) = pick(at, pids.len()) else { return };
                self.kills += 1;
                // A worker of this pool, or one that is just being reaped: nobody else's number in so short a time.
                send_if_there(pids[at], libc::SIGKILL);
            }
            Step::Open => self.open(),
            Step::Wait(at) => {
                let Some(at) = pick(at, self.tasks.len()) else { return };
                if self.is_open
                    && let Some(future) = &self.tasks[at].future
                {
                    future.wait().expect("no deadlock");
                }
            }
            Step::Shutdown { cancels } => {
                let _ = self.pool.shutdown_with(ShutdownOptions::new().wait(false).cancel_pending(cancels));
                (self.has_ended, self.cancels) = (true, cancels);
            }
            Step::KillAll => {
                assert!(self.pool.kill().is_complete());
                (self.has_ended, self.was_killed) = (true, true);
                let done = |task: &Task| task.future.as_ref().is_none_or(Future::done);
                assert!(self.tasks.iter().all(done), "nothing is open after a kill");
            }
            Step::Terminate => {
                let _ = self.pool.terminate();
                (self.has_ended, self.was_killed) = (true, true);
            }
        }
    }

    fn open(&mut self) {
        self.folder.put("open");
        self.is_open = true;
    }

    /// Every task has ended, in a way that the model allows.
    fn judge(mut self) {
        self.open();
        assert!(self.pool.shutdown().is_complete());
        let (queued, workers) = (self.pool.queued(), self.pool.worker_count());
        assert_eq!((queued, workers, self.pool.active_count(), self.pool.worker_pids().len()), (0, 0, 0, 0));
        let beginnings = self.folder.begun();
        let begun: HashSet<u64> = beginnings.iter().copied().collect();
        let (mut completed, mut forgotten, mut lost_to_kills) = (0, 0, 0);
        let tries = |number: u64| beginnings.iter().filter(|&&n| n == number).count();
        for (number, task) in (0..).zip(std::mem::take(&mut self.tasks)) {
            let tries = tries(number);
            assert!(tries <= 1 + self.retries as usize, "task {number} was begun {tries} times");
            let Some(future) = task.future else {
                forgotten += u64::from(matches!(task.call, Call::Value | Call::Panic | Call::Hold) && tries > 0);
                continue;
            };
            assert!(future.done(), "task {number}");
            let result = future.result();
            let is_begun = begun.contains(&number);
            assert!(!task.was_cancelled || matches!(result, Err(TaskError::Cancelled)), "task {number}: {result:?}");
            match result {
                Ok(value) => {
                    assert!(value == number && is_begun && matches!(task.call, Call::Value | Call::Hold));
                    completed += 1;
                }
                Err(TaskError::Panicked(panic)) => {
                    assert!(task.call == Call::Panic && is_begun && panic.message() == format!("task {number}"));
                    completed += 1;
                }
                Err(TaskError::Cancelled) => assert!((task.was_cancelled || self.cancels) && !is_begun),
                Err(TaskError::Rejected(Rejected::Shutdown)) => assert!(task.is_late && !is_begun),
                Err(TaskError::Rejected(Rejected::Killed)) => {
                    assert!(self.was_killed && (!is_begun || self.retries > 0), "task {number}");
                }
                error @ Err(TaskError::WorkerLost(_)) => {
                    let lost = lost(error);
                    assert!(!task.is_late && lost.ran_for() < LIMIT);
                    if task.call == Call::Crash {
                        assert!(tries > 0 || self.was_killed || self.kills > 0, "task {number}: {lost}");
                    } else {
                        // The task may have been claimed, and not have come to its note.
                        lost_to_kills += 1;
                    }
                }
                Err(other) => panic!("task {number}: {other}"),
            }
            assert!(!(task.is_late && is_begun), "task {number} came after the end");
        }
        assert!(self.was_killed || lost_to_kills <= self.kills, "{lost_to_kills} tasks for {} kills", self.kills);
        let counted = self.pool.completed();
        // Of those that were forgotten nobody knows whether they ended before their worker was killed.
        if self.was_killed || self.kills > 0 {
            assert!((completed..=completed + forgotten).contains(&counted), "{counted} of {completed}");
        } else {
            assert_eq!(counted, completed + forgotten);
        }
    }
}

fn run(script: &Script) {
    let mut run = Run::new(script);
    script.steps.iter().for_each(|step| run.step(step));
    run.judge();
}

#[test]
fn every_future_of_a_random_program_resolves_as_the_model_says_and_the_counts_add_up() {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 60;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 300;
    let dice = TestRng::deterministic_rng(config.rng_algorithm);
    let outcome = TestRunner::new_with_rng(config, dice).run(&script(), |script| {
        within(LIMIT, || run(&script));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn a_pool_that_loses_its_workers_at_any_moment_still_ends_every_task_once() {
    within(LIMIT, || {
        for kills in 0..20 {
            let pool = ProcessPoolExecutor::builder().max_workers(2).retries(3).build().unwrap();
            let folder = Folder::new();
            let tasks: Vec<_> = (0..60).map(|n| pool.submit(begin, (folder.path(), n))).collect();
            for kill in 0..kills % 4 {
                wait_until(|| pool.completed() >= kill * 10 || tasks.iter().all(Future::done));
                if let Some(&pid) = pool.worker_pids().first() {
                    // A worker of this pool, or one that is just being reaped: nobody else's number in so short a time.
                    send_if_there(pid, libc::SIGKILL);
                }
            }
            assert!(pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_secs(30))).is_complete());
            assert!((0..).zip(tasks).all(|(n, task)| task.result().unwrap() == n), "with retries none is lost");
            assert_eq!(pool.completed(), 60);
        }
    });
}
