//! The one heap cell of a task: its closure, then its result, and how far it has come.

#[cfg(feature = "process")]
mod remote;

use std::any::type_name;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::chain;
use super::continuation::Then;
use super::error::TaskError;
use super::future::Status;
use super::header::Header;
use super::panic;
use super::state::{CONTINUATIONS, DETACHED, LASTING, Phase, WAITERS, is_done};
use super::stats::Stats;
use super::trace::{self, TaskSpan};
use super::wait::one::Ended;
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceType, Site, TypeOf};
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::primitive::{Ingredient, is_removed, quiet};
use crate::thread_pool::Core;
#[cfg(feature = "process")]
pub(crate) use remote::Owner;
#[cfg(all(feature = "process", target_os = "linux", not(bowline_portable)))]
pub(crate) use remote::Reply;

/// What depends on the types of the closure and of the result.
pub(crate) struct VTable {
    run: unsafe fn(NonNull<Header>, &Stats) -> Phase,
    fail: unsafe fn(NonNull<Header>, TaskError),
    put: unsafe fn(NonNull<Header>, *mut ()),
    take: unsafe fn(NonNull<Header>, *mut ()),
    peek: unsafe fn(NonNull<Header>) -> *const (),
    error: unsafe fn(NonNull<Header>) -> Option<TaskError>,
    empty: unsafe fn(NonNull<Header>),
    free: unsafe fn(NonNull<Header>),
    /// Where the task is another process's: who sends it there.
    #[cfg(feature = "process")]
    owner: Option<unsafe fn(NonNull<Header>) -> *const dyn Owner>,
    /// Where the result may be bytes: reads it.
    #[cfg(feature = "process")]
    read: Option<Read>,
    /// Where several may look at the result: the event that it was read, once somebody reads it.
    #[cfg(feature = "process")]
    event: Option<unsafe fn(NonNull<Header>) -> Option<TaskRef>>,
    pub(crate) type_of: TypeOf,
}

/// Reads a result into the slot, within the limit.
#[cfg(feature = "process")]
type Read = unsafe fn(NonNull<Header>, Limit, Site) -> Result<(), Ended>;

enum Slot<F, T> {
    Task(F),
    Result(Result<T, TaskError>),
    Empty,
}

#[repr(C)]
struct Cell<F, T> {
    header: Header,
    slot: UnsafeCell<Slot<F, T>>,
}

/// A counted reference to a cell, whatever its types.
pub(crate) struct TaskRef(NonNull<Header>);

// SAFETY:
// - the header is made for sharing; the slot is reached by one thread at a time: whoever claimed the task until it is
//   done, the owner of the future from then on; of several who share it, the one that reads it, while the others wait for
//   that one. `F` and `T` are `Send` where cells are made.
unsafe impl Send for TaskRef {}
// SAFETY:
// - as above.
unsafe impl Sync for TaskRef {}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.references.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for TaskRef {
    fn drop(&mut self) {
        // ORDERING: Release pairs with the Acquire below: what was done through this reference is done before the cell
        // is freed.
        if self.references.fetch_sub(1, Release) == 1 {
            quiet::fence(Acquire);
            // SAFETY:
            // - this was the last reference.
            unsafe { (self.vtable.free)(self.0) };
        }
    }
}

impl Deref for TaskRef {
    type Target = Header;

    #[inline]
    fn deref(&self) -> &Header {
        // SAFETY:
        // - the cell lives as long as a reference to it.
        unsafe { self.0.as_ref() }
    }
}

impl<F: FnOnce() -> T, T> Cell<F, T> {
    const VTABLE: VTable = VTable {
        run: Self::run,
        fail: Self::fail,
        put: Self::put,
        take: Self::take,
        peek: Self::peek,
        error: Self::error,
        empty: Self::empty,
        free: Self::free,
        #[cfg(feature = "process")]
        owner: None,
        #[cfg(feature = "process")]
        read: None,
        #[cfg(feature = "process")]
        event: None,
        type_of: task_type::<F>,
    };

    /// # Safety
    ///
    /// The header is that of a cell of this type, and the caller alone may touch the slot while `'c` lasts.
    unsafe fn slot<'c>(header: NonNull<Header>) -> &'c mut Slot<F, T> {
        // SAFETY:
        // - the header is the first field of such a cell (caller, `repr(C)`), and the pointer came from its box.
        // - nobody else touches the slot (caller).
        unsafe { &mut *header.cast::<Self>().as_ref().slot.get() }
    }

