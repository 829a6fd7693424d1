//! Pools of processes of a test: workers that are idle or held up, what became of them, and the least of tasks.

use std::fmt::Debug;

use bowline::process_pool::ProcessPoolBuilder;
use bowline::task::{PanicInfo, WorkerExit, WorkerLost};
use bowline::{Future, ProcessPoolExecutor, TaskError};

use super::folder::{Folder, hold, open, pass};
use super::wait_until;

/// What makes a pool of so many workers. Those that crash leave no file of their memory.
pub(crate) fn builder(max_workers: usize) -> ProcessPoolBuilder {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - it reads the limit, which is there.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) }, 0);
    ProcessPoolExecutor::builder().max_workers(max_workers)
}

/// A pool of so many workers.
#[track_caller]
pub(crate) fn pool_of(max_workers: usize) -> ProcessPoolExecutor {
    builder(max_workers).build().expect("a pool")
}

/// A pool whose workers are up and idle.
#[track_caller]
pub(crate) fn idle_pool(workers: usize) -> ProcessPoolExecutor {
    let pool = ProcessPoolExecutor::new(workers).expect("a pool");
    Held::keep(&pool, workers as u64).release();
    assert_eq!(pool.worker_pids().len(), workers);
    pool
}

/// A pool whose workers are up and idle, and whose tasks have been quick: as long as one is, the next may be sent ahead behind it.
#[track_caller]
pub(crate) fn quick_pool(workers: usize) -> ProcessPoolExecutor {
    let pool = idle_pool(workers);
    for n in 0..20_u64 {
        assert_eq!(pool.submit(echo::<u64>, (n,)).result().unwrap(), n);
    }
    pool
}

/// The only worker that is up.
#[track_caller]
pub(crate) fn only_worker(pool: &ProcessPoolExecutor) -> u32 {
    let pids = pool.worker_pids();
    assert_eq!(pids.len(), 1, "{pids:?}");
    pids[0]
}

/// A task: its process.
pub(crate) fn pid() -> u32 {
    std::process::id()
}

/// A task: what it was given.
pub(crate) fn echo<T>(value: T) -> T {
    value
}

/// A task: ends its worker with this code.
pub(crate) fn exit(code: i32) -> u8 {
    std::process::exit(code)
}

/// Keeps a worker by the task with this number until the gate `end` is open. Returns when the task has begun; its result is
/// the worker.
#[track_caller]
pub(crate) fn keep(pool: &ProcessPoolExecutor, folder: &Folder, number: u64) -> Future<u32> {
    let task = pool.submit(hold, (folder.path(), number, "end".to_owned()));
    folder.until_begun(number);
    task
}

/// Tasks that each hold up a worker until this is released, or dropped.
pub(crate) struct Held {
    folder: Folder,
    tasks: Vec<Future<u64>>,
}

impl Held {
    /// Returns when so many workers of the pool run such a task.
    #[track_caller]
    pub(crate) fn keep(pool: &ProcessPoolExecutor, workers: u64) -> Self {
        let folder = Folder::new();
        let hold = |number| pool.submit_named("hold", pass, (folder.path(), number, open()));
        let tasks: Vec<_> = (0..workers).map(hold).collect();
        wait_until(|| folder.begun().len() as u64 == workers);
        Self { folder, tasks }
    }

    /// Lets the tasks go, and waits until they are done.
    #[track_caller]
    pub(crate) fn release(mut self) {
        self.folder.put("open");
        for task in self.tasks.drain(..) {
            task.result().expect("a task that ends");
        }
    }

    /// What became of the tasks, when they are done.
    pub(crate) fn results(mut self) -> Vec<Result<u64, TaskError>> {
        self.tasks.drain(..).map(Future::result).collect()
    }
}

/// How the worker ended that was lost in the middle of a task.
#[track_caller]
pub(crate) fn lost<T: Debug>(result: Result<T, TaskError>) -> WorkerLost {
    match result {
        Err(TaskError::WorkerLost(lost)) => lost,
        other => panic!("the worker was to be lost: {other:?}"),
    }
}

/// The signal by which the worker ended that was lost.
#[track_caller]
pub(crate) fn lost_by<T: Debug>(result: Result<T, TaskError>) -> i32 {
    match lost(result).exit() {
        WorkerExit::Signal { number, .. } => *number,
        other => panic!("a signal was to end the worker: {other:?}"),
    }
}

/// Asserts that the worker that was lost was killed, and that it was this one.
#[track_caller]
pub(crate) fn assert_killed<T: Debug>(result: Result<T, TaskError>, worker: u32) {
    let lost = lost(result);
    assert_eq!((lost.pid(), lost.exit()), (worker, &WorkerExit::Signal { number: 9, core_dumped: false }), "{lost}");
}

/// The panic of a task.
#[track_caller]
pub(crate) fn panic_of<T: Debug>(result: Result<T, TaskError>) -> PanicInfo {
    match result {
        Err(TaskError::Panicked(panic)) => panic,
        other => panic!("it did not panic: {other:?}"),
    }
}
