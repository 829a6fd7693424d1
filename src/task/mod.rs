//! Tasks and their futures, whoever runs them.
//!
//! The states of a task and who may change what are in the `README.md` beside this file.

mod any_future;
pub(crate) mod cell;
pub(crate) mod chain;
pub(crate) mod continuation;
pub(crate) mod error;
pub(crate) mod future;
pub(crate) mod header;
pub(crate) mod map;
pub(crate) mod panic;
mod promise;
mod shared_future;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod trace;
pub(crate) mod unwind;
pub(crate) mod wait;

pub use any_future::AnyFuture;
pub use error::{Rejected, SubmitError, TaskError};
pub use future::{Future, Status};
pub use map::Map;
pub use panic::{PanicInfo, PanicLocation};
pub use promise::{InvalidState, Promise, promise};
pub use shared_future::SharedFuture;
pub use wait::as_completed::{AsCompleted, Unfinished, as_completed};
pub use wait::{DoneAndNotDone, ReturnWhen, wait};
