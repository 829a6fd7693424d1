//! A future that is completed by hand.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use super::cell::ResultSlot;
use super::error::{CustomError, TaskError};
use super::future::{self, Future};
use super::status::Status;
use super::task_ref::TaskRef;
use crate::deadlock::graph::task_id::TaskId;
use crate::deadlock::resource::Origin;

/// The other end of a [`Future`], which gives the result, once. Made by [`promise`].
///
/// If a promise is dropped without a result, the result of its future is [`TaskError::BrokenPromise`].
///
/// # Examples
///
/// ```
/// use bowline::{Future, TaskError, promise};
/// use std::thread;
///
/// fn answer() -> Future<u32> {
///     let (promise, future) = promise();
///     thread::spawn(move || promise.set_result(42));
///     future
/// }
/// assert_eq!(answer().result().unwrap(), 42);
///
/// let (promise, future) = promise::<u32>();
/// drop(promise);
/// assert!(matches!(future.result(), Err(TaskError::BrokenPromise)));
/// ```
#[must_use = "dropping a promise breaks it"]
pub struct Promise<T> {
    task: TaskRef,
    result: PhantomData<fn(T)>,
}

/// Makes a promise and the future of its result.
///
/// # Deadlocks
///
/// Nobody knows who will give the result: a wait for it is in the wait-for graph and part of no deadlock.
///
/// # Examples
///
/// ```
/// use bowline::promise;
///
/// let (promise, future) = promise();
/// let other = std::thread::spawn(move || promise.set_result(42));
/// assert_eq!(future.result().unwrap(), 42);
/// # other.join().unwrap().unwrap();
/// ```
#[track_caller]
pub fn promise<T: Send>() -> (Promise<T>, Future<T>) {
    let (mine, task) = TaskRef::without_task::<T>(Origin::at(Location::caller(), None));
    // SAFETY:
    // - the cell was made with this type, and for this future.
    (Promise { task: mine, result: PhantomData }, unsafe { Future::of(task) })
}

/// A result that came too late: the future was cancelled.
///
/// # Examples
///
/// ```
/// let (promise, future) = bowline::promise();
/// future.cancel();
/// let late = promise.set_result("rope").unwrap_err();
/// assert_eq!(late.into_inner(), "rope");
/// ```
pub struct InvalidState<T>(T);

impl<T> InvalidState<T> {
    /// Returns the result that was not taken.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for InvalidState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidState").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for InvalidState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the future was cancelled before its result came")
    }
}

impl<T> std::error::Error for InvalidState<T> {}

impl<T: Send> Promise<T> {
    /// Returns the id of the promise, which is that of its future: see [`Future::id`].
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise::<u8>();
    /// assert_eq!(promise.id(), future.id());
    /// ```
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// Announces that the result is being worked on: from now on the future is running and cannot be cancelled. Returns
    /// `false` if it was cancelled before.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise::<()>();
    /// assert!(promise.set_running());
    /// assert!(!future.cancel() && future.running());
    /// ```
    pub fn set_running(&self) -> bool {
        self.task.claim() || self.task.status() == Status::Running
    }

    /// Returns whether the future was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise::<u8>();
    /// assert!(future.cancel());
    /// assert!(promise.cancelled()); // the work can stop
    /// ```
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.task.status() == Status::Cancelled
    }

    /// Completes the future with a value.
    ///
    /// A promise is kept once: this consumes it.
    ///
    /// ```compile_fail,E0382
    /// let (promise, future) = bowline::promise();
    /// promise.set_result(1).unwrap();
    /// promise.set_result(2).unwrap(); // moved
    /// ```
    ///
    /// # Errors
    ///
    /// The future was cancelled. The error returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let (promise, future) = bowline::promise();
    /// promise.set_result(42)?;
    /// assert_eq!(future.result().unwrap(), 42);
    /// # Ok::<(), bowline::task::InvalidState<i32>>(())
    /// ```
    pub fn set_result(self, value: T) -> Result<(), InvalidState<T>> {
        if !self.set_running() {
            return Err(InvalidState(value));
        }
        // SAFETY:
        // - the cell was made with this type (`promise`).
        unsafe { self.task.put::<ResultSlot<T>>(Ok(value)) };
        Ok(())
    }

    /// Completes the future with an error instead of a value.
    ///
    /// # Errors
    ///
    /// The future was cancelled. The error returns `error`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, promise};
    ///
    /// let (promise, future) = promise::<u8>();
    /// promise.set_exception(TaskError::Cancelled)?;
    /// assert!(matches!(future.result(), Err(TaskError::Cancelled)));
    /// # Ok::<(), bowline::task::InvalidState<TaskError>>(())
    /// ```
    pub fn set_exception(self, error: TaskError) -> Result<(), InvalidState<TaskError>> {
        if !self.set_running() {
            return Err(InvalidState(error));
        }
        self.task.fail(error);
        Ok(())
    }

    /// Completes the future with an error of the program's own: anything that makes a `Box<dyn Error + Send + Sync>`, which
    /// is every such error, and text.
    ///
    /// The result of the future is [`TaskError::Custom`]: [`downcast_ref`](TaskError::downcast_ref) returns the error, and so
    /// does [`source`](std::error::Error::source).
    ///
    /// # Errors
    ///
    /// The future was cancelled. The error returns `error`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::promise;
    /// use std::error::Error;
    /// use std::num::ParseIntError;
    ///
    /// let (promise, future) = promise::<u8>();
    /// match "rope".parse() {
    ///     Ok(value) => promise.set_result(value).unwrap(),
    ///     Err(error) => promise.set_error(error).unwrap(),
    /// }
    /// let error = future.result().unwrap_err();
    /// assert!(error.downcast_ref::<ParseIntError>().is_some());
    /// assert_eq!(error.source().unwrap().to_string(), "invalid digit found in string");
    /// ```
    pub fn set_error<E: Into<Box<dyn Error + Send + Sync>>>(self, error: E) -> Result<(), InvalidState<E>> {
        if !self.set_running() {
            return Err(InvalidState(error));
        }
        // If the user's conversion panics, the promise is broken.
        self.task.fail(TaskError::Custom(CustomError::new(error.into())));
        Ok(())
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if !self.task.is_done() && (self.task.claim() || self.task.status() == Status::Running) {
            self.task.fail(TaskError::BrokenPromise);
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        future::debug(&self.task, "Promise", f)
    }
}
