//! A pool of threads that run tasks.
//!
//! The protocol of the queue, and what the graph knows of it, is in the `README.md` of the module above.

mod builder;
mod core;
mod growth;
mod map;
mod parking;
mod room;
mod scope;
mod shutdown;
mod stack;
mod submit;
mod threads;
mod word;
mod worker;

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

pub use builder::{Initialized, ThreadPoolBuilder};
pub(crate) use core::Core;
use core::Settings;
pub use core::WhenFull;
use map::ThreadCalls;
pub use scope::Scope;
pub use shutdown::{ShutdownOptions, ShutdownReport};
use submit::{Room, Task};
use word::{CLOSED, queued, workers};
pub(crate) use worker::{Deputy, has_room_for_task, run_in_place};

use crate::deadlock::door::{Failure, Limit};
use crate::task::error::SubmitError;
use crate::task::future::Future;
use crate::task::map::Map;
use crate::task::unwind::unwind_safe;

unwind_safe!(Core, ThreadPoolBuilder, ThreadPoolExecutor);

impl UnwindSafe for Scope<'_, '_> {}
impl RefUnwindSafe for Scope<'_, '_> {}

/// A pool of threads that run tasks, each of which gives a [`Future`].
///
/// Python's `concurrent.futures.ThreadPoolExecutor`: workers are started as they are needed, up to `max_workers`, and stay
/// until the pool is shut down. A clone is another handle of the same pool; two handles are equal if they are of one pool.
/// When the last handle is dropped the pool takes no more tasks, runs those that it has, and the drop waits for that; unless a
/// [shutdown](Self::shutdown_with) came before that was told not to wait, or for how long: what that left is
/// [detached](ShutdownReport::detached), and the drop does not wait. (A pool in a `static` is never dropped: it ends with the
/// process, whatever is queued.)
///
/// A panic in a task goes to its future; the worker lives on.
///
/// # Deadlocks
///
/// A task that waits for another task in its own pool's queue runs it itself: a pool of any size can nest tasks, as deep as
/// its stacks allow. What can make no progress is found as it closes, and is an error of the wait that closed it: tasks that
/// wait for each other, for locks that the other holds, or for workers that all wait.
///
/// A pool that is dropped by a thread that holds what its tasks need is such a deadlock, too. Since a drop can return no
/// error, another member of it gets the error then.
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

