//! Pools of threads.

#[path = "../support/mod.rs"]
mod support;

mod cancelling;
mod contract;
mod deadlock;
mod detached;
mod drain;
mod hooks;
mod idle;
mod infallible_waits;
mod initializer;
mod join;
mod left_behind;
mod map;
mod nesting;
mod panics;
mod pool;
mod program_end;
mod queue;
mod scope;
mod shutdown;
mod standing;
mod tracing;
mod tracing_panics;
mod verdict;
mod wake_ups;
