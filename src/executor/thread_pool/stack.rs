//! How much of a thread's stack is left.

/// Where a thread's stack ends, as far as a task may use it.
#[derive(Clone, Copy)]
pub(super) struct Stack {
    /// Below this address no further task is begun.
    limit: usize,
}

impl Stack {
    /// The stack of the calling thread, which has just begun, and has so many bytes. A quarter is kept for the last task.
    pub(super) fn here(size: usize) -> Self {
        Self { limit: pointer().saturating_sub(size - size / 4) }
    }

    /// Whether another task may begin on top of the running one.
    pub(super) fn has_room(self) -> bool {
        cfg!(all(test, loom)) || pointer() > self.limit
    }
}

/// About where the stack is now. It grows downwards wherever threads have stacks of this kind.
#[inline(never)]
fn pointer() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}
