//! A worker's last word: the reason for which it is about to end, in the page that it shares with its parent. 0 is
//! none.

/// A thread's stack overflowed.
pub(in crate::process_pool) const STACK_OVERFLOW: u32 = 1;
/// A thread's stack could not grow before its end: the system has refused the memory.
pub(in crate::process_pool) const STACK_REFUSED: u32 = 5;
/// The stream to the parent is closed, or another file has its descriptor.
pub(in crate::process_pool) const STREAM_LOST: u32 = 2;
/// The main thread ended, and the process did not.
pub(in crate::process_pool) const MAIN_THREAD_ENDED: u32 = 3;
/// A thread aborted right after the system had refused it memory, under a limit of the address space.
pub(in crate::process_pool) const ALLOCATION_FAILED: u32 = 4;
