//! What the end of a task sets off, kept from filling the stack: a callback may end the next task, whose callback ends the
//! next.
//!
//! Such work runs at once, on top of what set it off, as long as little of the stack lies between that and the outermost
//! of its kind. Where there is no room the work runs in a loop, and what it sets off is queued for that loop. So below that
//! depth nothing is seen of all this. In the loop work is late by no more than what set it off takes to return, unless that
//! waits: then whatever is queued runs first, for it may be what is waited for.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;

use crate::primitive::stack_pointer;

/// How much of the stack such work may fill. Less than the smallest stack that threads are usually given, and a hundred
/// links of a chain.
const ROOM: usize = 32 << 10;

/// Work for later, on the same thread.
pub(crate) type Later = Box<dyn FnOnce()>;

/// A thread's work of this kind. On the stack of the outermost.
struct Deferral {
    /// Where the stack was then.
    base: usize,
    /// Some frame of this thread takes work off the queue.
    is_looping: Cell<bool>,
    queue: RefCell<VecDeque<Later>>,
}

thread_local! {
    // Without a destructor: destructors of other thread-locals may end tasks.
    static CURRENT: Cell<*const Deferral> = const { Cell::new(ptr::null()) };
}

/// Restores what was current before.
struct Restore(*const Deferral);

impl Restore {
    /// Makes `next` current until this is dropped.
    fn after(next: *const Deferral) -> Self {
        Self(CURRENT.replace(next))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Leaves the loop however it ends.
struct Looping<'d>(&'d Deferral);

impl Drop for Looping<'_> {
    fn drop(&mut self) {
        self.0.is_looping.set(false);
    }
}

impl Deferral {
    fn current<'d>() -> Option<&'d Self> {
        // SAFETY:
        // - null, or set by `run` of this thread to a value on its stack, which it resets before that goes. What is
        //   borrowed from it here is used by frames above that one.
        unsafe { CURRENT.get().as_ref() }
    }

    fn has_room(&self) -> bool {
        self.base.abs_diff(stack_pointer()) < ROOM
    }

    fn drain(&self) {
        loop {
            let next = self.queue.borrow_mut().pop_front();
            let Some(work) = next else { break };
            work();
        }
    }
}

/// Runs `work` now, or, where there is no room for it on the stack, what `later` makes of it soon. Neither may unwind.
pub(crate) fn run<W: FnOnce()>(work: W, later: impl FnOnce(W) -> Later) {
    // A model's threads have stacks of their own kind, and short chains.
    if cfg!(all(test, loom)) {
        return work();
    }
    match Deferral::current() {
        None => {
            let deferral =
                Deferral { base: stack_pointer(), is_looping: Cell::new(false), queue: RefCell::new(VecDeque::new()) };
            let _restore = Restore::after(&raw const deferral);
            work();
        }
        Some(deferral) if deferral.has_room() => work(),
        Some(deferral) if !deferral.is_looping.replace(true) => {
            let _looping = Looping(deferral);
            work();
            deferral.drain();
        }
        Some(deferral) => deferral.queue.borrow_mut().push_back(later(work)),
    }
}

/// Runs what this thread has queued, before it waits for something or begins what may.
pub(crate) fn run_queued() {
    if let Some(deferral) = Deferral::current() {
        deferral.drain();
    }
}

/// Until this is dropped work has the room that it would have if nothing of the kind ran on this thread.
pub(super) fn begin_anew() -> impl Drop {
    Restore::after(ptr::null())
}
