//! Systems that refuse what is asked of them: calls of the system are replaced in this binary.

#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod lifelines;
mod limits;
mod threads;
mod time_limits;
