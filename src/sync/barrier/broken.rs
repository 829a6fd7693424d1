//! What a wait at a broken barrier returns.

use std::error::Error;
use std::fmt;

/// Why a wait at a [`Barrier`](crate::Barrier) ended before all parties had arrived.
///
/// # Examples
///
/// ```
/// use bowline::Barrier;
/// use std::time::Duration;
///
/// let barrier = Barrier::new(2);
/// let first = barrier.wait_for(Duration::from_millis(1)).unwrap_err();
/// assert!(first.timed_out());
/// // Whoever comes later is told at once, and that it was not its own time.
/// assert!(!barrier.wait().unwrap_err().timed_out());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BrokenBarrier {
    pub(super) timed_out: bool,
}

impl BrokenBarrier {
    /// Returns whether it was the limit of this very wait that broke the barrier.
    #[must_use]
    pub fn timed_out(self) -> bool {
        self.timed_out
    }
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.timed_out {
            "timed out at a barrier, which is broken now"
        } else {
            "the barrier is broken"
        })
    }
}

impl Error for BrokenBarrier {}
