//! Tasks: their [futures](Future), the [errors](TaskError) that they end with, and waits for one or several of them.
//!
//! A task is what was submitted to an executor, and its future owns the result. Futures of the
//! [`ThreadPoolExecutor`](crate::ThreadPoolExecutor), of process pools and of [promises](promise) are of one type:
//! [`wait`] and [`as_completed`] take them together, and `.await` takes each.
//!
//! What a program of ten lines needs of this is at the root of the crate, too.

// How they work together is in the `README.md` beside this file; `state.rs` has the table of a task's phases.

mod any_future;
pub(crate) mod cell;
mod chain;
pub(crate) mod continuation;
mod current;
mod done_callback;
pub(crate) mod end;
pub(crate) mod error;
pub(crate) mod future;
pub(crate) mod header;
pub(crate) mod home;
pub(crate) mod map;
pub(crate) mod panic;
mod promise;
pub(crate) mod results;
pub(crate) mod runner;
mod shared_future;
pub(crate) mod slot;
pub(crate) mod stack;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod task_ref;
pub(crate) mod trace;
pub(crate) mod unwind;
pub(crate) mod wait;
pub(crate) mod when_done;

pub use crate::deadlock::graph::task_id::TaskId;
pub use any_future::AnyFuture;
pub use done_callback::DoneCallback;
pub use error::{
    CodecError, CustomError, LossReason, Rejected, StartError, StartFailure, SubmitError, TaskError, Terminated,
    TerminationCause, WorkerExit, WorkerLost,
};
pub use future::Future;
pub use map::Map;
pub use panic::{PanicInfo, PanicLocation};
pub use promise::{InvalidState, Promise, promise};
pub use shared_future::SharedFuture;
pub use status::Status;
pub use wait::as_completed::{AsCompleted, Unfinished, as_completed};
pub use wait::first_ok::first_ok;
pub use wait::results::results;
pub use wait::{DoneAndNotDone, ReturnWhen, wait};
