//! What signals are called, and which of them ended a process.

use rustix::process::Signal;

use super::lost::WorkerExit;
use super::parent::process::Ending;

/// What `abort` ends a process by.
pub(super) const ABORT: i32 = Signal::ABORT.as_raw();

/// All of them but the real-time ones.
const NAMES: &[(Signal, &str)] = &[
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::QUIT, "SIGQUIT"),
    (Signal::ILL, "SIGILL"),
    (Signal::TRAP, "SIGTRAP"),
    (Signal::ABORT, "SIGABRT"),
    (Signal::BUS, "SIGBUS"),
    (Signal::FPE, "SIGFPE"),
    (Signal::KILL, "SIGKILL"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::SEGV, "SIGSEGV"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::PIPE, "SIGPIPE"),
    (Signal::ALARM, "SIGALRM"),
    (Signal::TERM, "SIGTERM"),
    (Signal::CHILD, "SIGCHLD"),
    (Signal::CONT, "SIGCONT"),
    (Signal::STOP, "SIGSTOP"),
    (Signal::TSTP, "SIGTSTP"),
    (Signal::TTIN, "SIGTTIN"),
    (Signal::TTOU, "SIGTTOU"),
    (Signal::URG, "SIGURG"),
    (Signal::XCPU, "SIGXCPU"),
    (Signal::XFSZ, "SIGXFSZ"),
    (Signal::VTALARM, "SIGVTALRM"),
    (Signal::PROF, "SIGPROF"),
    (Signal::WINCH, "SIGWINCH"),
    (Signal::IO, "SIGIO"),
    (Signal::SYS, "SIGSYS"),
    (Signal::POWER, "SIGPWR"),
    #[cfg(not(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64"
    )))]
    (Signal::STKFLT, "SIGSTKFLT"),
];

/// The name of the signal with this number, as the system's manual has it.
pub(super) fn name(number: i32) -> Option<&'static str> {
    let named = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    named.map_or_else(|| real_time(number), |&(_, name)| Some(name))
}

/// Numbered from the first that the C library leaves to programs.
fn real_time(number: i32) -> Option<&'static str> {
    macro_rules! names {
        ($($n:literal)*) => { ["SIGRTMIN", $(concat!("SIGRTMIN+", $n)),*] };
    }
    const NAMES: [&str; 31] = names!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30);
    let at = number.checked_sub(libc::SIGRTMIN()).filter(|_| number <= libc::SIGRTMAX())?;
    NAMES.get(usize::try_from(at).ok()?).copied()
}

impl WorkerExit {
    /// How the process ended of which the system says this.
    pub(super) fn of(ending: Ending) -> Self {
        match ending {
            Ending { code: Some(code), .. } => Self::Code(code),
            Ending { signal: Some(number), core_dumped, .. } => Self::Signal { number, core_dumped },
            Ending { code: None, signal: None, .. } => Self::Unknown,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_signal_of_linux_has_a_name_of_its_own() {
        let first = libc::SIGRTMIN();
        let named: Vec<_> = (1..32).chain(first..=libc::SIGRTMAX()).map(|number| name(number).unwrap()).collect();
        assert_eq!(named.iter().collect::<HashSet<_>>().len(), named.len());
        for number in [i32::MIN, -1, 0, 32, first - 1, libc::SIGRTMAX() + 1, i32::MAX] {
            assert_eq!(name(number), None, "{number}");
        }
    }

    #[test]
    fn an_ending_is_read_as_the_system_tells_it() {
        let of = |code, signal, core_dumped| WorkerExit::of(Ending { code, signal, core_dumped });
        assert_eq!(of(Some(99), None, false), WorkerExit::Code(99));
        assert_eq!(of(None, Some(9), false), WorkerExit::Signal { number: 9, core_dumped: false });
        assert_eq!(of(None, Some(11), true), WorkerExit::Signal { number: 11, core_dumped: true });
        assert_eq!(of(None, None, false), WorkerExit::Unknown);
    }

    #[test]
    fn names_are_those_of_the_system() {
        use libc::{SIGABRT, SIGALRM, SIGCHLD, SIGKILL, SIGPWR, SIGRTMAX, SIGRTMIN, SIGSEGV, SIGSTKFLT, SIGVTALRM};
        for (number, expected) in [
            (SIGABRT, "SIGABRT"),
            (SIGALRM, "SIGALRM"),
            (SIGCHLD, "SIGCHLD"),
            (SIGKILL, "SIGKILL"),
            (SIGPWR, "SIGPWR"),
            (SIGSEGV, "SIGSEGV"),
            (SIGSTKFLT, "SIGSTKFLT"),
            (SIGVTALRM, "SIGVTALRM"),
            (SIGRTMIN(), "SIGRTMIN"),
            (SIGRTMIN() + 3, "SIGRTMIN+3"),
        ] {
            assert_eq!(name(number), Some(expected));
        }
        let last = format!("SIGRTMIN+{}", SIGRTMAX() - SIGRTMIN());
        assert_eq!(name(SIGRTMAX()), Some(&*last));
    }
}
