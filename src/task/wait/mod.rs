//! The waits for one or several futures.

pub(crate) mod all;
pub(crate) mod as_completed;
pub(crate) mod first_ok;
pub(crate) mod one;
mod pending;
pub(crate) mod results;
pub(crate) mod set;

use std::collections::HashSet;
use std::panic::Location;
use std::time::Duration;

use super::any_future::{AnyFuture, has_key, task_of};
use super::status::Status;
use super::task_ref::TaskRef;
use crate::deadlock::Deadlock;
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::resource::Site;
use all::wait_all;
use pending::Pending;
use set::{Until, WaitSet};

/// The condition on which [`wait`] returns.
///
/// # Examples
///
/// ```
/// use bowline::{ReturnWhen, ThreadPoolExecutor, promise, wait};
///
/// let pool = ThreadPoolExecutor::new(1);
/// let (_promise, never) = promise::<u8>();
/// let soon = pool.submit(|| 42_u8);
/// let set = wait([&never, &soon], ReturnWhen::FirstCompleted, None);
/// assert_eq!((set.done.len(), set.not_done.len()), (1, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// Any future is done.
    FirstCompleted,
    /// Any future is done without a value (a panic, a cancellation, …), or all futures are done. The result of a
    /// process task counts as a value before anybody has read it.
    FirstException,
    /// All futures are done.
    AllCompleted,
}

/// The result of [`wait`]: each future of the set is in one of two lists, once, in the order in which they were given.
///
/// # Examples
///
/// ```
/// use bowline::{ReturnWhen, promise, wait};
/// use std::time::Duration;
///
/// let (_promise, never) = promise::<u8>();
/// let set = wait([&never], ReturnWhen::AllCompleted, Some(Duration::from_millis(1)));
/// for future in set.not_done {
///     future.cancel();
/// }
/// assert!(never.cancelled() && set.deadlock.is_none());
/// ```
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub struct DoneAndNotDone<F> {
    /// The futures that are done.
    pub done: Vec<F>,
    /// The futures that are not done.
    pub not_done: Vec<F>,
    /// The deadlock, if the wait ended early because it was part of one.
    pub deadlock: Option<Deadlock>,
}

impl<F> DoneAndNotDone<F> {
    /// Returns the lists, or the deadlock if the wait was part of one. Then the futures are dropped.
    ///
    /// # Errors
    ///
    /// The wait was part of a deadlock. A time-out is no error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ReturnWhen, ThreadPoolExecutor, wait};
    /// use std::error::Error;
    ///
    /// fn main() -> Result<(), Box<dyn Error>> {
    ///     let pool = ThreadPoolExecutor::new(2);
    ///     let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect();
    ///     let set = wait(&futures, ReturnWhen::AllCompleted, None).into_result()?;
    ///     assert_eq!(set.done.len(), 4);
    ///     Ok(())
    /// }
    /// ```
    pub fn into_result(mut self) -> Result<Self, Deadlock> {
        match self.deadlock.take() {
            Some(deadlock) => Err(deadlock),
            None => Ok(self),
        }
    }
}

/// Waits for futures until some, or all, of them are done, or for at most `timeout`.
///
/// Futures can be given by reference or by value. Those that are given by value are handed back, so that their results can be
/// taken; whatever is not done can be waited for again. A future that is given several times counts once, unless it has
/// [keys](AnyFuture). A time-out is no error: the lists show how far the wait got.
///
/// Each future takes a place in a list and, during the call, one in a hash set. Waiting for the first costs one more allocation for
/// each future that is not done; and for each future that is done meanwhile, the
/// deadlock detection looks at a few of them.
///
/// # Deadlocks
///
/// Without a time-out the wait is in the wait-for graph: for all of the futures, or for any of them. If it is part of a
/// deadlock, it ends and returns the deadlock. A worker that waits for *all* of some futures runs those in its own
/// pool's queue itself.
///
/// # Examples
///
/// ```
/// use bowline::{ReturnWhen, ThreadPoolExecutor, wait};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect();
/// let set = wait(&futures, ReturnWhen::AllCompleted, None);
/// assert_eq!((set.done.len(), set.not_done.len()), (4, 0));
///
/// // By value.
/// let set = wait(futures, ReturnWhen::AllCompleted, None).into_result()?;
/// let squares: Vec<_> = set.done.into_iter().map(|future| future.result().unwrap()).collect();
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), bowline::deadlock::Deadlock>(())
/// ```
#[track_caller]
pub fn wait<F: AnyFuture>(
    futures: impl IntoIterator<Item = F>,
    return_when: ReturnWhen,
    timeout: Option<Duration>,
) -> DoneAndNotDone<F> {
    let mut seen = HashSet::new();
    let futures: Vec<F> =
        futures.into_iter().filter(|future| seen.insert(task_of(future).key()) || has_key(future)).collect();
    let is_unique = seen.len() == futures.len();
    drop(seen);
    let limit = timeout.map_or(Limit::None, Limit::after);
    let ended = wait_for(&futures, is_unique, return_when, limit, Location::caller());
    let deadlock = match ended {
        Err(WaitError::Deadlock(deadlock)) => Some(deadlock),
        Ok(()) | Err(WaitError::TimedOut) => None,
    };
    let (done, not_done) = futures.into_iter().partition(|future| task_of(future).is_done());
    DoneAndNotDone { done, not_done, deadlock }
}

fn wait_for<F: AnyFuture>(
    futures: &[F],
    is_unique: bool,
    return_when: ReturnWhen,
    limit: Limit,
    site: Site,
) -> Result<(), WaitError> {
    let tasks = || futures.iter().map(|future| task_of(future));
    let ends = |status: Status| match return_when {
        ReturnWhen::FirstCompleted => true,
        ReturnWhen::FirstException => status != Status::Finished,
        ReturnWhen::AllCompleted => false,
    };
    // First the pending tasks are collected, then the others are checked for one that is enough: a task that ends
    // meanwhile is in at least one of the two.
    let mut pending: Vec<TaskRef> = tasks().filter(|task| !task.is_done()).cloned().collect();
    if pending.is_empty() || tasks().any(|task| task.is_done() && ends(task.status())) {
        return Ok(());
    }
    if !is_unique {
        let mut seen = HashSet::new();
        pending.retain(|task| seen.insert(task.key()));
    }
    let until = match return_when {
        ReturnWhen::AllCompleted => return wait_all(&pending, limit, Failure::Value, site),
        ReturnWhen::FirstCompleted => Until::First,
        ReturnWhen::FirstException => Until::FirstFailure(pending.len()),
    };
    let set = WaitSet::of(pending.iter(), until);
    let ended = set.wait(&mut Pending::new(pending), limit, site);
    tasks().for_each(|task| task.forget_notice(&set));
    ended
}
