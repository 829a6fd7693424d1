//! Pools of processes. A worker of theirs is this binary, started again.

#[path = "../support/mod.rs"]
mod support;

mod blob_descriptors;
mod blobs;
mod bulk_calls;
mod callbacks;
mod cancel;
mod captured;
mod children;
mod codec;
mod contract;
mod copies;
mod crashes;
mod entry;
mod faults;
mod forks;
mod frames;
mod graph;
mod initializer;
mod kill;
mod kills;
mod leaks;
mod library;
mod map;
mod mix;
mod nesting;
mod order;
mod panics;
mod parent_death;
mod pipes;
mod pool;
mod privileges;
mod programs;
mod replaced;
mod replies;
mod results;
mod scripts;
mod security;
mod short_memory;
mod shutdown;
mod signals;
mod streams;
mod surroundings;
mod values;
