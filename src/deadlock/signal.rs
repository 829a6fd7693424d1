//! The wait-for graph on a signal.

use std::io;

use crate::primitive::signals::{self, Heard};

/// Prints [`dump`](super::dump()) whenever the process receives SIGQUIT (`Ctrl-\` on a terminal, `kill -QUIT`), so that a
/// hung service or test shows its own diagnosis. The process goes on. A handler that was there before is called, too.
///
/// Costs one sleeping thread, named `bowline-dump`, however often this is called.
///
/// The environment variable `BOWLINE_DUMP` does the same without a call, for other signals, too: see the [module's
/// documentation](super#environment).
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
    hear(&[Heard { signal: libc::SIGQUIT, ends: false }])
}

/// The signals that may be named, and whether the process ends by them, as it does by default.
const SIGNALS: [(&str, Heard); 6] = [
    ("SIGTERM", Heard { signal: libc::SIGTERM, ends: true }),
    ("SIGINT", Heard { signal: libc::SIGINT, ends: true }),
    ("SIGHUP", Heard { signal: libc::SIGHUP, ends: true }),
    ("SIGQUIT", Heard { signal: libc::SIGQUIT, ends: false }),
    ("SIGUSR1", Heard { signal: libc::SIGUSR1, ends: false }),
    ("SIGUSR2", Heard { signal: libc::SIGUSR2, ends: false }),
];

/// Prints a dump on each of the signals that are named, separated by commas.
pub(super) fn dump_on(names: &str) -> Result<(), String> {
    let number = |name: &str| {
        let name = name.trim();
        let is_it = |full: &str| full.eq_ignore_ascii_case(name) || full[3..].eq_ignore_ascii_case(name);
        let found = SIGNALS.iter().find(|(full, _)| is_it(full)).map(|&(_, heard)| heard);
        found.ok_or_else(|| format!("{name:?} is none of sigterm, sigint, sighup, sigquit, sigusr1, sigusr2"))
    };
    let signals = names.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    hear(&signals).map_err(|error| error.to_string())
}

fn hear(heard: &[Heard]) -> io::Result<()> {
    signals::hear(heard, "bowline-dump", |signal| {
        super::dump();
        if SIGNALS.iter().any(|(_, heard)| heard.signal == signal && heard.ends) {
            signals::do_default(signal);
        }
    })
}