/// What all handles of a pool share: with it the pool ends.
struct Handle(Arc<Core>);

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

    /// Makes a pool with other settings.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::new()
    }

    fn with(settings: Settings, max_workers: usize) -> Self {
        Self(Arc::new(Handle(Core::new(settings, max_workers))))
    }

    fn core(&self) -> &Arc<Core> {
        &self.0.0
    }

    /// Queues a task and returns the future of its result.
    ///
    /// Costs one allocation and one entry in the queue, and wakes one worker if any sleeps. If no worker is idle and there
    /// may be more, starts a thread.
    ///
    /// A task that is refused (the pool was shut down or is broken, its queue is full, no thread can be started) gives a
    /// future that is done already, with [`TaskError::Rejected`](crate::TaskError::Rejected). With a full queue this does
    /// what [`when_full`](ThreadPoolBuilder::when_full) says.
    ///
    /// Several arguments are a closure that captures them.
    ///
    /// ```compile_fail,E0277
    /// // What a task captures has to be fit for another thread.
    /// let local = std::rc::Rc::new(1);
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let future = pool.submit(move || *local);
    /// ```
    ///
    /// # Deadlocks
    ///
    /// A wait for room in the queue is in the wait-for graph; if it is part of a deadlock the task is refused.
    #[track_caller]
    pub fn submit<F, T>(&self, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).submit(self.core(), Limit::None) }
    }

    /// [Submits](Self::submit) a task under a name, which reports and `Debug` show. Without one they show its type.
    #[track_caller]
    pub fn submit_named<F, T>(&self, name: &'static str, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, Some(name), Location::caller()).submit(self.core(), Limit::None) }
    }

    /// Queues a task unless that would have to wait.
    ///
    /// # Errors
    ///
    /// The task is refused, with the reason; the closure comes back.
    #[track_caller]
    pub fn try_submit<F, T>(&self, task: F) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).enqueue(self.core(), Room::Given) }
    }

    /// The same, for the callbacks of another executor's task, which reports name.
    #[cfg(feature = "process")]
    pub(crate) fn try_submit_callbacks<F>(
        &self,
        of: crate::deadlock::resource::Origin,
        run: F,
    ) -> Result<Future<()>, SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let task = Task::spanless(run, Some("callbacks of a process task"), of.made_at());
        // SAFETY:
        // - the task borrows nothing, and has no result.
        unsafe { task.enqueue(self.core(), Room::Given) }
    }

    /// Queues a task, and waits for room for at most `timeout` if the queue is full.
    ///
    /// # Errors
    ///
    /// The task is refused, with the reason; the closure comes back.
    #[track_caller]
    pub fn submit_timeout<F, T>(&self, task: F, timeout: Duration) -> Result<Future<T>, SubmitError<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Task::new(task, None, Location::caller()).enqueue(self.core(), Room::Awaited(Limit::after(timeout))) }
    }

    /// Applies `f` to each item, on the workers, and yields the results in the order of the items.
    ///
    /// Lazy: items are taken and submitted from the first [`next`](Iterator::next) on, or from [`Map::start`]. So many are
    /// under way at a time as [`Map::buffer_size`] says: the input may be infinite.
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
        Map::new(ThreadCalls::new(Arc::clone(self.core()), f), items.into_iter(), Location::caller())
    }

    /// Runs `f` with a [`Scope`], whose tasks may borrow from the caller, and waits for all of them.
    ///
    /// # Panics
    ///
    /// `f` panics. A task's panic goes to its future.
    ///
    /// # Deadlocks
    ///
    /// The wait at the end cannot return an error: if it is part of a deadlock another member of it gets the error. Where none can,
    /// as in a deadlock of ends of scopes alone, the report is printed and the process aborts.
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
        scope::run(self.core(), f, Location::caller())
    }

    /// Takes no more tasks, runs those that are queued, and waits until every worker has ended.
    ///
    /// Another handle may do so, too, at the same time or again: each waits until no worker is left that could run a task.
    /// The first of them also waits for the threads to be gone, which the destructors of thread-locals can take longer for.
    ///
    /// # Deadlocks
    ///
    /// The wait is in the wait-for graph. If it is part of a deadlock it ends, and the report says so: for example when a
    /// task shuts down the pool that runs it.
    #[track_caller]
    pub fn shutdown(&self) -> ShutdownReport {
        self.shutdown_with(ShutdownOptions::new())
    }

    /// [Shuts down](Self::shutdown) without waiting, or with a time-out, or with the queued tasks cancelled.
    ///
    /// After a shutdown without waiting, or with a time-out, the drop of the last handle does not wait: the workers that are
    /// left are detached, as the report says. A [`scope`](Self::scope) waits for its tasks all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ShutdownOptions, ThreadPoolExecutor};
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
        shutdown::shutdown(self.core(), options, Failure::Value, Location::caller())
    }

    /// Whether the pool takes no more tasks.
    #[must_use]
    pub fn is_shutdown(&self) -> bool {
        self.core().word() & CLOSED != 0
    }

    /// How many workers there may be.
    #[must_use]
    pub fn max_workers(&self) -> usize {
        self.core().max_workers()
    }

    /// Sets how many workers there may be. Fewer: those that are too many end after the task that they run. More: they are
    /// started as they are needed, at once if tasks are queued.
    ///
    /// # Panics
    ///
    /// `max_workers` is 0, or more than 16383.
    #[track_caller]
    pub fn set_max_workers(&self, max_workers: usize) {
        builder::check_max_workers(max_workers);
        self.core().set_max_workers(max_workers);
    }

    /// How many workers run a task. A moment's count, like the following.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.core().active()
    }

    /// How many workers there are.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        workers(self.core().word()) as usize
    }

    /// How many tasks are queued that nobody has begun.
    #[must_use]
    pub fn queued(&self) -> usize {
        queued(self.core().word()) as usize
    }

    /// How many tasks have run to their end, in whatever way.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.core().threads().totals().0
    }

    /// How many tasks have panicked.
    #[must_use]
    pub fn panic_count(&self) -> u64 {
        self.core().threads().totals().1
    }
}

#[cfg(all(test, loom))]
impl ThreadPoolExecutor {
    /// The tasks that are queued, the workers that are idle, and all workers, at one moment.
    pub(crate) fn occupancy_for_models(&self) -> (usize, usize, usize) {
        let word = self.core().word();
        (queued(word) as usize, word::idle(word) as usize, workers(word) as usize)
    }
}

/// As many workers as this machine runs at the same time.
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
            .field("name", &self.core().settings().name)
            .field("max_workers", &self.max_workers())
            .field("active_count", &self.active_count())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}
