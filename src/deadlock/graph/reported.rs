//! What reports have said of a wait that was left standing, so that each deadlock is reported once.

/// What reports have said of one wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::deadlock) struct Reported {
    /// The number of the last report that it was part of, 0 for none.
    report: u64,
    /// Whether a report said that a thread that is gone left behind what it waits for.
    is_abandoned: bool,
}

impl Reported {
    pub(in crate::deadlock) const NEVER: Self = Self { report: 0, is_abandoned: false };

    /// Returns the same after one more report.
    pub(in crate::deadlock) fn and(self, report: u64, is_abandoned: bool) -> Self {
        Self { report, is_abandoned: self.is_abandoned || is_abandoned }
    }

    /// Returns whether a report named the wait as part of a deadlock.
    pub(in crate::deadlock) fn is_ever(self) -> bool {
        self.report != 0
    }

    /// Returns whether a report said that a thread that is gone left behind what the wait is for. To have been part of
    /// another deadlock, which may be over by now, does not count.
    pub(in crate::deadlock) fn is_abandoned(self) -> bool {
        self.is_abandoned
    }

    /// Returns the same if its last report came after the `forgotten` ones, otherwise [`NEVER`](Self::NEVER).
    pub(in crate::deadlock) fn since(self, forgotten: u64) -> Self {
        if self.report > forgotten { self } else { Self::NEVER }
    }

    /// Returns whether the last report about both is the same one.
    pub(in crate::deadlock) fn is_with(self, other: Self) -> bool {
        self.report == other.report
    }
}
