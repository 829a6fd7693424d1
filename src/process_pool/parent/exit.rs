//! How a worker ended, from what the system says of its process and from its last word.

use crate::task::error::{LossReason, WorkerExit};
use std::time::Duration;

use rustix::process::{Resource, Signal, WaitIdStatus, getrlimit};

use super::oom::OomKills;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::process_pool::wire::fate::{
    ALLOCATION_FAILED, MAIN_THREAD_ENDED, STACK_OVERFLOW, STACK_REFUSED, STREAM_LOST,
};
use crate::process_pool::wire::limits::{self, Limits};

/// How a process ended, in the system's terms.
pub(super) struct Ending {
    code: Option<i32>,
    signal: Option<i32>,
    core_dumped: bool,
}

impl From<&WaitIdStatus> for Ending {
    fn from(status: &WaitIdStatus) -> Self {
        Self { code: status.exit_status(), signal: status.terminating_signal(), core_dumped: status.dumped() }
    }
}

const KILL: i32 = Signal::KILL.as_raw();

/// Returns the maximum of the limit of CPU time that a worker inherits from this process, in seconds.
pub(super) fn inherited_cpu_seconds() -> Option<u64> {
    getrlimit(Resource::Cpu).maximum
}

impl WorkerExit {
    /// Returns how the process of this ending ended.
    pub(super) fn of(ending: Ending) -> Self {
        match ending {
            Ending { code: Some(code), .. } => Self::Code(code),
            Ending { signal: Some(number), core_dumped, .. } => Self::Signal { number, core_dumped },
            Ending { code: None, signal: None, .. } => Self::Unknown,
        }
    }

    /// Returns how the process ended, given its last word in the shared page.
    pub(super) fn with_last_word(self, fate: &AtomicU32) -> Self {
        // ORDERING: Relaxed: the process wrote it before it ended, and the parent has seen its end.
        match (fate.load(Relaxed), &self) {
            // It says so before it dies of this. (A process that was forked off it may have said so, too.)
            (
                STACK_OVERFLOW | STACK_REFUSED,
                Self::Signal { number: libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT, .. },
            ) => Self::StackOverflow,
            // Both kill themselves.
            (STREAM_LOST, Self::Signal { number: KILL, .. } | Self::Unknown) => Self::StreamClosed { program: None },
            (MAIN_THREAD_ENDED, Self::Signal { number: KILL, .. } | Self::Unknown) => Self::MainThreadEnded,
            _ => self,
        }
    }
}

/// What is known of a worker's end, beside how it ended.
pub(super) struct Evidence<'e> {
    pub(super) limits: &'e Limits,
    pub(super) fate: &'e AtomicU32,
    /// How long its threads had run, as its limit counts that, if the limit may have ended it, and the system tells.
    pub(super) cpu_time: Option<Duration>,
    /// The maximum of that limit, in seconds, that it inherited.
    pub(super) inherited_cpu_seconds: Option<u64>,
    /// This process sent it SIGKILL.
    pub(super) was_killed_here: bool,
    /// What the system had counted when it was up.
    pub(super) oom_kills: Option<&'e OomKills>,
}

