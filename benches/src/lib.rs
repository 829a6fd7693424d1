//! What bowline costs beside its peers: each workload is written once, over [`lock::BenchLock`],
//! [`rwlock::BenchRwLock`], the traits of [`threading`], [`pool::BenchPool`] or [`processes::ProcessBench`].
//!
//! See `docs/performance.md` for the method and the numbers.

pub mod contention;
pub mod lines;
pub mod lock;
pub mod paths;
pub mod pool;
pub mod processes;
pub mod ring;
pub mod rounds;
pub mod rwlock;
pub mod solo;
pub mod tasks;
pub mod threading;
