//! An iterator over futures in the order in which they are done.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::pending::Pending;
use super::set::{Until, WaitSet};
use crate::deadlock::Deadlock;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::resource::Site;
use crate::task::any_future::{AnyFuture, has_key, task_of};
use crate::task::task_ref::TaskRef;

/// Yields futures as they are done; those that are done already come first. A future that is given several times is
/// yielded once, unless it has [keys](AnyFuture): then each pair is.
///
/// Takes futures by reference or by value, alone or in pairs with a key of any type, which say what each is of. The iterator
/// keeps nothing of a future that it has yielded. It costs an allocation for each future that is not done.
///
/// # Deadlocks
///
/// A worker that iterates over tasks in its own pool's queue leaves them to other workers: if there is none, that is a
/// deadlock. ([`Future::result`](crate::Future::result) and a [`wait`](crate::wait) for all run them.)
///
/// Each item is `Ok(future)`. An `Err(Unfinished)` is the last item: the [`timeout`](AsCompleted::timeout) is over, or the wait is
/// part of a deadlock. [`into_futures`](AsCompleted::into_futures) then returns the futures that were not yielded, done or not.
/// Without a time-out the iterator waits for any of the rest, in the wait-for graph.
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
///
/// With keys:
///
/// ```
/// use bowline::{ThreadPoolExecutor, as_completed};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures = (0..4).map(|n| (n, pool.submit(move || n * n)));
/// for pair in as_completed(futures) {
///     let (n, future) = pair?;
///     assert_eq!(future.result()?, n * n);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<F: AnyFuture>(futures: impl IntoIterator<Item = F>) -> AsCompleted<F> {
    let (mut numbers, mut firsts, mut others) = (HashMap::new(), Vec::new(), HashMap::<_, VecDeque<F>>::new());
    let mut total = 0;
    for future in futures {
        match numbers.entry(task_of(&future).key()) {
            Entry::Vacant(place) => {
                place.insert(firsts.len());
                firsts.push(Some(future));
            }
            Entry::Occupied(place) if has_key(&future) => others.entry(*place.get()).or_default().push_back(future),
            Entry::Occupied(_) => continue,
        }
        total += 1;
    }
    let tasks: Vec<TaskRef> = firsts.iter().flatten().map(|future| task_of(future).clone()).collect();
    let set = WaitSet::of(tasks.iter(), Until::First);
    AsCompleted {
        firsts,
        others,
        pending: Pending::new(tasks),
        ready: VecDeque::new(),
        set,
        limit: Limit::None,
        total,
        left: total,
        is_over: false,
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
    /// The first future of each task, by the number of the task, taken when it is yielded.
    firsts: Vec<Option<F>>,
    /// The other futures of a task, each with a key of its own, by the number of the task.
    others: HashMap<usize, VecDeque<F>>,
    /// The tasks that have not notified the set yet.
    pending: Pending,
    /// The numbers of the tasks that are done: each as many times as it has futures that were not yielded yet.
    ready: VecDeque<usize>,
    set: Arc<WaitSet>,
    limit: Limit,
    total: usize,
    /// The number of futures that were not yielded yet.
    left: usize,
    /// The iterator has ended with an error.
    is_over: bool,
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

    /// Returns the futures that were not yielded, in the order in which they were given; those of one task stand together.
    ///
    /// They can be waited for again, whatever ended the iterator.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{as_completed, promise};
    /// use std::time::Duration;
    ///
    /// let (promise, future) = promise();
    /// let mut futures = as_completed([future]).timeout(Duration::from_millis(1));
    /// assert!(futures.next().unwrap().is_err());
    /// promise.set_result(42).unwrap();
    /// for future in futures.into_futures() {
    ///     assert_eq!(future.result().unwrap(), 42);
    /// }
    /// ```
    #[must_use]
    pub fn into_futures(mut self) -> Vec<F> {
        self.forget_notices();
        let mut left = Vec::with_capacity(self.left);
        for (number, first) in std::mem::take(&mut self.firsts).into_iter().enumerate() {
            left.extend(first);
            left.extend(self.others.remove(&number).into_iter().flatten());
        }
        left
    }

    fn look(&mut self) {
        for number in self.set.take_told() {
            self.pending.remove(number);
            let others = self.others.get(&number).map_or(0, VecDeque::len);
            self.ready.extend(std::iter::repeat_n(number, 1 + others));
        }
    }

    fn give_up(&mut self, deadlock: Option<Deadlock>) -> Unfinished {
        self.is_over = true;
        self.forget_notices();
        Unfinished { left: self.left, total: self.total, deadlock }
    }

    /// Makes the tasks that are not done forget this iterator.
    fn forget_notices(&self) {
        self.firsts.iter().flatten().for_each(|future| task_of(future).forget_notice(&self.set));
    }

    /// Returns the next future, for a caller on this line.
    pub(super) fn next_at(&mut self, site: Site) -> Option<Result<F, Unfinished>> {
        if self.left == 0 || self.is_over {
            return None;
        }
        if self.ready.is_empty() {
            self.look();
        }
        if self.ready.is_empty() {
            if let Err(ended) = self.set.wait(&mut self.pending, self.limit, site) {
                let deadlock = if let WaitError::Deadlock(deadlock) = ended { Some(deadlock) } else { None };
                return Some(Err(self.give_up(deadlock)));
            }
            self.look();
        }
        let number = self.ready.pop_front().expect("a wait for the first ends with one");
        self.left -= 1;
        let other = || self.others.get_mut(&number).and_then(VecDeque::pop_front);
        self.firsts[number].take().or_else(other).map(Ok)
    }
}

impl<F: AnyFuture> Iterator for AsCompleted<F> {
    type Item = Result<F, Unfinished>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_at(Location::caller())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(if self.is_over { 0 } else { self.left }))
    }
}

impl<F: AnyFuture> FusedIterator for AsCompleted<F> {}

impl<F: AnyFuture> Drop for AsCompleted<F> {
    fn drop(&mut self) {
        self.forget_notices();
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
/// It borrows nothing of the futures, which the iterator keeps: see [`AsCompleted::into_futures`].
///
/// # Examples
///
/// ```
/// use bowline::{as_completed, promise};
/// use std::time::Duration;
///
/// let (_promise, never) = promise::<u8>();
/// let mut futures = as_completed([&never]).timeout(Duration::from_millis(1));
/// let unfinished = futures.next().unwrap().unwrap_err();
/// assert_eq!(unfinished.to_string(), "1 (of 1) futures unfinished");
/// ```
#[derive(Clone)]
pub struct Unfinished {
    left: usize,
    total: usize,
    deadlock: Option<Deadlock>,
}

impl Unfinished {
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

    pub(super) fn into_deadlock(self) -> Option<Deadlock> {
        self.deadlock
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (of {}) futures unfinished", self.left, self.total)?;
        self.deadlock.as_ref().map_or(Ok(()), |deadlock| write!(f, ": {deadlock}"))
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written for the reader of an `unwrap`'s message.
        write!(f, "Unfinished({self})")
    }
}

impl std::error::Error for Unfinished {}
