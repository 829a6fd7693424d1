//! The handle of a process pool, on every system.

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use super::builder::ProcessPoolBuilder;
use super::map::ProcessCalls;
use super::parent::shared::Shared;
use super::parent::shutdown;
use super::worker::entry;
use crate::process_pool::error::ProcessPoolError;
use crate::task::map::HasMap;
use crate::task::unwind::unwind_safe;
use crate::thread_pool::{ShutdownOptions, ShutdownReport};

unwind_safe!(ProcessPoolBuilder, ProcessPoolExecutor);

/// A pool of processes that run tasks, each of which gives a [`Future`](crate::Future).
///
/// Python's `concurrent.futures.ProcessPoolExecutor`: for work that may crash, and would take the whole process down
/// with it. The futures are those of the [`ThreadPoolExecutor`](crate::ThreadPoolExecutor): [`wait`](crate::wait),
/// [`as_completed`](crate::as_completed) and `.await` take both kinds.
///
/// A worker is the same program, started again. It is recognised before `main`, after everything else that the program
/// runs before `main`; `main` never runs. So there is nothing to set up, in a program, a test or an example. Workers
/// are started as they are needed, up to `max_workers`, and stay until the pool is shut down. A clone is another handle
/// of the same pool; two handles are equal if they belong to one pool. When the last handle is dropped the pool takes
/// no more tasks and runs those that it has, and the drop waits for that. It does not wait after a
/// [shutdown](Self::shutdown_with) without waiting, or with a time-out: what that left is
/// [detached](ShutdownReport::detached). (A pool in a `static` is never dropped: it ends with the process, whatever is
/// queued.)
///
/// **A crash costs one task.** If a worker is killed (by a signal, `abort`, `exit`, a stack overflow, the system when
/// memory runs out), the task that it ran fails with [`TaskError::WorkerLost`](crate::TaskError::WorkerLost), and no
/// other: tasks that it had not begun go to another worker, and the worker is replaced. (A task whose workers end without having begun
/// any is given to four of them; then it fails with the same error.) A panic is no crash: it goes to the future, and the worker lives on.
///
/// **Nothing is left behind.** A worker leads a process group, and ends within a second after its parent ends, whatever
/// ends the parent. The processes that a worker started, and that have not left the group, end with the worker. The
/// worker kills them when its parent is gone, and the parent when the worker is gone. So the limit is SIGKILL to both
/// at once: the worker's own processes outlive that. An interrupt from the terminal reaches the parent only.
///
/// A signal goes only to a process that is the worker, or of its group. A program that ignores SIGCHLD, or waits for
/// any child, takes the exit status of workers ([`WorkerExit::Unknown`](crate::task::WorkerExit::Unknown)); before Linux 6.9
/// the processes that such a worker had started stay then, too. A program that adopts orphans (the first process of a
/// container, a "subreaper") gets no zombies from workers.
///
/// A task calls a function item, or a closure that captures nothing; its data are the arguments. Arguments and results
/// are encoded with serde. A value arrives as it was, or as an error of its task: types that can go in no other way go
/// as [`Json`](crate::Json). Bytes and numbers in great quantities go as a [`Blob`](crate::Blob) or a
/// [`SharedVec`](crate::SharedVec), which are not copied. To encode or decode a value fails if it takes more than 1 MiB of
/// stack, or more than is left. A worker has its own statics, thread-locals and panic hook. It runs its tasks one after
/// the other on its main thread, whose stack is as large as the system allows (`ulimit -s`). Standard output and standard
/// error are those of the program, or reach them through it if the pool
/// [captures](crate::process_pool::ProcessPoolBuilder::capture_stdout) them; the standard input of a worker is empty.
///
/// A result is decoded (by its `Deserialize`) when a thread asks for it, on that thread; a result that no thread asks
/// for is never decoded. A task whose result can't be decoded has [finished](crate::task::Status::Finished): a thread that
/// asks for the result gets [`TaskError::Decode`](crate::TaskError::Decode). Callbacks and wakers run on threads of
/// their own. The callbacks of one task run in order. While a callback takes longer than a millisecond, those of other tasks run on another
/// thread; a waker may have to wait for a callback that long.
///
/// With the feature `tracing` the spans and events of a task reach the subscriber that was current where the task was submitted, in the
/// span that was current there.
///
/// A worker's group is in the background: the system stops a task that reads from the terminal (`/dev/tty`), and a task
/// that writes to a terminal with `stty tostop`. A stopped worker holds up its task, and a shutdown that waits;
/// [`kill`](Self::kill) ends it. In a process that is forked off this one the pool takes no tasks
/// ([`Rejected::Forked`](crate::task::Rejected::Forked)), and a wait for the tasks that it has never ends. As long as such a
/// process keeps the descriptors that it inherited, it may also hide the end of a worker that was being started at that
/// moment. So do not fork without `exec`.
///
/// A round trip costs two messages over a socket: two system calls on either side, and those of a thread that sleeps
/// meanwhile. A worker costs the start of the program up to its `main`, and in the parent a thread and two descriptors.
///
/// # Deadlocks
///
/// A wait for a task in a process is in the wait-for graph and part of no deadlock: this process does not know what the
/// other does. (While a callback hears the task's [progress](crate::process_pool::ProcessTask::on_progress), the task waits for that
/// thread, and a circle through it is found.) [`snapshot`](crate::deadlock::snapshot) shows the process that the task runs in. Within each process
/// deadlocks are found as anywhere; two processes that wait for each other, by files or sockets of the program's own,
/// hang.
///
/// # Security
///
/// A worker takes orders only from its parent, which must run as the same user with no fewer capabilities; the kernel
/// tells it so. Without such a parent the environment variable that makes a process a worker has no effect. A worker
/// calls only functions that the program may send itself. A program with rights that the user who started it has not
/// (set-user-id) can't be a worker, and can't have a pool. Tasks have all the rights of the program: a worker is no
/// sandbox.
///
/// A worker inherits what the program has when the worker is started: the environment, the current folder, limits and
/// `umask`, ignored signals, standard output and standard error, and every descriptor that is not closed on `exec`.
/// (Those that std opens are.)
///
/// # Platforms
///
/// Linux. On other systems the same code compiles, and no pool can be made: [`ProcessPoolError::Unsupported`].
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
///
/// let pool = ProcessPoolExecutor::new(2)?;
/// let power = pool.submit(u64::pow, (2, 8));
/// assert_eq!(power.result()?, 256);
///
/// let crash = pool.submit(|code: i32| -> u8 { std::process::exit(code) }, (99,));
/// let error = crash.result().unwrap_err();
/// assert!(error.to_string().contains("terminated abruptly with exit code 99"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A value that a closure captures does not exist in another process:
///
/// ```compile_fail,E0080
/// let base = 2_u64;
/// let pool = bowline::ProcessPoolExecutor::new(1).unwrap();
/// let power = pool.submit(move |exponent: u32| base.pow(exponent), (8,)); // pass `base` as an argument
/// ```
///
/// A function pointer is data as well:
///
/// ```compile_fail,E0080
/// let double: fn(u64) -> u64 = |n| 2 * n;
/// let pool = bowline::ProcessPoolExecutor::new(1).unwrap();
/// let doubled = pool.submit(double, (8,));
/// ```
#[derive(Clone)]
pub struct ProcessPoolExecutor(Arc<Handle>);