    /// Runs the closure and puts the result in its place: returns what the task is then.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type; the caller claimed the task, and it has not ended.
    unsafe fn run(pointer: NonNull<Header>, stats: &Stats) -> Phase {
        // SAFETY:
        // - whoever claimed the task has the slot to itself until the task is done (caller).
        let (header, slot) = unsafe { (pointer.as_ref(), Self::slot(pointer)) };
        let Slot::Task(task) = std::mem::replace(slot, Slot::Empty) else {
            unreachable!("a claimed task has its closure");
        };
        let me = registry::current();
        header.runner.store(me.id().get(), Relaxed);
        let hold = me.holds.take(me.holds.find(), &header.facts(), header.site());
        // SAFETY:
        // - the caller claimed the task.
        let result = panic::catch(|| unsafe { header.span.around(task) });
        me.holds.give(hold);
        if let Err(panic) = &result {
            trace::task_panicked(header.name().unwrap_or_else(|| header.type_name()), panic);
        }
        stats.count(result.is_err());
        let phase = if result.is_ok() { Phase::Finished } else { Phase::Failed };
        *slot = Slot::Result(result.map_err(TaskError::Panicked));
        phase
    }

    /// Drops the closure and puts an error in its place.
    ///
    /// # Safety
    ///
    /// As in [`run`](Self::run).
    unsafe fn fail(header: NonNull<Header>, error: TaskError) {
        // SAFETY:
        // - as in `run`.
        unsafe {
            let closure = std::mem::replace(Self::slot(header), Slot::Result(Err(error)));
            panic::contain(|| drop(closure));
            header.as_ref().span.forget();
        }
    }

    /// Moves a result into the slot, which is empty.
    ///
    /// # Safety
    ///
    /// As in [`run`](Self::run). `result` points to a `Result<T, TaskError>`, which is not used again.
    unsafe fn put(header: NonNull<Header>, result: *mut ()) {
        // SAFETY:
        // - as in `run`; the result is moved out (caller).
        unsafe { *Self::slot(header) = Slot::Result(result.cast::<Result<T, TaskError>>().read()) };
    }

    /// Moves the result to `result`, if it is still there.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type; the task is done, and the caller owns the result. `result` points to
    /// an `Option<Result<T, TaskError>>`.
    unsafe fn take(header: NonNull<Header>, result: *mut ()) {
        // SAFETY:
        // - a done task's slot is the owner's of its result (caller).
        // - `result` may be written to (caller).
        unsafe {
            if let Slot::Result(taken) = std::mem::replace(Self::slot(header), Slot::Empty) {
                *result.cast::<Option<Result<T, TaskError>>>() = Some(taken);
            }
        }
    }

    /// The address of the result in the slot, null if there is none.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type; the task is done, and nobody takes the result meanwhile.
    unsafe fn peek(header: NonNull<Header>) -> *const () {
        // SAFETY:
        // - nobody writes to a done task's slot but the owner of its result (caller).
        match unsafe { &*header.cast::<Self>().as_ref().slot.get() } {
            Slot::Result(result) => std::ptr::from_ref(result).cast(),
            Slot::Empty | Slot::Task(_) => std::ptr::null(),
        }
    }

    /// The error in the slot, if there is one.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type; the task is done, and nobody takes the result meanwhile.
    unsafe fn error(header: NonNull<Header>) -> Option<TaskError> {
        // SAFETY:
        // - nobody writes to a done task's slot but the owner of its result (caller).
        let (header, slot) = unsafe { (header.as_ref(), &*header.cast::<Self>().as_ref().slot.get()) };
        match slot {
            Slot::Result(result) => result.as_ref().err().cloned(),
            // What a finished task had was a value.
            Slot::Empty if header.phase() == Phase::Finished => None,
            Slot::Empty => Some(TaskError::Taken),
            Slot::Task(_) => None,
        }
    }

    /// Drops what is in the slot. A panic is contained.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type, and the caller alone may touch the slot.
    unsafe fn empty(header: NonNull<Header>) {
        // SAFETY:
        // - the caller's contract.
        let slot = unsafe { std::mem::replace(Self::slot(header), Slot::Empty) };
        panic::contain(|| drop(slot));
    }

    /// Frees the cell.
    ///
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
}

fn task_type<F>() -> ResourceType {
    ResourceType { primitive: "Future", data: type_name::<F>(), mode: HoldMode::Running }
}

/// The vtable of a cell whose result, of the type `T`, is put by hand.
struct Promised<T>(PhantomData<T>);

impl<T> Promised<T> {
    const VTABLE: VTable = VTable { type_of: || ResourceType::exclusive::<T>(PROMISE), ..Cell::<fn() -> T, T>::VTABLE };
}

/// What is waited for where no task runs.
const PROMISE: &str = "Promise";