impl Evidence<'_> {
    /// Returns why the process ended like this, if that is known or likely.
    pub(super) fn reason(&self, exit: &WorkerExit) -> Option<LossReason> {
        // ORDERING: Relaxed: the process wrote it before it ended, and the parent has seen its end.
        let fate = self.fate.load(Relaxed);
        let number = match exit {
            WorkerExit::StackOverflow if fate == STACK_REFUSED => {
                return self.limits.address_space.map(LossReason::AddressSpace);
            }
            &WorkerExit::Signal { number, .. } => number,
            _ => return None,
        };
        match number {
            libc::SIGXCPU if self.has_run_for(self.limits.cpu_seconds) => self.cpu_limit(),
            KILL if self.was_killed_here => None,
            // It has survived the signal at the limit, or there was none.
            KILL if self.cpu_time.is_some() && self.has_run_for(self.hard_cpu_limit()) => self.cpu_limit(),
            KILL if self.oom_kills.is_some_and(OomKills::have_risen) => Some(LossReason::OutOfMemory),
            libc::SIGABRT if fate == ALLOCATION_FAILED => self.limits.address_space.map(LossReason::AddressSpace),
            _ => None,
        }
    }

    fn cpu_limit(&self) -> Option<LossReason> {
        self.limits.cpu_seconds.map(|seconds| LossReason::CpuTime(Duration::from_secs(seconds)))
    }

    /// Returns the CPU time at which the system sends SIGKILL, in seconds.
    fn hard_cpu_limit(&self) -> Option<u64> {
        self.limits.cpu_seconds.map(|seconds| limits::max_cpu_seconds(seconds, self.inherited_cpu_seconds))
    }

    /// Returns whether the threads of the process had run for so many seconds, as far as the system tells.
    fn has_run_for(&self, seconds: Option<u64>) -> bool {
        let limit = seconds.map(Duration::from_secs);
        limit.is_some_and(|limit| self.cpu_time.is_none_or(|time| time >= limit))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_read_as_the_system_tells_it() {
        let of = |code, signal, core_dumped| WorkerExit::of(Ending { code, signal, core_dumped });
        assert_eq!(of(Some(99), None, false), WorkerExit::Code(99));
        assert_eq!(of(None, Some(9), false), WorkerExit::Signal { number: 9, core_dumped: false });
        assert_eq!(of(None, Some(11), true), WorkerExit::Signal { number: 11, core_dumped: true });
        assert_eq!(of(None, None, false), WorkerExit::Unknown);
    }

    #[test]
    fn a_reason_needs_a_limit_and_an_end_that_it_makes() {
        let signal = |number| WorkerExit::Signal { number, core_dumped: false };
        let limits = Limits { cpu_seconds: Some(2), address_space: Some(1 << 20), ..Limits::default() };
        let none = Limits::default();
        let (cpu, space) = (LossReason::CpuTime(Duration::from_secs(2)), LossReason::AddressSpace(1 << 20));
        let time = |millis| Some(Duration::from_millis(millis));
        for (limits, word, cpu_time, was_killed_here, number, expected) in [
            (&limits, 0, None, false, libc::SIGXCPU, Some(cpu)),
            (&limits, 0, time(2000), false, libc::SIGXCPU, Some(cpu)),
            // The task's own.
            (&limits, 0, time(1999), false, libc::SIGXCPU, None),
            (&none, 0, None, false, libc::SIGXCPU, None),
            (&limits, 0, time(3000), false, KILL, Some(cpu)),
            (&limits, 0, time(2999), false, KILL, None),
            (&limits, 0, None, false, KILL, None),
            (&limits, 0, time(3000), true, KILL, None),
            (&none, 0, time(3000), false, KILL, None),
            (&limits, ALLOCATION_FAILED, None, false, libc::SIGABRT, Some(space)),
            (&none, ALLOCATION_FAILED, None, false, libc::SIGABRT, None),
            (&limits, STACK_OVERFLOW, None, false, libc::SIGABRT, None),
            (&limits, ALLOCATION_FAILED, None, false, libc::SIGSEGV, None),
        ] {
            let fate = &AtomicU32::new(word);
            let evidence =
                Evidence { limits, fate, cpu_time, inherited_cpu_seconds: None, was_killed_here, oom_kills: None };
            assert_eq!(evidence.reason(&signal(number)), expected, "{number} {word} {cpu_time:?}");
            assert_eq!(evidence.reason(&WorkerExit::Code(1)), None);
            let evidence = Evidence { inherited_cpu_seconds: Some(2), ..evidence };
            let at_once = number == KILL && !was_killed_here && limits.cpu_seconds.is_some() && cpu_time.is_some();
            let expected = if at_once { Some(cpu) } else { expected };
            assert_eq!(evidence.reason(&signal(number)), expected, "without a signal before: {number} {cpu_time:?}");
        }
        for (limits, word, expected) in
            [(&limits, STACK_REFUSED, Some(space)), (&limits, STACK_OVERFLOW, None), (&none, STACK_REFUSED, None)]
        {
            let (fate, inherited_cpu_seconds) = (&AtomicU32::new(word), None);
            let evidence = Evidence {
                limits,
                fate,
                cpu_time: None,
                inherited_cpu_seconds,
                was_killed_here: false,
                oom_kills: None,
            };
            assert_eq!(evidence.reason(&WorkerExit::StackOverflow), expected, "{word}");
        }
    }

    #[test]
    fn a_last_word_counts_if_the_process_ended_as_it_says() {
        let signal = |number| WorkerExit::Signal { number, core_dumped: false };
        let closed = WorkerExit::StreamClosed { program: None };
        for (word, exit, expected) in [
            (0, signal(9), signal(9)),
            (STACK_OVERFLOW, signal(libc::SIGSEGV), WorkerExit::StackOverflow),
            (STACK_REFUSED, signal(libc::SIGSEGV), WorkerExit::StackOverflow),
            (STACK_OVERFLOW, signal(9), signal(9)),
            (STACK_OVERFLOW, WorkerExit::Code(1), WorkerExit::Code(1)),
            (STREAM_LOST, signal(9), closed.clone()),
            (STREAM_LOST, WorkerExit::Unknown, closed),
            (STREAM_LOST, WorkerExit::Code(1), WorkerExit::Code(1)),
            (MAIN_THREAD_ENDED, signal(9), WorkerExit::MainThreadEnded),
            (MAIN_THREAD_ENDED, signal(libc::SIGSEGV), signal(libc::SIGSEGV)),
            // Whatever the other process writes there.
            (u32::MAX, signal(9), signal(9)),
        ] {
            assert_eq!(exit.with_last_word(&AtomicU32::new(word)), expected, "{word}");
        }
    }
}
