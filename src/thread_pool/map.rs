//! The chunks of a map, on the workers of a thread pool.

use std::sync::Arc;

use super::ThreadPoolExecutor;
use super::cancel_token::CancelToken;
use super::pool::Pool;
use super::submit::Task;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;
use crate::task::error::TaskError;
use crate::task::future::Future;
use crate::task::map::{Chunk, HasMap, TakesChunks};
use crate::task::panic;
use crate::task::results::Results;

/// The ordered results of [`ThreadPoolExecutor::map`], or of the `map` of a process pool. `E` is the executor that
/// makes the calls.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
/// use bowline::thread_pool::Map;
/// use std::ops::Range;
///
/// fn squares(pool: &ThreadPoolExecutor, numbers: Range<u64>) -> Map<Range<u64>, fn(u64) -> u64, u64> {
///     pool.map(|n| n * n, numbers)
/// }
///
/// let pool = ThreadPoolExecutor::new(2);
/// let sum: u64 = squares(&pool, 0..5).map(Result::unwrap).sum();
/// assert_eq!(sum, 30);
/// ```
pub type Map<I, F, R, E = ThreadPoolExecutor> = crate::task::map::Map<I, F, R, E>;

impl HasMap for ThreadPoolExecutor {
    type Calls<F> = ThreadCalls<F>;
}

/// A function, and the pool whose workers call it. This is no handle of the pool, which may end before the map.
pub struct ThreadCalls<F> {
    pool: Arc<Pool>,
    f: Arc<F>,
    /// What tells the calls that run to stop.
    token: Option<CancelToken>,
}

impl<F> ThreadCalls<F> {
    pub(super) fn new(pool: Arc<Pool>, f: F) -> Self {
        Self { pool, f: Arc::new(f), token: None }
    }

    /// Cancels the token once a chunk that runs is not wanted any more.
    pub(super) fn stopped_by(self, token: CancelToken) -> Self {
        Self { token: Some(token), ..self }
    }

    // Not in the trait's method: reports show the closure's type, and in there it would name the trait, too.
    fn submit<T, R>(&self, chunk: Chunk<T>) -> Future<Results<R>>
    where
        T: Send + 'static,
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let Chunk { items, stop, site, limit } = chunk;
        let f = Arc::clone(&self.f);
        let run = move || call_all(&*f, &stop, items);
        // SAFETY:
        // - the closure and the results borrow nothing.
        let future = unsafe { Task::new(run, None, site).submit(&self.pool, limit) };
        if let Some(token) = &self.token {
            future.task().stop_by(token.as_stop());
        }
        future
    }
}

impl<T, F, R> TakesChunks<T, R> for ThreadCalls<F>
where
    T: Send + 'static,
    F: Fn(T) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    fn submit_chunk(&self, chunk: Chunk<T>) -> Future<Results<R>> {
        self.submit(chunk)
    }

    fn has_room(&self) -> bool {
        self.pool.has_room()
    }

    fn max_workers(&self) -> usize {
        self.pool.max_workers()
    }
}

/// Makes the calls of one chunk. A panic stays with its item: the loop begins anew after it, so that calls which do not
/// panic cost no more than a call.
fn call_all<I, R>(f: &impl Fn(I) -> R, stop: &AtomicBool, items: Vec<I>) -> Results<R> {
    let mut results = Results::with_capacity(items.len());
    let mut items = items.into_iter();
    while items.len() > 0 {
        let ended = panic::catch(|| {
            for item in items.by_ref() {
                if stop.load(Relaxed) {
                    // Before its result is there: the destructor may panic.
                    drop(item);
                    results.push_error(TaskError::Cancelled);
                } else {
                    results.push(f(item));
                }
            }
        });
        if let Err(panic) = ended {
            results.push_error(TaskError::Panicked(panic));
        }
    }
    results
}
