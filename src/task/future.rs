//! The result of a task that may still have to run.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::done_callback::DoneCallback;
use super::error::TaskError;
use super::shared_future::SharedFuture;
use super::status::Status;
use super::task_ref::TaskRef;
use super::wait::one::wait_done;
use crate::deadlock::Deadlock;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::graph::task_id::TaskId;
use crate::deadlock::resource::{Origin, Site};

/// The result of a task that was submitted to an executor, or that a [`Promise`](crate::Promise) will give.
///
/// A future has one owner, who takes the result. It is waited for by [`result`](Self::result) on a thread, or by
/// `.await` in any async runtime. Dropping a future does not stop its task: the result is dropped as soon as there is
/// one.
///
/// A future is one word. Making one allocates the task's cell, and nothing more.
///
/// # Deadlocks
///
/// Every wait without a time-out is in the wait-for graph. A worker that waits for a task in its own pool's queue runs
/// that task in place. A wait that still cannot make progress is an error: [`TaskError::Deadlock`], with the
/// [`Report`](crate::deadlock::Report) of who waits for whom. Awaiting a future blocks no thread and is not in the
/// graph.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let future = pool.submit(|| 6 * 7);
/// assert_eq!(future.result().unwrap(), 42);
/// ```
#[must_use = "dropping a future detaches its task; say `drop(future)` if that is meant"]
pub struct Future<T> {
    task: TaskRef,
    result: PhantomData<T>,
}

// SAFETY:
// - through a shared future nobody reaches the value, only a `TaskError`, which is `Sync`.
unsafe impl<T: Send> Sync for Future<T> {}

impl<T> Unpin for Future<T> {}

impl<T> Future<T> {
    /// Makes the future of a task.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, and nobody else owns it.
    pub(crate) unsafe fn of(task: TaskRef) -> Self {
        Self { task, result: PhantomData }
    }

    /// Makes a future that is done, with this error.
    pub(crate) fn failed(error: TaskError, origin: Origin) -> Self
    where
        T: Send,
    {
        Self { task: TaskRef::failed::<T>(error, origin), result: PhantomData }
    }

    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Takes the result of a task that is done.
    fn take(&mut self) -> Result<T, TaskError> {
        debug_assert!(self.task.is_done());
        // SAFETY:
        // - the future owns the result of a cell with this type (`of`), and the task is done.
        match unsafe { self.task.take::<T>() } {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(self.take_error(error)),
            None => Err(TaskError::Taken),
        }
    }

    /// Returns an error that was in the slot, and leaves it there for [`exception`](Self::exception): it is taken once.
    #[cold]
    fn take_error(&mut self, error: TaskError) -> TaskError {
        // SAFETY:
        // - as in `take`, which took it.
        let is_taken = unsafe { self.task.put_back(error.clone()) };
        if is_taken { TaskError::Taken } else { error }
    }

