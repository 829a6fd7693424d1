//! Futures of different results in one wait.

use super::future::Future;
use super::shared_future::SharedFuture;
use super::task_ref::TaskRef;

mod sealed {
    use super::TaskRef;

    /// What is waited for, whatever its type: nothing that a user could name.
    pub trait HasTask {
        fn any_task(&self) -> AnyTask<'_>;
    }

    pub struct AnyTask<'f>(pub(crate) &'f TaskRef);
}
use sealed::{AnyTask, HasTask};

/// A future, whatever its result: what [`wait`](crate::wait) and [`as_completed`](crate::as_completed) take.
///
/// Implemented by [`Future`], [`SharedFuture`], and references to them. A set of different ones is a set of
/// `&dyn AnyFuture`.
pub trait AnyFuture: HasTask {}

/// The task of a future.
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
