//! The values of several futures, or the first error.

use std::panic::Location;

use super::one::wait_done;
use crate::deadlock::door::Limit;
use crate::task::error::TaskError;
use crate::task::future::Future;

/// Waits for futures in the order in which they are given and returns their values, or the first error in that order.
///
/// After an error the tasks of the other futures are cancelled if they have not begun. Those that run go on, asked to stop
/// [if they listen](crate::ThreadPoolExecutor::submit_cancellable), and what they return is dropped. An error is seen when its turn comes: to see it as soon as there is one, use
/// [`as_completed`](crate::as_completed), or [`wait`](crate::wait) for the first exception.
///
/// The iterator is run to its end first. If it panics, the futures that it has given are dropped, which detaches their tasks.
///
/// # Errors
///
/// Those of [`Future::result`].
///
/// # Deadlocks
///
/// Each wait is that of [`Future::result`]: it is in the wait-for graph, and a worker runs what is queued in its own pool. If
/// it is part of a deadlock, the error is [`TaskError::Deadlock`], and the task that was waited for is cancelled too if it
/// has not begun.
///
/// # Examples
///
/// ```
/// use bowline::task::results;
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let squares = results((0..4).map(|n| pool.submit(move || n * n)))?;
/// assert_eq!(squares, [0, 1, 4, 9]);
///
/// let halves = results((0..4).map(|n| pool.submit(move || if n % 2 == 0 { n / 2 } else { panic!("{n} is odd") })));
/// assert!(matches!(halves, Err(TaskError::Panicked(panic)) if panic.message() == "1 is odd"));
/// # Ok::<(), TaskError>(())
/// ```
#[track_caller]
pub fn results<T>(futures: impl IntoIterator<Item = Future<T>>) -> Result<Vec<T>, TaskError> {
    let site = Location::caller();
    let mut rest = futures.into_iter().collect::<Vec<_>>().into_iter();
    let mut values = Vec::with_capacity(rest.len());
    while let Some(future) = rest.next() {
        let result = match wait_done(future.task(), Limit::None, site) {
            Ok(()) => future.result_at(site),
            Err(ended) => {
                future.cancel();
                Err(ended.into())
            }
        };
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                // From the last to the first: workers take from the front.
                rest.rev().for_each(|future| _ = future.cancel());
                return Err(error);
            }
        }
    }
    Ok(values)
}
