//! Why there is no pool, no worker, or no worker any more: the public errors, which import nothing of the pool but the
//! codec's.

mod lost;
mod pool;
// The names of signals: the standard ones are Linux's.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "signal_portable.rs")]
mod signal;
mod start;

pub use lost::{WorkerExit, WorkerLost};
#[cfg(all(target_os = "linux", not(bowline_portable)))]
pub(in crate::process_pool) use pool::MAX_WORKERS;
pub use pool::ProcessPoolError;
pub use start::{StartError, StartFailure};
