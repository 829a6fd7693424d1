//! What a worker is told before its first task.

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// The payload of the frame of the kind `Setup`. The descriptor of the shared page comes with that frame.
#[derive(Serialize, Deserialize, Debug)]
pub(in crate::process_pool) struct Setup {
    /// How many worker processes there are around the tasks of this one, itself included.
    pub(in crate::process_pool) depth: u32,
    /// The name of the process, for `ps`.
    pub(in crate::process_pool) name: String,
    /// The maximum length of a message.
    pub(in crate::process_pool) max_size: u64,
    /// Whether to capture the backtrace of a panic.
    pub(in crate::process_pool) backtraces: bool,
    /// Whether it may keep memory for the next messages.
    pub(in crate::process_pool) keeps_memory: bool,
    /// What it limits itself to.
    pub(in crate::process_pool) limits: Limits,
}
