//! The parent's side: which worker gets which task, and the thread that looks after a worker.
//!
//! It imports `wire`, and nothing of the worker's side. The `README.md` beside this file has the protocol of the
//! dispatcher and its proof.

mod arrivals;
mod backoff;
mod callbacks;
mod deadlines;
mod dispatcher;
mod due;
mod exit;
mod growth;
mod home;
mod job;
mod latch;
pub(super) mod lifespan;
mod link;
pub(super) mod listener;
#[cfg(test)]
pub(super) mod model;
mod notes;
mod oom;
pub(super) mod options;
mod output;
mod process;
mod program;
mod relay;
mod room;
pub(super) mod settings;
pub(super) mod shared;
pub(super) mod shutdown;
#[cfg(feature = "tracing")]
mod sources;
mod startup;
mod submit;
mod supervisor;
pub(super) mod terms;