    /// Takes the result of a task that is done, and leaves nothing in the slot: nobody can ask for an error any more.
    fn take_last(self) -> Result<T, TaskError> {
        let this = ManuallyDrop::new(self);
        // Without detaching the result, which is about to be gone.
        // SAFETY:
        // - the future is not dropped, nor used again.
        let task = unsafe { std::ptr::read(&raw const this.task) };
        debug_assert!(task.is_done());
        // SAFETY:
        // - as in `take`.
        match unsafe { task.take::<T>() } {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) if task.is_taken() => Err(TaskError::Taken),
            Some(Err(error)) => Err(error),
            None => Err(TaskError::Taken),
        }
    }

    /// Returns the id of the task: the same number as in reports, snapshots and `tracing` events, and for all owners.
    ///
    /// Costs nothing before it is called for the first time, which is an atomic operation or two.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let (left, right) = (pool.submit(|| 40), pool.submit(|| 2));
    /// assert_ne!(left.id(), right.id());
    /// let id = left.id();
    /// assert_eq!(left.shared().id(), id);
    /// # drop(right);
    /// ```
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// Waits for the task and takes its result.
    ///
    /// # Errors
    ///
    /// The task panicked, was cancelled or rejected, or waiting for it is part of a deadlock. After a deadlock the task
    /// goes on without this future.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let parsed = pool.submit(|| "7".parse::<u8>());
    /// assert_eq!(parsed.result().unwrap(), Ok(7)); // a `Result` of the task's own is its value
    /// let failed = pool.submit(|| -> u8 { panic!("out of rope") });
    /// assert!(matches!(failed.result(), Err(TaskError::Panicked(_))));
    /// ```
    #[track_caller]
    pub fn result(self) -> Result<T, TaskError> {
        self.result_at(Location::caller())
    }

    /// Does what [`result`](Self::result) does, for a caller on this line.
    #[inline]
    pub(super) fn result_at(self, site: Site) -> Result<T, TaskError> {
        match wait_done(&self.task, Limit::None, site) {
            Ok(()) => self.take_last(),
            Err(ended) => Err(ended.into()),
        }
    }

    /// Waits for the task for at most `timeout` and takes its result.
    ///
    /// # Errors
    ///
    /// The errors of [`result`](Self::result); [`TaskError::Timeout`] if the task is not done by then, which leaves the
    /// future as it was; and [`TaskError::Taken`] if this method or [`try_result`](Self::try_result) returned the
    /// result before.
    ///
    /// # Deadlocks
    ///
    /// A wait with a time-out is part of no deadlock, and runs no task in place. The result of a process task is read
    /// after the wait, however long its `Deserialize` takes.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, promise};
    /// use std::time::Duration;
    ///
    /// let (promise, mut future) = promise();
    /// assert!(matches!(future.result_timeout(Duration::from_millis(1)), Err(TaskError::Timeout)));
    /// promise.set_result(42).unwrap();
    /// assert_eq!(future.result_timeout(Duration::from_millis(1)).unwrap(), 42);
    /// ```
    #[track_caller]
    pub fn result_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        wait_done(&self.task, Limit::after(timeout), Location::caller())?;
        self.take()
    }

    /// Takes the result, if the task is done; never waits. (The result of a process task is read then, by its
    /// `Deserialize`.)
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, promise};
    ///
    /// let (promise, mut future) = promise();
    /// assert!(future.try_result().is_none());
    /// promise.set_result(42).unwrap();
    /// assert_eq!(future.try_result().unwrap().unwrap(), 42);
    /// assert!(matches!(future.try_result(), Some(Err(TaskError::Taken))));
    /// ```
    pub fn try_result(&mut self) -> Option<Result<T, TaskError>> {
        self.task.is_done().then(|| self.take())
    }

    /// Waits for the task and leaves its result where it is.
    ///
    /// # Errors
    ///
    /// Waiting for the task is part of a deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let future = pool.submit(|| 42);
    /// future.wait()?;
    /// assert!(future.done());
    /// assert_eq!(future.result().unwrap(), 42); // it is still there
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[track_caller]
    pub fn wait(&self) -> Result<(), Deadlock> {
        match wait_done(&self.task, Limit::None, Location::caller()) {
            Ok(()) | Err(WaitError::TimedOut) => Ok(()),
            Err(WaitError::Deadlock(deadlock)) => Err(deadlock),
        }
    }

    /// Waits for the task for at most `timeout`, and returns whether it is done.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (promise, future) = bowline::promise();
    /// assert!(!future.wait_timeout(Duration::from_millis(1)));
    /// promise.set_result(42).unwrap();
    /// assert!(future.wait_timeout(Duration::from_millis(1)));
    /// ```
    #[track_caller]
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        wait_done(&self.task, Limit::after(timeout), Location::caller()).is_ok()
    }

    /// Waits for the task and returns why it has no value; `None` if it has one, or had one that was taken since.
    ///
    /// Returns [`TaskError::Deadlock`] if waiting for the task is part of a deadlock. An error that was taken is still told.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let failed = pool.submit(|| -> u8 { panic!("out of rope") });
    /// assert!(matches!(failed.exception(), Some(TaskError::Panicked(_))));
    /// assert!(pool.submit(|| 1).exception().is_none());
    /// ```
    #[track_caller]
    pub fn exception(&self) -> Option<TaskError> {
        match wait_done(&self.task, Limit::None, Location::caller()) {
            Ok(()) => self.error(Limit::None, Location::caller()).unwrap_or_else(|ended| Some(ended.into())),
            Err(ended) => Some(ended.into()),
        }
    }

    /// Waits for the task for at most `timeout` and returns why it has no value: see [`exception`](Self::exception).
    ///
    /// # Errors
    ///
    /// [`TaskError::Timeout`] if the task is not done by then: nobody knows whether it will have a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, promise};
    /// use std::time::Duration;
    ///
    /// let (promise, future) = promise::<u8>();
    /// let limit = Duration::from_millis(1);
    /// assert!(matches!(future.exception_timeout(limit), Err(TaskError::Timeout)));
    /// drop(promise);
    /// assert!(matches!(future.exception_timeout(limit), Ok(Some(TaskError::BrokenPromise))));
    /// ```
    #[track_caller]
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, TaskError> {
        let (limit, site) = (Limit::after(timeout), Location::caller());
        wait_done(&self.task, limit, site)?;
        Ok(self.error(limit, site)?)
    }

    /// Returns why the task, which is done, has no value.
    fn error(&self, limit: Limit, site: Site) -> Result<Option<TaskError>, WaitError> {
        // SAFETY:
        // - the task is done, and the result is taken by the future's owner only, through `&mut` or by value.
        unsafe { self.task.settle(limit, site)? };
        // SAFETY:
        // - as above.
        Ok(unsafe { self.task.error() })
    }

    /// Cancels the task if it has not begun: it will not run, and what its closure owns is dropped here. Returns
    /// whether the task is cancelled now, by this call or an earlier one.
    ///
    /// A task that runs goes on. If it was
    /// [submitted with a token](crate::ThreadPoolExecutor::submit_cancellable), that is set: the task may stop when it likes.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor, promise};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (open, opened) = promise::<()>();
    /// let busy = pool.submit(move || opened.result()); // the only worker waits in this task
    /// let queued = pool.submit(|| 42);
    /// assert!(queued.cancel());
    /// open.set_result(()).unwrap();
    /// busy.result().unwrap().unwrap();
    /// assert!(matches!(queued.result(), Err(TaskError::Cancelled)));
    /// ```
    pub fn cancel(&self) -> bool {
        self.task.cancel() || self.cancelled()
    }

    /// Ends the task within `grace`, by force if it does not stop, and the worker process that runs it with it. Cancels it, if it
    /// has not begun. Returns whether it is cancelled now, or is being ended; `false` if it is done, or is about to be, or if it is
    /// no task of a [`ProcessPoolExecutor`](crate::ProcessPoolExecutor): a thread can't be ended from outside.
    ///
    /// At once, [`should_stop`](crate::process_pool::CurrentTask::should_stop) is true for the task. After half of the grace the
    /// worker and the processes that it has started get SIGTERM, and at the end SIGKILL; with a grace of zero, SIGKILL at once.
    /// Another worker takes the place of that one, and no other task is affected. A task that returns before, and whose result is
    /// sent by then, is not lost: it has its result. Otherwise its error is [`TaskError::Terminated`], with what was done and when. It is not run again,
    /// whatever [`retries`](crate::process_pool::ProcessTask::retries) it has. Further calls can only shorten the grace. Does not wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let hangs = pool.submit(|| -> () { loop { std::thread::park() } }, ());
    /// let next = pool.submit(|| 42, ());
    /// while !hangs.running() {
    ///     std::thread::yield_now();
    /// }
    /// assert!(!hangs.cancel() && hangs.terminate(Duration::from_millis(10)));
    /// assert!(matches!(hangs.result(), Err(TaskError::Terminated(_))));
    /// assert_eq!(next.result()?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "process")]
    pub fn terminate(&self, grace: Duration) -> bool {
        self.task.home().terminate(&self.task, grace) || self.cancelled()
    }

    /// Returns the state of the task.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::promise;
    /// use bowline::task::Status;
    ///
    /// let (promise, future) = promise();
    /// assert_eq!(future.status(), Status::Pending);
    /// promise.set_result(42).unwrap();
    /// assert_eq!(future.status(), Status::Finished);
    /// ```
    #[must_use]
    pub fn status(&self) -> Status {
        self.task.status()
    }

    /// Returns whether the task was cancelled. It is [`done`](Self::done) a moment later, when its closure has been
    /// dropped.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.status() == Status::Cancelled
    }

    /// Returns whether the task runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.status() == Status::Running
    }

    /// Returns whether the task has ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.task.is_done()
    }

    /// Runs `callback` when the task is done, on the thread that ends it: a worker, or the thread that cancels it. For
    /// a process task, that is a thread that the pool has for callbacks. If the task is done already, `callback` runs
    /// here.
    ///
    /// Several callbacks run in the order in which they were added. A panic is contained: the panic hook prints it, and
    /// the next callback runs.
    ///
    /// A callback may end further tasks, whose callbacks then run before that returns. Callbacks that end tasks in a
    /// chain do not fill the stack: where it has no more room they run on another thread, for which this one waits.
    ///
    /// The callback can be removed by what this returns. To drop that leaves the callback where it is.
    ///
    /// Costs an allocation, and two more for the first callback of a future.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use bowline::task::Status;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (tell, told) = mpsc::channel();
    /// let future = pool.submit(|| 42);
    /// future.add_done_callback(move |status| tell.send(status).unwrap());
    /// assert_eq!(told.recv().unwrap(), Status::Finished);
    /// assert_eq!(future.result().unwrap(), 42); // the callback leaves the result where it is
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(Status) + Send + 'static) -> DoneCallback {
        DoneCallback::new(self.task.clone(), self.task.call_when_done(Box::new(callback)))
    }

    /// Passes the result to `callback` when the task is done, as [`add_done_callback`](Self::add_done_callback) passes
    /// the status.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (tell, told) = mpsc::channel();
    /// pool.submit(|| 42).on_done(move |result| tell.send(result).unwrap());
    /// assert_eq!(told.recv().unwrap().unwrap(), 42);
    /// ```
    pub fn on_done(self, callback: impl FnOnce(Result<T, TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let task = self.task.clone();
        _ = task.call_when_done(Box::new(move |_| callback(self.take_last())));
    }

    /// Makes a future with several owners, each of whom gets a clone of the result.
    pub fn shared(self) -> SharedFuture<T>
    where
        T: Clone + Send + Sync,
    {
        SharedFuture::new(self)
    }

    /// Returns the result of a done task, where it is.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result while the reference is used.
    pub(crate) unsafe fn peek(&self, limit: Limit, site: Site) -> Result<Result<&T, TaskError>, WaitError> {
        // SAFETY:
        // - the caller's contract.
        unsafe { self.task.settle(limit, site)? };
        // SAFETY:
        // - the cell's result is of this type (`of`); the rest is the caller's contract.
        Ok(match unsafe { self.task.peek::<T>() } {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) if !self.task.is_taken() => Err(error.clone()),
            Some(Err(_)) | None => Err(TaskError::Taken),
        })
    }
}

