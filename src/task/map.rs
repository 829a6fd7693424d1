//! A function applied to many items, on the workers, with the results in order.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Rejected, TaskError};
use super::future::Future;
use super::results::{self, Results};
use super::wait::one::wait_done;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;

/// The maximum number of chunks that are under way for each worker, unless [`Map::buffer_size`] says otherwise.
const MAX_CHUNKS_PER_WORKER: usize = 16;

/// The ordered results of [`ThreadPoolExecutor::map`](crate::ThreadPoolExecutor::map), or of the `map` of a process
/// pool.
///
/// A call that panics does not count in the pool's [`panic_count`](crate::ThreadPoolExecutor::panic_count): the panic
/// is the result of its item. While a bounded queue is full, nothing is submitted ahead.
///
/// An item whose call panicked, or could not be run, is an `Err` in its place; the iteration goes on after it. Dropping
/// the iterator cancels what has not begun.
///
/// `E` is the executor that makes the calls. The items, the function and the results have the bounds of its `map`.
///
/// # Examples
///
/// ```
/// use bowline::{TaskError, ThreadPoolExecutor};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let results: Vec<_> = pool.map(|n: u32| 12 / n, [3, 0, 4]).collect();
/// assert!(matches!(&results[..], [Ok(4), Err(TaskError::Panicked(_)), Ok(3)]));
/// ```
#[must_use = "a map does nothing until it is iterated or started"]
pub struct Map<I: Iterator, F, R, E: HasMap> {
    calls: E::Calls<F>,
    items: std::iter::Fuse<I>,
    site: Site,
    chunk_size: usize,
    /// The maximum number of items that are under way.
    buffer_size: Option<usize>,
    limit: Limit,
    /// The items of the next chunk that were taken so far.
    next: Vec<I::Item>,
    /// Chunks that are under way, with their sizes.
    chunks: VecDeque<(Future<Results<R>>, usize)>,
    /// The sum of their sizes.
    under_way: usize,
    /// The rest of the results of the chunk before them.
    first: results::IntoIter<R>,
    /// The iterator is gone, or gave up: items that were not begun are not wanted.
    stop: Arc<AtomicBool>,
}

/// An executor that has a `map`. Users cannot name this trait, nor the types that follow.
pub trait HasMap {
    /// The parts of the executor that a map keeps, and the function.
    type Calls<F>;
}

/// A taker of a map's chunks: a function, and the workers that it is called on.
pub trait TakesChunks<T, R> {
    /// Submits a chunk as one task, which gives a result for each item, in their order. If the chunk is refused, the
    /// future says so.
    fn submit_chunk(&self, chunk: Chunk<T>) -> Future<Results<R>>;

    /// Returns whether a chunk would be taken without a wait.
    fn has_room(&self) -> bool;

    /// Returns the maximum number of chunks that run at a time.
    fn max_workers(&self) -> usize;
}

/// The items of one task.
pub struct Chunk<T> {
    pub(crate) items: Vec<T>,
    /// Once this is set, nobody wants the items that were not begun: the calls that are left out are `Cancelled`.
    pub(crate) stop: Arc<AtomicBool>,
    /// The line that made the map.
    pub(crate) site: Site,
    /// The limit of a wait for room. When it is over, the refusal is a `Timeout`, which ends the map.
    pub(crate) limit: Limit,
}

