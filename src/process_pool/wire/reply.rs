//! The slot of a task that runs in another process.
//!
//! What comes back is bytes, and stays bytes until somebody asks for the result: reading them is the user's code, which
//! may wait for anything, and runs on the thread that asks.

use std::cell::UnsafeCell;
use std::marker::PhantomData;

use super::blob::Attached;
use super::memory;
use crate::deadlock::door::{Limit, WaitError};
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceType, Site, TypeOf};
use crate::primitive::quiet::{Mutex, PoisonError};
use crate::task::cell::{Describe, ResultSlot};
use crate::task::error::TaskError;
use crate::task::header::Header;
use crate::task::home::Nowhere;
use crate::task::panic;
use crate::task::runner::Runner;
use crate::task::slot::Slot;
use crate::task::state::Phase;
use crate::task::stats::Stats;
use crate::task::task_ref::TaskRef;
use crate::task::trace::TaskSpan;
use crate::task::wait::one::wait_done;

/// Reads an encoded result, with the blobs that came with it, of the process with this id.
pub(in crate::process_pool) type ReadReply<T> = fn(&[u8], &mut Attached, u32) -> Result<T, TaskError>;

/// A result as it came from the other process.
pub(in crate::process_pool) struct Reply<T> {
    /// The encoded result is behind the first `start` of these.
    pub(in crate::process_pool) bytes: Vec<u8>,
    pub(in crate::process_pool) start: usize,
    pub(in crate::process_pool) attached: Attached,
    pub(in crate::process_pool) process: u32,
    /// Contains the panics of the user's code.
    pub(in crate::process_pool) read: ReadReply<T>,
}

impl<T> Reply<T> {
    fn read(mut self) -> Result<T, TaskError> {
        let result = (self.read)(&self.bytes[self.start..], &mut self.attached, self.process);
        memory::keep(self.bytes);
        result
    }
}

/// The result of a task in another process: nothing, then the reply, then what was read.
pub(in crate::process_pool) struct Replied<T> {
    stage: UnsafeCell<Stage<T>>,
    /// Of a result that several may look at: done when the first of them has read it. Of several who share the result,
    /// the stage belongs to the one that put its event here.
    reading: Mutex<Option<TaskRef>>,
}

enum Stage<T> {
    Empty,
    Unread(Reply<T>),
    Result(Result<T, TaskError>),
}

impl<T> Replied<T> {
    pub(in crate::process_pool) fn not_yet() -> Self {
        Self { stage: UnsafeCell::new(Stage::Empty), reading: Mutex::new(None) }
    }

    /// Puts `stage` in the place of what is there, which comes back.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller.
    unsafe fn replace(&self, stage: Stage<T>) -> Stage<T> {
        // SAFETY:
        // - nobody else reaches the stage meanwhile (caller).
        std::mem::replace(unsafe { &mut *self.stage.get() }, stage)
    }
}

impl<T> Slot for Replied<T> {
    type Value = T;
    type Given = Result<Reply<T>, TaskError>;

    unsafe fn run(&self, _: &Header, _: &Stats) -> Phase {
        unreachable!("the task runs in another process")
    }

    unsafe fn fail(&self, error: TaskError) {
        // SAFETY:
        // - the caller's contract. The stage that this replaces is `Empty`.
        let _ = unsafe { self.replace(Stage::Result(Err(error))) };
    }

    unsafe fn put(&self, given: Result<Reply<T>, TaskError>) -> Phase {
        let (stage, phase) = match given {
            Ok(reply) => (Stage::Unread(reply), Phase::Finished),
            Err(error) => {
                let phase = Phase::of_error(&error);
                (Stage::Result(Err(error)), phase)
            }
        };
        // SAFETY:
        // - the caller's contract. The stage that this replaces is `Empty`.
        let _ = unsafe { self.replace(stage) };
        phase
    }

    /// Reads the result, if nobody has.
    unsafe fn take(&self) -> Option<Result<T, TaskError>> {
        // SAFETY:
        // - the caller's contract.
        match unsafe { self.replace(Stage::Empty) } {
            Stage::Empty => None,
            Stage::Unread(reply) => Some(reply.read()),
            Stage::Result(result) => Some(result),
        }
    }

    unsafe fn result(&self) -> Option<&Result<T, TaskError>> {
        // SAFETY:
        // - nobody writes to the stage of a settled result but the owner of the result (caller).
        match unsafe { &*self.stage.get() } {
            Stage::Result(result) => Some(result),
            Stage::Empty | Stage::Unread(_) => None,
        }
    }

