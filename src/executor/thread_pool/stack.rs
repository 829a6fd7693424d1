//! How much of a thread's stack is left.

use crate::primitive::stack_pointer;

/// Where a thread's stack ends, as far as a task may use it.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    /// Below this address no further task is begun.
    limit: usize,
}

impl Stack {
    /// The stack of the calling thread, which has just begun, and has so many bytes. A quarter is kept for the last task.
    pub(super) fn here(size: usize) -> Self {
        Self { limit: stack_pointer().saturating_sub(size - size / 4) }
    }

    /// Whether another task may begin on top of the running one.
    pub(super) fn has_room(self) -> bool {
        cfg!(all(test, loom)) || stack_pointer() > self.limit
    }
}
