//! The runner of a task.

use crate::deadlock::context::ContextId;

/// Marks the id of a process in the word: no context's number has this bit.
const PROCESS: u64 = 1 << 63;

/// The runner of a task, or the one that drops its closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// A context of this process.
    Context(ContextId),
    /// Another process, by its id.
    Process(u32),
}

impl Runner {
    /// Returns the runner that this word stands for, `None` for 0.
    pub(super) fn of(word: u64) -> Option<Self> {
        if word & PROCESS != 0 {
            return Some(Self::Process((word & u64::from(u32::MAX)) as u32));
        }
        ContextId::from_word(word).map(Self::Context)
    }

    pub(super) fn word(self) -> u64 {
        match self {
            Self::Context(id) => id.get(),
            Self::Process(pid) => PROCESS | u64::from(pid),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::deadlock::registry;

    #[test]
    fn a_word_stands_for_one_runner() {
        let me = registry::current().id();
        for runner in [Runner::Context(me), Runner::Process(1), Runner::Process(u32::MAX - 1)] {
            assert_eq!(Runner::of(runner.word()), Some(runner));
        }
        assert_eq!(Runner::of(0), None);
        assert_ne!(Runner::of(PROCESS | me.get()), Some(Runner::Context(me)), "a thread is no process");
    }
}
