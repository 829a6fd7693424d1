//! A function applied to many items, on the workers, with the results in order.

use std::collections::VecDeque;
use std::fmt;
use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::submit::Task;
use crate::deadlock::resource::Site;
use crate::deadlock::wait::Limit;
use crate::executor::blocking::wait_done;
use crate::executor::error::{Rejected, TaskError};
use crate::executor::future::Future;
use crate::executor::panic;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;

/// So many chunks for each worker are under way unless [`Map::buffer_size`] says otherwise.
const CHUNKS_PER_WORKER: usize = 16;

/// The ordered results of [`ThreadPoolExecutor::map`](super::ThreadPoolExecutor::map).
///
/// A panic of a call is not among the pool's [`panic_count`](super::ThreadPoolExecutor::panic_count): it is an item's result. A
/// bounded queue that is full delays what would be submitted ahead.
///
/// An item whose call panicked, or could not be run, is an `Err` in its place; the iteration goes on after it. Dropping the
/// iterator cancels what nobody has begun.
#[must_use = "a map does nothing until it is iterated or started"]
pub struct Map<I: Iterator, F, R> {
    core: Arc<Core>,
    f: Arc<F>,
    items: std::iter::Fuse<I>,
    site: Site,
    chunk_size: usize,
    /// In items.
    buffer_size: Option<usize>,
    limit: Limit,
    /// Chunks that are under way, with their sizes.
    chunks: VecDeque<(Future<Results<R>>, usize)>,
    /// What is left of the first chunk.
    first: std::vec::IntoIter<Result<R, TaskError>>,
    /// Items that were taken and whose results were not yielded.
    under_way: usize,
    /// The iterator is gone, or gave up: items that were not begun are not wanted.
    stop: Arc<AtomicBool>,
}

type Results<R> = Vec<Result<R, TaskError>>;

impl<I, F, R> Map<I, F, R>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    pub(super) fn new(core: Arc<Core>, f: F, items: I, site: Site) -> Self {
        Self {
            core,
            f: Arc::new(f),
            items: items.fuse(),
            site,
            chunk_size: 1,
            buffer_size: None,
            limit: Limit::None,
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
        self.submit();
        self
    }

    fn submit(&mut self) {
        let ahead = self.buffer_size.unwrap_or_else(|| {
            self.core.max_workers().saturating_mul(CHUNKS_PER_WORKER).saturating_mul(self.chunk_size)
        });
        // What is submitted ahead is not waited for: a full queue has to give the first result first.
        while self.under_way == 0 || self.under_way.saturating_add(self.chunk_size) <= ahead && self.core.has_room() {
            let items: Vec<_> = self.items.by_ref().take(self.chunk_size).collect();
            let size = items.len();
            if size == 0 {
                return;
            }
            let (f, stop) = (Arc::clone(&self.f), Arc::clone(&self.stop));
            let run = move || call_all(&*f, &stop, items);
            // SAFETY:
            // - the closure and the results borrow nothing.
            let future = unsafe { Task::new(run, None, self.site).submit(&self.core, self.limit) };
            // After what may unwind: a subscriber's code.
            self.under_way += size;
            self.chunks.push_back((future, size));
        }
    }

    /// The results of the next chunk; whether there is one.
    #[inline(never)]
    fn next_chunk(&mut self, site: Site) -> bool {
        if self.stop.load(Relaxed) {
            return false;
        }
        self.submit();
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

/// The calls of one chunk. A panic stays with its item: the calls after it are begun anew, so that those which do not
/// panic cost no more than a call.
fn call_all<I, R>(f: &impl Fn(I) -> R, stop: &AtomicBool, items: Vec<I>) -> Results<R> {
    let mut results = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    while items.len() > 0 {
        let call = |item| if stop.load(Relaxed) { Err(TaskError::Cancelled) } else { Ok(f(item)) };
        let ended = panic::catch(|| results.extend(items.by_ref().map(call)));
        results.extend(ended.map_err(TaskError::Panicked).err().map(Err));
    }
    results
}

impl<I: Iterator, F, R> Map<I, F, R> {
    /// Cancels what nobody has begun; there will be no more chunks.
    fn give_up(&mut self) {
        self.stop.store(true, Relaxed);
        // The last first: a worker takes the first.
        while let Some((future, _)) = self.chunks.pop_back() {
            future.cancel();
        }
    }
}

impl<I, F, R> Iterator for Map<I, F, R>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
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
        (0, most.and_then(|most| most.checked_add(self.under_way)))
    }
}

impl<I, F, R> FusedIterator for Map<I, F, R>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
}

impl<I: Iterator, F, R> Drop for Map<I, F, R> {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl<I: Iterator, F, R> fmt::Debug for Map<I, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}
