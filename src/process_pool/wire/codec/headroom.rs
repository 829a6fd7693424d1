//! How far the stack may be used for a value: what is nested deeper is an error.

use std::cell::Cell;

use super::error::Fault;
use crate::primitive::{mapping_around, stack_of_thread, stack_pointer};

/// How much stack a value may take to be written or read. To read a level takes more than to drop it (five times as much with
/// optimization): what was read can be dropped on a thread of 2 MiB.
const MAX_USED: usize = 1 << 20;
/// On a stack of somebody else's so much may be used without a look at where it ends.
const UNASKED: usize = 16 << 10;
/// Where nothing is known of a stack.
const ASSUMED: usize = 256 << 10;

/// How far the stack may be used for a value.
pub(super) struct Headroom {
    floor: usize,
    /// Nobody has looked yet where the stack ends.
    is_guess: bool,
}

impl Headroom {
    /// For a value whose coding begins here.
    #[inline]
    pub(super) fn here() -> Self {
        let here = here();
        match bounds() {
            (bottom, top) if (bottom..top).contains(&here) => Self { floor: floor(here, bottom), is_guess: false },
            _ => Self { floor: here.saturating_sub(UNASKED), is_guess: true },
        }
    }

    /// Fails if the next level might not fit.
    #[inline]
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        if here() >= self.floor { Ok(()) } else { self.look() }
    }

    #[cold]
    fn look(&mut self) -> Result<(), Fault> {
        // A model runs on stacks of loom's, and an interpreter has none.
        if cfg!(any(miri, all(test, loom))) {
            return Ok(());
        }
        if !std::mem::take(&mut self.is_guess) {
            return Err(Fault::too_deep());
        }
        let began = self.floor + UNASKED;
        self.floor = match mapping_around(stack_pointer()) {
            Some(mapping) if mapping.contains(&began) => floor(began, mapping.start),
            _ => began.saturating_sub(ASSUMED),
        };
        self.check()
    }
}

/// How far a stack may be used from `here` on: a quarter of what is left is kept for what a level takes.
fn floor(here: usize, bottom: usize) -> usize {
    here.saturating_sub(MAX_USED).max(bottom + (here - bottom) / 4)
}

/// About where the stack is at.
#[inline(always)]
fn here() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}

/// The bottom and the top of the calling thread's own stack; empty if they are not known.
#[inline]
fn bounds() -> (usize, usize) {
    thread_local! {
        // Without a destructor: there until the end of the thread.
        static BOUNDS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    }
    #[cold]
    fn ask() -> (usize, usize) {
        let bounds = stack_of_thread().map_or((0, 0), |stack| (stack.start, stack.end));
        BOUNDS.set(Some(bounds));
        bounds
    }
    BOUNDS.get().unwrap_or_else(ask)
}
