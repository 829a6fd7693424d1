//! What is allocated, and that it is freed, by an allocator that counts.

#[path = "../support/mod.rs"]
mod support;

mod counting;
mod keys;
mod locks;
mod processes;
mod tasks;
mod threads;
mod waits;
