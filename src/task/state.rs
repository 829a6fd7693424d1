//! The word that says how far a task has come.
//!
//! ```text
//! phase        may become              by whom
//! PENDING      RUNNING, CANCELLING     whoever claims it: a worker, a waiter that runs it in place, a canceller
//! RUNNING      FINISHED, FAILED        whoever claimed it
//! CANCELLING   CANCELLED, FAILED       whoever claimed it: the closure is being dropped
//! FINISHED     –                       the slot holds a value, or held one that was taken; or another process's bytes
//! FAILED       –                       the slot holds an error, which may have been taken
//! CANCELLED    –                       the slot holds `TaskError::Cancelled`, which may have been taken
//!
//! bit            set by                                     read by
//! WAITERS        a waiter about to park on the cell         whoever ends the task, which wakes them all
//! CONTINUATIONS  whoever lists a waker or a callback        whoever ends the task, which runs them all
//! DETACHED       the future, when it is dropped             whoever ends the task, which drops the result itself
//! LASTING        whoever makes the cell                     the future, when it is dropped: the result may be dropped later
//! TAKEN          the future, when it takes an error         the future: the error is told still, and taken no more
//! ID_TOLD        the program, when it asks for the id       a report, whose text shows the id then
//! ```
//!
//! The rest of the word is the id, and 0 before anybody has asked for it. An id does not change any more.

use super::error::TaskError;
use crate::deadlock::graph::task_id::TaskId;

/// The bits of the phase.
const PHASE: u64 = 0b111;
/// The bit that is set in the final phases.
const DONE: u64 = 0b100;

/// A waiter is parked, or about to park, until the task is done.
pub(crate) const WAITERS: u64 = 1 << 3;
/// Something is listed to be run when the task is done.
pub(crate) const CONTINUATIONS: u64 = 1 << 4;
/// Nobody will take the result.
pub(crate) const DETACHED: u64 = 1 << 5;

/// The result borrows nothing.
pub(crate) const LASTING: u64 = 1 << 6;

/// The error in the slot was taken.
pub(crate) const TAKEN: u64 = 1 << 7;

/// The program has asked for the id.
pub(crate) const ID_TOLD: u64 = 1 << 8;

/// The number of bits below the id.
const BELOW_ID: u32 = 9;
const _: () = assert!(BELOW_ID + TaskId::BITS == u64::BITS, "the id has the rest of the word");

/// Returns the id in this word, `None` before anybody has asked for it.
pub(crate) fn id_in(word: u64) -> Option<TaskId> {
    TaskId::from_word(word >> BELOW_ID)
}

/// Returns this word, which has this id or none, with the id.
pub(crate) fn with_id(word: u64, id: TaskId) -> u64 {
    word | id.get() << BELOW_ID
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Phase {
    Pending = 0,
    Running = 1,
    Cancelling = 2,
    Finished = DONE,
    Failed = DONE | 1,
    Cancelled = DONE | 2,
}

impl Phase {
    pub(crate) fn of(word: u64) -> Self {
        match word & PHASE {
            0 => Self::Pending,
            1 => Self::Running,
            2 => Self::Cancelling,
            DONE => Self::Finished,
            word if word == DONE | 1 => Self::Failed,
            _ => Self::Cancelled,
        }
    }

    /// Returns the phase of a task that ended with this error.
    pub(crate) fn of_error(error: &TaskError) -> Self {
        if matches!(error, TaskError::Cancelled) { Self::Cancelled } else { Self::Failed }
    }

    /// Returns this word with its phase replaced by this one.
    pub(crate) fn put_in(self, word: u64) -> u64 {
        word & !PHASE | self as u64
    }
}

/// Returns whether a task with this word is done: the result is in the slot, for its one owner.
#[inline]
pub(crate) fn is_done(word: u64) -> bool {
    word & DONE != 0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read_back_and_keeps_the_other_bits() {
        for phase in
            [Phase::Pending, Phase::Running, Phase::Cancelling, Phase::Finished, Phase::Failed, Phase::Cancelled]
        {
            let id = TaskId::from_word((1 << TaskId::BITS) - 1).unwrap();
            for bits in [0, WAITERS, CONTINUATIONS | DETACHED, with_id(ID_TOLD, id)] {
                let word = phase.put_in(Phase::Cancelled.put_in(bits));
                assert_eq!(Phase::of(word), phase);
                assert_eq!(word & !PHASE, bits);
                assert_eq!(id_in(word), id_in(bits));
                let done = matches!(phase, Phase::Finished | Phase::Failed | Phase::Cancelled);
                assert_eq!(is_done(word), done);
            }
        }
    }
}
