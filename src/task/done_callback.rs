//! A callback that was added to a future, and can be removed.

use std::fmt;

use super::task_ref::TaskRef;

/// A callback that was added to a future: see [`Future::add_done_callback`](crate::Future::add_done_callback).
///
/// Dropping this leaves the callback where it is. Until then it keeps the task's cell, without the result.
///
/// # Examples
///
/// ```
/// use bowline::promise;
///
/// let (promise, future) = promise();
/// future.add_done_callback(|_| println!("this one runs"));
/// let callback = future.add_done_callback(|_| unreachable!("this one is removed"));
/// assert!(callback.remove());
/// promise.set_result(42).unwrap();
/// # assert_eq!(future.result().unwrap(), 42);
/// ```
pub struct DoneCallback {
    task: TaskRef,
    /// `None` if it has run where it was added.
    number: Option<u64>,
}

impl DoneCallback {
    pub(super) fn new(task: TaskRef, number: Option<u64>) -> Self {
        Self { task, number }
    }

    /// Removes the callback, unless the task is done. Returns whether it was removed.
    ///
    /// Exactly one of two things happens, whatever other threads do: this returns `true`, and the callback never runs; or it
    /// returns `false`, and the callback has run, runs, or is about to run. What a removed callback owns is dropped here. A
    /// panic of that is contained, as one of the callback is.
    ///
    /// Takes constant time, however many callbacks there are.
    #[must_use = "if it returns `false`, the callback runs"]
    pub fn remove(self) -> bool {
        self.number.is_some_and(|number| self.task.forget_callback(number))
    }
}

impl fmt::Debug for DoneCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoneCallback").field("status", &self.task.status()).finish_non_exhaustive()
    }
}
