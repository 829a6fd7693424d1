//! Why a worker process ended, where its exit does not tell.

use std::fmt;
use std::time::Duration;

use crate::deadlock::render::Humane;

/// Why a worker process ended: see [`WorkerLost::reason`](super::WorkerLost::reason).
///
/// # Examples
///
#[cfg_attr(feature = "process", doc = "```")]
#[cfg_attr(not(feature = "process"), doc = "```ignore")]
/// use bowline::task::LossReason;
/// use bowline::{ProcessPoolExecutor, TaskError};
///
/// let pool = ProcessPoolExecutor::builder().max_workers(1).worker_address_space(1 << 30).build()?;
/// let error = pool.submit(|| Vec::<u8>::with_capacity(2 << 30).len(), ()).result().unwrap_err();
/// let TaskError::WorkerLost(lost) = error else { panic!("{error}") };
/// assert_eq!(lost.reason().unwrap().to_string(), "likely its address space limit of 1 GiB");
/// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// It had used up its CPU time: `worker_cpu_time`, in whole seconds. SIGXCPU ended it; or SIGKILL, a second later,
    /// because it handled that, or at once, because this process may not have more itself.
    CpuTime(Duration),
    /// Likely its address space was full: `worker_address_space`, in bytes. The thread that aborted it had been refused
    /// memory by the system in this task (a task that has handled that, and aborts for another reason, looks the
    /// same); or its stack was, which had not reached its end.
    AddressSpace(u64),
    /// Likely the system killed it because memory ran out. SIGKILL ended it, which the pool had not sent, and since its
    /// start the system has killed processes for that reason: in its cgroup (`memory.events`, `memory.oom_control`), or
    /// anywhere (`/proc/vmstat`) if the cgroup does not tell.
    OutOfMemory,
}

/// What follows the colon: "its CPU time limit of 2 s".
impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::CpuTime(limit) => write!(f, "its CPU time limit of {}", Humane(limit)),
            Self::AddressSpace(limit) => write!(f, "likely its address space limit of {}", Bytes(limit)),
            Self::OutOfMemory => f.write_str("likely by the system, because memory ran out"),
        }
    }
}

/// A number of bytes in the largest unit of which it is a multiple.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let unit = units.into_iter().find(|&(shift, _)| self.0 > 0 && self.0.trailing_zeros() >= shift);
        let (shift, name) = unit.unwrap_or((0, "bytes"));
        write!(f, "{} {name}", self.0 >> shift)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_guess_says_that_it_is_one() {
        for (reason, text) in [
            (LossReason::CpuTime(Duration::from_secs(2)), "its CPU time limit of 2 s"),
            (LossReason::AddressSpace(64 << 20), "likely its address space limit of 64 MiB"),
            (LossReason::OutOfMemory, "likely by the system, because memory ran out"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }

    #[test]
    fn bytes_are_shown_exactly() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1000, "1000 bytes"),
            (1 << 10, "1 KiB"),
            (3 << 19, "1536 KiB"),
            (1 << 20, "1 MiB"),
            (5 << 30, "5 GiB"),
            (1 << 40, "1024 GiB"),
            (u64::MAX, "18446744073709551615 bytes"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
