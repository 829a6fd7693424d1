//! The pool's side: who gets which task, and the thread that has a worker.

pub(super) mod callbacks;
pub(super) mod core;
pub(super) mod dispatcher;
pub(super) mod fork;
pub(super) mod home;
pub(super) mod job;
pub(super) mod link;
#[cfg(test)]
pub(super) mod model;
pub(super) mod process;
pub(super) mod program;
pub(super) mod setup;
pub(super) mod shutdown;
pub(super) mod startup;
pub(super) mod stderr;
pub(super) mod submit;
pub(super) mod supervisor;
