//! Locks, wherever they are used and whatever becomes of their owners.

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod condition;
mod copies;
mod ended_by_force;
mod forgotten;
mod fork;
mod late_destructors;
mod lock;
mod lock_guards;
mod promises;
mod rlock;
mod rwlock;
mod rwlock_crowds;
mod rwlock_guards;
mod rwlock_leaks;
mod surroundings;
mod time_limits;
mod unwind_safety;
