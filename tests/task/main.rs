//! Futures, promises and sets of them.

#[path = "../support/mod.rs"]
mod support;

mod as_completed;
mod awaiting;
mod cancelling;
mod chains;
mod done_callback;
mod future;
mod graphs;
mod graphs_free;
mod identity;
mod promise;
mod runtimes;
mod sets;
mod shared_future;
mod wait;