    /// Reads the result, or waits until another thread has.
    unsafe fn settle(&self, header: &Header, limit: Limit, site: Site) -> Result<(), WaitError> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(event) = &*reading {
            let event = event.clone();
            drop(reading);
            return wait_done(&event, limit, site);
        }
        // A settled result is not written to: other owners may be looking at it.
        // SAFETY:
        // - the task is done, and nobody takes its result (caller). Only the thread that puts its event into `reading`
        //   settles it, and there is no event.
        if !matches!(unsafe { &*self.stage.get() }, Stage::Unread(_)) {
            return Ok(());
        }
        // SAFETY:
        // - as above. Nobody looks at a result that is not settled but under the mutex.
        let Stage::Unread(reply) = (unsafe { self.replace(Stage::Empty) }) else { unreachable!("it was unread") };
        let event = reading_event::<T>(header.origin());
        *reading = Some(event.clone());
        drop(reading);
        let me = registry::current();
        event.set_runner(Runner::Context(me.id()));
        let hold = me.holds.take(|| event.facts(), site);
        let result = reply.read();
        me.holds.give(hold);
        // SAFETY:
        // - the stage is this caller's until the event is done: everybody else waits for that. It is `Empty`.
        let _ = unsafe { self.replace(Stage::Result(result)) };
        // SAFETY:
        // - the event was made with this slot, and claimed.
        unsafe { event.put::<ResultSlot<()>>(Ok(())) };
        Ok(())
    }

    fn settling(&self) -> Option<TaskRef> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    unsafe fn empty(&self) {
        // SAFETY:
        // - the caller's contract.
        let stage = unsafe { self.replace(Stage::Empty) };
        panic::contain(|| drop(stage));
    }
}

/// The event that a result of the type `T` was read.
struct Reading<T>(PhantomData<T>);

impl<T> Describe for Reading<T> {
    const TYPE: TypeOf = || ResourceType::exclusive::<T>("Result");
}

/// Makes the event that a result was read, claimed by the caller.
fn reading_event<T>(origin: Origin) -> TaskRef {
    // SAFETY:
    // - nothing can be sent, and lasts.
    let event =
        unsafe { TaskRef::new::<_, _, Reading<T>>(Nowhere, ResultSlot::<()>::nothing(), origin, TaskSpan::none()) };
    let claimed = event.claim();
    debug_assert!(claimed, "nobody else knows it");
    event
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::task::cell::TaskOf;
    use crate::task::future::Future;

    /// A task that is claimed, and its future.
    fn task() -> (TaskRef, Future<u8>) {
        let slot = Replied::<u8>::not_yet();
        // SAFETY:
        // - a number can be sent, and lasts.
        let (mine, its) = unsafe {
            TaskRef::new_pair::<_, _, TaskOf<fn() -> u8>>(Nowhere, slot, Origin::here(None), TaskSpan::none())
        };
        assert!(mine.claim());
        // SAFETY:
        // - the cell was made with this type, and for this future.
        (mine, unsafe { Future::of(its) })
    }

    fn put(task: &TaskRef, given: Result<Reply<u8>, TaskError>) {
        // SAFETY:
        // - the cell was made with this slot, and the task is claimed.
        unsafe { task.put::<Replied<u8>>(given) };
    }

    /// Lets several threads look at a result at once, and many times.
    fn looked_at_by_many<T: Sync>(future: &T, look: impl Fn(&T) + Sync) {
        let times = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|s| (0..4).for_each(|_| drop(s.spawn(|| (0..times).for_each(|_| look(future))))));
    }

    #[test]
    fn many_may_look_at_an_error_at_once() {
        for fails in [false, true] {
            let (task, future) = task();
            if fails {
                task.fail(TaskError::BrokenPromise)
            } else {
                put(&task, Err(TaskError::BrokenPromise))
            }
            looked_at_by_many(&future, |future| {
                assert!(matches!(future.exception(), Some(TaskError::BrokenPromise)));
            });
            let shared = future.shared();
            looked_at_by_many(&shared, |shared| assert!(matches!(shared.result(), Err(TaskError::BrokenPromise))));
        }
    }

    #[test]
    fn of_many_that_look_at_a_reply_one_reads_it() {
        let (task, future) = task();
        let read = |bytes: &[u8], _: &mut Attached, process: u32| Ok(bytes[0] + process as u8);
        put(&task, Ok(Reply { bytes: vec![0, 7], start: 1, attached: Attached::none(), process: 1, read }));
        let shared = future.shared();
        looked_at_by_many(&shared, |shared| assert_eq!(shared.result().unwrap(), 8));
    }
}