impl TaskRef {
    /// A cell with two references: one to be queued, one for the future.
    ///
    /// # Safety
    ///
    /// The closure and the result can be sent to another thread, and the task is done before either of them dangles. If it is
    /// `lasting` neither ever does.
    #[inline(always)]
    pub(crate) unsafe fn with_task<F: FnOnce() -> T, T>(
        task: F,
        pool: *const Core,
        origin: Origin,
        span: TaskSpan,
        lasting: bool,
    ) -> (Self, Self) {
        let cell = Self::new(Slot::Task(task), 2, pool, origin, span);
        if lasting {
            cell.make_lasting();
        }
        (Self(cell.0), cell)
    }

    /// A cell without a closure, whose result is put by hand. Two references.
    pub(crate) fn without_task<T: Send>(origin: Origin) -> (Self, Self) {
        let header = Header::new(&Promised::<T>::VTABLE, 2, std::ptr::null(), origin, TaskSpan::none());
        let cell = Self::with_header(header, Slot::<fn() -> T, T>::Empty);
        (Self(cell.0), cell)
    }

    /// Whether the result is put by hand.
    pub(crate) fn is_promised(&self) -> bool {
        (self.vtable.type_of)().primitive == PROMISE
    }

    /// A cell that is done, with this error.
    pub(crate) fn failed<T: Send>(error: TaskError, origin: Origin) -> Self {
        let phase = if matches!(error, TaskError::Cancelled) { Phase::Cancelled } else { Phase::Failed };
        let cell = Self::new::<fn() -> T, T>(Slot::Result(Err(error)), 1, std::ptr::null(), origin, TaskSpan::none());
        cell.state.store(phase.put_in(0), Relaxed);
        cell
    }

    fn new<F: FnOnce() -> T, T>(
        slot: Slot<F, T>,
        references: u64,
        pool: *const Core,
        origin: Origin,
        span: TaskSpan,
    ) -> Self {
        Self::with_header(Header::new(&Cell::<F, T>::VTABLE, references, pool, origin, span), slot)
    }

    fn with_header<F, T>(header: Header, slot: Slot<F, T>) -> Self {
        let cell = Box::new(Cell { header, slot: UnsafeCell::new(slot) });
        let cell = NonNull::from(Box::leak(cell));
        Self(cell.cast())
    }

    /// Notes in a cell that nobody else knows that its result borrows nothing.
    fn make_lasting(&self) {
        self.state.store(self.state.load(Relaxed) | LASTING, Relaxed);
    }

    /// Runs the task that the caller [claimed](Header::claim).
    pub(crate) fn run(&self, stats: &Stats) {
        debug_assert_eq!(self.phase(), Phase::Running, "claimed");
        // SAFETY:
        // - the vtable is that of this cell, and the caller claimed the task.
        let phase = unsafe { (self.vtable.run)(self.0, stats) };
        self.finish(phase);
    }

    /// Ends the task that the caller claimed with an error instead of running it. Its closure is dropped before it is
    /// done.
    pub(crate) fn fail(&self, error: TaskError) {
        let phase = if matches!(error, TaskError::Cancelled) { Phase::Cancelled } else { Phase::Failed };
        // The closure's destructor is the user's: what it waits for is waited for by all who wait for the task.
        let me = registry::current();
        self.runner.store(me.id().get(), Relaxed);
        let hold = me.holds.take(me.holds.find(), &self.facts(), self.site());
        // SAFETY:
        // - the vtable is that of this cell, and the caller claimed the task.
        unsafe { (self.vtable.fail)(self.0, error) };
        me.holds.give(hold);
        self.finish(phase);
    }

    /// Ends the task that the caller claimed, and that has no closure, with this result.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`.
    pub(crate) unsafe fn put<T>(&self, result: Result<T, TaskError>) {
        // SAFETY:
        // - the caller's contract.
        if let Some(then) = unsafe { self.put_quietly(result) } {
            then.run();
        }
    }

    /// As [`put`](Self::put); what is to be run then is left to the caller.
    ///
    /// # Safety
    ///
    /// As above.
    pub(crate) unsafe fn put_quietly<T>(&self, result: Result<T, TaskError>) -> Option<Then> {
        let phase = match &result {
            Ok(_) => Phase::Finished,
            Err(TaskError::Cancelled) => Phase::Cancelled,
            Err(_) => Phase::Failed,
        };
        let mut result = ManuallyDrop::new(result);
        // SAFETY:
        // - the vtable is that of this cell, the caller claimed the task, and the result is of the cell's type
        //   (caller) and not used again.
        unsafe { (self.vtable.put)(self.0, (&raw mut result).cast()) };
        self.end(phase)
    }

