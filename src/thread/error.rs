//! The error of a join that is part of a deadlock.

use std::error::Error;
use std::fmt;

use crate::deadlock::Deadlock;

/// The error of a join that is part of a deadlock: it has the report, and gives the handle back.
///
/// # Examples
///
/// ```
/// use bowline::thread::{self, JoinHandle};
/// use std::sync::mpsc;
///
/// let (give, given) = mpsc::channel::<JoinHandle<()>>();
/// let (give_back, given_back) = mpsc::channel();
/// let clerk = thread::spawn(move || {
///     let own = given.recv().unwrap();
///     let refused = own.acquire_join().unwrap_err(); // instead of a hang
///     println!("{refused}"); // deadlock: … waits for its own end …
///     give_back.send(refused.into_handle()).unwrap();
/// });
/// give.send(clerk).unwrap();
/// given_back.recv().unwrap().join().unwrap();
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
