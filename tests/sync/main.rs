//! Locks, wherever they are used and whatever becomes of their owners.

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod copies;
mod ended_by_force;
mod forgotten;
mod fork;
mod late_destructors;
mod lazy_lock;
mod lock;
mod lock_guards;
mod once;
mod once_deadlocks;
mod once_failures;
mod once_lock;
mod promises;
mod rlock;
mod surroundings;
mod time_limits;
mod unwind_safety;
