//! The cell of a task that runs in another process.
//!
//! What comes back is bytes, and stays bytes until somebody asks for the result: reading them is the user's code, which may wait
//! for anything, and runs on the thread that asks.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

use super::{Cell, Slot, TaskRef, VTable, task_type};
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceType, Site};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::{Mutex, PoisonError};
use crate::primitive::spin::spin_until;
use crate::task::continuation::Then;
use crate::task::error::TaskError;
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::task::trace::TaskSpan;
use crate::task::wait::one::{Ended, wait_done};

/// Who sends tasks to other processes, and knows how far they have come there.
pub(crate) trait Owner: Send + Sync {
    /// Claims a pending task for a canceller, if no process has begun it and none will.
    fn claim_to_cancel(&self, task: &Header) -> bool;

    /// Whether a task that a process has begun will soon have ended, usually.
    fn has_short_tasks(&self) -> bool;
}

/// A result as it came from the other process.
pub(crate) struct Reply<T> {
    /// The encoded result is behind the first `start` of these.
    pub(crate) bytes: Vec<u8>,
    pub(crate) start: usize,
    pub(crate) process: u32,
    /// Reads the result. Contains the panics of the user's code.
    pub(crate) read: fn(&[u8], u32) -> Result<T, TaskError>,
}

impl<T> Reply<T> {
    fn read(self) -> Result<T, TaskError> {
        (self.read)(&self.bytes[self.start..], self.process)
    }
}

/// As any other cell, without a closure; before anybody cancels the task, its owner is asked.
#[repr(C)]
struct RemoteCell<T> {
    cell: Cell<fn() -> T, T>,
    owner: Arc<dyn Owner>,
    /// The result, until it is read: then it moves into the slot, or to the owner of the future. Belongs to whoever the slot
    /// belongs to; of several who share the result, to the one that put its event into `reading`.
    reply: UnsafeCell<Option<Reply<T>>>,
    /// Of a result that several may look at: done when the first of them has read it.
    reading: Mutex<Option<TaskRef>>,
}

impl<T> RemoteCell<T> {
    const fn vtable<F>() -> VTable {
        VTable {
            take: Self::take,
            empty: Self::empty,
            free: Self::free,
            owner: Some(Self::owner),
            read: Some(Self::read),
            event: Some(Self::event),
            type_of: task_type::<F>,
            ..Cell::<fn() -> T, T>::VTABLE
        }
    }

    /// # Safety
    ///
    /// The header is that of a cell of this type, and the caller alone may touch the slot while `'c` lasts.
    unsafe fn reply<'c>(header: NonNull<Header>) -> &'c mut Option<Reply<T>> {
        // SAFETY:
        // - the header is the first field of such a cell (`repr(C)`), and the pointer came from its box.
        // - the reply belongs to whoever the slot belongs to (caller).
        unsafe { &mut *(*header.cast::<Self>().as_ptr()).reply.get() }
    }

    /// Moves the result to `result`, if it is still there. Reads it, if nobody has.
    ///
    /// # Safety
    ///
    /// As of [`Cell::take`].
    unsafe fn take(header: NonNull<Header>, result: *mut ()) {
        // SAFETY:
        // - the task is done, and the slot its owner's, with whom nobody shares it now (caller).
        // - `result` may be written to (caller).
        unsafe {
            let result = &mut *result.cast::<Option<Result<T, TaskError>>>();
            match Self::reply(header).take() {
                Some(reply) => *result = Some(reply.read()),
                None => Cell::<fn() -> T, T>::take(header, (&raw mut *result).cast()),
            }
            // The task has finished, and nothing but this says that there was an error.
            if let Some(Err(_)) = result {
                *Cell::<fn() -> T, T>::slot(header) = Slot::Result(Err(TaskError::Taken));
            }
        }
    }