/// The number under which the only owner of a future registers its waker. The other numbers belong to a
/// [`SharedFuture`].
const ONLY_OWNER: u64 = 0;

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        // SAFETY:
        // - the future owns the result, and is gone after this.
        unsafe { self.task.detach() };
        self.task.forget_waker(ONLY_OWNER);
    }
}

/// Resolves to what [`result`](Future::result) returns. If the future is dropped before that, the task goes on.
///
/// # Panics
///
/// Never: a future that is polled again after it was ready is ready again, with [`TaskError::Taken`].
///
/// # Examples
///
/// ```
/// let pool = bowline::ThreadPoolExecutor::new(1);
/// let sum = async {
///     let (left, right) = (pool.submit(|| 40), pool.submit(|| 2));
///     Ok::<_, bowline::TaskError>(left.await? + right.await?)
/// };
/// assert_eq!(futures::executor::block_on(sum).unwrap(), 42);
/// ```
impl<T> std::future::Future for Future<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.task.is_done() || !self.task.wake_when_done(ONLY_OWNER, context.waker()) {
            return Poll::Ready(self.take());
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Future<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(&self.task, "Future", f)
    }
}

/// Writes `Future { task: "name", status: Finished }`.
pub(crate) fn debug(task: &TaskRef, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut fields = f.debug_struct(what);
    let kind = if task.is_promised() { "promise_of" } else { "task" };
    fields.field(kind, &task.name().unwrap_or_else(|| task.type_name()));
    fields.field("status", &task.status());
    fields.finish()
}
