//! The limits and the surroundings of a pool's workers, as its builder takes them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::builder::ProcessPoolBuilder;

/// A limit of more seconds, which are 270 years, is none: the kernel counts nanoseconds in 64 bits.
const MAX_CPU_SECONDS: u64 = 1 << 33;
/// The least limit of open files: the standard streams are three.
const MIN_OPEN_FILES: u64 = 3;
/// The first number that is too high for a processor: the C library's sets have this many.
const MAX_PROCESSORS: usize = 1024;

/// Limits of each worker. A worker sets them itself, when it is up and before the initializer; this process is not
/// changed. If the system refuses one, or a worker can't get up under it, the worker does not start:
/// [`StartFailure::Refused`](crate::task::StartFailure::Refused) says why.
impl ProcessPoolBuilder {
    /// Limits the address space of each worker, in bytes (`RLIMIT_AS`): the program, its libraries, stacks, and all
    /// memory that is allocated or mapped, whether it is used or not. An allocation beyond it fails. Rust's collections
    /// end the worker then, and the task fails with [`WorkerLost`](crate::task::WorkerLost), whose
    /// [`reason`](crate::task::WorkerLost::reason) is, likely, this limit; `try_reserve` returns an error.
    ///
    /// The program itself often takes a hundred MiB of addresses, and the GNU C library may reserve 64 MiB for each thread: leave a few
    /// hundred MiB beyond what tasks need. The default is the limit of this process. Costs a system call for each worker, and nothing for
    /// a task.
    ///
    /// If a worker takes more already when it gets up, or this process has a lower limit and may not raise it, no
    /// worker starts.
    ///
    /// # Panics
    ///
    /// `bytes` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::LossReason;
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_address_space(1 << 30).build()?;
    /// let error = pool.submit(|bytes: usize| vec![1_u8; bytes].len(), (2 << 30,)).result().unwrap_err();
    /// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
    /// assert_eq!(lost.reason(), Some(LossReason::AddressSpace(1 << 30)));
    /// assert!(lost.to_string().ends_with(": likely its address space limit of 1 GiB"));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn worker_address_space(mut self, bytes: u64) -> Self {
        assert!(bytes > 0, "worker_address_space must be greater than 0 bytes");
        self.options.limits.address_space = Some(bytes);
        self
    }

    /// Limits the CPU time of each worker (`RLIMIT_CPU`), in whole seconds; a part of a second counts as a second. It is
    /// the time that all threads of the worker have run, from its start to its end, over all of its tasks: a worker
    /// that lives long enough reaches it, in the middle of some task, and is replaced. Waiting costs none, and the
    /// processes that a task starts have a time of their own.
    ///
    /// At the limit the system sends SIGXCPU, which ends the worker unless a task handles it; a second of CPU time later
    /// it sends SIGKILL. The task fails with [`WorkerLost`](crate::task::WorkerLost), whose
    /// [`reason`](crate::task::WorkerLost::reason) is this limit. [`retries`](Self::retries) runs it again.
    ///
    /// The default is the limit of this process. Costs a system call for each worker, and nothing for a task.
    ///
    /// # Panics
    ///
    /// `limit` is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::LossReason;
    /// use bowline::{ProcessPoolExecutor, TaskError};
    /// use std::time::Duration;
    ///
    /// fn spin() {
    ///     loop {
    ///         std::hint::spin_loop();
    ///     }
    /// }
    ///
    /// let limit = Duration::from_secs(1);
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_cpu_time(limit).build()?;
    /// let error = pool.submit_named("spin", spin, ()).result().unwrap_err();
    /// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
    /// assert_eq!(lost.reason(), Some(LossReason::CpuTime(limit)));
    /// assert!(lost.to_string().ends_with("of task 'spin': its CPU time limit of 1 s"));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn worker_cpu_time(mut self, limit: Duration) -> Self {
        assert!(!limit.is_zero(), "worker_cpu_time must be greater than 0");
        let seconds = limit.as_secs().saturating_add(u64::from(limit.subsec_nanos() > 0));
        self.options.limits.cpu_seconds = (seconds <= MAX_CPU_SECONDS).then_some(seconds);
        self
    }

    /// Limits how many descriptors each worker may have (`RLIMIT_NOFILE`): the standard streams, and those of files,
    /// sockets and pipes that tasks open. (The worker's own, which have high numbers, stay.) What would open another one
    /// fails with the system's error "too many open files", which is the task's to return: the worker goes on.
    ///
    /// The default is the limit of this process. Costs a system call for each worker, and nothing for a task.
    ///
    /// # Panics
    ///
    /// `files` is less than 3: the standard streams.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// fn open(many: usize) -> bool {
    ///     let files: Vec<_> = (0..many).map(|_| std::fs::File::open("/dev/null")).collect();
    ///     files.iter().all(Result::is_ok)
    /// }
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_open_files(32).build()?;
    /// assert_eq!(pool.submit(open, (8,)).result()?, true);
    /// assert_eq!(pool.submit(open, (64,)).result()?, false);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn worker_open_files(mut self, files: u64) -> Self {
        assert!(files >= MIN_OPEN_FILES, "worker_open_files must be at least {MIN_OPEN_FILES}, and is {files}");
        self.options.limits.open_files = Some(files);
        self
    }

    /// Sets the nice value of the thread of each worker that runs the tasks, and of the threads and processes that tasks
    /// start: 19 is the lowest priority, -20 the highest. (`nice` of a shell adds to the value; this sets it.)
    ///
    /// The default is the value of this process. Costs a system call for each worker, and nothing for a task. If the
    /// value is less than this process's, and this process has not the right to that, no worker starts.
    ///
    /// # Panics
    ///
    /// `value` is less than -20, or more than 19.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_nice(19).build()?;
    /// let stat = pool.submit(|| std::fs::read_to_string("/proc/self/stat").unwrap(), ()).result()?;
    /// assert_eq!(stat.rsplit(')').next().unwrap().split(' ').nth(17), Some("19"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn worker_nice(mut self, value: i32) -> Self {
        assert!((-20..=19).contains(&value), "worker_nice must be from -20 to 19, and is {value}");
        self.options.limits.nice = Some(value);
        self
    }

    /// Sets the processors on which each worker runs its tasks, and the threads and processes that tasks start, by the
    /// numbers that the system gives them, from 0. All workers of the pool share them.
    ///
    /// The default is those of this process. Costs two system calls for each worker, and nothing for a task. If one of
    /// the processors is not there, is offline, or is not this process's to use (a cpuset), no worker starts.
    ///
    /// # Panics
    ///
    /// There is no number in `processors`, or one above 1023.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// // The first processor that this process may run on.
    /// let status = std::fs::read_to_string("/proc/self/status")?;
    /// let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap();
    /// let first = list.split(['-', ',']).next().unwrap().parse()?;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_affinity([first]).build()?;
    /// let many = pool.submit(|| std::thread::available_parallelism().map_or(0, usize::from), ());
    /// assert_eq!(many.result()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn worker_affinity(mut self, processors: impl IntoIterator<Item = usize>) -> Self {
        let mut numbers: Vec<u32> = Vec::new();
        for number in processors {
            assert!(number < MAX_PROCESSORS, "worker_affinity takes numbers below {MAX_PROCESSORS}, and has {number}");
            numbers.push(number as u32);
        }
        assert!(!numbers.is_empty(), "worker_affinity must have a processor");
        numbers.sort_unstable();
        numbers.dedup();
        self.options.limits.processors = numbers;
        self
    }

    /// Sets the folder in which each worker starts. A relative path is resolved once, by [`build`](Self::build), in the
    /// folder that is current then. The default is the folder that is this process's current one when the worker is
    /// started. A task that changes the folder changes it for later tasks of that worker.
    ///
    /// If there is no such folder, [`build`](Self::build) returns
    /// [`NoWorkerDir`](super::ProcessPoolError::NoWorkerDir).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::process_pool::ProcessPoolError;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_dir("/").build()?;
    /// let folder = pool.submit(|| std::env::current_dir().unwrap(), ()).result()?;
    /// assert_eq!(folder.to_str(), Some("/"));
    ///
    /// let error = ProcessPoolExecutor::builder().worker_dir("/no/such/folder").build().unwrap_err();
    /// assert!(matches!(error, ProcessPoolError::NoWorkerDir { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.folder = Some(folder.into());
        self
    }

    /// Sets an environment variable of each worker. What is not set here, and not
    /// [removed](Self::worker_env_remove), a worker inherits from this process as it is when the worker is started,
    /// unless [`worker_env_clear`](Self::worker_env_clear) was called. The last call for a variable counts.
    ///
    /// The loader, the C library and static initialisers of the worker see it, too: `LD_LIBRARY_PATH`, `MALLOC_ARENA_MAX`,
    /// `OMP_NUM_THREADS`. (`RUST_BACKTRACE` of this process decides about the backtraces of panics.)
    ///
    /// If `name` is empty or has a `=` or a NUL character, or `value` has a NUL character, or the name is
    /// `BOWLINE_WORKER_FOR`, which is this library's own, [`build`](Self::build) returns
    /// [`WorkerVariable`](super::ProcessPoolError::WorkerVariable).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::process_pool::ProcessPoolError;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_env("OMP_NUM_THREADS", "1").build()?;
    /// let value = pool.submit(|| std::env::var("OMP_NUM_THREADS").ok(), ());
    /// assert_eq!(value.result()?.as_deref(), Some("1"));
    ///
    /// let error = ProcessPoolExecutor::builder().worker_env("A=B", "").build().unwrap_err();
    /// assert!(matches!(error, ProcessPoolError::WorkerVariable { .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.options.environment.set(name.into(), Some(value.into()));
        self
    }

    /// Removes an environment variable of this process from what each worker inherits.
    ///
    /// A name that no variable can have, or that is this library's own, is an error of [`build`](Self::build), as for
    /// [`worker_env`](Self::worker_env).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_env_remove("PATH").build()?;
    /// assert_eq!(pool.submit(|| std::env::var("PATH").ok(), ()).result()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.options.environment.set(name.into(), None);
        self
    }

    /// Lets each worker inherit no environment variables, and forgets those that were [set](Self::worker_env) before
    /// this call. Those that are set after it are all that the worker has.
    ///
    /// A program that finds its libraries by `LD_LIBRARY_PATH` needs that variable.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let mut builder = ProcessPoolExecutor::builder().max_workers(1).worker_env_clear().worker_env("LANG", "C");
    /// # // The libraries of this test.
    /// # if let Some(path) = std::env::var_os("LD_LIBRARY_PATH") { builder = builder.worker_env("LD_LIBRARY_PATH", path) }
    /// let pool = builder.build()?;
    /// let names = pool.submit(|| std::env::vars().map(|(name, _)| name).collect::<Vec<_>>(), ()).result()?;
    /// # let names: Vec<_> = names.into_iter().filter(|name| name != "LD_LIBRARY_PATH").collect();
    /// assert_eq!(names, ["LANG"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn worker_env_clear(mut self) -> Self {
        self.options.environment.clear();
        self
    }
}
