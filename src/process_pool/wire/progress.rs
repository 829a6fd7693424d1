//! What the submitter of a task listens to while the task runs: the type of its progress.

use std::any::{TypeId, type_name};

use super::blob::MAX_ATTACHMENTS;
use crate::primitive::quiet::{Mutex, PoisonError};
use crate::task::error::CodecError;

/// While as much of what a task has said is unheard, it waits before it says more.
pub(in crate::process_pool) const MAX_UNHEARD: u32 = 1 << 10;

/// Returns how much a note of this many bytes counts, with which this many descriptors go.
pub(in crate::process_pool) fn weight(bytes: usize, descriptors: usize) -> u32 {
    // A length has 32 bits, and there are 253 descriptors at most.
    1 + (bytes >> 10) as u32 + 32 * descriptors as u32
}

/// Returns how much the longest note counts, if messages have at most so many bytes.
pub(in crate::process_pool) fn longest(max_size: usize) -> u32 {
    weight(max_size, MAX_ATTACHMENTS)
}

/// How much a task has said, or how much of it was heard, in one word with the task: what is counted of one task never counts for
/// another one.
pub(in crate::process_pool) struct Count;

impl Count {
    /// The word of a task that has said nothing.
    pub(in crate::process_pool) const fn none(id: u64) -> u64 {
        id << 32
    }

    /// Returns what is counted, if it is of this task.
    pub(in crate::process_pool) fn of(word: u64, id: u64) -> Option<u32> {
        (word >> 32 == id & u64::from(u32::MAX)).then_some(word as u32)
    }

    /// Returns the word with so much more. It begins anew when it is full.
    pub(in crate::process_pool) fn plus(word: u64, more: u32) -> u64 {
        word & !u64::from(u32::MAX) | u64::from((word as u32).wrapping_add(more))
    }
}

/// The type of the values that the submitter of a task listens to.
#[derive(Clone, Copy, Debug)]
pub(in crate::process_pool) struct Listened {
    id: TypeId,
    name: &'static str,
}

/// Of the task that this worker runs, if anybody listens to it.
static LISTENED: Mutex<Option<Listened>> = Mutex::new(None);

fn set(listened: Option<Listened>) {
    *LISTENED.lock().unwrap_or_else(PoisonError::into_inner) = listened;
}

/// Returns what the submitter of this worker's task listens to, if it listens.
pub(in crate::process_pool) fn listened() -> Option<Listened> {
    *LISTENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a task whose submitter listens to values of this type.
pub(super) fn listened_to<P: 'static, R>(run: impl FnOnce() -> R) -> R {
    /// The end of the task, however it ends.
    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            set(None);
        }
    }
    set(Some(Listened { id: TypeId::of::<P>(), name: type_name::<P>() }));
    let _end = End;
    run()
}

impl Listened {
    /// Checks that the values of a task are of this type.
    ///
    /// # Errors
    ///
    /// They are of another one.
    pub(in crate::process_pool) fn check<P: 'static>(&self) -> Result<(), CodecError> {
        if self.id == TypeId::of::<P>() {
            return Ok(());
        }
        let (given, wanted) = (type_name::<P>(), self.name);
        Err(CodecError::new(format!("the task's progress is of the type {given}, and `on_progress` takes {wanted}")))
    }
}
