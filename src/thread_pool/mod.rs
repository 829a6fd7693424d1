//! A pool of threads that run tasks: the [`ThreadPoolExecutor`], its [builder](ThreadPoolBuilder), and how it is
//! [shut down](ShutdownOptions).

// The protocol of the queue, and what the graph knows of it, are in the `README.md` beside this file.

mod builder;
mod cancel_token;
mod cancellable;
mod drain;
mod full;
mod growth;
mod home;
mod join;
mod map;
mod member;
mod metrics;
mod occupancy;
mod parking;
#[cfg(feature = "process")]
mod part;
mod pool;
mod queue_room;
mod scope;
mod shutdown;
mod submit;
mod threads;
mod worker;

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

pub use builder::{Initialized, ThreadPoolBuilder};
pub use cancel_token::CancelToken;
pub use drain::PendingTask;
pub use full::FullQueue;
pub use map::Map;
use map::ThreadCalls;
pub use metrics::{Metrics, RunTimeHistogram};
#[cfg(all(test, loom))]
pub(crate) use occupancy::{Counts, Occupancy, Sleepers, Was};
pub use pool::WhenFull;
use pool::{Pool, Settings};
pub use scope::Scope;
pub use shutdown::{ShutdownOptions, ShutdownReport};
use submit::{IfFull, Task};
pub use worker::worker_index;

use crate::deadlock::Name;
use crate::deadlock::door::{Failure, Limit};
use crate::task::error::SubmitError;
use crate::task::future::Future;
use crate::task::unwind::unwind_safe;

unwind_safe!(PendingTask, Pool, ThreadPoolBuilder, ThreadPoolExecutor);

impl UnwindSafe for Scope<'_, '_> {}
impl RefUnwindSafe for Scope<'_, '_> {}

/// A pool of threads that run tasks, each of which gives a [`Future`].
///
/// Python's `concurrent.futures.ThreadPoolExecutor`: workers are started as they are needed, up to `max_workers`, and
/// stay until the pool is shut down, or for as long as they may be [idle](ThreadPoolBuilder::keep_alive). A clone is
/// another handle of the same pool; two handles are equal if they are of one pool. When the last handle is dropped, the
/// pool takes no more tasks and runs those that it has, and the drop waits for that. After a
/// [shutdown](Self::shutdown_with) without a wait, or with a time-out, the drop does not wait: what that
/// shutdown left is [detached](ShutdownReport::detached). (A pool in a `static` is never dropped: it ends with the
/// process, whatever is queued.)
///
/// A panic in a task goes to its future; the worker lives on.
///
/// # Deadlocks
///
/// A task that waits without a limit for one task of its own pool, or for all of several, runs those that are queued itself: a
/// pool of any size can nest such waits, as deep as its stacks allow. `as_completed`, `first_ok` and waits with a time-out leave
/// queued tasks to other workers. A deadlock is found as it closes, and is an error of the wait that closed it: of tasks
/// that wait for each other, for locks that the other holds, or for workers that all wait.
///
/// Dropping a pool on a thread that holds what its tasks need is such a deadlock, too. Since a drop can return no
/// error, another member of the deadlock gets it then.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(4);
/// let futures: Vec<_> = (1..=10_u64).map(|n| pool.submit(move || (1..=n).product::<u64>())).collect();
/// let factorials: Result<Vec<_>, _> = futures.into_iter().map(|future| future.result()).collect();
/// assert_eq!(factorials.unwrap().last(), Some(&3_628_800));
/// ```
#[derive(Clone)]
pub struct ThreadPoolExecutor(Arc<Handle>);

/// The part that all handles of a pool share: the pool ends with it.
struct Handle(Arc<Pool>);

impl Drop for Handle {
    fn drop(&mut self) {
        let settings = self.0.settings();
        if settings.is_waited_for && !self.0.is_detached() {
            let _ = shutdown::end(&self.0, Failure::Never, settings.made_at);
        } else {
            self.0.close();
        }
    }
}

impl ThreadPoolExecutor {
    /// Makes a pool of at most `max_workers` threads. Starts none yet.
    ///
    /// # Panics
    ///
    /// `max_workers` is 0, or more than 16383.
    #[must_use]
    #[track_caller]
    pub fn new(max_workers: usize) -> Self {
        Self::builder().max_workers(max_workers).build()
    }

