//! The list of all contexts, in which a writer finds those that show that they read.

use super::context::Context;
use super::resource::SharedId;
use super::visible::{VisibleRead, count_context};
use crate::primitive::Ordering::{Relaxed, SeqCst};
use crate::primitive::{AtomicU64, fence_in_models, global};

global! {
    /// The address of the context that was made last. Each knows the one that was made before it.
    static LAST_MADE: AtomicU64 = no_context();
}

#[cfg(not(all(test, loom)))]
const fn no_context() -> AtomicU64 {
    AtomicU64::new(0)
}

#[cfg(all(test, loom))]
fn no_context() -> AtomicU64 {
    crate::primitive::new_atomic(0)
}

impl Context {
    /// Lets writers find the reads that this new context will show. Called under the graph's mutex.
    pub(in crate::deadlock) fn let_writers_find(&'static self) {
        self.made_before.0.store(LAST_MADE.load(Relaxed), Relaxed);
        // ORDERING: SeqCst pairs with the load in `find_visible_read`, and publishes `made_before` and the context: it comes
        // before the first read that this context shows, so a writer that misses the context is seen by that read.
        LAST_MADE.store(self.address() as u64, SeqCst);
        count_context();
    }
}

/// Returns an entry that shows a read of this lock. Looks at one cache line of each context that was ever made: as many as
/// there were threads at one time.
///
/// Called by a writer that has kept new readers from showing themselves by a `SeqCst` read-modify-write of the lock's
/// state.
pub(crate) fn find_visible_read(id: SharedId) -> Option<VisibleRead<'static>> {
    fence_in_models();
    // ORDERING: SeqCst, see `let_writers_find`.
    let mut next = LAST_MADE.load(SeqCst) as usize;
    while next != 0 {
        // SAFETY:
        // - the address is that of a context, which `let_writers_find` has published.
        let context = unsafe { Context::at(next) };
        let found = context.visible.find(id);
        if found.is_some() {
            return found;
        }
        next = context.made_before.0.load(Relaxed) as usize;
    }
    None
}
