//! A pool of processes that run tasks, on Linux. Elsewhere `portable.rs` stands in the place of this file.
//!
//! Who does what, the protocol of the dispatcher and its proof are in the `README.md` beside this file.

// No process is a worker there.
#[cfg(not(any(miri, all(test, loom))))]
mod before_main;
mod builder;
mod call;
mod callable;
mod callbacks;
mod claim;
mod codec;
mod core;
mod dispatcher;
mod entry;
mod error;
mod fate;
mod fork;
mod frame;
mod high;
mod identity;
mod job;
mod link;
mod lost;
mod main_thread;
mod map;
mod mark;
#[cfg(test)]
mod model;
mod object;
mod overflow;
mod page;
mod peer;
mod pool;
mod process;
mod program;
mod registry;
mod room;
mod setup;
mod shutdown;
mod signal;
pub(in crate::executor) mod spin;
mod start_error;
mod startup;
mod stderr;
mod submit;
mod supervisor;
mod watch;
mod worker;

pub use builder::ProcessPoolBuilder;
pub use callable::Callable;
pub use codec::{CodecError, Json};
pub use error::ProcessPoolError;
pub use lost::{WorkerExit, WorkerLost};
#[cfg(all(test, loom))]
pub(crate) use model::{ModelPool, Moment, Worker};
pub use pool::ProcessPoolExecutor;
pub use start_error::{StartError, StartFailure};