    /// Returns a builder, which makes a pool with other settings.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    fn with(settings: Settings, max_workers: usize) -> Self {
        Self(Arc::new(Handle(Pool::new(settings, max_workers))))
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.0.0
    }

    /// Queues a task and returns the future of its result.
    ///
    /// Costs one allocation and one entry in the queue, and wakes one worker if any sleeps. Starts a thread if no
    /// worker is idle and there may be more.
    ///
    /// A task that is refused (the pool was shut down or is broken, its queue is full, no thread can be started) gives
    /// a future that is done already, with [`TaskError::Rejected`](crate::TaskError::Rejected). If the queue is full,
    /// this does what [`when_full`](ThreadPoolBuilder::when_full) says.
    ///
    /// To pass several arguments, capture them in the closure.
    ///
    /// ```compile_fail,E0277
    /// // A task can capture only what can be sent to another thread.
    /// let local = std::rc::Rc::new(1);
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let future = pool.submit(move || *local);
    /// ```
    ///
    /// # Deadlocks
    ///
    /// A wait for room in the queue is in the wait-for graph. If it is part of a deadlock, the task is refused.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// let (base, exponent) = (7_u64, 2);
    /// let power = pool.submit(move || base.pow(exponent));
    /// assert_eq!(power.result().unwrap(), 49);
    /// ```
    #[track_caller]
    pub fn submit<F, T>(&self, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).submit(self.pool(), Limit::None) }
    }

    /// [Submits](Self::submit) a task under a name, which reports and `Debug` show. Without one they show its type.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let future = pool.submit_named("thumbnail", || 42);
    /// assert!(format!("{future:?}").contains("thumbnail"));
    /// assert_eq!(future.result().unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn submit_named<F, T>(&self, name: impl Into<Name>, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = name.into().as_str();
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, Some(name), Location::caller()).submit(self.pool(), Limit::None) }
    }

    /// Queues a task, and never waits for room.
    ///
    /// # Errors
    ///
    /// The task is refused. The error has the reason and the closure.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::Rejected;
    /// use bowline::{ThreadPoolExecutor, promise};
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build();
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || opened.result()); // the only worker waits in this task
    /// let refused: Vec<_> = (0..3).filter_map(|n| pool.try_submit(move || n).err()).collect();
    /// assert!(refused.len() >= 2); // one task at most found room
    /// assert!(refused.iter().all(|error| matches!(error.reason(), Rejected::QueueFull)));
    /// open.set_result(()).unwrap();
    /// busy.result().unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn try_submit<F, T>(&self, task: F) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).enqueue(self.pool(), IfFull::Refuse) }
    }

    /// Queues a task, and waits for room for at most `timeout` if the queue is full.
    ///
    /// # Errors
    ///
    /// The task is refused. The error has the reason and the closure.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::Rejected;
    /// use bowline::{ThreadPoolExecutor, promise};
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build();
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || opened.result()); // the only worker waits in this task
    /// let submit = |n| pool.submit_timeout(move || n, Duration::from_millis(1));
    /// let refused = (0..3).find_map(|n| submit(n).err()).unwrap();
    /// assert!(matches!(refused.reason(), Rejected::Timeout));
    /// open.set_result(()).unwrap();
    /// busy.result().unwrap().unwrap();
    /// ```
    #[track_caller]
    pub fn submit_timeout<F, T>(&self, task: F, timeout: Duration) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).enqueue(self.pool(), IfFull::Wait(Limit::after(timeout))) }
    }

    /// Applies `f` to each item, on the workers, and yields the results in the order of the items.
    ///
    /// Lazy: items are taken and submitted from the first [`next`](Iterator::next) on, or from [`Map::start`].
    /// [`Map::buffer_size`] limits how many are under way at a time: the input may be infinite.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let squares: Result<Vec<u64>, _> = pool.map(|n| n * n, 0..).chunk_size(16).take(100).collect();
    /// assert_eq!(squares.unwrap()[99], 99 * 99);
    /// ```
    #[track_caller]
    pub fn map<I, F, R>(&self, f: F, items: I) -> Map<I::IntoIter, F, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Map::new(ThreadCalls::new(Arc::clone(self.pool()), f), items.into_iter(), Location::caller())
    }

    /// Runs `f` with a [`Scope`], whose tasks may borrow from the caller, and waits for all of them.
    ///
    /// # Panics
    ///
    /// `f` panics. Then the scope's tasks that have not begun are cancelled, those that
    /// [can be asked to stop](Scope::submit_cancellable) are, and the panic goes on when none runs any more. A task's panic goes to its
    /// future: unlike [`std::thread::scope`], the scope does not panic for it, and dropping the future loses it.
    ///
    /// # Deadlocks
    ///
    /// The wait at the end cannot return an error: if it is part of a deadlock, another member of it gets the error. If
    /// none can, as in a deadlock of ends of scopes alone, the report is printed and the process aborts.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let words = ["knot", "loop", "bight"];
    /// let letters: usize = pool.scope(|s| {
    ///     let lengths: Vec<_> = words.iter().map(|word| s.submit(|| word.len())).collect();
    ///     lengths.into_iter().map(|length| length.result().unwrap()).sum()
    /// });
    /// assert_eq!(letters, 13);
    /// ```
    #[track_caller]
    pub fn scope<'env, F, R>(&'env self, f: F) -> R
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    {
        scope::run(self.pool(), f, Location::caller())
    }

    /// Takes no more tasks, runs those that are queued, and waits until every worker has ended.
    ///
    /// Other handles may do so, too, at the same time or again: each call waits until no worker is left that could run
    /// a task. The first call also waits for the threads to be gone, which can take longer because of the destructors
    /// of thread-locals.
    ///
    /// # Deadlocks
    ///
    /// The wait is in the wait-for graph. If it is part of a deadlock, it ends, and the report says so: for example
    /// when a task shuts down the pool that runs it.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let future = pool.submit(|| 42);
    /// assert!(pool.shutdown().is_complete());
    /// assert!(future.done());
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let same = pool.clone();
    /// let report = pool.submit(move || same.shutdown()).result().unwrap();
    /// assert!(report.deadlock.is_some()); // the task would wait for its own end
    /// ```
    #[track_caller]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// [Shuts down](Self::shutdown) without waiting, or with a time-out, or with the queued tasks cancelled.
    ///
    /// After a shutdown without waiting, or with a time-out, the drop of the last handle does not wait: the workers
    /// that are left are detached, as the report says. A [`scope`](Self::scope) waits for its tasks all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use bowline::thread_pool::ShutdownOptions;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// drop(pool.submit(|| -> () { loop { std::thread::park() } }));
    /// let report = pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_millis(10)));
    /// assert!(report.detached && report.workers == 1);
    /// drop(pool); // returns at once
    /// ```
    #[must_use = "the report says what was left"]
    #[track_caller]
    pub fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        shutdown::shutdown(self.pool(), options, Failure::Value, Location::caller())
    }

    /// Returns whether the pool takes no more tasks.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.pool().occupancy.read().is_closed()
    }

    /// Returns the maximum number of workers.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.pool().max_workers()
    }

    /// Sets the maximum number of workers. If it is lowered, the workers that are too many end after the task that they
    /// run. If it is raised, workers are started as they are needed, at once if tasks are queued.
    ///
    /// # Panics
    ///
    /// `max_workers` is 0, or more than 16383.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// pool.set_max_workers(4);
    /// assert_eq!(pool.max_workers(), 4);
    /// ```
    #[track_caller]
    pub fn set_max_workers(&self, max_workers: usize) {
        builder::check_max_workers(max_workers);
        self.pool().set_max_workers(max_workers);
    }

    /// Starts up to `workers` workers ahead of the tasks that will need them, as far as the
    /// [maximum](Self::max_workers) allows. Returns how many it started: fewer, too, if the system refuses a thread, and
    /// none if the pool is shut down.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(4);
    /// assert_eq!(pool.prestart(3), 3);
    /// assert_eq!(pool.prestart(3), 1);
    /// assert_eq!(pool.worker_count(), 4);
    /// ```
    pub fn prestart(&self, workers: usize) -> usize {
        self.pool().prestart(workers)
    }

    /// Returns the number of workers that run a task at this moment. A worker stops counting before the result of its task can be
    /// seen, if the queue is empty then. If more follows the end of the task, the worker counts until that is done: callbacks, wakers,
    /// a `wait` for the first of several, or a [token](Self::submit_cancellable).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let same = pool.clone();
    /// assert_eq!(pool.submit(move || same.active_count()).result().unwrap(), 1);
    /// ```
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.pool().active()
    }

    /// Returns the number of workers at this moment.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(4);
    /// assert_eq!(pool.worker_count(), 0);
    /// pool.submit(|| 42).result().unwrap();
    /// assert_eq!(pool.worker_count(), 1); // started when it was needed
    /// ```
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.pool().occupancy.read().workers() as usize
    }

    /// Returns the number of queued tasks that have not begun, at this moment.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.pool().occupancy.read().queued() as usize
    }

    /// Returns the number of tasks that have run to their end, by a value or a panic. Tasks that their submitter ran
    /// (`CallerRuns`) count; cancelled and [drained](Self::drain) ones do not. A chunk of a [`map`](Self::map) is one task.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.pool().threads().totals().0
    }

    /// Returns the number of tasks that have panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// drop(pool.submit(|| 42));
    /// drop(pool.submit(|| -> u8 { panic!("out of rope") }));
    /// pool.shutdown();
    /// assert_eq!((pool.completed(), pool.panic_count()), (2, 1));
    /// ```
    #[must_use]
    pub fn panic_count(&self) -> u64 {
        self.pool().threads().totals().1
    }
}

#[cfg(all(test, loom))]
impl ThreadPoolExecutor {
    /// Returns the numbers of queued tasks, of idle workers and of all workers, at one moment.
    pub(crate) fn occupancy_for_models(&self) -> (usize, usize, usize) {
        let counts = self.pool().occupancy.read();
        (counts.queued() as usize, counts.idle() as usize, counts.workers() as usize)
    }
}

/// Makes a pool of as many workers as this machine runs at the same time.
impl Default for ThreadPoolExecutor {
    #[track_caller]
    fn default() -> Self {
        Self::builder().build()
    }
}

/// Handles of one pool are equal.
impl PartialEq for ThreadPoolExecutor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ThreadPoolExecutor {}

impl fmt::Debug for ThreadPoolExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolExecutor")
            .field("name", &self.pool().settings().name)
            .field("max_workers", &self.max_workers())
            .field("active_count", &self.active_count())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
