//! The first value of several futures.

use std::panic::Location;

use super::as_completed::as_completed;
use crate::task::error::TaskError;
use crate::task::future::Future;

/// Waits until one of the futures has a value, and returns it: Java's `invokeAny`.
///
/// The tasks of the other futures are cancelled if they have not begun. Those that run go on, asked to stop
/// [if they listen](crate::ThreadPoolExecutor::submit_cancellable), and what they return is dropped. A task that ends with an error is passed over.
///
/// The iterator is run to its end first. If it panics, the futures that it has given are dropped, which detaches their tasks.
///
/// # Errors
///
/// If no future has a value: the error of the first of them in the order in which they were given. [`TaskError::Empty`] if
/// none was given, and [`TaskError::Deadlock`] if the wait for those that are left is part of a deadlock.
///
/// # Deadlocks
///
/// The wait is that of [`as_completed`](crate::as_completed), for any one of the futures: a worker leaves the tasks in its
/// own pool's queue to other workers, and if there is none, that is a deadlock.
///
/// # Examples
///
/// ```
/// use bowline::task::first_ok;
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(3);
/// let mirrors = ["down", "up", "gone"];
/// let ask = |name: &'static str| move || if name == "up" { name.len() } else { panic!("{name} does not answer") };
/// assert_eq!(first_ok(mirrors.map(|name| pool.submit(ask(name))))?, 2);
///
/// let none = first_ok(["down", "gone"].map(|name| pool.submit(ask(name))));
/// assert!(matches!(none, Err(TaskError::Panicked(panic)) if panic.message() == "down does not answer"));
/// # Ok::<(), TaskError>(())
/// ```
#[track_caller]
pub fn first_ok<T>(futures: impl IntoIterator<Item = Future<T>>) -> Result<T, TaskError> {
    let site = Location::caller();
    let mut all = as_completed(futures.into_iter().enumerate());
    let mut failed: Option<(usize, TaskError)> = None;
    let result = loop {
        match all.next_at(site) {
            Some(Ok((number, future))) => match future.result_at(site) {
                Ok(value) => break Ok(value),
                Err(error) if failed.as_ref().is_none_or(|(first, _)| number < *first) => {
                    failed = Some((number, error))
                }
                Err(_) => {}
            },
            Some(Err(unfinished)) => {
                break Err(unfinished.into_deadlock().map_or(TaskError::Timeout, TaskError::Deadlock));
            }
            None => break Err(failed.map_or(TaskError::Empty, |(_, error)| error)),
        }
    };
    // From the last to the first: workers take from the front.
    all.into_futures().into_iter().rev().for_each(|(_, future)| _ = future.cancel());
    result
}
