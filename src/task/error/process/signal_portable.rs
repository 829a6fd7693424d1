//! Signals where there are no worker processes: none ends one.

/// The signal of `abort`: no signal has this number.
pub(super) const ABORT: i32 = 0;

/// Returns the name of a signal: no name is known here.
pub(super) fn name(_: i32) -> Option<&'static str> {
    None
}
