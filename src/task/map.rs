//! A function applied to many items, on the workers, with the results in order.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Rejected, TaskError};
use super::future::Future;
use super::wait::one::wait_done;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;
use crate::thread_pool::ThreadPoolExecutor;

/// So many chunks for each worker are under way unless [`Map::buffer_size`] says otherwise.
const CHUNKS_PER_WORKER: usize = 16;

/// The ordered results of [`ThreadPoolExecutor::map`](super::ThreadPoolExecutor::map), or of a process pool's.
///
/// A panic of a call is not among the pool's [`panic_count`](super::ThreadPoolExecutor::panic_count): it is an item's result. A
/// bounded queue that is full delays what would be submitted ahead.
///
/// An item whose call panicked, or could not be run, is an `Err` in its place; the iteration goes on after it. Dropping the
/// iterator cancels what nobody has begun.
///
/// `E` is the executor that makes the calls. Of the items, the function and the results it asks what its own `map` does.
#[must_use = "a map does nothing until it is iterated or started"]
pub struct Map<I: Iterator, F, R, E: HasMap = ThreadPoolExecutor> {
    calls: E::Calls<F>,
    items: std::iter::Fuse<I>,
    site: Site,
    chunk_size: usize,
    /// In items.
    buffer_size: Option<usize>,
    limit: Limit,
    /// The items of the next chunk, as far as they were taken.
    next: Vec<I::Item>,
    /// Chunks that are under way, with their sizes.
    chunks: VecDeque<(Future<Results<R>>, usize)>,
    /// What is left of the first chunk.
    first: std::vec::IntoIter<Result<R, TaskError>>,
    /// Items that were submitted and whose results were not yielded.
    under_way: usize,
    /// The iterator is gone, or gave up: items that were not begun are not wanted.
    stop: Arc<AtomicBool>,
}

pub(crate) type Results<R> = Vec<Result<R, TaskError>>;

/// An executor that has a `map`: nothing that a user could name, like the following.
pub trait HasMap {
    /// What a map keeps of the executor, and the function.
    type Calls<F>;
}

/// What takes the chunks of a map: a function, and the workers that it is called on.
pub trait TakesChunks<T, R> {
    /// Submits a chunk as one task, which gives a result for each item, in their order. If the chunk is refused the future
    /// says so.
    fn submit_chunk(&self, chunk: Chunk<T>) -> Future<Results<R>>;

    /// Whether a chunk would be taken without a wait.
    fn has_room(&self) -> bool;

    /// How many chunks may run at a time.
    fn max_workers(&self) -> usize;
}

/// The items of one task.
pub struct Chunk<T> {
    pub(crate) items: Vec<T>,
    /// Once it is set nobody wants the items that were not begun: the calls that are left out are `Cancelled`.
    pub(crate) stop: Arc<AtomicBool>,
    /// Where the map was made.
    pub(crate) site: Site,
    /// Of a wait for room. When it is over, the refusal is a `Timeout`, which ends the map.
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
            first: Vec::new().into_iter(),
            under_way: 0,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    /// How many items one task takes. The default is 1; many for short calls.
    ///
    /// # Panics
    ///
    /// `items` is 0.
    #[track_caller]
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = NonZeroUsize::new(items).expect("chunk_size must be greater than 0").get();
        self
    }

    /// How many items are taken from the input ahead of the results that were yielded (one chunk at least). The default is
    /// 16 chunks for each worker that there may be.
    ///
    /// While the next result is there no more are taken: it is yielded first. An input that is slow, such as a channel, is not
    /// interrupted: what becomes ready while an item is waited for is yielded after that. With a buffer of 1 each result
    /// comes before the next item is asked for.
    ///
    /// # Panics
    ///
    /// `items` is 0.
    #[track_caller]
    pub fn buffer_size(mut self, items: usize) -> Self {
        self.buffer_size = Some(NonZeroUsize::new(items).expect("buffer_size must be greater than 0").get());
        self
    }

    /// Ends with [`TaskError::Timeout`] when a result is not there within `timeout`, counted from this call; what was not
    /// begun is cancelled.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::after(timeout);
        self
    }

    /// Submits as many items as may be under way, without waiting for the first call of `next`.
    pub fn start(mut self) -> Self {
        self.submit(false);
        self
    }

    /// Submits as many items as may be under way; fewer, if a result is `asked_for` and the next one is there.
    fn submit(&mut self, asked_for: bool) {
        let ahead = self.buffer_size.unwrap_or_else(|| {
            self.calls.max_workers().saturating_mul(CHUNKS_PER_WORKER).saturating_mul(self.chunk_size)
        });
        // What is submitted ahead is not waited for: a full queue has to give the first result first.
        while self.under_way == 0 || self.under_way.saturating_add(self.chunk_size) <= ahead && self.calls.has_room() {
            while self.next.len() < self.chunk_size {
                // The input may take as long as it likes, and can't be interrupted.
                if asked_for && self.is_first_done() {
                    return;
                }
                if self.next.is_empty() {
                    self.next.reserve_exact(self.items.size_hint().0.min(self.chunk_size));
                }
                let Some(item) = self.items.next() else { break };
                self.next.push(item);
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

    /// Whether the next chunk's results are there.
    fn is_first_done(&self) -> bool {
        self.chunks.front().is_some_and(|(future, _)| future.done())
    }

    /// The results of the next chunk; whether there is one.
    #[inline(never)]
    fn next_chunk(&mut self, site: Site) -> bool {
        if self.stop.load(Relaxed) {
            return false;
        }
        self.submit(true);
        let Some((mut future, size)) = self.chunks.pop_front() else { return false };
        let done = wait_done(future.task(), self.limit, site).map_err(TaskError::from);
        let results = match done.map(|()| future.try_result().unwrap_or(Err(TaskError::Taken))) {
            Ok(Ok(results)) => results,
            Ok(Err(TaskError::Rejected(Rejected::Timeout))) => {
                self.give_up();
                vec![Err(TaskError::Timeout)]
            }
            // All items of the chunk.
            Ok(Err(error)) => vec![error; size].into_iter().map(Err).collect(),
            Err(error) => {
                future.cancel();
                self.give_up();
                vec![Err(error)]
            }
        };
        self.first = results.into_iter();
        true
    }
}

impl<I: Iterator, F, R, E: HasMap> Map<I, F, R, E> {
    /// Cancels what nobody has begun; there will be no more chunks.
    fn give_up(&mut self) {
        self.stop.store(true, Relaxed);
        // The last first: a worker takes the first.
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
                self.under_way = self.under_way.saturating_sub(1);
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
        (0, most.and_then(|most| most.checked_add(self.under_way)?.checked_add(self.next.len())))
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
        f.debug_struct("Map").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}
