//! Tasks that borrow from their submitter.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

use super::cancel_token::CancelToken;
use super::cancellable::Cancellable;
use super::pool::Pool;
use super::submit::Task;
use crate::deadlock::Name;
use crate::deadlock::door::{Failure, Limit};
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;
use crate::primitive::{Mutex, catch_unwind};
use crate::task::future::Future;
use crate::task::panic;
use crate::task::task_ref::TaskRef;
use crate::task::wait::all::wait_all;

/// A scope, which submits tasks that borrow: see [`ThreadPoolExecutor::scope`](super::ThreadPoolExecutor::scope).
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let mut numbers = [1, 2, 3, 4, 5, 6];
/// pool.scope(|s| {
///     for part in numbers.chunks_mut(3) {
///         drop(s.submit(move || part.iter_mut().for_each(|n| *n *= 10)));
///     }
/// }); // waits for the tasks
/// assert_eq!(numbers, [10, 20, 30, 40, 50, 60]);
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    pool: &'env Arc<Pool>,
    /// The tasks that may not be done yet.
    tasks: Mutex<Vec<TaskRef>>,
    /// Whether the closure has panicked: what has not begun is not to begin. Set under the mutex of the tasks.
    is_cancelled: AtomicBool,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    /// Queues a task that may borrow what outlives the scope, and returns the future of its result: see
    /// [`ThreadPoolExecutor::submit`](super::ThreadPoolExecutor::submit). A task of the scope may submit others to it.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let words = ["knot", "loop"];
    /// let letters = pool.scope(|s| {
    ///     let outer = s.submit(|| {
    ///         let first = s.submit(|| words[0].len());
    ///         first.result().map(|first| first + words[1].len())
    ///     });
    ///     outer.result().unwrap().unwrap()
    /// });
    /// assert_eq!(letters, 8);
    /// ```
    #[track_caller]
    pub fn submit<F, T>(&'scope self, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.submit_task(Task::new(task, None, Location::caller()))
    }

    /// [Submits](Self::submit) a task under a name.
    #[track_caller]
    pub fn submit_named<F, T>(&'scope self, name: impl Into<Name>, task: F) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.submit_task(Task::new(task, Some(name.into().as_str()), Location::caller()))
    }

    /// [Submits](Self::submit) a task that can be asked to stop while it runs: see
    /// [`ThreadPoolExecutor::submit_cancellable`](super::ThreadPoolExecutor::submit_cancellable).
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// let haystack = vec![0_u8; 100_000];
    /// let found = pool.scope(|s| {
    ///     let [first, second] = [0, 50_000].map(|from| {
    ///         let part = &haystack[from..from + 50_000];
    ///         s.submit_cancellable(move |token| part.iter().take_while(|_| !token.is_cancelled()).any(|&byte| byte == 1))
    ///     });
    ///     let found = first.result().unwrap();
    ///     if found {
    ///         second.cancel();
    ///     }
    ///     found || second.result().unwrap()
    /// });
    /// assert!(!found);
    /// ```
    #[track_caller]
    pub fn submit_cancellable<F, T>(&'scope self, task: F) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.submit_cancellable_task(Cancellable::new(task, None, Location::caller()))
    }

    /// [Submits](Self::submit_cancellable) a task that can be asked to stop, under a name.
    #[track_caller]
    pub fn submit_cancellable_named<F, T>(&'scope self, name: impl Into<Name>, task: F) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.submit_cancellable_task(Cancellable::new(task, Some(name.into().as_str()), Location::caller()))
    }

    fn submit_cancellable_task<F, T>(&'scope self, task: Cancellable<F>) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY:
        // - as in `submit_task`.
        self.keep(unsafe { task.borrowing().submit(self.pool) })
    }

    fn submit_task<F, T>(&'scope self, task: Task<F>) -> Future<T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY:
        // - `run` returns only when every task on the list is done, and `'scope` lasts longer than `run` waits. Nothing
        //   between this and the list unwinds.
        self.keep(unsafe { task.borrowing().submit(self.pool, Limit::None) })
    }

    /// Lists a task, so that the end of the scope waits for it.
    fn keep<T>(&self, future: Future<T>) -> Future<T> {
        let mut tasks = self.tasks.lock();
        let is_full = tasks.len() == tasks.capacity();
        let done: Vec<_> = if is_full { tasks.extract_if(.., |task| task.is_done()).collect() } else { Vec::new() };
        tasks.push(future.task().clone());
        // Some may be the last references to their cells, which are freed with no lock held.
        let is_cancelled = self.is_cancelled.load(Relaxed);
        drop(tasks);
        drop(done);
        if is_cancelled {
            future.task().cancel();
        }
        future
    }
}

impl Scope<'_, '_> {
    /// Cancels what has not begun, now or later, and asks to stop what runs.
    fn cancel(&self) {
        let list = self.tasks.lock();
        self.is_cancelled.store(true, Relaxed);
        let tasks = list.clone();
        drop(list);
        // From the last to the first: workers take from the front. A destructor's panic is contained by the task's end.
        tasks.iter().rev().for_each(|task| _ = task.cancel());
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// Runs `f` with a scope, and waits for its tasks, whatever becomes of `f`.
pub(super) fn run<'env, R>(
    pool: &'env Arc<Pool>,
    f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    site: Site,
) -> R {
    let (tasks, is_cancelled) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let scope = Scope { pool, tasks, is_cancelled, scope: PhantomData, env: PhantomData };
    let result = catch_unwind(|| f(&scope));
    // What the tasks borrow may be gone once this returns, in whatever way.
    panic::never_unwinds(|| {
        if result.is_err() {
            scope.cancel();
        }
        loop {
            let tasks = std::mem::take(&mut *scope.tasks.lock());
            if tasks.is_empty() {
                break;
            }
            // Without a limit, and with no way to fail: ends when they are done. Tasks that they submit meanwhile come
            // next: as long as one of these runs it is live, and the graph need not know of those.
            while wait_all(&tasks, Limit::None, Failure::Never, site).is_err() {}
        }
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}
