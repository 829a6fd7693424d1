//! The builder of a pool.

use std::fmt::{self, Display};
use std::num::NonZeroU32;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::ThreadPoolExecutor;
use super::full::{FullQueue, OnFull};
use super::occupancy::MAX_WORKERS;
use super::pool::{Settings, WhenFull, WorkerHook};
use crate::deadlock::Name;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;
use crate::task::panic::note_locations;

/// The default stack size of a worker: what std gives its threads.
const STACK_SIZE: usize = 2 << 20;

/// A value that an initializer may return: nothing, or a `Result` whose error breaks the pool.
///
/// # Examples
///
/// ```
/// use bowline::task::Rejected;
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(|| Err::<(), _>("no licence")).build();
/// let error = pool.submit(|| 42).result().unwrap_err();
/// let TaskError::Rejected(Rejected::Broken(reason)) = error else { panic!("{error}") };
/// assert!(reason.contains("no licence"));
/// ```
pub trait Initialized: sealed::Sealed {
    /// Returns the reason as an error, if the initializer failed.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), String>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

impl Initialized for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> Initialized for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Makes a [`ThreadPoolExecutor`] with other than the usual settings: see [`ThreadPoolExecutor::builder`].
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
/// use bowline::thread_pool::WhenFull;
///
/// let pool = ThreadPoolExecutor::builder()
///     .max_workers(2)
///     .thread_name_prefix("parser")
///     .queue_capacity(100)
///     .when_full(WhenFull::CallerRuns)
///     .build();
/// let name = pool.submit(|| std::thread::current().name().map(str::to_owned));
/// assert_eq!(name.result().unwrap().unwrap(), "parser_0");
/// ```
#[must_use = "a builder makes a pool when `build` is called"]
pub struct ThreadPoolBuilder {
    max_workers: Option<usize>,
    name: Option<String>,
    stack_size: usize,
    initializer: Option<Box<dyn Fn() -> Result<(), String> + Send + Sync>>,
    capacity: Option<NonZeroU32>,
    when_full: WhenFull,
    keep_alive: Option<Duration>,
    on_full: Option<OnFull>,
    on_worker_start: Option<WorkerHook>,
    on_worker_end: Option<WorkerHook>,
    run_times: bool,
    /// The line that made the executor of which this pool is a part.
    pub(super) owner: Option<Site>,
}

impl ThreadPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            max_workers: None,
            name: None,
            stack_size: STACK_SIZE,
            initializer: None,
            capacity: None,
            when_full: WhenFull::default(),
            keep_alive: None,
            on_full: None,
            on_worker_start: None,
            on_worker_end: None,
            run_times: false,
            owner: None,
        }
    }

    /// Sets the maximum number of workers. They are started as they are needed. The default is the number of threads
    /// that this machine runs at the same time, as the [standard library](std::thread::available_parallelism) tells it.
    ///
    /// # Panics
    ///
    /// `max_workers` is 0, or more than 16383.
    #[track_caller]
    pub fn max_workers(mut self, max_workers: usize) -> Self {
        check_max_workers(max_workers);
        self.max_workers = Some(max_workers);
        self
    }

    /// Sets what the names of the threads begin with; `_` and a number follow. Reports call the pool by this name, which is
    /// kept until the process ends: see [`Name`](crate::Name). The default is `ThreadPoolExecutor-` and the number of the
    /// pool.
    ///
    /// # Panics
    ///
    /// The prefix contains a NUL character.
    pub fn thread_name_prefix(mut self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        assert!(!prefix.contains('\0'), "a thread's name has no NUL character: {prefix:?}");
        self.name = Some(prefix);
        self
    }

    /// Sets the size of each worker's stack in bytes. The default is 2 MiB.
    ///
    /// A worker that waits for a queued task of its own pool runs it on top of the waiting one, as long as a quarter of
    /// its stack is left: the size decides how deep such waits can nest. The part that thread-locals and guard pages
    /// take does not count. On a stack that a task made itself (to grow, or for a coroutine), Linux is asked for the
    /// size of that one, at the price of a look at the process's mappings each time; elsewhere the worker waits there
    /// as any other thread does.
    ///
    /// # Examples
    ///
    /// ```
    /// fn depth(levels: u32) -> u32 {
    ///     if levels == 0 { 0 } else { 1 + depth(levels - 1) }
    /// }
    ///
    /// let pool = bowline::ThreadPoolExecutor::builder().max_workers(1).stack_size(64 << 20).build();
    /// assert_eq!(pool.submit(|| depth(100_000)).result().unwrap(), 100_000);
    /// ```
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets a function that runs on every worker before its first task. If it returns an error, or panics, the pool is
    /// broken: what is queued fails with [`Rejected::Broken`](crate::task::Rejected::Broken) and the reason, and so does
    /// whatever is submitted later.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use std::cell::Cell;
    ///
    /// thread_local!(static SCALE: Cell<u32> = const { Cell::new(1) });
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(|| SCALE.set(10)).build();
    /// assert_eq!(pool.submit(|| 7 * SCALE.get()).result().unwrap(), 70);
    /// ```
    pub fn initializer<R: Initialized>(mut self, initializer: impl Fn() -> R + Send + Sync + 'static) -> Self {
        self.initializer = Some(Box::new(move || initializer().into_result()));
        self
    }

    /// Sets the maximum number of queued tasks that have not begun. The default is no limit.
    ///
    /// # Panics
    ///
    /// `capacity` is 0, or more than 2³² - 1.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::builder().max_workers(1).queue_capacity(2).build();
    /// for n in 0..100 {
    ///     drop(pool.submit(move || n)); // waits for room
    ///     assert!(pool.queued() <= 2);
    /// }
    /// ```
    pub fn queue_capacity(mut self, capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).ok().and_then(NonZeroU32::new);
        self.capacity = Some(capacity.expect("queue_capacity must be from 1 to 2^32 - 1"));
        self
    }

    /// Sets what [`submit`](ThreadPoolExecutor::submit) does when the queue is full. The default is to wait for room.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::thread_pool::WhenFull;
    /// use bowline::{ThreadPoolExecutor, promise};
    /// use std::thread;
    ///
    /// let builder = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1);
    /// let pool = builder.when_full(WhenFull::CallerRuns).build();
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || opened.result()); // the only worker waits in this task
    /// let futures: Vec<_> = (0..3).map(|_| pool.submit(|| thread::current().id())).collect();
    /// open.set_result(()).unwrap();
    /// busy.result().unwrap().unwrap();
    /// let here = thread::current().id();
    /// let threads = futures.into_iter().map(|future| future.result().unwrap());
    /// assert!(threads.filter(|&thread| thread == here).count() >= 2); // one task at most found room
    /// ```
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Sets a function that decides, each time that [`submit`](ThreadPoolExecutor::submit) finds the queue full, what becomes
    /// of that task. If both are set, in whatever order, [`when_full`](Self::when_full) is ignored.
    ///
    /// It runs on the submitting thread, which holds no lock of the pool's: it may use the pool, and take its time. If it
    /// panics, the task is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::thread_pool::WhenFull;
    /// use bowline::{ThreadPoolExecutor, promise};
    ///
    /// let urgent_first = |full: &bowline::thread_pool::FullQueue| match full.task_name() {
    ///     Some("urgent") => WhenFull::DiscardOldest,
    ///     _ => WhenFull::Reject,
    /// };
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).on_full(urgent_first).build();
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || opened.result()); // the only worker waits in this task
    /// while !busy.running() {
    ///     std::thread::yield_now();
    /// }
    /// let first = pool.submit(|| 1);
    /// assert!(pool.submit(|| 2).exception().is_some()); // refused
    /// let urgent = pool.submit_named("urgent", || 3);
    /// assert!(first.cancelled());
    /// open.set_result(()).unwrap();
    /// assert_eq!(urgent.result().unwrap(), 3);
    /// # busy.result().unwrap().unwrap();
    /// ```
    pub fn on_full(mut self, decide: impl Fn(&FullQueue) -> WhenFull + Send + Sync + 'static) -> Self {
        self.on_full = Some(Box::new(decide));
        self
    }

    /// Sets a function that each worker calls before its first task, after the [initializer](Self::initializer). A panic in
    /// it is contained: the panic hook prints it, and the worker goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::thread_pool::worker_index;
    /// use std::sync::Mutex;
    ///
    /// static STARTED: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    ///
    /// let started = || STARTED.lock().unwrap().extend(worker_index());
    /// let pool = bowline::ThreadPoolExecutor::builder().max_workers(2).on_worker_start(started).build();
    /// pool.prestart(2);
    /// pool.shutdown();
    /// assert_eq!(STARTED.lock().unwrap().iter().sum::<usize>(), 1); // 0 and 1
    /// ```
    pub fn on_worker_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_worker_start = Some(Box::new(hook));
        self
    }

    /// Sets a function that each worker calls after its last task, before the destructors of its thread-locals. A panic in it is
    /// contained: the panic hook prints it.
    ///
    /// [`worker_count`](ThreadPoolExecutor::worker_count) does not count the worker any more. The first shutdown without a limit, or
    /// the drop of the last handle, waits for this function, but the graph does not show that. So a thread that shuts the pool
    /// down must hold nothing that this function waits for: that would hang without a report.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// static ENDED: AtomicUsize = AtomicUsize::new(0);
    ///
    /// let ended = || _ = ENDED.fetch_add(1, Relaxed);
    /// let pool = bowline::ThreadPoolExecutor::builder().max_workers(2).on_worker_end(ended).build();
    /// pool.prestart(2);
    /// pool.shutdown();
    /// assert_eq!(ENDED.load(Relaxed), 2);
    /// ```
    pub fn on_worker_end(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_worker_end = Some(Box::new(hook));
        self
    }

    /// Sets whether the pool counts how long its tasks run, for [`metrics`](ThreadPoolExecutor::metrics). It costs two looks
    /// at the clock for each task, on the thread that runs it. The default is not to.
    ///
    /// # Examples
    ///
    /// See [`RunTimeHistogram`](super::RunTimeHistogram).
    pub fn run_times(mut self, count: bool) -> Self {
        self.run_times = count;
        self
    }

    /// Sets how long an idle worker waits for a task before it ends. The default is that workers stay until the pool ends.
    ///
    /// A task that is submitted as a worker ends is not lost: it finds another idle worker, or starts one. A pool whose
    /// workers have all ended has no thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = bowline::ThreadPoolExecutor::builder().max_workers(4).keep_alive(Duration::from_millis(1)).build();
    /// assert_eq!(pool.submit(|| 6 * 7).result().unwrap(), 42);
    /// while pool.worker_count() > 0 {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(pool.submit(|| 6 * 7).result().unwrap(), 42); // by another worker
    /// ```
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = Some(keep_alive);
        self
    }

    /// Makes the pool. Starts no thread yet.
    #[track_caller]
    pub fn build(self) -> ThreadPoolExecutor {
        static POOLS: AtomicU64 = AtomicU64::new(0);
        note_locations();
        let number = POOLS.fetch_add(1, Relaxed);
        let settings = Settings {
            chosen_name: self.name.as_ref().map(|name| Name::from(name).as_str()),
            name: self.name.map_or_else(|| format!("ThreadPoolExecutor-{number}").into(), Arc::from),
            made_at: self.owner.unwrap_or(Location::caller()),
            stack_size: self.stack_size,
            initializer: self.initializer,
            capacity: self.capacity,
            // A submission that would be refused asks the handler.
            when_full: if self.on_full.is_some() { WhenFull::Reject } else { self.when_full },
            keep_alive: self.keep_alive,
            on_full: self.on_full,
            on_worker_start: self.on_worker_start,
            on_worker_end: self.on_worker_end,
            run_times: self.run_times,
            is_waited_for: self.owner.is_none(),
        };
        let default = || std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
        ThreadPoolExecutor::with(settings, self.max_workers.unwrap_or_else(default))
    }
}

#[track_caller]
pub(super) fn check_max_workers(max_workers: usize) {
    assert!(max_workers > 0, "max_workers must be greater than 0");
    assert!(max_workers <= MAX_WORKERS, "max_workers must be at most {MAX_WORKERS}, and is {max_workers}");
}

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder")
            .field("max_workers", &self.max_workers)
            .field("thread_name_prefix", &self.name)
            .field("stack_size", &self.stack_size)
            .field("queue_capacity", &self.capacity)
            .field("when_full", &self.when_full)
            .field("keep_alive", &self.keep_alive)
            .field("run_times", &self.run_times)
            .finish_non_exhaustive()
    }
}