/// What all handles of a pool share: the pool ends when it is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        shutdown::drop_pool(&self.0);
    }
}

impl ProcessPoolExecutor {
    /// Makes a pool of at most `max_workers` processes. Starts none yet.
    ///
    /// # Errors
    ///
    /// Those of [`ProcessPoolBuilder::build`]: above all, `max_workers` is 0 or more than 16383.
    #[track_caller]
    pub fn new(max_workers: usize) -> Result<Self, ProcessPoolError> {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder, for a pool with other settings.
    pub fn builder() -> ProcessPoolBuilder {
        ProcessPoolBuilder::new()
    }

    /// Becomes a worker, and does not return, if this process was started as one.
    ///
    /// It is not needed where code runs before `main`, which is the case for every executable that is linked in the
    /// usual way. A program may call it first in `main` to be sure: in a process that is no worker it does nothing, at
    /// the cost of one look into the environment. (A process that was to be a worker, and can't, exits with code 121.)
    /// It is needed in a shared library: the program that is a worker for it (see
    /// [`worker_exe`](ProcessPoolBuilder::worker_exe)) has to call it, on its main thread, and not while the library is
    /// being loaded.
    ///
    /// # Examples
    ///
    /// ```
    /// bowline::ProcessPoolExecutor::init(); // first in `main`; does not return in a worker
    /// println!("this is no worker");
    /// ```
    pub fn init() {
        entry::become_worker();
    }

    pub(super) fn of(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Handle(shared)))
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// Takes no more tasks, runs those that are queued, and waits until every worker has ended, every callback has
    /// run, and what the workers wrote to [captured](ProcessPoolBuilder::capture_stdout) streams is passed on.
    ///
    /// It may be called on several handles, at the same time or again: each call waits for all of that. The first call
    /// also waits until the threads are gone that looked after the workers. A callback of a task may call it: it does
    /// not wait for itself. A worker that is being started is waited for, too, at most for its
    /// [`start_timeout`](ProcessPoolBuilder::start_timeout) and its initializer.
    ///
    /// # Deadlocks
    ///
    /// The wait is in the wait-for graph. A task that never ends is a hang, and no deadlock:
    /// [`shutdown_with`](Self::shutdown_with) a time-out and then [`kill`](Self::kill) avoids it. If a callback waits
    /// for the thread that waits here, one of the two waits ends; the report says so if it is this one.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let future = pool.submit(|n: u32| n + 1, (1,));
    /// assert!(pool.shutdown().is_complete());
    /// assert!(future.done() && pool.worker_pids().is_empty());
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// [Shuts down](Self::shutdown) without waiting, or with a time-out, or after cancelling the tasks that no worker
    /// has begun. With a time-out it waits neither for the callbacks nor until what the workers wrote to
    /// [captured](ProcessPoolBuilder::capture_stdout) streams is passed on. A task whose
    /// [progress callback](super::ProcessTask::on_progress) still runs, or has values to take, is not done then, even if
    /// the report [is complete](ShutdownReport::is_complete): that says that every worker has ended.
    ///
    /// After a shutdown without waiting, or with a time-out, the drop of the last handle does not wait: the workers
    /// that are left are detached, as the report says, and run what is queued, as long as this process lives.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::thread_pool::ShutdownOptions;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let endless = pool.submit(|| -> () { loop { std::thread::park() } }, ());
    /// let report = pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_millis(10)));
    /// if !report.is_complete() {
    ///     assert!(pool.kill().is_complete());
    /// }
    /// assert!(endless.result().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "the report says what was left"]
    #[track_caller]
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        shutdown::shutdown(self.shared(), options, Location::caller())
    }

    /// Ends the pool now: takes no more tasks, fails those that no worker has begun with
    /// [`Rejected::Killed`](crate::task::Rejected::Killed), kills the workers and their groups with SIGKILL, and waits until
    /// they are gone. The tasks that they ran fail with [`TaskError::WorkerLost`](crate::TaskError::WorkerLost), even
    /// if they had [`retries`](ProcessPoolBuilder::retries) left, or with [`Terminated`](crate::TaskError::Terminated) if they had been
    /// asked to stop. In the report, `cancelled` is the number of tasks
    /// that were not begun.
    ///
    /// # Deadlocks
    ///
    /// It waits until the system has ended the processes, and then for the callbacks, those that hear progress included, as
    /// [`shutdown`](Self::shutdown) does. Both waits are in the wait-for graph. It does not wait until what the workers wrote
    /// to [captured](ProcessPoolBuilder::capture_stdout) streams is passed on, and ends such a wait of another handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let endless = pool.submit(|| -> u8 { loop { std::thread::park() } }, ());
    /// assert!(pool.kill().is_complete());
    /// assert!(endless.result().is_err());
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn kill(&self) -> ShutdownReport {
        shutdown::kill(self.shared(), Location::caller())
    }

    /// Ends the pool now as [`kill`](Self::kill) does, but with SIGTERM, and does not wait, since a task may handle the
    /// signal: a [`shutdown`](Self::shutdown) waits. A worker that ignores the signal ends after the task that it runs. No task is
    /// [asked to stop](super::CurrentTask::should_stop) first: [`terminate`](crate::Future::terminate) of a future does that.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let endless = pool.submit(|| -> u8 { loop { std::thread::park() } }, ());
    /// pool.terminate();
    /// assert!(endless.result().is_err());
    /// assert!(pool.shutdown().is_complete());
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn terminate(&self) -> ShutdownReport {
        shutdown::terminate(self.shared())
    }

    /// Returns whether the pool takes no more tasks.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.shared().is_closed()
    }

    /// Returns the maximum number of workers that run tasks.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.shared().max_workers()
    }

    /// Returns how many workers have a task. The number may have changed when this returns, like those of the following
    /// methods.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.shared().counts().active
    }

    /// Returns how many workers there are. It counts those that are being started, those that are gone until their
    /// tasks have failed, and those that are started ahead for workers that are about to end: at most twice
    /// [`max_workers`](Self::max_workers).
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.shared().counts().workers
    }

    /// Returns the ids of the worker processes that are up. One of them may be gone by now, and its id another
    /// process's.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let pid = pool.submit(std::process::id, ()).result()?;
    /// assert_eq!(pool.worker_pids(), [pid]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared().pids()
    }

    /// Returns how many tasks no worker has begun.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared().counts().queued
    }

    /// Returns how many tasks have run to their end, with a value, a panic or an error. Tasks that their submitter ran
    /// ([`CallerRuns`](crate::thread_pool::WhenFull::CallerRuns)) count. Tasks that were cancelled, or whose worker was lost or ended, do
    /// not. A chunk of a [`map`](Self::map) is one task.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let answer = pool.submit(|n: u32| n + 1, (1,));
    /// let crash = pool.submit(|| -> u8 { std::process::abort() }, ());
    /// assert!(answer.result().is_ok() && crash.result().is_err());
    /// assert_eq!(pool.completed(), 1);
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.shared().counts().completed
    }

    /// Returns how many tasks have panicked. A panic of a [`map`](Self::map)'s item is the item's result, and not counted.
    #[must_use]
    pub fn panic_count(&self) -> u64 {
        self.shared().panic_count()
    }
}

impl HasMap for ProcessPoolExecutor {
    type Calls<F> = ProcessCalls<F>;
}

/// Handles of one pool are equal.
impl PartialEq for ProcessPoolExecutor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ProcessPoolExecutor {}

impl fmt::Debug for ProcessPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.shared().counts();
        f.debug_struct("ProcessPoolExecutor")
            .field("name", &self.shared().name())
            .field("max_workers", &self.max_workers())
            .field("active_count", &counts.active)
            .field("queued", &counts.queued)
            .finish_non_exhaustive()
    }
}
