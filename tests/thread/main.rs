//! Threads, scopes and timers: what the standard library promises of them, and what the wait-for graph adds.

#[path = "../support/mod.rs"]
mod support;

mod deadlock;
mod handle;
mod promises;
mod report;
mod scope;
mod timer;
