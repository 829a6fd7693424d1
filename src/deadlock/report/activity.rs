//! What a thread does that waits for nothing of ours, as the kernel has it.

use std::fmt;

use crate::primitive::ThreadState;

/// What a thread does that waits for nothing of this crate's, as the system says: see
/// [`StuckThread::activity`](super::StuckThread::activity).
///
/// # Examples
///
/// ```
/// use bowline::deadlock::report::Activity;
/// use bowline::deadlock::{self, Node};
///
/// let lock = bowline::Lock::new(());
/// let guard = lock.lock();
/// let snapshot = deadlock::snapshot();
/// let Some(Node::Thread(thread)) = snapshot.graph().node_weights().next() else { unreachable!() };
/// assert!(matches!(thread.activity(), Some(Activity::Running) | None)); // `None` if it is not known
/// # drop(guard);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Activity {
    /// It runs, or waits for a processor.
    Running,
    /// It waits on a futex: in a join, a channel, a condition variable, or for another library's lock.
    Futex,
    /// It sleeps for a time.
    Sleeping,
    /// It waits until there is something to read, a connection among that.
    Reading,
    /// It waits until it can write.
    Writing,
    /// It waits for any of several descriptors, as `poll` does.
    Polling,
    /// It waits for a child process.
    WaitingForChild,
    /// It waits for a lock on a file.
    LockingFile,
    /// It is in a system call that is none of the above: its number.
    SystemCall(i64),
    /// It is stopped, by a signal or a debugger.
    Stopped,
}

impl Activity {
    /// Returns what a thread does, `None` where the system does not say.
    pub(super) fn of(os_id: u32) -> Option<Self> {
        Some(match ThreadState::of(os_id)? {
            ThreadState::Running => Self::Running,
            ThreadState::Stopped => Self::Stopped,
            ThreadState::InCall(call) => Self::of_call(call),
        })
    }

    #[cfg(all(target_os = "linux", not(bowline_portable)))]
    #[allow(clippy::useless_conversion, reason = "the type differs from system to system")]
    fn of_call(call: i64) -> Self {
        const READ: [libc::c_long; 7] = [
            libc::SYS_read,
            libc::SYS_pread64,
            libc::SYS_readv,
            libc::SYS_recvfrom,
            libc::SYS_recvmsg,
            libc::SYS_recvmmsg,
            libc::SYS_accept4,
        ];
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        const ACCEPT: [libc::c_long; 1] = [libc::SYS_accept];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        const ACCEPT: [libc::c_long; 0] = [];
        const WRITE: [libc::c_long; 7] = [
            libc::SYS_write,
            libc::SYS_pwrite64,
            libc::SYS_writev,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_connect,
            libc::SYS_fsync,
        ];
        #[cfg(target_arch = "x86_64")]
        const OLD_POLL: [libc::c_long; 3] = [libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_wait];
        #[cfg(not(target_arch = "x86_64"))]
        const OLD_POLL: [libc::c_long; 0] = [];
        const POLL: [libc::c_long; 3] = [libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_pwait];
        // With 64 bits of time, on systems of 32 bits.
        const FUTEX_TIME64: i64 = 422;
        let is_in = |calls: &[libc::c_long]| calls.iter().any(|&other| i64::from(other) == call);
        if is_in(&[libc::SYS_futex]) || cfg!(target_pointer_width = "32") && call == FUTEX_TIME64 {
            Self::Futex
        } else if is_in(&[libc::SYS_nanosleep, libc::SYS_clock_nanosleep]) {
            Self::Sleeping
        } else if is_in(&[libc::SYS_wait4, libc::SYS_waitid]) {
            Self::WaitingForChild
        } else if is_in(&[libc::SYS_flock, libc::SYS_fcntl]) {
            Self::LockingFile
        } else if is_in(&READ) || is_in(&ACCEPT) {
            Self::Reading
        } else if is_in(&WRITE) {
            Self::Writing
        } else if is_in(&POLL) || is_in(&OLD_POLL) {
            Self::Polling
        } else {
            Self::SystemCall(call)
        }
    }

    #[cfg(not(all(target_os = "linux", not(bowline_portable))))]
    fn of_call(call: i64) -> Self {
        Self::SystemCall(call)
    }

    /// Returns whether the thread is blocked, by something that is not in the graph.
    #[must_use]
    pub fn is_blocked(self) -> bool {
        self != Self::Running
    }
}

/// Shows what it does, as in `is blocked outside of bowline: it waits for something to read`.
impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Running => return f.write_str("runs"),
            Self::Futex => "it waits on a futex: a join, a channel, a condition variable or another lock",
            Self::Sleeping => "it sleeps for a time",
            Self::Reading => "it waits for something to read",
            Self::Writing => "it waits until it can write or connect",
            Self::Polling => "it waits for descriptors (poll)",
            Self::WaitingForChild => "it waits for a child process",
            Self::LockingFile => "it waits for a lock on a file",
            Self::SystemCall(number) => return write!(f, "is blocked outside of bowline: in system call {number}"),
            Self::Stopped => return f.write_str("is stopped"),
        };
        write!(f, "is blocked outside of bowline: {what}")
    }
}
