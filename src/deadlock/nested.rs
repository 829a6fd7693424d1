//! Tasks that run on their waiters' threads, each in a context of its own.
//!
//! Each context keeps the one that runs inside of it for the next time, under the same number: it holds nothing between
//! two bodies, so that its number is in no lock word. So running a body takes no mutex and allocates nothing.

use std::ptr::NonNull;

use super::graph::outer_wait::OuterWait;
use super::graph::resource::{ResourceFacts, Site};
use super::registry;
use crate::primitive::set_current_context;

/// Runs `body` in a context of its own, on this thread, while the calling context waits for it to end.
///
/// What `body` locks belongs to the inner context, so that it does not re-enter an RLock that its waiter holds. While
/// the inner context is registered the outer one is, too, and waits for it: as long as both are stuck, both are in the
/// graph. `body` must not unwind; if it does, the outer context is current again all the same.
///
/// `facts` is what the outer context waits for, `site` the line that waits.
pub(crate) fn run_nested<R>(facts: ResourceFacts, site: Site, body: impl FnOnce() -> R) -> R {
    // The body may wait for what is queued, or for a context that does.
    let outer = registry::current();
    let inner = registry::inner_of(outer);
    let outer_wait = OuterWait { outer, inner, facts, site };
    let _nested = enter(&outer_wait);
    body()
}

/// Makes the inner context current until the returned value is dropped.
fn enter(wait: &OuterWait) -> impl Drop + use<'_> {
    struct Nested<'w>(&'w OuterWait);
    impl Drop for Nested<'_> {
        fn drop(&mut self) {
            let OuterWait { outer, inner, .. } = *self.0;
            inner.nesting.outer_wait.set(None);
            set_current_context(std::ptr::from_ref(outer).cast());
            inner.holds.give_void();
            if !inner.holds.is_empty() {
                outer.nesting.inner.set(None);
                registry::retire(inner);
            }
        }
    }
    wait.inner.nesting.outer_wait.set(Some(NonNull::from_ref(wait)));
    set_current_context(std::ptr::from_ref(wait.inner).cast());
    Nested(wait)
}
