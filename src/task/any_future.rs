//! Futures with results of different types in one wait.

use super::future::Future;
use super::shared_future::SharedFuture;
use super::task_ref::TaskRef;

mod sealed {
    use super::TaskRef;

    /// The task of a future, whatever the type of its result. This trait is sealed: users cannot name it.
    pub trait HasTask {
        fn any_task(&self) -> AnyTask<'_>;
    }

    pub struct AnyTask<'f>(pub(crate) &'f TaskRef);
}
use sealed::{AnyTask, HasTask};

/// A future with a result of any type, as [`wait`](crate::wait) and [`as_completed`](crate::as_completed) take it.
///
/// Implemented by [`Future`], [`SharedFuture`], and references to them; the trait is sealed. To wait for futures of
/// different types, pass `&dyn AnyFuture`s.
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
pub trait AnyFuture: HasTask {}

/// Returns the task of a future.
pub(crate) fn task_of<F: AnyFuture + ?Sized>(future: &F) -> &TaskRef {
    future.any_task().0
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
}

impl<T> AnyFuture for Future<T> {}
impl<T> AnyFuture for SharedFuture<T> {}
impl<F: AnyFuture + ?Sized> AnyFuture for &F {}
