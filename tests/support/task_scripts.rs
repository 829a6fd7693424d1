//! Random programs of tasks, and what the tasks of one share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bowline::ReturnWhen::{self, AllCompleted, FirstCompleted, FirstException};
use bowline::deadlock::Deadlock;
use bowline::{Lock, SharedFuture, ThreadPoolExecutor, wait};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRng, TestRunner};

pub(crate) const TASKS: [&str; 16] = [
    "task 0", "task 1", "task 2", "task 3", "task 4", "task 5", "task 6", "task 7", "task 8", "task 9", "task 10",
    "task 11", "task 12", "task 13", "task 14", "task 15",
];
pub(crate) const LOCKS: [&str; 3] = ["lock 0", "lock 1", "lock 2"];
const POOLS: [&str; 2] = ["graph A", "graph B"];

/// How long something that has to happen may take: it only decides how soon a failure is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What happens next. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The next task is submitted.
    Submit,
    /// A task that is queued is cancelled.
    Cancel(usize),
    /// One that runs does this.
    Do(usize, Order),
}

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Lock(usize),
    Release(usize),
    Wait(Vec<usize>, ReturnWhen),
    /// Ends, with a panic if so.
    End(bool),
}

/// A program.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// How many workers each pool has.
    pub(crate) workers: Vec<usize>,
    /// The pool of each task.
    pub(crate) pool: Vec<usize>,
    pub(crate) steps: Vec<Step>,
}

fn order() -> impl Strategy<Value = Order> {
    let return_when = prop_oneof![3 => Just(AllCompleted), 2 => Just(FirstCompleted), 2 => Just(FirstException)];
    let tasks = prop::collection::vec(any::<usize>(), 1..4);
    prop_oneof![
        4 => any::<usize>().prop_map(Order::Lock),
        1 => any::<usize>().prop_map(Order::Release),
        8 => (tasks, return_when).prop_map(|(tasks, return_when)| Order::Wait(tasks, return_when)),
        2 => prop::bool::weighted(0.3).prop_map(Order::End),
    ]
}

fn script(longest: usize) -> impl Strategy<Value = Script> {
    let step = prop_oneof![
        4 => Just(Step::Submit),
        1 => any::<usize>().prop_map(Step::Cancel),
        12 => (any::<usize>(), order()).prop_map(|(task, order)| Step::Do(task, order)),
    ];
    let workers = prop::collection::vec(1..=3_usize, 1..=POOLS.len());
    let pools = prop::collection::vec(any::<usize>(), TASKS.len());
    (workers, pools, prop::collection::vec(step, 4..longest)).prop_map(|(workers, pools, steps)| Script {
        pool: pools.into_iter().map(|pool| pool % workers.len()).collect(),
        workers,
        steps,
    })
}

pub(crate) fn make_pools(script: &Script) -> Vec<ThreadPoolExecutor> {
    let make = |(&workers, name): (&usize, &&str)| {
        ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(*name).build()
    };
    script.workers.iter().zip(&POOLS).map(make).collect()
}

/// Runs `check` on random scripts, the same in every run.
pub(crate) fn for_random_scripts(cases: u32, longest: usize, check: impl Fn(&Script)) {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = if cfg!(miri) { 2 } else { cases };
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 300;
    let dice = TestRng::deterministic_rng(config.rng_algorithm);
    let outcome = TestRunner::new_with_rng(config, dice).run(&script(longest), |script| {
        check(&script);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// What the tasks of one script share.
pub(crate) struct World {
    pub(crate) locks: [Lock<()>; LOCKS.len()],
    pub(crate) futures: [OnceLock<SharedFuture<()>>; TASKS.len()],
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { locks: LOCKS.map(|name| Lock::named(name, ())), futures: [const { OnceLock::new() }; _] })
    }

    pub(crate) fn future(&self, task: usize) -> &SharedFuture<()> {
        self.futures[task].get().expect("it was submitted")
    }

    pub(crate) fn wait(&self, tasks: &[usize], return_when: ReturnWhen) -> Result<(), Deadlock> {
        let futures = tasks.iter().map(|&task| self.future(task));
        match tasks {
            &[task] if return_when == AllCompleted => self.future(task).wait(),
            _ => wait(futures, return_when, None).deadlock.map_or(Ok(()), Err),
        }
    }
}
