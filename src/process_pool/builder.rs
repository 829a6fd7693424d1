//! The builder of a process pool.

use std::ffi::OsString;
use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ProcessPoolError;
use super::parent::options::Options;
use super::parent::settings::Settings;
use super::parent::shared::Shared;
use super::pool::ProcessPoolExecutor;
use super::wire::call::Call;
use super::wire::callable::Callable;
use crate::thread_pool::{Initialized, WhenFull};

/// Makes a [`ProcessPoolExecutor`] with chosen settings: see [`ProcessPoolExecutor::builder`].
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
/// use std::time::Duration;
///
/// fn load_model(path: String) -> Result<(), std::io::Error> {
/// #   let _ = path;
///     Ok(()) // once in each worker, before its first task
/// }
///
/// let pool = ProcessPoolExecutor::builder()
///     .max_workers(2)
///     .name("model")
///     .initializer(load_model, ("weights.bin".to_owned(),))
///     .retries(1)
///     .capture_stderr(true)
///     .build()?;
/// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder makes a pool when `build` is called"]
pub struct ProcessPoolBuilder {
    pub(super) options: Options,
}

/// The maximum of [`max_message_size`](ProcessPoolBuilder::max_message_size): lengths travel in 32 bits.
const MAX_MESSAGE_SIZE: usize = u32::MAX as usize;

impl ProcessPoolBuilder {
    pub(super) fn new() -> Self {
        Self { options: Options::default() }
    }

