//! How much of the stack a value may use: a value that is nested deeper is an error.

use std::cell::Cell;

use super::error::Fault;
use crate::primitive::{mapping_around, stack_of_thread, stack_pointer};

/// How much stack a value may take to be written or read. Reading a level takes more than dropping it (five times as
/// much with optimization): a value that was read can be dropped on a thread of 2 MiB.
const MAX_USED: usize = 1 << 20;
/// How much of a stack that is not the thread's own may be used without a check where it ends.
const UNASKED: usize = 16 << 10;
/// How much may be used of a stack of which nothing is known.
const ASSUMED: usize = 256 << 10;

/// The limit of the stack for one value.
pub(super) struct Headroom {
    floor: usize,
    /// The end of the stack was not looked up yet.
    is_guess: bool,
}

impl Headroom {
    /// Returns the limit for a value whose encoding or decoding begins here.
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
        // A model runs on loom's stacks, and miri has none.
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

/// Returns how far a stack may be used from `here` on: a quarter of what is left is kept for the next level.
fn floor(here: usize, bottom: usize) -> usize {
    here.saturating_sub(MAX_USED).max(bottom + (here - bottom) / 4)
}

/// Returns about where the stack pointer is.
#[inline(always)]
fn here() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}

/// Returns the bottom and the top of the calling thread's own stack; empty if they are not known.
#[inline]
fn bounds() -> (usize, usize) {
    thread_local! {
        // Without a destructor: usable until the end of the thread.
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
