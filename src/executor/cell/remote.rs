//! The cell of a task that runs in another process.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Cell, Slot, TaskRef, VTable, task_type};
use crate::deadlock::resource::Origin;
use crate::executor::header::Header;
use crate::executor::process_pool::spin::spin_until;
use crate::executor::state::Phase;
use crate::executor::trace::TaskSpan;

/// Who sends tasks to other processes, and knows how far they have come there.
pub(in crate::executor) trait Owner: Send + Sync {
    /// Claims a pending task for a canceller, if no process has begun it and none will.
    fn claim_to_cancel(&self, task: &Header) -> bool;

    /// Whether a task that a process has begun will soon have ended, usually.
    fn has_short_tasks(&self) -> bool;
}

/// As any other cell, without a closure; before anybody cancels the task, its owner is asked.
#[repr(C)]
struct RemoteCell<T> {
    cell: Cell<fn() -> T, T>,
    owner: Arc<dyn Owner>,
}

impl<T> RemoteCell<T> {
    const fn vtable<F>() -> VTable {
        VTable { free: Self::free, owner: Some(Self::owner), type_of: task_type::<F>, ..Cell::<fn() -> T, T>::VTABLE }
    }

    /// # Safety
    ///
    /// The header is that of a cell of this type, and nobody uses it any more.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY:
        // - the cell inside is the first field (`repr(C)`) and of this type; nobody uses it any more (caller).
        // - the whole came from a box (`TaskRef::remote`), and this is its end.
        unsafe {
            Cell::<fn() -> T, T>::empty(header);
            drop(Box::from_raw(header.cast::<Self>().as_ptr()));
        }
    }

    /// # Safety
    ///
    /// The header is that of a cell of this type, which somebody has a reference to.
    unsafe fn owner(header: NonNull<Header>) -> *const dyn Owner {
        // SAFETY:
        // - it is such a cell, and there (caller). The owner is never written to.
        unsafe { Arc::as_ptr(&(*header.cast::<Self>().as_ptr()).owner) }
    }
}

/// The vtable of a task that calls `F`, for results of the type `T`.
struct OfCall<F, T>(std::marker::PhantomData<(F, T)>);

impl<F, T> OfCall<F, T> {
    const VTABLE: VTable = RemoteCell::<T>::vtable::<F>();
}

impl TaskRef {
    fn owner(&self) -> Option<&dyn Owner> {
        // SAFETY:
        // - the vtable is that of this cell, and there is a reference to it: this one. The cell keeps its owner.
        self.vtable.owner.map(|owner| unsafe { &*owner(self.0) })
    }

    /// Claims the task for a canceller: `false` if somebody else did, or if a process has begun it.
    pub(super) fn claim_to_cancel(&self) -> bool {
        match self.owner() {
            Some(owner) => owner.claim_to_cancel(self),
            None => self.claim_as(Phase::Cancelling),
        }
    }

    /// Spins for a moment, if the task is one that a process has begun and will have ended soon. Whether it is done.
    #[cold]
    pub(in crate::executor) fn spin_while_soon(&self) -> bool {
        if let Some(owner) = self.owner()
            && self.phase() == Phase::Running
            && owner.has_short_tasks()
        {
            spin_until(|| self.is_done());
        }
        self.is_done()
    }

    /// The cell of a task that calls `F` in another process, whose result is [put](Self::put_quietly) by its owner. Two
    /// references.
    pub(in crate::executor) fn remote<F: 'static, T: Send + 'static>(
        owner: Arc<dyn Owner>,
        origin: Origin,
    ) -> (Self, Self) {
        let header = Header::new(&OfCall::<F, T>::VTABLE, 2, std::ptr::null(), origin, TaskSpan::none());
        let cell = Cell { header, slot: UnsafeCell::new(Slot::Empty) };
        let cell = NonNull::from(Box::leak(Box::new(RemoteCell::<T> { cell, owner })));
        let task = Self(cell.cast());
        task.make_lasting();
        (task, Self(cell.cast()))
    }
}