    /// The event that the result was read, if somebody who shares it reads it, or has.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type, which somebody has a reference to.
    unsafe fn event(header: NonNull<Header>) -> Option<TaskRef> {
        // SAFETY:
        // - it is such a cell, and there (caller). The mutex in it is never borrowed for writing.
        let reading = unsafe { &(*header.cast::<Self>().as_ptr()).reading };
        reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the result into the slot, or waits until another thread has.
    ///
    /// # Safety
    ///
    /// The header is that of a cell of this type; the task is done, and nobody takes the result meanwhile.
    unsafe fn read(header: NonNull<Header>, limit: Limit, site: Site) -> Result<(), Ended> {
        // SAFETY:
        // - it is such a cell (caller), and the mutex in it is never borrowed for writing.
        let (header_ref, reading) = unsafe { (header.as_ref(), &(*header.cast::<Self>().as_ptr()).reading) };
        let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = &*reading {
            let event = event.clone();
            drop(reading);
            return wait_done(&event, limit, site);
        }
        // SAFETY:
        // - the task is done, and nobody takes its result (caller). Who else looks at it found the event, or waits for the
        //   mutex.
        let Some(reply) = (unsafe { Self::reply(header) }).take() else { return Ok(()) };
        let event = TaskRef::reading::<T>(header_ref.origin());
        *reading = Some(event.clone());
        drop(reading);
        let me = registry::current();
        event.runner.store(me.id().get(), Relaxed);
        let hold = me.holds.take(me.holds.find(), &event.facts(), site);
        let result = reply.read();
        me.holds.give(hold);
        // SAFETY:
        // - the slot is this caller's until the event is done: everybody else waits for that.
        unsafe { *Cell::<fn() -> T, T>::slot(header) = Slot::Result(result) };
        // SAFETY:
        // - the event was made with this type, and claimed.
        unsafe { event.put::<()>(Ok(())) };
        Ok(())
    }

    /// Drops the result, read or not.
    ///
    /// # Safety
    ///
    /// As of [`Cell::empty`].
    unsafe fn empty(header: NonNull<Header>) {
        // SAFETY:
        // - the caller's contract.
        unsafe {
            drop(Self::reply(header).take());
            Cell::<fn() -> T, T>::empty(header);
        }
    }

    /// # Safety
    ///
    /// The header is that of a cell of this type, and nobody uses it any more.
    unsafe fn free(header: NonNull<Header>) {
        // SAFETY:
        // - the cell inside is the first field (`repr(C)`) and of this type; nobody uses it any more (caller).
        // - the whole came from a box (`TaskRef::remote`), and this is its end.
        unsafe {
            Self::empty(header);
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
struct OfCall<F, T>(PhantomData<(F, T)>);

impl<F, T> OfCall<F, T> {
    const VTABLE: VTable = RemoteCell::<T>::vtable::<F>();
}

/// The vtable of the event that a result of the type `T` was read.
struct OfReading<T>(PhantomData<T>);

impl<T> OfReading<T> {
    const VTABLE: VTable =
        VTable { type_of: || ResourceType::exclusive::<T>("Result"), ..Cell::<fn() -> (), ()>::VTABLE };
}

impl TaskRef {
    /// The event that a result was read, claimed by the caller.
    fn reading<T>(origin: Origin) -> Self {
        let header = Header::new(&OfReading::<T>::VTABLE, 1, std::ptr::null(), origin, TaskSpan::none());
        let event = Self::with_header(header, Slot::<fn(), ()>::Empty);
        let claimed = event.claim();
        debug_assert!(claimed, "nobody else knows it");
        event
    }

    /// Sees to it that the result of a done task is not bytes any more: reads it, or waits until another thread has.
    ///
    /// # Errors
    ///
    /// The other thread has not read it within the limit, or waits for the caller.
    ///
    /// # Safety
    ///
    /// The task is done, and nobody takes the result meanwhile.
    pub(crate) unsafe fn read(&self, limit: Limit, site: Site) -> Result<(), Ended> {
        match self.vtable.read {
            // SAFETY:
            // - the vtable is that of this cell; the rest is the caller's contract.
            Some(read) => unsafe { read(self.0, limit, site) },
            None => Ok(()),
        }
    }

    /// Registers the waker of an owner that is to be polled again when another owner has read the result. Returns `false` if nobody is
    /// reading it. [`forget_waker_of_reading`](Self::forget_waker_of_reading) unregisters the waker.
    pub(crate) fn wake_when_read(&self, owner: u64, waker: &Waker) -> bool {
        self.event().is_some_and(|event| event.wake_when_done(owner, waker))
    }

    /// Takes an owner's waker off the list of those who wait for a reader.
    pub(crate) fn forget_waker_of_reading(&self, owner: u64) {
        if let Some(event) = self.event() {
            event.forget_waker(owner);
        }
    }

    fn event(&self) -> Option<Self> {
        // SAFETY:
        // - the vtable is that of this cell, and there is a reference to it: this one.
        self.vtable.event.and_then(|event| unsafe { event(self.0) })
    }

    /// Ends the task that the caller claimed with what came from the other process. What is to be run then is left to the caller.
    ///
    /// # Safety
    ///
    /// The cell was made by [`remote`](Self::remote), and its result is of the type `T`.
    pub(crate) unsafe fn put_reply<T>(&self, reply: Reply<T>) -> Option<Then> {
        // SAFETY:
        // - it is such a cell (caller), whose slot belongs to whoever claimed the task.
        unsafe { *RemoteCell::<T>::reply(self.0) = Some(reply) };
        self.end(Phase::Finished)
    }

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
    pub(crate) fn spin_while_soon(&self) -> bool {
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
    pub(crate) fn remote<F: 'static, T: Send + 'static>(owner: Arc<dyn Owner>, origin: Origin) -> (Self, Self) {
        let header = Header::new(&OfCall::<F, T>::VTABLE, 2, std::ptr::null(), origin, TaskSpan::none());
        let cell = Cell { header, slot: UnsafeCell::new(Slot::Empty) };
        let (reply, reading) = (UnsafeCell::new(None), Mutex::new(None));
        let cell = NonNull::from(Box::leak(Box::new(RemoteCell::<T> { cell, owner, reply, reading })));
        let task = Self(cell.cast());
        task.make_lasting();
        (task, Self(cell.cast()))
    }
}
