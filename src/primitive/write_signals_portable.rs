//! The signals that report a failed write, on systems that offer no way to take a signal back: nothing is done about
//! them.

/// Runs `run`, a system call that writes.
pub(crate) fn without_write_signals<R>(run: impl FnOnce() -> R) -> R {
    run()
}
