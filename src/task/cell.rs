//! The one heap cell of a task: its header, its home, and its slot.

use std::any::type_name;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::error::TaskError;
use super::header::{Header, VTable};
use super::home::{Home, Nowhere};
use super::slot::{Slot, Work};
use super::state::{LASTING, Phase};
use super::stats::Stats;
use super::task_ref::TaskRef;
use super::trace::TaskSpan;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::graph::task_id::ReportedId;
use crate::deadlock::resource::{HoldMode, Origin, ResourceType, Site, TypeOf};
use crate::primitive::Ordering::Relaxed;

#[repr(C)]
struct Cell<H, S> {
    header: Header,
    home: H,
    slot: S,
}

/// The description of a cell in reports.
pub(crate) trait Describe {
    /// The function that returns the description.
    const TYPE: TypeOf;
}

/// A task that is a closure of the type `F`.
pub(crate) struct TaskOf<F>(PhantomData<F>);

impl<F> Describe for TaskOf<F> {
    const TYPE: TypeOf =
        || ResourceType { primitive: "Future", data: type_name::<F>(), mode: HoldMode::Running, id_of: Some(id_of) };
}

/// A value of the type `T`, which is put by hand.
struct Promised<T>(PhantomData<T>);

impl<T> Describe for Promised<T> {
    const TYPE: TypeOf = || ResourceType { id_of: Some(id_of), ..ResourceType::exclusive::<T>(PROMISE) };
}

/// Returns the id of the task with this key.
///
/// # Safety
///
/// The key is that of a cell to which somebody has a reference.
unsafe fn id_of(key: usize) -> ReportedId {
    // SAFETY:
    // - the address of a header, exposed (`Header::facts`), which is there (caller).
    unsafe { &*std::ptr::with_exposed_provenance::<Header>(key) }.reported_id()
}

/// The primitive that is waited for where no task runs.
const PROMISE: &str = "Promise";

/// The vtable of a cell with this home and slot, and this description.
struct VTableOf<H, S, D>(PhantomData<(H, S, D)>);

impl<H: Home, S: Slot, D: Describe> VTableOf<H, S, D> {
    const VTABLE: VTable = VTable {
        run: Cell::<H, S>::run,
        fail: Cell::<H, S>::fail,
        put: Cell::<H, S>::put,
        take: Cell::<H, S>::take,
        peek: Cell::<H, S>::peek,
        error: Cell::<H, S>::error,
        put_back: Cell::<H, S>::put_back,
        settle: Cell::<H, S>::settle,
        settling: Cell::<H, S>::settling,
        empty: Cell::<H, S>::empty,
        free: Cell::<H, S>::free,
        home: Cell::<H, S>::home,
        type_of: D::TYPE,
    };
}

/// Each function takes the header of a cell of this type, to which somebody has a reference, and has the contract of
/// the slot's method with its name.
impl<H: Home, S: Slot> Cell<H, S> {
    /// # Safety
    ///
    /// The header is that of a cell of this type, which is there while `'c` lasts.
    unsafe fn at<'c>(header: NonNull<Header>) -> &'c Self {
        // SAFETY:
        // - the header is the first field of such a cell (caller, `repr(C)`), and the pointer came from its box.
        unsafe { header.cast::<Self>().as_ref() }
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn run(header: NonNull<Header>, stats: &Stats) -> Phase {
        // SAFETY:
        // - the caller's contract.
        unsafe {
            let cell = Self::at(header);
            cell.slot.run(&cell.header, stats)
        }
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn fail(header: NonNull<Header>, error: TaskError) {
        // SAFETY:
        // - the caller's contract; whoever claimed the task has its span, too.
        unsafe {
            let cell = Self::at(header);
            cell.slot.fail(error);
            cell.header.span.forget();
        }
    }

    /// # Safety
    ///
    /// The contract of this impl. `given` points to an `S::Given`, which is moved out of there.
    unsafe fn put(header: NonNull<Header>, given: *mut ()) -> Phase {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header).slot.put(given.cast::<S::Given>().read()) }
    }

    /// # Safety
    ///
    /// The contract of this impl. `result` points to an `Option<Result<S::Value, TaskError>>`.
    unsafe fn take(header: NonNull<Header>, result: *mut ()) {
        // SAFETY:
        // - the caller's contract.
        unsafe { *result.cast::<Option<Result<S::Value, TaskError>>>() = Self::at(header).slot.take() };
    }

