//! The wait-for graph: what is a deadlock, who is told and how, and what else it tells.

#[path = "../support/mod.rs"]
mod support;

mod cycles;
mod environment;
mod hazards;
mod help;
mod hook_destructors;
mod hooks;
mod large;
mod long_wait;
mod mixed;
mod no_deadlock;
mod oracle;
mod policy;
mod purpose;
mod ranks;
mod report;
mod rwlock;
mod rwlock_policy;
mod rwlock_rings;
mod rwlock_tasks;
mod snapshot;
mod soak;
mod standing;
mod storm;
mod thread_names;
mod victims;
