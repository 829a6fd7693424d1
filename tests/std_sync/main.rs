//! `bowline::std_sync` beside `std::sync`: what they have in common, and the deadlocks that one of them tells.

// The same tests of both.
#![allow(clippy::duplicate_mod, reason = "`behaviour` is compiled once for std's types and once for bowline's")]

#[path = "../support/mod.rs"]
mod support;

mod deadlocks;
mod of_bowline;
mod of_std;
mod serializing;
mod sizes;
mod traits;
