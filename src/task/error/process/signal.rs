//! The names of signals.

/// The signal by which `abort` ends a process.
pub(super) const ABORT: i32 = libc::SIGABRT;

/// All signals but the real-time ones.
const NAMES: &[(i32, &str)] = &[
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGINT, "SIGINT"),
    (libc::SIGQUIT, "SIGQUIT"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGTRAP, "SIGTRAP"),
    (libc::SIGABRT, "SIGABRT"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGKILL, "SIGKILL"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGPIPE, "SIGPIPE"),
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGCHLD, "SIGCHLD"),
    (libc::SIGCONT, "SIGCONT"),
    (libc::SIGSTOP, "SIGSTOP"),
    (libc::SIGTSTP, "SIGTSTP"),
    (libc::SIGTTIN, "SIGTTIN"),
    (libc::SIGTTOU, "SIGTTOU"),
    (libc::SIGURG, "SIGURG"),
    (libc::SIGXCPU, "SIGXCPU"),
    (libc::SIGXFSZ, "SIGXFSZ"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGWINCH, "SIGWINCH"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGSYS, "SIGSYS"),
    (libc::SIGPWR, "SIGPWR"),
    #[cfg(not(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64"
    )))]
    (libc::SIGSTKFLT, "SIGSTKFLT"),
];

/// Returns the name of the signal with this number, as the system's manual gives it.
pub(super) fn name(number: i32) -> Option<&'static str> {
    let named = NAMES.iter().find(|&&(signal, _)| signal == number);
    named.map_or_else(|| real_time(number), |&(_, name)| Some(name))
}

/// Returns the name of a real-time signal, numbered from the first that the C library leaves to programs.
fn real_time(number: i32) -> Option<&'static str> {
    macro_rules! names {
        ($($n:literal)*) => { ["SIGRTMIN", $(concat!("SIGRTMIN+", $n)),*] };
    }
    const NAMES: [&str; 31] = names!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30);
    let at = number.checked_sub(libc::SIGRTMIN()).filter(|_| number <= libc::SIGRTMAX())?;
    NAMES.get(usize::try_from(at).ok()?).copied()
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