    /// Returns the address of the result, null if there is none.
    ///
    /// # Safety
    ///
    /// The contracts of this impl and of [`Slot::result`].
    unsafe fn peek(header: NonNull<Header>) -> *const () {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header).slot.result() }.map_or(std::ptr::null(), |result| std::ptr::from_ref(result).cast())
    }

    /// Returns the error, if the result is one.
    ///
    /// # Safety
    ///
    /// The contracts of this impl and of [`Slot::result`].
    unsafe fn error(header: NonNull<Header>) -> Option<TaskError> {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header).slot.result() }?.as_ref().err().cloned()
    }

    /// Puts an error back that was taken.
    ///
    /// # Safety
    ///
    /// The contracts of this impl and of [`Slot::fail`].
    unsafe fn put_back(header: NonNull<Header>, error: TaskError) {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header).slot.fail(error) };
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn settle(header: NonNull<Header>, limit: Limit, site: Site) -> Result<(), WaitError> {
        // SAFETY:
        // - the caller's contract.
        unsafe {
            let cell = Self::at(header);
            cell.slot.settle(&cell.header, limit, site)
        }
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn settling(header: NonNull<Header>) -> Option<TaskRef> {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header) }.slot.settling()
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn empty(header: NonNull<Header>) {
        // SAFETY:
        // - the caller's contract.
        unsafe { Self::at(header).slot.empty() };
    }

    /// # Safety
    ///
    /// The header is that of a cell of this type, and nobody uses it any more.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY:
        // - the cell came from a box (`TaskRef::new`), and this is its end (caller).
        unsafe {
            Self::empty(header);
            header.as_ref().span.forget();
            drop(Box::from_raw(header.cast::<Self>().as_ptr()));
        }
    }

    /// # Safety
    ///
    /// The contract of this impl.
    unsafe fn home(header: NonNull<Header>) -> *const dyn Home {
        // SAFETY:
        // - the caller's contract.
        &raw const unsafe { Self::at(header) }.home
    }
}

impl TaskRef {
    /// Makes a cell, with one reference.
    ///
    /// # Safety
    ///
    /// What the slot holds can be sent to another thread, and the task is done before it dangles.
    pub(crate) unsafe fn new<H: Home, S: Slot, D: Describe>(home: H, slot: S, origin: Origin, span: TaskSpan) -> Self {
        Self::with_header(Header::new(&VTableOf::<H, S, D>::VTABLE, 1, origin, span), home, slot)
    }

    /// Makes a cell, with two references: one to be queued, one for the future.
    ///
    /// # Safety
    ///
    /// What the slot holds can be sent to another thread, and the task is done before it dangles.
    #[inline(always)]
    pub(crate) unsafe fn new_pair<H: Home, S: Slot, D: Describe>(
        home: H,
        slot: S,
        origin: Origin,
        span: TaskSpan,
    ) -> (Self, Self) {
        let cell = Self::with_header(Header::new(&VTableOf::<H, S, D>::VTABLE, 2, origin, span), home, slot);
        (Self(cell.0), cell)
    }

    #[inline(always)]
    fn with_header<H, S>(header: Header, home: H, slot: S) -> Self {
        let cell = NonNull::from(Box::leak(Box::new(Cell { header, home, slot })));
        Self(cell.cast())
    }

    /// Makes the cell of a closure, which reports describe as `D`, with two references: one to be queued, one for the future.
    ///
    /// # Safety
    ///
    /// The closure and the result can be sent to another thread, and the task is done before either of them dangles. If
    /// it is `lasting`, neither ever does.
    #[inline(always)]
    pub(crate) unsafe fn with_task<H: Home, D: Describe, F: FnOnce() -> T, T>(
        task: F,
        home: H,
        origin: Origin,
        span: TaskSpan,
        lasting: bool,
    ) -> (Self, Self) {
        // SAFETY:
        // - the caller's contract.
        let pair = unsafe { Self::new_pair::<H, _, D>(home, Work::<F, T>::task(task), origin, span) };
        if lasting {
            pair.0.make_lasting();
        }
        pair
    }

    /// Makes a cell without a closure, with two references. The result is put by hand.
    pub(crate) fn without_task<T: Send>(origin: Origin) -> (Self, Self) {
        // SAFETY:
        // - the result can be sent (bound). It may be dropped as late as by a promise that still has it, which has its
        //   lifetime.
        unsafe { Self::new_pair::<_, _, Promised<T>>(Nowhere, ResultSlot::<T>::nothing(), origin, TaskSpan::none()) }
    }

    /// Returns whether the result is put by hand.
    pub(crate) fn is_promised(&self) -> bool {
        (self.vtable.type_of)().primitive == PROMISE
    }

    /// Makes a cell that is done, with this error, and one reference.
    pub(crate) fn failed<T: Send>(error: TaskError, origin: Origin) -> Self {
        let phase = Phase::of_error(&error);
        // SAFETY:
        // - an error can be sent, and lasts.
        let cell = unsafe {
            Self::new::<_, _, TaskOf<fn() -> T>>(Nowhere, ResultSlot::<T>::error(error), origin, TaskSpan::none())
        };
        cell.state.store(phase.put_in(0), Relaxed);
        cell
    }

    /// Returns whether neither the closure nor the result borrows anything.
    pub(crate) fn is_lasting(&self) -> bool {
        self.state.load(Relaxed) & LASTING != 0
    }

    /// Notes that the result borrows nothing. Nobody else knows the cell yet.
    pub(crate) fn make_lasting(&self) {
        self.state.store(self.state.load(Relaxed) | LASTING, Relaxed);
    }
}

/// The slot of a result that no closure of the cell makes.
pub(crate) type ResultSlot<T> = Work<fn() -> T, T>;

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_small() {
        let span = size_of::<TaskSpan>();
        // With a home of one word.
        type Small = Cell<u64, ResultSlot<u64>>;
        assert_eq!((size_of::<Header>(), size_of::<Small>()), (72 + span, 104 + span));
    }
}
