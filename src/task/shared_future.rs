//! A result for several owners.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::done_callback::DoneCallback;
use super::error::TaskError;
use super::future::{self, Future};
use super::status::Status;
use super::task_ref::TaskRef;
use super::wait::one::wait_done;
use crate::deadlock::Deadlock;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::graph::task_id::TaskId;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU64;

/// A [`Future`] with several owners, each of whom gets a clone of the result: see [`Future::shared`].
///
/// Cheap to clone. The result is dropped with the last owner. Each clone can be awaited, by one async task at a time.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let config = pool.submit(|| "config".to_owned()).shared();
/// let lengths: Vec<_> = (0..3)
///     .map(|_| {
///         let config = config.clone();
///         pool.submit(move || config.result().map(|config| config.len()))
///     })
///     .collect();
/// for length in lengths {
///     assert_eq!(length.result().unwrap().unwrap(), 6);
/// }
/// ```
#[must_use = "dropping the last owner of a future detaches its task"]
pub struct SharedFuture<T> {
    shared: Arc<Shared<T>>,
    /// This owner's number.
    owner: u64,
}

struct Shared<T> {
    future: Future<T>,
    owners: AtomicU64,
}

impl<T> SharedFuture<T> {
    pub(crate) fn new(future: Future<T>) -> Self {
        Self { shared: Arc::new(Shared { future, owners: AtomicU64::new(1) }), owner: 1 }
    }

    pub(crate) fn task(&self) -> &TaskRef {
        self.shared.future.task()
    }

    /// Returns the id of the task: see [`Future::id`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task().id()
    }

    /// Waits for the task and returns a clone of its result.
    ///
    /// # Errors
    ///
    /// The task panicked, was cancelled or rejected, or waiting for it is part of a deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise();
    /// let shared = future.shared();
    /// let other = shared.clone();
    /// promise.set_result("rope".to_owned()).unwrap();
    /// assert_eq!(shared.result().unwrap(), "rope");
    /// assert_eq!(shared.result().unwrap(), other.result().unwrap());
    /// ```
    #[track_caller]
    pub fn result(&self) -> Result<T, TaskError>
    where
        T: Clone,
    {
        self.result_by(Limit::None, Location::caller())
    }

    /// Waits for the task for at most `timeout` and returns a clone of its result.
    ///
    /// # Errors
    ///
    /// The errors of [`result`](Self::result), and [`TaskError::Timeout`] if the task is not done by then.
    #[track_caller]
    pub fn result_timeout(&self, timeout: Duration) -> Result<T, TaskError>
    where
        T: Clone,
    {
        self.result_by(Limit::after(timeout), Location::caller())
    }

    fn result_by(&self, limit: Limit, site: Site) -> Result<T, TaskError>
    where
        T: Clone,
    {
        wait_done(self.task(), limit, site)?;
        self.cloned(limit, site)?
    }

    /// Returns a clone of the result, if the task is done; never waits. Returns `None`, too, while another owner reads
    /// the result of a process task.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise();
    /// let shared = future.shared();
    /// assert!(shared.try_result().is_none());
    /// promise.set_result(42).unwrap();
    /// assert_eq!(shared.try_result().unwrap().unwrap(), 42);
    /// assert_eq!(shared.try_result().unwrap().unwrap(), 42); // it stays there
    /// ```
    #[must_use]
    pub fn try_result(&self) -> Option<Result<T, TaskError>>
    where
        T: Clone,
    {
        if !self.done() {
            return None;
        }
        // Another owner may be reading the result.
        self.cloned(Limit::after(Duration::ZERO), self.task().site()).ok()
    }

    fn cloned(&self, limit: Limit, site: Site) -> Result<Result<T, TaskError>, WaitError>
    where
        T: Clone,
    {
        // SAFETY:
        // - the task is done, and a shared result is never taken.
        Ok(unsafe { self.shared.future.peek(limit, site)? }.cloned())
    }

    /// Waits for the task.
    ///
    /// # Errors
    ///
    /// Waiting for the task is part of a deadlock.
    #[track_caller]
    pub fn wait(&self) -> Result<(), Deadlock> {
        self.shared.future.wait()
    }

    /// Waits for the task for at most `timeout`, and returns whether it is done.
    #[track_caller]
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.future.wait_timeout(timeout)
    }

    /// Waits for the task and returns why it has no value; `None` if it has one: see [`Future::exception`].
    #[track_caller]
    #[must_use]
    pub fn exception(&self) -> Option<TaskError> {
        self.shared.future.exception()
    }

    /// Waits for the task for at most `timeout` and returns why it has no value; `None` if it has one: see
    /// [`Future::exception_timeout`].
    ///
    /// # Errors
    ///
    /// [`TaskError::Timeout`] if the task is not done by then: nobody knows whether it will have a value.
    #[track_caller]
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, TaskError> {
        self.shared.future.exception_timeout(timeout)
    }

    /// Cancels the task for all owners, if it has not begun. Returns whether the task is cancelled now: see
    /// [`Future::cancel`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (_promise, future) = bowline::promise::<u8>();
    /// let first = future.shared();
    /// let second = first.clone();
    /// assert!(first.cancel());
    /// assert!(second.cancelled());
    /// ```
    pub fn cancel(&self) -> bool {
        self.shared.future.cancel()
    }

    /// Returns the state of the task.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.future.status()
    }

    /// Ends the task for all owners: see [`Future::terminate`].
    #[cfg(feature = "process")]
    pub fn terminate(&self, grace: Duration) -> bool {
        self.shared.future.terminate(grace)
    }

    /// Returns whether the task was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.shared.future.cancelled()
    }

    /// Returns whether the task runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.shared.future.running()
    }

    /// Returns whether the task has ended, in whatever way.
    #[must_use]
    pub fn done(&self) -> bool {
        self.shared.future.done()
    }

    /// Runs `callback` when the task is done: see [`Future::add_done_callback`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (promise, future) = bowline::promise();
    /// let (tell, told) = mpsc::channel();
    /// let shared = future.shared();
    /// let same = shared.clone();
    /// shared.add_done_callback(move |_| tell.send(same.try_result()).unwrap());
    /// promise.set_result(42).unwrap();
    /// assert_eq!(told.recv().unwrap().unwrap().unwrap(), 42);
    /// ```
    pub fn add_done_callback(&self, callback: impl FnOnce(Status) + Send + 'static) -> DoneCallback {
        self.shared.future.add_done_callback(callback)
    }
}

impl<T> Clone for SharedFuture<T> {
    fn clone(&self) -> Self {
        let owner = self.shared.owners.fetch_add(1, Relaxed) + 1;
        Self { shared: Arc::clone(&self.shared), owner }
    }
}

impl<T> Drop for SharedFuture<T> {
    fn drop(&mut self) {
        self.task().forget_waker(self.owner);
        self.task().forget_waker_of_settling(self.owner);
    }
}

/// Resolves to a clone of the result, each time it is polled.
impl<T: Clone> std::future::Future for SharedFuture<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let task = self.task();
        if !task.is_done() && task.wake_when_done(self.owner, context.waker()) {
            return Poll::Pending;
        }
        loop {
            // Reads the result, unless another owner is just doing so.
            if let Ok(result) = self.cloned(Limit::after(Duration::ZERO), task.site()) {
                return Poll::Ready(result);
            }
            if task.wake_when_settled(self.owner, context.waker()) {
                return Poll::Pending;
            }
        }
    }
}

impl<T> fmt::Debug for SharedFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        future::debug(self.task(), "SharedFuture", f)
    }
}
