//! What was said of a wait that a report left standing, so that each deadlock is reported once.

/// What was said of a wait that stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::deadlock) struct Reported {
    /// The last report that it was part of, 0 for none.
    report: u64,
    /// One of the reports said that what it waits for was left behind by a thread that is gone.
    is_abandoned: bool,
}

impl Reported {
    pub(in crate::deadlock) const NEVER: Self = Self { report: 0, is_abandoned: false };

    /// The same after one more report.
    pub(in crate::deadlock) fn and(self, report: u64, is_abandoned: bool) -> Self {
        Self { report, is_abandoned: self.is_abandoned || is_abandoned }
    }

    /// Whether a report named the wait as part of a deadlock.
    pub(in crate::deadlock) fn is_ever(self) -> bool {
        self.report != 0
    }

    /// Whether a report said that what the wait is for was left behind. To have been part of another deadlock, which may be over
    /// by now, is not that.
    pub(in crate::deadlock) fn is_abandoned(self) -> bool {
        self.is_abandoned
    }

    /// The same, but nothing if all reports up to this one were forgotten.
    pub(in crate::deadlock) fn since(self, forgotten: u64) -> Self {
        if self.report > forgotten { self } else { Self::NEVER }
    }

    /// Whether the last report about both is the same one.
    pub(in crate::deadlock) fn is_with(self, other: Self) -> bool {
        self.report == other.report
    }
}
