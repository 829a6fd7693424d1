//! Locks, wherever they are used and whatever becomes of their owners.

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod barrier;
mod bounded_semaphore;
mod condition;
mod condition_waits;
mod copies;
mod ended_by_force;
mod event;
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
mod rwlock;
mod rwlock_crowds;
mod rwlock_guards;
mod rwlock_leaks;
mod semaphore;
mod surroundings;
mod time_limits;
mod unwind_safety;
