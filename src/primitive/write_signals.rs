//! The signals that report a failed write: SIGPIPE and SIGXFSZ.
//!
//! By default either signal ends the process. A library that writes a line, or makes a file of its own, must not do
//! that: the error of the call says as much.

use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// The signals sent to a thread that writes to a pipe without a reader, or makes a file longer than the process may
/// (RLIMIT_FSIZE).
const SIGNALS: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Runs `run`, a system call that writes. A failed write is only an error: EPIPE instead of SIGPIPE, EFBIG instead of
/// SIGXFSZ.
///
/// Costs four system calls. Allocates nothing, and may be called in a signal handler.
pub(crate) fn without_write_signals<R>(run: impl FnOnce() -> R) -> R {
    let _withheld = Withheld::from_now();
    run()
}

/// The signals, blocked on this thread. Dropping this discards those that came meanwhile, and restores the mask.
struct Withheld {
    before: Option<libc::sigset_t>,
    was_pending: [bool; 2],
}

impl Withheld {
    fn from_now() -> Self {
        let was_pending = pending();
        let set = set_of(&SIGNALS);
        let mut before = MaybeUninit::uninit();
        // SAFETY:
        // - the first set is initialised, the second a place to write to.
        let is_blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) == 0 };
        // SAFETY:
        // - the successful call has filled it.
        let before = is_blocked.then(|| unsafe { before.assume_init() });
        Self { before, was_pending }
    }
}

impl Drop for Withheld {
    fn drop(&mut self) {
        let Some(before) = &self.before else { return };
        let is_pending = pending();
        for (at, signal) in SIGNALS.into_iter().enumerate() {
            // One that was pending before is the program's own.
            if is_pending[at] && !self.was_pending[at] {
                let (set, now) = (set_of(&[signal]), libc::timespec { tv_sec: 0, tv_nsec: 0 });
                // SAFETY:
                // - an initialised set, which this thread blocks; nothing is asked about the signal; a time.
                unsafe { libc::sigtimedwait(&raw const set, null_mut(), &raw const now) };
            }
        }
        // SAFETY:
        // - a set that the system filled.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, null_mut()) };
    }
}

/// Returns which of the signals are pending for this thread or the process.
fn pending() -> [bool; 2] {
    let mut pending = set_of(&[]);
    // SAFETY:
    // - an initialised set to write to.
    unsafe { libc::sigpending(&raw mut pending) };
    // SAFETY:
    // - an initialised set.
    SIGNALS.map(|signal| unsafe { libc::sigismember(&raw const pending, signal) } == 1)
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY:
    // - a place to write to, which the first call fills: it does not fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        signals.iter().for_each(|&signal| _ = libc::sigaddset(set.as_mut_ptr(), signal));
        set.assume_init()
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::fs::File;
    use std::io::{self, Write};

    use std::ptr::null;

    use super::*;

    fn broken_pipe() -> File {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        File::from(std::os::fd::OwnedFd::from(writer))
    }

    // The kernel keeps a signal that is blocked, whether it is ignored as in std's programs or not.

    #[test]
    fn a_write_to_nobody_is_an_error_and_leaves_no_signal_and_the_mask_is_as_before() {
        let mut pipe = broken_pipe();
        for _ in 0..3 {
            let error = without_write_signals(|| pipe.write_all(b"a line\n")).expect_err("nobody reads");
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
        let mut mask = set_of(&[]);
        // SAFETY:
        // - no set is given, and there is a place for the present one, which is read then.
        let blocked = unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, null(), &raw mut mask);
            SIGNALS.map(|signal| libc::sigismember(&raw const mask, signal))
        };
        assert_eq!((blocked, pending()), ([0, 0], [false, false]));
    }

    #[test]
    fn a_signal_that_was_pending_before_is_not_taken() {
        let set = set_of(&SIGNALS);
        // SAFETY:
        // - an initialised set; this thread only; `raise` has no preconditions, and the signal is blocked.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, null_mut());
            libc::raise(libc::SIGPIPE);
        }
        assert!(without_write_signals(|| broken_pipe().write_all(b"a line\n")).is_err());
        assert_eq!(pending(), [true, false]);
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY:
        // - an initialised set, a time, and the mask that this thread had.
        unsafe {
            libc::sigtimedwait(&raw const set, null_mut(), &raw const now);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, null_mut());
        }
    }
}
