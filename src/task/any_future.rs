//! Futures with results of different types in one wait.

use super::future::Future;
use super::shared_future::SharedFuture;
use super::task_ref::TaskRef;

mod sealed {
    use super::TaskRef;

    /// The task of a future, whatever the type of its result. This trait is sealed: users cannot name it.
    pub trait HasTask {
        fn any_task(&self) -> AnyTask<'_>;

        /// Returns whether this is told of, although another one of the same task is.
        fn has_key(&self) -> bool {
            false
        }
    }

    pub struct AnyTask<'f>(pub(crate) &'f TaskRef);
}
use sealed::{AnyTask, HasTask};

/// A future with a result of any type, as [`wait`](crate::wait) and [`as_completed`](crate::as_completed) take it.
///
/// Implemented by [`Future`], [`SharedFuture`], references to them, and pairs of a key and one of these, which say what the
/// future is of: a `(K, Future<T>)` with a key of any type, such as an item of a map. The trait is sealed. To wait for
/// futures of different types, pass `&dyn AnyFuture`s.
///
/// # Examples
///
/// ```
/// use bowline::task::AnyFuture;
/// use bowline::{ReturnWhen, ThreadPoolExecutor, wait};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let (number, word) = (pool.submit(|| 42), pool.submit(|| "rope"));
/// let both: [&dyn AnyFuture; 2] = [&number, &word];
/// assert_eq!(wait(both, ReturnWhen::AllCompleted, None).done.len(), 2);
/// assert_eq!((number.result().unwrap(), word.result().unwrap()), (42, "rope"));
/// ```
///
/// Futures with keys:
///
/// ```
/// use bowline::{ThreadPoolExecutor, as_completed};
/// use std::collections::HashMap;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let futures: HashMap<_, _> = ["a", "bb", "ccc"].map(|text| (text, pool.submit(|| text.len()))).into();
/// for pair in as_completed(futures) {
///     let (text, future) = pair?;
///     assert_eq!(future.result()?, text.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait AnyFuture: HasTask {}

/// Returns the task of a future.
pub(crate) fn task_of<F: AnyFuture + ?Sized>(future: &F) -> &TaskRef {
    future.any_task().0
}

/// Returns whether a future is told of, although another one of the same task is.
pub(crate) fn has_key<F: AnyFuture + ?Sized>(future: &F) -> bool {
    future.has_key()
}

impl<T> HasTask for Future<T> {
    fn any_task(&self) -> AnyTask<'_> {
        AnyTask(self.task())
    }
}

impl<T> HasTask for SharedFuture<T> {
    fn any_task(&self) -> AnyTask<'_> {
        AnyTask(self.task())
    }
}

impl<F: HasTask + ?Sized> HasTask for &F {
    fn any_task(&self) -> AnyTask<'_> {
        (**self).any_task()
    }

    fn has_key(&self) -> bool {
        (**self).has_key()
    }
}

impl<K, F: HasTask> HasTask for (K, F) {
    fn any_task(&self) -> AnyTask<'_> {
        self.1.any_task()
    }

    fn has_key(&self) -> bool {
        true
    }
}

impl<T> AnyFuture for Future<T> {}
impl<T> AnyFuture for SharedFuture<T> {}
impl<F: AnyFuture + ?Sized> AnyFuture for &F {}
impl<K, F: AnyFuture> AnyFuture for (K, F) {}