    /// Sets the maximum number of workers. They are started as they are needed. The default is the parallelism of this
    /// machine, as [`available_parallelism`](std::thread::available_parallelism) tells it.
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        self.options.max_workers = Some(max_workers);
        self
    }

    /// Sets the pool's name, which its processes show in `ps` (the first 15 bytes) and its threads with a number. The
    /// default is `ProcessPoolExecutor-` and the number of the pool.
    ///
    /// # Panics
    ///
    /// The name contains a NUL character.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).name("thumbnails").build()?;
    /// assert!(format!("{pool:?}").contains("thumbnails"));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        assert!(!name.contains('\0'), "a pool's name has no NUL character: {name:?}");
        self.options.name = Some(name);
        self
    }

    /// Calls `f` with `args` in every worker before its first task, also in workers that replace others. The arguments
    /// are encoded once, by [`build`](Self::build).
    ///
    /// If `f` returns an error or panics, or the worker ends in it, the pool is broken: queued tasks fail with
    /// [`Rejected::Broken`](crate::task::Rejected::Broken) and the reason, and so do tasks that are submitted later. There is
    /// no limit of time for it.
    ///
    /// If `args` have [`Blob`](crate::process_pool::Blob)s, and the system lacks descriptors to give them to a worker,
    /// that worker has not started. It is tried again as any start that fails, and the pool is not broken: after three
    /// attempts, queued tasks fail with [`Rejected::NoWorker`](crate::task::Rejected::NoWorker).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::Rejected;
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// fn open(path: String) -> Result<(), String> {
    ///     Err(format!("there is no {path}"))
    /// }
    ///
    /// let builder = ProcessPoolExecutor::builder().max_workers(1);
    /// let pool = builder.initializer(open, ("weights.bin".to_owned(),)).build()?;
    /// let error = pool.submit(|n: u32| n + 1, (1,)).result().unwrap_err();
    /// let TaskError::Rejected(Rejected::Broken(reason)) = error else { panic!("{error}") };
    /// assert!(reason.contains("there is no weights.bin"));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn initializer<F, A>(mut self, f: F, args: A) -> Self
    where
        F: Callable<A>,
        F::Output: Initialized,
        A: Serialize + DeserializeOwned + 'static,
    {
        self.options.initializer = Some(Box::new(move |max_size| Call::of_initializer(f, args, max_size)));
        self
    }

    /// Sets the program that is started as a worker. The default is the executable of this process, even if its file
    /// was replaced or removed. Another program is looked up once, by [`build`](Self::build): a path without a slash in
    /// `PATH`, a relative path with a slash in the current directory. An absolute path is not looked up: if it is wrong, the first
    /// tasks fail with [`Rejected::NoWorker`](crate::task::Rejected::NoWorker).
    ///
    /// The program has to contain this library, from the same build, as the executable or the shared library that this
    /// code is in. For a shared library in a program that is not yours, name a program that loads the library, and then
    /// calls a function of it that calls [`ProcessPoolExecutor::init`]; in Python, with
    /// [`worker_args`](Self::worker_args), `python3 -c "import my_library; my_library.serve()"`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::process_pool::ProcessPoolError;
    ///
    /// let builder = ProcessPoolExecutor::builder().worker_exe("./no-such-program");
    /// assert!(matches!(builder.build(), Err(ProcessPoolError::NoWorkerProgram { .. })));
    ///
    /// let this = std::env::current_exe()?;
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_exe(this).build()?;
    /// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_exe(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.worker_exe = Some(path.into());
        self
    }

    /// Sets the arguments that a worker's program is started with. The default is none.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let builder = ProcessPoolExecutor::builder().max_workers(1).worker_args(["--worker"]);
    /// let pool = builder.build()?;
    /// let args = pool.submit(|| std::env::args().skip(1).collect::<Vec<_>>(), ());
    /// assert_eq!(args.result()?, ["--worker"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.options.worker_args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long a worker may take from its start to the moment at which it is ready for the initializer. The
    /// default is 30 seconds. After that time it is killed. If there is no other worker, the pool makes three attempts
    /// altogether, and then queued tasks fail with [`Rejected::NoWorker`](crate::task::Rejected::NoWorker).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::{Rejected, StartFailure};
    /// use bowline::{ProcessPoolExecutor, TaskError};
    /// use std::time::Duration;
    ///
    /// let builder = ProcessPoolExecutor::builder().max_workers(1).worker_exe("sleep").worker_args(["60"]);
    /// let pool = builder.start_timeout(Duration::from_millis(10)).build()?;
    /// let error = pool.submit(|n: u32| n + 1, (1,)).result().unwrap_err();
    /// let TaskError::Rejected(Rejected::NoWorker(error)) = error else { panic!("{error}") };
    /// assert!(matches!(error.failure(), StartFailure::Timeout(_)));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options.start_timeout = timeout;
        self
    }

    /// Sets whether to keep the last lines that a worker writes to standard output, for the error of the task that it
    /// dies in, or is ended with (time-out, [`terminate`](crate::Future::terminate)): 20 lines, of up to 1024 bytes. They still appear on the standard output of the program. The default is
    /// `false`: a worker has the program's own standard output. It costs a thread, a descriptor and a copy for each
    /// worker.
    ///
    /// The standard output of a worker is a pipe then, and no terminal, even where the program's is one: programs and
    /// libraries may leave out colours, and those in C write in blocks of some KiB rather than line by line, so that
    /// what they have not written yet is lost in a crash. (Rust's `print!` still writes each line at its end.) Whether
    /// a line of standard output appears before or after one of standard error is open. A line of up to 4096 bytes that
    /// a worker writes in one piece appears in one piece.
    ///
    /// A task's result may be there before what the task wrote has appeared: it is in the pipe. The pool passes it on
    /// before [`shutdown`](ProcessPoolExecutor::shutdown), or the drop of the last handle, returns, and for as long as
    /// that takes: a reader of the program's standard output that takes nothing (a pager) holds up either, as it holds
    /// up a `println!`. Nobody waits for it in a [`kill`](ProcessPoolExecutor::kill) and after it, nor in a shutdown
    /// with a time-out or without waiting. What is in the pipe is lost, too, where the program ends before the pool:
    /// by [`std::process::exit`], or because the pool is in a `static`, which is never dropped. Shut it down first.
    ///
    /// A process that outlives its worker loses its standard output, as with [`capture_stderr`](Self::capture_stderr).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// fn crash() {
    ///     println!("three knots tied");
    ///     std::process::abort();
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).capture_stdout(true).build()?;
    /// let error = pool.submit(crash, ()).result().unwrap_err();
    /// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
    /// assert_eq!(lost.stdout(), ["three knots tied"]);
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn capture_stdout(mut self, capture: bool) -> Self {
        self.options.capture_stdout = capture;
        self
    }

    /// Sets whether to keep the last lines that a worker writes to standard error, for the error of the task that it
    /// dies in, or is ended with (time-out, [`terminate`](crate::Future::terminate)): 20 lines, of up to 1024 bytes. They still appear on the standard error of the program. The default is
    /// `false`: it costs a thread, a descriptor and a copy for each worker.
    ///
    /// What a task wrote is lost if the program ends before the pool, by [`std::process::exit`] or with the pool in a
    /// `static`, as with [`capture_stdout`](Self::capture_stdout).
    ///
    /// A process that outlives its worker (a daemon) and shares its standard error loses it some 200 ms after the
    /// worker's end: from then on it writes to a pipe without a reader.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// fn crash() {
    ///     eprintln!("out of rope");
    ///     std::process::abort();
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).capture_stderr(true).build()?;
    /// let error = pool.submit(crash, ()).result().unwrap_err();
    /// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
    /// assert_eq!(lost.stderr(), ["out of rope"]);
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn capture_stderr(mut self, capture: bool) -> Self {
        self.options.capture_stderr = capture;
        self
    }

    /// Sets the maximum length of the encoded arguments, or of the encoded result, of a task, in bytes. The default is
    /// 2³⁰. If they are longer the task fails with [`TaskError::Encode`](crate::TaskError::Encode). For a
    /// [`map`](ProcessPoolExecutor::map) the limit is for the items, or the results, of a chunk, including panics with
    /// their backtraces.
    ///
    /// Memory is allocated for what has arrived, not for what is announced. For a moment both processes hold a value in
    /// its encoded and in its decoded form.
    ///
    /// # Panics
    ///
    /// `bytes` is less than 1024, or more than 2³² - 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).max_message_size(1024).build()?;
    /// let future = pool.submit(|text: String| text.len(), ("rope".repeat(1024),));
    /// assert!(matches!(future.result(), Err(TaskError::Encode(_))));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        assert!(
            (1024..=MAX_MESSAGE_SIZE).contains(&bytes),
            "max_message_size must be from 1024 to {MAX_MESSAGE_SIZE} bytes, and is {bytes}"
        );
        self.options.max_message_size = bytes;
        self
    }

    /// Sets how often a task is run again, in another worker, after the worker that ran it was lost: what would be
    /// [`TaskError::WorkerLost`](crate::TaskError::WorkerLost) otherwise. A task that panics, or that was ended (by its time-out,
    /// [`terminate`](crate::Future::terminate), [`kill`](ProcessPoolExecutor::kill)), is not run again. Of a
    /// [`map`](ProcessPoolExecutor::map), the whole chunk is. The default is 0: a task that is run twice may have done its work twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).retries(2).build()?;
    /// let future = pool.submit(|| -> u8 { std::process::abort() }, ());
    /// assert!(matches!(future.result(), Err(TaskError::WorkerLost(_)))); // in the third worker
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retries = retries;
        self
    }

    /// Sets the maximum number of tasks that no worker has begun. The default is no limit: tasks that are submitted faster than they
    /// are run fill the memory with encoded arguments.
    ///
    /// Tasks that are run again after their worker was lost don't count.
    ///
    /// # Panics
    ///
    /// `capacity` is 0, or more than 2³² - 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(2).build()?;
    /// for n in 0..100_u64 {
    ///     drop(pool.submit(|n: u64| n, (n,))); // waits for room
    ///     assert!(pool.queued() <= 2);
    /// }
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn queue_capacity(mut self, capacity: usize) -> Self {
        let is_right = u32::try_from(capacity).is_ok();
        let capacity = NonZeroUsize::new(capacity).filter(|_| is_right);
        self.options.capacity = Some(capacity.expect("queue_capacity must be from 1 to 2^32 - 1"));
        self
    }

    /// Sets what [`submit`](ProcessPoolExecutor::submit) does when the queue is full. The default is to wait for room, which is a
    /// wait for an external event in the wait-for graph.
    ///
    /// [`WhenFull::CallerRuns`] runs the task in this process, where the initializer has not run: a crash is this process's. The task is
    /// no [`current_task`](super::current_task), can't be [terminated](crate::Future::terminate), and has no time-out, retries or progress;
    /// limits, environment and [`max_message_size`](Self::max_message_size) don't apply.
    /// [`WhenFull::DiscardOldest`] cancels the oldest task that was not sent to a worker yet, and waits for room if all were.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::thread_pool::WhenFull;
    /// use std::time::Duration;
    ///
    /// let builder = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(1);
    /// let pool = builder.when_full(WhenFull::Reject).build()?;
    /// let nap = || std::thread::sleep(Duration::from_secs(1));
    /// let tasks: Vec<_> = (0..3).map(|_| pool.submit(nap, ())).collect();
    /// let refused = tasks.iter().filter(|task| task.done()).count();
    /// assert!(refused >= 1); // one runs, and one is queued
    /// # pool.kill();
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.options.when_full = when_full;
        self
    }

    /// Sets how many tasks a worker runs at most. Then it ends, and another one takes its place, which is started while the last task
    /// runs, and waits for its end: there is one process more meanwhile for each worker that is about to end, but no more tasks run at a
    /// time. The default is no limit.
    ///
    /// It costs the start of a process for every so many tasks: one to two milliseconds. A task that was sent to a worker and taken back,
    /// for another worker or to be cancelled, counts.
    ///
    /// # Panics
    ///
    /// `tasks` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).max_tasks_per_worker(1).build()?;
    /// let pids = [(); 3].map(|()| pool.submit(std::process::id, ())).map(|pid| pid.result().unwrap());
    /// assert!(pids[0] != pids[1] && pids[1] != pids[2]);
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn max_tasks_per_worker(mut self, tasks: u64) -> Self {
        self.options.lifespan.max_tasks = Some(NonZeroU64::new(tasks).expect("max_tasks_per_worker must not be 0"));
        self
    }

    /// Sets the maximum age of a worker, counted from when it was ready. An older one finishes its task and ends, and another one takes
    /// its place. The default is no limit.
    ///
    /// A worker that has nothing to run ends up to a quarter of that time later (a minute at most), and is replaced when there is a
    /// task for it. This limit and [`idle_timeout`](Self::idle_timeout) cost the pool a thread, which looks so often.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let hour = Duration::from_secs(3600);
    /// let pool = ProcessPoolExecutor::builder().max_workers(2).max_worker_age(hour).build()?;
    /// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_worker_age(mut self, age: Duration) -> Self {
        self.options.lifespan.max_age = Some(age);
        self
    }

    /// Sets by how many bytes a worker's memory may grow, since it was ready (after the initializer): what the process has in memory
    /// of its own (resident, and not shared: neither code nor [`Blob`](crate::Blob)s), not its children. Then it ends after the task that it runs, and another one takes its
    /// place: so a leak costs restarts, not the machine. The default is no limit.
    ///
    /// The memory is read after tasks, at most every 5 ms, which takes some microseconds. Memory that the process has freed, and the
    /// allocator keeps, counts. What the pool itself would keep for the next long message is freed at once in such workers.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(2).max_worker_growth(256 << 20).build()?;
    /// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_worker_growth(mut self, bytes: u64) -> Self {
        self.options.lifespan.max_growth = Some(bytes);
        self
    }

    /// Sets how long a worker may have nothing to run before it ends. It ends up to a quarter of that time later, a minute at most.
    /// Another one is started when there is a task for it. The default is no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(4).idle_timeout(Duration::from_millis(10)).build()?;
    /// assert_eq!(pool.submit(|n: u32| n + 1, (1,)).result()?, 2);
    /// while pool.worker_count() > 0 {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(pool.submit(|n: u32| n + 1, (2,)).result()?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.lifespan.idle_timeout = Some(timeout);
        self
    }

    /// Makes the pool. Starts no process yet.
    ///
    /// # Errors
    ///
    /// - [`MaxWorkers`](ProcessPoolError::MaxWorkers): `max_workers` is 0, or more than 16383.
    /// - [`TooDeep`](ProcessPoolError::TooDeep): this process is a worker of a worker of a worker.
    /// - [`InWorkerStartup`](ProcessPoolError::InWorkerStartup): this process is to be a worker, and has not begun.
    /// - [`NotTheProgram`](ProcessPoolError::NotTheProgram), [`NoOwnProgram`](ProcessPoolError::NoOwnProgram): no
    ///   [`worker_exe`](Self::worker_exe) was given, and this library is not part of the program's executable, or
    ///   the executable was not found (`/proc` is not mounted, an emulator runs the program).
    /// - [`NoWorkerProgram`](ProcessPoolError::NoWorkerProgram): a relative `worker_exe` was not found.
    /// - [`NoWorkerDir`](ProcessPoolError::NoWorkerDir), [`WorkerVariable`](ProcessPoolError::WorkerVariable): the
    ///   [`worker_dir`](Self::worker_dir) is not there, or a variable can't be in a worker's environment
    ///   ([`worker_env`](Self::worker_env)).
    /// - [`Privileged`](ProcessPoolError::Privileged): this program has rights that the user who started it has not.
    /// - [`Initializer`](ProcessPoolError::Initializer): the initializer's arguments can't be encoded, or are longer than
    ///   [`max_message_size`](Self::max_message_size).
    /// - [`Unsupported`](ProcessPoolError::Unsupported): this system is not Linux.
    #[track_caller]
    pub fn build(self) -> Result<ProcessPoolExecutor, ProcessPoolError> {
        Settings::of(self.options, Location::caller()).map(|settings| ProcessPoolExecutor::of(Shared::new(settings)))
    }
}

impl fmt::Debug for ProcessPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPoolBuilder")
            .field("max_workers", &self.options.max_workers)
            .field("name", &self.options.name)
            .field("worker_exe", &self.options.worker_exe)
            .field("start_timeout", &self.options.start_timeout)
            .field("max_message_size", &self.options.max_message_size)
            .field("retries", &self.options.retries)
            .field("queue_capacity", &self.options.capacity)
            .field("when_full", &self.options.when_full)
            .field("max_tasks_per_worker", &self.options.lifespan.max_tasks)
            .field("max_worker_age", &self.options.lifespan.max_age)
            .field("max_worker_growth", &self.options.lifespan.max_growth)
            .field("idle_timeout", &self.options.lifespan.idle_timeout)
            .field("limits", &self.options.limits)
            .finish_non_exhaustive()
    }
}
