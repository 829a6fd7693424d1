//! The limits of a worker process.

use serde::{Deserialize, Serialize};

/// What a worker limits itself to before the initializer. Its parent has no part in it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::process_pool) struct Limits {
    /// The maximum size of its address space, in bytes.
    pub(in crate::process_pool) address_space: Option<u64>,
    /// The maximum of its CPU time, in seconds.
    pub(in crate::process_pool) cpu_seconds: Option<u64>,
    /// The first number that no descriptor may have.
    pub(in crate::process_pool) open_files: Option<u64>,
    /// Its nice value.
    pub(in crate::process_pool) nice: Option<i32>,
    /// The numbers of the processors that it may run on, each once. None: those of its parent.
    pub(in crate::process_pool) processors: Vec<u32>,
}

/// The CPU time between the signal that a task can handle and the one that it can't, in seconds.
const CPU_GRACE: u64 = 1;

/// Returns the maximum that a worker sets for its limit of CPU time, in seconds, if it inherits this one: a lower one stays. (With one that is
/// lower than the limit the worker does not start.)
pub(in crate::process_pool) fn max_cpu_seconds(limit: u64, inherited: Option<u64>) -> u64 {
    let inherited = inherited.filter(|&inherited| inherited >= limit).unwrap_or(u64::MAX);
    inherited.min(limit.saturating_add(CPU_GRACE))
}
