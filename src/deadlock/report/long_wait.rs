//! A wait that is longer than expected.

use std::fmt;

use super::render;
use super::thread::StuckThread;

/// A wait that has lasted longer than expected, though it is no deadlock: see
/// [`warn_after`](crate::deadlock::warn_after).
///
/// # Examples
///
/// ```
/// use bowline::{Lock, deadlock};
/// use std::{sync::mpsc, thread, time::Duration};
///
/// let (tell, told) = mpsc::channel();
/// let hook = deadlock::warn_after(Duration::from_millis(5), move |wait| drop(tell.send(wait.clone())));
/// let ledger = Lock::named("ledger", ());
/// thread::scope(|s| {
///     let guard = ledger.lock();
///     s.spawn(|| drop(ledger.lock()));
///     let wait = told.recv().unwrap();
///     assert_eq!(wait.waiter().waits_for().unwrap().resource().name(), Some("ledger"));
///     assert_eq!(wait.owner().unwrap().holds()[0].resource().name(), Some("ledger"));
///     drop(guard);
/// });
/// # drop(hook);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongWait {
    pub(in crate::deadlock) waiter: StuckThread,
    pub(in crate::deadlock) owner: Option<StuckThread>,
}

impl LongWait {
    /// Returns the thread that waits.
    #[must_use]
    pub fn waiter(&self) -> &StuckThread {
        &self.waiter
    }

    /// Returns the first line of the text.
    #[cfg(feature = "tracing")]
    pub(in crate::deadlock) fn headline(&self) -> String {
        render::headline_of_long_wait(self)
    }

    /// Returns the thread that holds what is waited for, if there was one when this was recorded. It may be running.
    #[must_use]
    pub fn owner(&self) -> Option<&StuckThread> {
        self.owner.as_ref()
    }
}

impl fmt::Display for LongWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::long_wait(self, render::Style::plain(), f)
    }
}
