//! An iterator over futures in the order in which they are done.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::pending::Pending;
use super::set::{Until, WaitSet};
use crate::deadlock::Deadlock;
use crate::deadlock::door::{Limit, WaitError};
use crate::task::any_future::{AnyFuture, task_of};
use crate::task::task_ref::TaskRef;

/// Yields futures as they are done; those that are done already come first. A future that is given several times is
/// yielded once.
///
/// The iterator keeps nothing of a future that it has yielded. It costs an allocation for each future that is not done.
///
/// # Deadlocks
///
/// A worker that iterates over tasks in its own pool's queue leaves them to other workers: if there is none, that is a
/// deadlock. ([`Future::result`](crate::Future::result) and a [`wait`](crate::wait) for all run them.)
///
/// Between two futures the iterator waits for any of the rest, in the wait-for graph (unless there is a
/// [`timeout`](AsCompleted::timeout)). If that wait is part of a deadlock, the last item says so, and returns the
/// futures that are not done.
///
/// # Examples
///
/// ```
/// use bowline::{ThreadPoolExecutor, as_completed};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: Vec<_> = (0..4).map(|n| pool.submit(move || n * n)).collect();
/// let mut sum = 0;
/// for future in as_completed(futures) {
///     sum += future?.result()?;
/// }
/// assert_eq!(sum, 14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<F: AnyFuture>(futures: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    let mut seen = HashSet::new();
    let futures: Vec<_> = futures.into_iter().filter(|future| seen.insert(task_of(future).key())).map(Some).collect();
    let tasks: Vec<TaskRef> = futures.iter().flatten().map(|future| task_of(future).clone()).collect();
    let set = WaitSet::of(tasks.iter(), Until::First);
    let total = futures.len();
    AsCompleted {
        futures,
        pending: Pending::new(tasks),
        ready: VecDeque::new(),
        set,
        limit: Limit::None,
        total,
        left: total,
    }
}

/// The iterator of [`as_completed`].
///
/// # Examples
///
/// ```
/// use bowline::{ThreadPoolExecutor, as_completed, promise};
///
/// let pool = ThreadPoolExecutor::new(1);
/// let (_promise, never) = promise::<u8>();
/// let mut futures = as_completed([never, pool.submit(|| 42)]);
/// let first = futures.next().unwrap()?;
/// assert_eq!(first.result()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct AsCompleted<F: AnyFuture> {
    /// The futures by number, each taken when it is yielded.
    futures: Vec<Option<F>>,
    /// The tasks that have not notified the set yet.
    pending: Pending,
    /// The numbers of the futures that are done and were not yielded yet.
    ready: VecDeque<usize>,
    set: Arc<WaitSet>,
    limit: Limit,
    total: usize,
    /// The number of futures that were not yielded yet.
    left: usize,
}

impl<F: AnyFuture> AsCompleted<F> {
    /// Sets a limit, counted from this call: if not all futures are done within `timeout`, the iterator ends with
    /// [`Unfinished`].
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{as_completed, promise};
    /// use std::time::Duration;
    ///
    /// let (_promise, never) = promise::<u8>();
    /// let mut futures = as_completed([never]).timeout(Duration::from_millis(1));
    /// assert!(futures.next().unwrap().is_err());
    /// assert!(futures.next().is_none());
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::after(timeout);
        self
    }

    fn look(&mut self) {
        for number in self.set.take_told() {
            self.pending.remove(number);
            self.ready.push_back(number);
        }
    }

    fn give_up(&mut self, deadlock: Option<Deadlock>) -> Unfinished<F> {
        self.left = 0;
        let futures: Vec<_> = self.futures.drain(..).flatten().collect();
        futures.iter().for_each(|future| task_of(future).forget_notice(&self.set));
        Unfinished { futures, total: self.total, deadlock }
    }
}

impl<F: AnyFuture> Iterator for AsCompleted<F> {
    type Item = Result<F, Unfinished<F>>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        if self.ready.is_empty() {
            self.look();
        }
        if self.ready.is_empty() {
            if let Err(ended) = self.set.wait(&mut self.pending, self.limit, Location::caller()) {
                let deadlock = if let WaitError::Deadlock(deadlock) = ended { Some(deadlock) } else { None };
                return Some(Err(self.give_up(deadlock)));
            }
            self.look();
        }
        let number = self.ready.pop_front().expect("a wait for the first ends with one");
        self.left -= 1;
        self.futures[number].take().map(Ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl<F: AnyFuture> FusedIterator for AsCompleted<F> {}

impl<F: AnyFuture> Drop for AsCompleted<F> {
    fn drop(&mut self) {
        self.futures.iter().flatten().for_each(|future| task_of(future).forget_notice(&self.set));
    }
}

impl<F: AnyFuture> fmt::Debug for AsCompleted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).field("total", &self.total).finish_non_exhaustive()
    }
}

/// The error with which [`as_completed`] ends before all futures are done: it timed out, or the wait was part of a
/// deadlock.
///
/// # Examples
///
/// ```
/// use bowline::{as_completed, promise};
/// use std::time::Duration;
///
/// let (promise, future) = promise();
/// let mut futures = as_completed([future]).timeout(Duration::from_millis(1));
/// let unfinished = futures.next().unwrap().unwrap_err();
/// promise.set_result(42).unwrap();
/// for future in unfinished.into_futures() {
///     assert_eq!(future.result().unwrap(), 42);
/// }
/// ```
pub struct Unfinished<F> {
    futures: Vec<F>,
    total: usize,
    deadlock: Option<Deadlock>,
}

impl<F> Unfinished<F> {
    /// Returns the futures that were not yielded.
    #[must_use]
    pub fn into_futures(self) -> Vec<F> {
        self.futures
    }

    /// Returns the deadlock, if it was one; otherwise it was a time-out.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ThreadPoolExecutor, as_completed, deadlock::Kind};
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let same = pool.clone();
    /// let outer = pool.submit(move || {
    ///     let inner = same.submit(|| 42); // queued behind the task that waits for it
    ///     let unfinished = as_completed([inner]).next().unwrap().unwrap_err();
    ///     unfinished.deadlock().map(|deadlock| deadlock.report().kind())
    /// });
    /// assert_eq!(outer.result().unwrap(), Some(Kind::Starvation));
    /// ```
    #[must_use]
    pub fn deadlock(&self) -> Option<&Deadlock> {
        self.deadlock.as_ref()
    }
}

impl<F> fmt::Display for Unfinished<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (of {}) futures unfinished", self.futures.len(), self.total)?;
        self.deadlock.as_ref().map_or(Ok(()), |deadlock| write!(f, ": {deadlock}"))
    }
}

impl<F> fmt::Debug for Unfinished<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written for the reader of an `unwrap`'s message.
        write!(f, "Unfinished({self})")
    }
}

impl<F> std::error::Error for Unfinished<F> {}
