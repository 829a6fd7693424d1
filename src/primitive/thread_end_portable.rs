//! The end of a thread where the kernel does not tell: contexts are given back, and no thread is ever declared gone.
//!
//! Without proof that no destructor of a thread can run any more there is no `Abandoned`: nothing is reported about
//! such a wait.

use std::cell::Cell;

/// A lifeline that is never cut: this platform gives no proof that a thread is gone.
pub(crate) struct Lifeline;

impl Lifeline {
    pub(crate) const fn new() -> Self {
        Self
    }

    /// Does nothing.
    ///
    /// # Safety
    ///
    /// None: the signature is that of the platforms which have a lifeline.
    pub(crate) unsafe fn hold(&'static self) {}

    /// Does nothing, and returns `true`.
    ///
    /// # Safety
    ///
    /// None: the signature is that of the platforms which have a lifeline.
    pub(crate) unsafe fn release(&self) -> bool {
        true
    }

    /// Does nothing: no lifeline is ever cut.
    pub(crate) fn mend(&self) {}

    /// Returns `false`, always.
    pub(crate) fn is_cut(&self) -> bool {
        false
    }
}

struct AtEnd(Cell<Option<(fn(*const ()), *const ())>>);

impl Drop for AtEnd {
    fn drop(&mut self) {
        if let Some((end, argument)) = self.0.take() {
            end(argument);
        }
    }
}

/// Arranges for `end(argument)` to run when this thread's thread-locals are destroyed. Returns `false` if it will not
/// run.
pub(crate) fn run_at_thread_end(end: fn(*const ()), argument: *const ()) -> bool {
    thread_local! { static AT_END: AtEnd = const { AtEnd(Cell::new(None)) } }
    // A thread whose locals are gone already keeps its context: a small leak, on a thread that is about to end.
    AT_END.try_with(|at_end| at_end.0.set(Some((end, argument)))).is_ok()
}

/// Returns a number that another copy of this crate in the process is unlikely to have.
pub(crate) fn copy_number() -> u64 {
    super::number_by_address()
}

/// Returns `false`: it is never known here.
pub(crate) fn thread_is_ending() -> bool {
    false
}
