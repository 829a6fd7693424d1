//! The token by which a running task learns that it is to stop.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Event;
use crate::task::continuation::Stop;

/// A request to stop, which a running task looks at, waits for, or passes on.
///
/// Nothing ends a running task from outside: it has to look. A task of
/// [`submit_cancellable`](super::ThreadPoolExecutor::submit_cancellable) gets a token, which
/// [`Future::cancel`](crate::Future::cancel) sets while the task runs. A clone is the same token: it can go to whatever the
/// task calls or starts. A token may also be made by hand, for work that several tasks share; once it is cancelled it stays so.
///
/// What happened before [`cancel`](Self::cancel) *happens before* what follows a look that saw it. A look costs one
/// atomic load; a token is one allocation.
///
/// # Deadlocks
///
/// Anybody who has the token, or the task's future, can cancel: a [`wait`](Self::wait) for it is never part of a deadlock. It is
/// shown in snapshots, dumps and reports of long waits as a wait for the event `cancel`.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(1);
/// let search = pool.submit_cancellable(|token| {
///     let mut tried = 0_u64;
///     while !token.is_cancelled() {
///         tried += 1;
///     }
///     tried
/// });
/// while !search.running() {
///     std::thread::yield_now();
/// }
/// assert!(!search.cancel()); // it runs: it is asked to stop
/// let _tried = search.result().unwrap(); // and has a result, as any task that returns
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Event>);

impl CancelToken {
    /// Makes a token that is not cancelled. Reports name it by the line of this call.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let event = Event::named("cancel");
        // A model's atomic is made on first use: here, before it is shared.
        #[cfg(all(test, loom))]
        let _ = event.is_set();
        Self(Arc::new(event))
    }

    /// Returns whether the task was asked to stop.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_set()
    }

    /// Asks all who have this token to stop, and wakes those who wait for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use bowline::thread_pool::CancelToken;
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let token = CancelToken::new();
    /// let tasks = [(); 2].map(|()| {
    ///     let token = token.clone();
    ///     pool.submit(move || token.wait())
    /// });
    /// token.cancel(); // both, at once
    /// assert!(tasks.into_iter().all(|task| task.result().is_ok()));
    /// ```
    pub fn cancel(&self) {
        self.0.set();
    }

    /// Waits until the token is cancelled, without a limit.
    ///
    /// # Deadlocks
    ///
    /// None is reported: see [the type](Self#deadlocks).
    #[track_caller]
    pub fn wait(&self) {
        self.0.wait();
    }

    /// Waits until the token is cancelled, for at most `timeout`: a sleep that `cancel` ends early. Returns whether the token is
    /// cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    /// use std::time::Duration;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let beats = pool.submit_cancellable(|token| {
    ///     let mut beats = 0;
    ///     while !token.wait_for(Duration::from_millis(1)) {
    ///         beats += 1; // each millisecond, until it is asked to stop
    ///     }
    ///     beats
    /// });
    /// beats.cancel();
    /// ```
    #[track_caller]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        self.0.wait_for(timeout)
    }

    /// Waits until the token is cancelled, but not past `deadline`. Returns whether it was.
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.0.wait_until(deadline)
    }

    /// Returns the token as what a task's future tells to stop.
    pub(super) fn as_stop(&self) -> Arc<dyn Stop> {
        Arc::clone(&self.0) as Arc<dyn Stop>
    }
}

impl Stop for Event {
    fn stop(&self) {
        self.set();
    }
}

impl UnwindSafe for CancelToken {}
impl RefUnwindSafe for CancelToken {}

impl Default for CancelToken {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Two handles are equal if they are of one token.
impl PartialEq for CancelToken {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CancelToken {}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}
