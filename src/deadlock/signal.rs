//! The wait-for graph on SIGQUIT.

use std::io;

use signal_hook::consts::SIGQUIT;
use signal_hook::iterator::Signals;

/// Prints [`dump`](super::dump) whenever the process receives SIGQUIT (`Ctrl-\` on a terminal, `kill -QUIT`), so that a
/// hung service or test shows its own diagnosis. The process goes on.
///
/// Costs one sleeping thread, named `bowline-dump`. A second call adds a second thread, and each prints: call it once,
/// in `main` or at the head of a test.
///
/// # Errors
///
/// Returns an error if the system refuses the signal handler or the thread.
///
/// # Examples
///
/// ```
/// bowline::deadlock::dump_on_signal()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn dump_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGQUIT])?;
    crate::primitive::spawn("bowline-dump", move || {
        for _ in signals.forever() {
            super::dump();
        }
    })
}
