//! Futures, and the executors that complete them.

mod all_wait;
mod any_future;
mod as_completed;
mod blocking;
mod cell;
mod chain;
mod continuation;
mod error;
mod future;
mod header;
mod map;
mod panic;
mod pending;
#[cfg(feature = "process")]
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "process_pool/portable.rs")]
mod process_pool;
mod promise;
mod shared_future;
mod state;
mod stats;
mod thread_pool;
mod trace;
mod unwind;
mod wait;
mod wait_set;

pub use any_future::AnyFuture;
pub use as_completed::{AsCompleted, Unfinished, as_completed};
pub use error::{Rejected, SubmitError, TaskError};
pub use future::{Future, Status};
pub use map::Map;
pub use panic::{PanicInfo, PanicLocation};
#[cfg(feature = "process")]
pub use process_pool::{
    Callable, CodecError, Json, ProcessPoolBuilder, ProcessPoolError, ProcessPoolExecutor, StartError, StartFailure,
    WorkerExit, WorkerLost,
};
#[cfg(all(test, loom, feature = "process"))]
pub(crate) use process_pool::{ModelPool, Moment, Worker};
pub use promise::{InvalidState, Promise, promise};
pub use shared_future::SharedFuture;
pub use thread_pool::{
    Initialized, Scope, ShutdownOptions, ShutdownReport, ThreadPoolBuilder, ThreadPoolExecutor, WhenFull,
};
pub use wait::{DoneAndNotDone, ReturnWhen, wait};
