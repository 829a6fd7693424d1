//! A pool of processes that run tasks: the [`ProcessPoolExecutor`], its [builder](ProcessPoolBuilder), and what can be
//! [called](Callable) in a worker.
//!
//! On Linux. Elsewhere whatever names a pool compiles, and making one is [`ProcessPoolError::Unsupported`].

// Elsewhere `portable.rs` stands in the place of this file. The files here are the interface. `wire` is what goes between a
// pool and its workers, `parent` the pool's side, `worker` the worker's side. Imports go one way: `wire` ← `parent`;
// `wire` ← `worker`; all of them ← the interface. The `README.md` beside this file shows who moves what.

mod builder;
mod current_task;
mod error;
mod limits;
mod map;
mod parent;
mod pool;
mod submit;
mod task;
mod wire;
mod worker;

pub use builder::ProcessPoolBuilder;
pub use current_task::{CurrentTask, current_task};
pub use error::ProcessPoolError;
#[cfg(all(test, loom))]
pub(crate) use parent::model::{ModelPool, Moment, Worker};
pub use pool::ProcessPoolExecutor;
pub use task::ProcessTask;
pub use wire::blob::{Blob, BlobMut, SealError, SharedVec, SharedVecMut};
pub use wire::callable::Callable;
pub use wire::codec::Json;
