//! The room that is left on the calling thread's stack.
//!
//! A task that is run on top of another one, in place or by a submitter, needs room below. The system tells the bounds
//! of a thread's own stack where it can: thread-locals and guard pages may take a large part of what was asked for. A
//! thread may also run on a stack that other code made, as for a coroutine, or to grow its stack. Then the stack
//! pointer is outside of those bounds, and the mapping that it points into is looked up each time, since such stacks
//! come and go.

use std::cell::Cell;
use std::ops::Range;

use crate::primitive::{SYSTEM_TELLS_STACKS, mapping_around, stack_of_thread, stack_pointer};

/// The bounds of a thread's stack, and how far tasks may use it.
#[derive(Clone, Copy)]
struct Stack {
    bottom: usize,
    /// The address below which no further task is begun.
    limit: usize,
    top: usize,
    /// Whether the thread said where it is as it [began](begin): then no other guess replaces this.
    is_begun: bool,
}

impl Stack {
    /// Returns the stack of the calling thread, which has just begun, and asked for `size` bytes. A quarter of what it
    /// got is kept for the last task.
    fn here(size: usize) -> Self {
        let (here, known) = (stack_pointer(), stack_of_thread());
        let bottom = known.as_ref().map_or(here.saturating_sub(size), |known| known.start);
        // This includes the frame of the caller.
        let top = known.map_or(here.saturating_add(4096), |known| known.end);
        Self { bottom, limit: bottom + here.saturating_sub(bottom) / 4, top, is_begun: false }
    }

    /// Returns whether another task may begin on top of the running one.
    fn has_room(self) -> bool {
        // A model runs on stacks of loom's, and an interpreter has none.
        if cfg!(any(miri, all(test, loom))) {
            return true;
        }
        let here = stack_pointer();
        if (self.bottom..self.top).contains(&here) {
            return here > self.limit;
        }
        mapping_around(here).is_some_and(|stack| here - stack.start > keep(&stack))
    }
}

/// Returns how many bytes are kept for the last task, on a stack whose beginning is not known.
fn keep(stack: &Range<usize>) -> usize {
    // The range may be larger than the stack: a part of something large says nothing.
    const MAX_KEPT: usize = 1 << 20;
    (stack.len() / 4).min(MAX_KEPT)
}

thread_local! {
    /// The calling thread's own stack, once it is known. Without a destructor: there until the end of the thread.
    static STACK: Cell<Option<Stack>> = const { Cell::new(None) };
}

/// Records the stack of the calling thread, which has just begun, and asked for `size` bytes. A quarter of what it got
/// is kept for the last task.
pub(crate) fn begin(size: usize) {
    STACK.set(Some(Stack { is_begun: true, ..Stack::here(size) }));
}

/// Returns whether another task may begin on top of what the calling thread does.
pub(crate) fn has_room() -> bool {
    /// The room that is assumed below the highest place that was seen, where the system does not tell.
    const ASSUMED_SIZE: usize = 256 << 10;
    let here = stack_pointer();
    let known = STACK.get().filter(|stack| stack.is_begun || SYSTEM_TELLS_STACKS || here < stack.top);
    let stack = known.unwrap_or_else(|| match stack_of_thread() {
        Some(known) => {
            Stack { bottom: known.start, limit: known.start + keep(&known), top: known.end, is_begun: false }
        }
        None => Stack::here(ASSUMED_SIZE),
    });
    STACK.set(Some(stack));
    stack.has_room()
}

#[cfg(all(test, not(loom), target_os = "linux", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_was_just_begun_has_room() {
        assert!(Stack::here(2 << 20).has_room() && has_room());
    }

    #[test]
    fn a_stack_that_is_nearly_used_has_no_room() {
        let stack = Stack::here(2 << 20);
        assert!(!Stack { limit: stack_pointer(), ..stack }.has_room());
        // Elsewhere: the mapping says so.
        assert!(Stack { bottom: 1, limit: 1, top: 2, ..stack }.has_room());
    }
}
