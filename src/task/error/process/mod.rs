//! What goes wrong with a task in another process: these errors are there without process pools, too, so that no variant of
//! an error comes and goes with a feature.

mod codec;
pub(super) mod last_lines;
mod lost;
mod reason;
// The names of signals: the standard ones are Linux's.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), path = "signal_portable.rs")]
mod signal;
mod start;
mod terminated;

pub use codec::CodecError;
pub use lost::{WorkerExit, WorkerLost};
pub use reason::LossReason;
pub use start::{StartError, StartFailure};
pub use terminated::{Terminated, TerminationCause};