impl<I, F, R, E> Map<I, F, R, E>
where
    I: Iterator,
    E: HasMap<Calls<F>: TakesChunks<I::Item, R>>,
{
    pub(crate) fn new(calls: E::Calls<F>, items: I, site: Site) -> Self {
        Self {
            calls,
            items: items.fuse(),
            site,
            chunk_size: 1,
            buffer_size: None,
            limit: Limit::None,
            next: Vec::new(),
            chunks: VecDeque::new(),
            under_way: 0,
            first: Results::with_capacity(0).into_iter(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Sets the number of items that one task takes. The default is 1. For short calls, a larger number is faster.
    ///
    /// # Panics
    ///
    /// `items` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// let sum: u64 = pool.map(|n| n * n, 0..1000).chunk_size(100).map(Result::unwrap).sum(); // ten tasks
    /// assert_eq!(sum, 332_833_500);
    /// assert_eq!(pool.completed(), 10);
    /// ```
    #[track_caller]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = NonZeroUsize::new(items).expect("chunk_size must be greater than 0").get();
        self
    }

    /// Sets the maximum number of items that are taken from the input ahead of the results that were yielded; at least
    /// one chunk is taken. The default is 16 chunks for each worker that there may be.
    ///
    /// While the next result is there, no more items are taken: the result is yielded first. A slow input, such as a
    /// channel, is not interrupted: a result that becomes ready while the input is waited for is yielded after that.
    /// With a buffer of 1, each result is yielded before the next item is asked for.
    ///
    /// # Panics
    ///
    /// `items` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// let mut taken = 0;
    /// let mut squares = pool.map(|n| n * n, (0..).inspect(|_| taken += 1)).buffer_size(4);
    /// assert_eq!(squares.next().unwrap().unwrap(), 0);
    /// drop(squares);
    /// assert!(taken <= 4); // although the input is infinite
    /// ```
    #[track_caller]
    pub fn buffer_size(mut self, items: usize) -> Self {
        self.buffer_size = Some(NonZeroUsize::new(items).expect("buffer_size must be greater than 0").get());
        self
    }

    /// Sets a limit, counted from this call: if a result is not there within `timeout`, the iteration ends with
    /// [`TaskError::Timeout`], and what has not begun is cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{TaskError, ThreadPoolExecutor, promise};
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (open, opened) = promise::<()>();
    /// let opened = opened.shared();
    /// let mut results = pool.map(move |_| opened.result().is_ok(), 0..2).timeout(Duration::from_millis(10));
    /// assert!(matches!(results.next(), Some(Err(TaskError::Timeout))));
    /// assert!(results.next().is_none());
    /// drop(open); // the call that was begun goes on
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::after(timeout);
        self
    }

    /// Submits as many items as may be under way, without waiting for the first call of `next`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use std::sync::mpsc;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let (tell, told) = mpsc::channel();
    /// let mut results = pool.map(move |n| tell.send(n).is_ok(), [7]).start();
    /// assert_eq!(told.recv().unwrap(), 7); // before anybody asks for a result
    /// assert!(results.next().unwrap().unwrap());
    /// ```
    pub fn start(mut self) -> Self {
        self.submit(false);
        self
    }

    /// Submits as many items as may be under way, or fewer if a result is `asked_for` and the next one is there.
    fn submit(&mut self, asked_for: bool) {
        if self.stop.load(Relaxed) {
            return;
        }
        let ahead = self.buffer_size.unwrap_or_else(|| {
            self.calls.max_workers().saturating_mul(MAX_CHUNKS_PER_WORKER).saturating_mul(self.chunk_size)
        });
        // Submitting ahead never waits: a full queue has to give the first result first.
        while self.not_yielded() == 0
            || self.not_yielded().saturating_add(self.chunk_size) <= ahead && self.calls.has_room()
        {
            let is_asked_for = self.chunks.front().filter(|_| asked_for).map(|(future, _)| future);
            if !take_chunk(&mut self.next, &mut self.items, self.chunk_size, is_asked_for) {
                return;
            }
            let size = self.next.len();
            if size == 0 {
                return;
            }
            let items = std::mem::take(&mut self.next);
            let chunk = Chunk { items, stop: Arc::clone(&self.stop), site: self.site, limit: self.limit };
            let future = self.calls.submit_chunk(chunk);
            // After what may unwind: a subscriber's code.
            self.under_way += size;
            self.chunks.push_back((future, size));
        }
    }

    /// Waits for the results of the next chunk. Returns whether there is one.
    #[inline(never)]
    fn next_chunk(&mut self, site: Site) -> bool {
        self.submit(true);
        let Some((mut future, size)) = self.chunks.pop_front() else { return false };
        self.under_way -= size;
        let done = wait_done(future.task(), self.limit, site).map_err(TaskError::from);
        let results = match done.map(|()| future.try_result().unwrap_or(Err(TaskError::Taken))) {
            Ok(Ok(results)) => results,
            Ok(Err(TaskError::Rejected(Rejected::Timeout))) => {
                self.give_up();
                Results::all_failed(TaskError::Timeout, 1)
            }
            // All items of the chunk.
            Ok(Err(error)) => Results::all_failed(error, size),
            Err(error) => {
                future.cancel();
                self.give_up();
                Results::all_failed(error, 1)
            }
        };
        self.first = results.into_iter();
        true
    }
}

/// Takes items until there are enough for a chunk, or no more. Returns `false` if the result that is asked for is there
/// before that.
fn take_chunk<T, R>(
    chunk: &mut Vec<T>,
    items: &mut impl Iterator<Item = T>,
    size: usize,
    asked_for: Option<&Future<R>>,
) -> bool {
    // There may be more already, if chunks were larger before.
    let missing = size.saturating_sub(chunk.len());
    if chunk.is_empty() {
        chunk.reserve_exact(items.size_hint().0.min(missing));
    }
    // The input may take as long as it likes, and can't be interrupted.
    for _ in 0..missing {
        if asked_for.is_some_and(Future::done) {
            return false;
        }
        let Some(item) = items.next() else { break };
        chunk.push(item);
    }
    true
}

impl<I: Iterator, F, R, E: HasMap> Map<I, F, R, E> {
    /// Returns how many items were submitted whose results were not yielded.
    fn not_yielded(&self) -> usize {
        self.under_way + self.first.len()
    }

    /// Cancels the chunks that have not begun. No more will be submitted.
    fn give_up(&mut self) {
        self.stop.store(true, Relaxed);
        self.under_way = 0;
        // From the last to the first: workers take from the front.
        while let Some((future, _)) = self.chunks.pop_back() {
            future.cancel();
        }
    }
}

impl<I, F, R, E> Iterator for Map<I, F, R, E>
where
    I: Iterator,
    E: HasMap<Calls<F>: TakesChunks<I::Item, R>>,
{
    type Item = Result<R, TaskError>;

    #[inline]
    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        let site = std::panic::Location::caller();
        loop {
            if let Some(result) = self.first.next() {
                return Some(result);
            }
            if !self.next_chunk(site) {
                return None;
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.stop.load(Relaxed) {
            return (0, Some(self.first.len()));
        }
        // A time-out, or a deadlock, ends it early.
        let (_, most) = self.items.size_hint();
        (0, most.and_then(|most| most.checked_add(self.not_yielded())?.checked_add(self.next.len())))
    }
}

impl<I, F, R, E> FusedIterator for Map<I, F, R, E>
where
    I: Iterator,
    E: HasMap<Calls<F>: TakesChunks<I::Item, R>>,
{
}

impl<I: Iterator, F, R, E: HasMap> Drop for Map<I, F, R, E> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<I: Iterator, F, R, E: HasMap> fmt::Debug for Map<I, F, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("under_way", &self.not_yielded()).finish_non_exhaustive()
    }
}
