//! The result of a task that may still have to run.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::cell::TaskRef;
use super::error::TaskError;
use super::shared_future::SharedFuture;
use super::state::Phase;
use super::wait::one::{Ended, wait_done};
use crate::deadlock::Deadlock;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::{Origin, Site};

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Nobody has begun it.
    Pending,
    /// It runs.
    Running,
    /// It was cancelled before it began.
    Cancelled,
    /// It ended without a value: it panicked, or the executor could not run it.
    Failed,
    /// It ended with a value. (That of a process task may turn out to be unreadable, which is told to whoever asks for it.)
    Finished,
}

impl From<Phase> for Status {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Pending => Self::Pending,
            Phase::Running => Self::Running,
            Phase::Cancelling | Phase::Cancelled => Self::Cancelled,
            Phase::Failed => Self::Failed,
            Phase::Finished => Self::Finished,
        }
    }
}

/// The result of a task that was submitted to an executor, or that a [`Promise`](crate::Promise) will give.
///
/// Has one owner, who takes the result. It is waited for by [`result`](Self::result) on a thread, or by `.await` in any
/// async runtime. Dropping a future does not stop its task: the result is dropped as soon as there is one.
///
/// One word. Making one allocates the task's cell, and nothing more.
///
/// # Deadlocks
///
/// Every wait without a time-out is in the wait-for graph. A worker that waits for a task in its own pool's queue runs that
/// task in place. What then still cannot make progress is an error: [`TaskError::Deadlock`], with the
/// [`Report`](crate::deadlock::Report) of who waits for whom. Awaiting a future blocks no thread and is not in the graph.
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
    /// The future of a task.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, and nobody else owns it.
    pub(crate) unsafe fn of(task: TaskRef) -> Self {
        Self { task, result: PhantomData }
    }

    /// A future that is done, with this error.
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
        unsafe { self.task.take::<T>() }.unwrap_or(Err(TaskError::Taken))
    }

    fn take_last(self) -> Result<T, TaskError> {
        let mut this = ManuallyDrop::new(self);
        let result = this.take();
        // Without giving up the result, which is gone.
        // SAFETY:
        // - the future is not dropped, nor used again.
        drop(unsafe { std::ptr::read(&raw const this.task) });
        result
    }

    /// Waits for the task and takes its result.
    ///
    /// # Errors
    ///
    /// The task panicked, was cancelled or rejected, or waiting for it is part of a deadlock. After a deadlock the task
    /// goes on without this future.
    #[track_caller]
    pub fn result(self) -> Result<T, TaskError> {
        match wait_done(&self.task, Limit::None, Location::caller()) {
            Ok(()) => self.take_last(),
            Err(ended) => Err(ended.into()),
        }
    }

    /// Waits for the task for at most `timeout` and takes its result.
    ///
    /// # Errors
    ///
    /// As [`result`](Self::result); and [`TaskError::Timeout`] if the task is not done by then, which leaves the future
    /// as it was, or [`TaskError::Taken`] if this method or [`try_result`](Self::try_result) returned the result before.
    ///
    /// # Deadlocks
    ///
    /// A wait with a time-out is part of none, and runs no task in place. The result of a process task is read after the wait, however
    /// long its `Deserialize` takes.
    #[track_caller]
    pub fn result_timeout(&mut self, timeout: Duration) -> Result<T, TaskError> {
        wait_done(&self.task, Limit::after(timeout), Location::caller())?;
        self.take()
    }

    /// The result, if the task is done; never waits. (That of a process task is read then, by its `Deserialize`.)
    pub fn try_result(&mut self) -> Option<Result<T, TaskError>> {
        self.task.is_done().then(|| self.take())
    }

    /// Waits for the task and leaves its result where it is.
    ///
    /// # Errors
    ///
    /// Waiting for the task is part of a deadlock.
    #[track_caller]
    pub fn wait(&self) -> Result<(), Deadlock> {
        match wait_done(&self.task, Limit::None, Location::caller()) {
            Ok(()) | Err(Ended::TimedOut) => Ok(()),
            Err(Ended::Deadlock(deadlock)) => Err(deadlock),
        }
    }

    /// Waits for the task for at most `timeout`, and says whether it is done.
    #[track_caller]
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        wait_done(&self.task, Limit::after(timeout), Location::caller()).is_ok()
    }

    /// Waits for the task and returns why it has no value; `None` if it has one, or had one that was taken since.
    ///
    /// [`TaskError::Deadlock`] if waiting for the task is part of a deadlock, and [`TaskError::Taken`] if the task failed and
    /// the error was taken since.
    #[track_caller]
    pub fn exception(&self) -> Option<TaskError> {
        match wait_done(&self.task, Limit::None, Location::caller()) {
            Ok(()) => self.error(Limit::None, Location::caller()).unwrap_or_else(|ended| Some(ended.into())),
            Err(ended) => Some(ended.into()),
        }
    }

    /// As [`exception`](Self::exception), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`TaskError::Timeout`] if the task is not done by then: nobody knows whether it will have a value.
    #[track_caller]
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, TaskError> {
        let (limit, site) = (Limit::after(timeout), Location::caller());
        wait_done(&self.task, limit, site)?;
        Ok(self.error(limit, site)?)
    }

    /// Why the task, which is done, has no value.
    fn error(&self, limit: Limit, site: Site) -> Result<Option<TaskError>, Ended> {
        // SAFETY:
        // - the task is done, and the result is taken by the future's owner only, through `&mut` or by value.
        unsafe { self.task.read(limit, site)? };
        // SAFETY:
        // - as above.
        Ok(unsafe { self.task.error() })
    }

    /// Cancels the task if it has not begun: it will not run, and what its closure owns is dropped here. Whether the task
    /// is cancelled now, by this call or an earlier one.
    pub fn cancel(&self) -> bool {
        self.task.cancel() || self.cancelled()
    }

    /// How far the task has come.
    #[must_use]
    pub fn status(&self) -> Status {
        self.task.status()
    }

    /// Whether the task was cancelled. It is [`done`](Self::done) a moment later, when its closure has been dropped.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.status() == Status::Cancelled
    }

    /// Whether the task runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.status() == Status::Running
    }

    /// Whether the task has ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.task.is_done()
    }

    /// Runs `callback` when the task is done, on the thread that ends it: a worker, or whoever cancels it; of a process task, on a
    /// thread that the pool has for callbacks. Runs it here if the task is done already.
    ///
    /// Several callbacks run in the order in which they were added. A panic is contained: the panic hook prints it, and
    /// the next callback runs.
    ///
    /// A callback may end further tasks, whose callbacks then run before that returns. Callbacks that end tasks in a chain do
    /// not fill the stack: from a certain depth on they run one after the other, or when this thread begins to wait for
    /// something of this crate.
    ///
    /// Costs an allocation, and two more for the first callback of a future.
    pub fn add_done_callback(&self, callback: impl FnOnce(Status) + Send + 'static) {
        self.task.call_when_done(Box::new(callback));
    }

    /// Passes the result to `callback` when there is one, as [`add_done_callback`](Self::add_done_callback) does.
    pub fn on_done(self, callback: impl FnOnce(Result<T, TaskError>) + Send + 'static)
    where
        T: Send + 'static,
    {
        let task = self.task.clone();
        task.call_when_done(Box::new(move |_| callback(self.take_last())));
    }

    /// Lets several owners have the result, each a clone of it.
    pub fn shared(self) -> SharedFuture<T>
    where
        T: Clone + Send + Sync,
    {
        SharedFuture::new(self)
    }

    /// The result of a done task, where it is.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result while the reference is used.
    pub(crate) unsafe fn peek(&self, limit: Limit, site: Site) -> Result<Result<&T, TaskError>, Ended> {
        // SAFETY:
        // - the caller's contract.
        unsafe { self.task.read(limit, site)? };
        // SAFETY:
        // - the cell's result is of this type (`of`); the rest is the caller's contract.
        Ok(match unsafe { self.task.peek::<T>() } {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(error.clone()),
            None => Err(TaskError::Taken),
        })
    }
}

/// The number of the owner among those who may be polled when the task is done: others belong to a [`SharedFuture`].
const ONLY_OWNER: u64 = 0;

impl<T> Drop for Future<T> {
    fn drop(&mut self) {
        // SAFETY:
        // - the future owns the result, and is gone after this.
        unsafe { self.task.detach() };
        self.task.forget_waker(ONLY_OWNER);
    }
}

/// Resolves to what [`result`](Future::result) returns. Dropped before that, the task goes on.
///
/// # Panics
///
/// Polled again after it was ready it is ready again, with [`TaskError::Taken`]: it does not panic.
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

/// `Future { task: "name", status: Finished }`.
pub(crate) fn debug(task: &TaskRef, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut fields = f.debug_struct(what);
    let kind = if task.is_promised() { "promise_of" } else { "task" };
    fields.field(kind, &task.name().unwrap_or_else(|| task.type_name()));
    fields.field("status", &task.status());
    fields.finish()
}

impl From<Ended> for TaskError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::TimedOut => Self::Timeout,
            Ended::Deadlock(deadlock) => Self::Deadlock(deadlock),
        }
    }
}
