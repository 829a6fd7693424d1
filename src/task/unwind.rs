//! The types that may be used on after a panic was caught.
//!
//! No panic leaves a value of these types half changed: the user's code is contained wherever a task, a callback or a
//! destructor is run, and nothing of ours unwinds in the middle of a change. A value that a future gives is moved out
//! of it, or was never there.

use std::panic::{RefUnwindSafe, UnwindSafe};

use super::error::{CustomError, Rejected, StartError, StartFailure, TaskError};
use super::future::Future;
use super::promise::Promise;
use super::shared_future::SharedFuture;
use super::task_ref::TaskRef;
use super::wait::set::WaitSet;

macro_rules! unwind_safe {
    ($($type:ty),* $(,)?) => {
        $(
            impl UnwindSafe for $type {}
            impl RefUnwindSafe for $type {}
        )*
    };
}

pub(crate) use unwind_safe;

unwind_safe!(CustomError, Rejected, StartError, StartFailure, TaskError, TaskRef, WaitSet);

impl<T> UnwindSafe for Future<T> {}
impl<T> RefUnwindSafe for Future<T> {}

impl<T> UnwindSafe for Promise<T> {}
impl<T> RefUnwindSafe for Promise<T> {}

/// The value stays where it is, and is read through a reference, as in an `Arc`.
impl<T: RefUnwindSafe> UnwindSafe for SharedFuture<T> {}
impl<T: RefUnwindSafe> RefUnwindSafe for SharedFuture<T> {}
