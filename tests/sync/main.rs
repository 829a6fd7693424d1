//! Locks, wherever they are used and whatever becomes of their owners.

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod barrier;
mod bounded_semaphore;
mod copies;
mod ended_by_force;
mod event;
mod forgotten;
mod fork;
mod late_destructors;
mod lock;
mod lock_guards;
mod promises;
mod rlock;
mod semaphore;
mod surroundings;
mod time_limits;
mod unwind_safety;
