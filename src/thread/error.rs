//! The error of a join that is part of a deadlock.

use std::error::Error;
use std::fmt;

use crate::deadlock::Deadlock;

/// The error of a join that is part of a deadlock: it has the report, and gives the handle back.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, thread};
/// use std::sync::Arc;
///
/// let ledger = Arc::new(Lock::named("ledger", 0));
/// let mut guard = ledger.lock();
/// let clerk = thread::spawn({
///     let ledger = Arc::clone(&ledger);
///     move || *ledger.lock() += 1 // waits for the guard above
/// });
/// let refused = clerk.acquire_join().unwrap_err(); // instead of a hang
/// println!("{refused}");
/// *guard += 1;
/// drop(guard);
/// refused.into_handle().join().unwrap();
/// assert_eq!(*ledger.lock(), 2);
/// ```
pub struct JoinDeadlock<H> {
    deadlock: Deadlock,
    handle: H,
}

impl<H> JoinDeadlock<H> {
    pub(super) fn new(deadlock: Deadlock, handle: H) -> Self {
        Self { deadlock, handle }
    }

    /// Returns the deadlock.
    #[must_use]
    pub fn deadlock(&self) -> &Deadlock {
        &self.deadlock
    }

    /// Returns the handle of the thread, which still runs.
    #[must_use]
    pub fn into_handle(self) -> H {
        self.handle
    }
}

/// Leaves the handle, so that the thread is detached.
impl<H> From<JoinDeadlock<H>> for Deadlock {
    fn from(refused: JoinDeadlock<H>) -> Self {
        refused.deadlock
    }
}

impl<H> fmt::Display for JoinDeadlock<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.deadlock, f)
    }
}

/// Shows the report, for the reader of an `unwrap`'s message.
impl<H> fmt::Debug for JoinDeadlock<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.deadlock, f)
    }
}

impl<H> Error for JoinDeadlock<H> {}
