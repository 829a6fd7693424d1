//! The signals that tell of a write that can't be, where there is no way to take one back: they do what they do.

/// Runs `run`, a call of the system that writes.
pub(crate) fn without_write_signals<R>(run: impl FnOnce() -> R) -> R {
    run()
}
