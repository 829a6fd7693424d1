//! What a `tracing` subscriber sees of deadlocks and long waits: an event each, where the hooks run. Without the feature,
//! nothing.

use super::report::{LongWait, Report};

/// Emits the event that a deadlock was found, on the thread that is its victim.
pub(super) fn deadlock(report: &Report) {
    #[cfg(feature = "tracing")]
    tracing::error!(target: "bowline", kind = ?report.kind(), threads = report.threads().len(), "{report}");
    #[cfg(not(feature = "tracing"))]
    let _ = report;
}

/// Emits the event that a wait is longer than expected, on the thread that waits.
pub(super) fn long_wait(wait: &LongWait) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "bowline", "{wait}");
    #[cfg(not(feature = "tracing"))]
    let _ = wait;
}
