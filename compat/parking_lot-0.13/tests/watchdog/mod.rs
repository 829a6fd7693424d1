//! A time limit that explains itself.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bowline::deadlock;

/// Ends the process, with the wait-for graph on standard error, unless the sender is dropped in time.
pub(crate) fn watchdog() -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(60)) == Err(mpsc::RecvTimeoutError::Timeout) {
            deadlock::dump();
            std::process::abort();
        }
    });
    alive
}
