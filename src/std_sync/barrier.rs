//! The barrier that does not break.

use std::fmt;

use crate::sync;

/// A place where a number of threads wait for each other, with std's signatures: [`std::sync::Barrier`] in the
/// [wait-for graph](crate::deadlock).
///
/// It is a [`Barrier`](crate::Barrier) that has neither action nor limit, so that it never breaks. It takes 104 bytes. One of no
/// threads at all is one of a single thread, as with std.
///
/// # Deadlocks
///
/// The graph does not know who is still to come, so the wait is part of no verdict, and never the victim. It is in
/// [snapshots](crate::deadlock::snapshot), [dumps](crate::deadlock::dump) and [long waits](crate::deadlock::warn_after).
///
/// # Examples
///
/// ```
/// use bowline::std_sync::Barrier; // was: use std::sync::Barrier;
/// use bowline::thread;
///
/// let barrier = Barrier::new(3);
/// let leaders: usize = thread::scope(|s| {
///     let parties = [(); 3].map(|()| s.spawn(|| barrier.wait().is_leader()));
///     parties.into_iter().map(|party| usize::from(party.join().unwrap())).sum()
/// });
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    inner: sync::Barrier,
}

impl Barrier {
    /// Makes a barrier for `n` threads. Reports name it by the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(n: usize) -> Self {
        Self { inner: sync::Barrier::new(if n == 0 { 1 } else { n }) }
    }

    /// Waits until all threads have arrived; then the barrier can be used again.
    ///
    /// # Deadlocks
    ///
    /// See [the type](Self#deadlocks).
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        match self.inner.wait() {
            Ok(pass) => BarrierWaitResult(pass.is_leader()),
            Err(_) => unreachable!("it has neither action nor limit, and nobody can abort or reset it"),
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// A pass through a [`Barrier`]: [`std::sync::BarrierWaitResult`].
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Returns whether this thread was the last to arrive: one in each pass was.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult").field("is_leader", &self.is_leader()).finish()
    }
}
