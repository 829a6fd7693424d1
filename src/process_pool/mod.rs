//! A pool of processes that run tasks, on Linux. Elsewhere `portable.rs` stands in the place of this file.
//!
//! Who does what, the protocol of the dispatcher and its proof are in the `README.md` beside this file.

mod builder;
mod error;
mod lost;
mod map;
mod parent;
mod pool;
mod signal;
mod start_error;
mod usual;
mod wire;
mod worker;

pub use builder::ProcessPoolBuilder;
pub use error::ProcessPoolError;
pub use lost::{WorkerExit, WorkerLost};
#[cfg(all(test, loom))]
pub(crate) use parent::model::{ModelPool, Moment, Worker};
pub use pool::ProcessPoolExecutor;
pub use start_error::{StartError, StartFailure};
pub use wire::callable::Callable;
pub use wire::codec::{CodecError, Json};
