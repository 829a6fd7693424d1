//! What the submitter of a task listens to while the task runs: the type of its progress.

use std::any::{TypeId, type_name};

use crate::primitive::quiet::{Mutex, PoisonError};
use crate::task::error::CodecError;

/// How much of what a worker's tasks have said may be unheard: the next one waits.
pub(in crate::process_pool) const MAX_UNHEARD: u64 = 1 << 10;

/// Returns how much a note of this many bytes counts.
pub(in crate::process_pool) fn weight(bytes: usize) -> u64 {
    1 + bytes as u64 / 1024
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