    /// Takes the result out of a done task: `None` if it was taken before.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, the task is done, and the caller owns the result.
    pub(crate) unsafe fn take<T>(&self) -> Option<Result<T, TaskError>> {
        let mut result = None::<Result<T, TaskError>>;
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.take)(self.0, (&raw mut result).cast()) };
        result
    }

    /// Why the done task has no value, `None` if it has one.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result meanwhile.
    pub(crate) unsafe fn error(&self) -> Option<TaskError> {
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.error)(self.0) }
    }

    /// Looks at the value of a done task: `None` if there is none.
    ///
    /// # Safety
    ///
    /// The cell's result is of the type `T`, the task is done, and nobody takes the result while `'r` lasts.
    pub(crate) unsafe fn peek<'r, T>(&self) -> Option<&'r Result<T, TaskError>> {
        // SAFETY:
        // - the vtable is that of this cell, and the rest is the caller's contract.
        unsafe { (self.vtable.peek)(self.0).cast::<Result<T, TaskError>>().as_ref() }
    }

    /// Gives up the result: it is dropped, here if the task is done, otherwise as soon as it is.
    ///
    /// # Safety
    ///
    /// The caller owns the result, and does not take it afterwards.
    pub(crate) unsafe fn detach(&self) {
        // ORDERING: Acquire pairs with the Release in `end`: the result is there to be dropped. Release pairs with the
        // Acquire in `end`: the owner's last look at the slot came before.
        let word = self.state.fetch_or(DETACHED, AcqRel);
        if !is_done(word) {
            return;
        }
        // SAFETY:
        // - a done task's slot is the owner's of its result (caller).
        let empty = || unsafe { (self.vtable.empty)(self.0) };
        if word & LASTING == 0 {
            return empty();
        }
        // It may hold the future of another task that is done, whose result holds the next.
        chain::run(self.origin(), empty, |_| {
            let task = self.clone();
            // SAFETY:
            // - as above; the result borrows nothing, and can be sent.
            move || unsafe { (task.vtable.empty)(task.0) }
        });
    }

    /// Results of this process's tasks are values.
    ///
    /// # Safety
    ///
    /// None: the signature is that with processes.
    #[cfg(not(feature = "process"))]
    pub(crate) unsafe fn read(&self, _: Limit, _: Site) -> Result<(), Ended> {
        Ok(())
    }

    /// Nobody reads a value.
    #[cfg(not(feature = "process"))]
    pub(crate) fn wake_when_read(&self, _: u64, _: &std::task::Waker) -> bool {
        false
    }

    #[cfg(not(feature = "process"))]
    pub(crate) fn forget_waker_of_reading(&self, _: u64) {}

    #[cfg(not(feature = "process"))]
    fn claim_to_cancel(&self) -> bool {
        self.claim_as(Phase::Cancelling)
    }

    /// Cancels the task if nobody has claimed it yet; its closure is dropped. Whether it was cancelled by this call.
    pub(crate) fn cancel(&self) -> bool {
        if !self.claim_to_cancel() {
            return false;
        }
        // SAFETY:
        // - the task is claimed and still counted as queued.
        let pool = unsafe { Core::retain(self.pool) };
        if let Some(pool) = &pool {
            pool.unqueue();
        }
        self.fail(TaskError::Cancelled);
        // It may be the last reference, and then runs the destructor of the user's initializer.
        panic::contain(|| drop(pool));
        true
    }

    /// Ends the task: whoever waits for it is woken, what is to be done then is done.
    fn finish(&self, phase: Phase) {
        if let Some(then) = self.end(phase) {
            then.run();
        }
    }

    /// Ends the task, and wakes whoever waits for it: returns what is to be done then.
    #[inline(always)]
    fn end(&self, phase: Phase) -> Option<Then> {
        let mut word = self.state.load(Relaxed);
        loop {
            if word & DETACHED != 0 && !is_removed(Ingredient::SeenDetachment) {
                // Before the task is done: what the result borrows may go away then.
                // SAFETY:
                // - whoever claimed the task has the slot to itself until it is done.
                unsafe { (self.vtable.empty)(self.0) };
            }
            // ORDERING: Release publishes the result to whoever sees that the task is done; Acquire pairs with the
            // Release in `detach`.
            match self.state.compare_exchange(word, phase.put_in(word), AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            self.wake_all();
        }
        if word & CONTINUATIONS == 0 {
            return None;
        }
        self.take_continuations(phase)
    }

    #[cold]
    fn take_continuations(&self, phase: Phase) -> Option<Then> {
        let continuations = self.continuations.lock().take();
        continuations.map(|continuations| Then { continuations, status: Status::from(phase), origin: self.origin() })
    }
}

#[cfg(all(test, not(loom), target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_small() {
        let span = size_of::<TaskSpan>();
        assert_eq!((size_of::<Header>(), size_of::<Cell<fn() -> u64, u64>>()), (80 + span, 104 + span));
    }
}
