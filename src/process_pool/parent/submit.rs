//! A call on its way into the pool: makes the cell of its task, and its future.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::home::new_task;
use super::job::{Job, JobTerms};
use super::notes::{Audience, Notes};
use super::relay::Relay;
use super::room::{Place, Room};
use super::shared::Shared;
use super::terms::{Refused, TaskTerms};
use crate::deadlock::door::Limit;
use crate::deadlock::nested::run_nested;
use crate::deadlock::resource::{Origin, Site};
use crate::process_pool::wire::call::{self, Call, Complete};
use crate::process_pool::wire::callable::Callable;
use crate::process_pool::wire::invocation::Invocation;
use crate::task::cell::ResultSlot;
use crate::task::error::{Rejected, TaskError};
use crate::task::future::Future;
use crate::task::results::Results;
use crate::task::task_ref::TaskRef;
use crate::task::{panic, stack};
use crate::thread_pool::WhenFull;

impl Shared {
    /// Takes a task.
    fn submit(self: &Arc<Self>, job: Job) {
        if self.is_forked() {
            return job.refuse(Rejected::Forked);
        }
        if job.limit.is_some()
            && let Err(error) = self.start_deadlines()
        {
            return job.refuse(Rejected::NoThread(Arc::new(error)));
        }
        let todo = self.dispatcher.submit(job, self.start_policy());
        self.carry_out(todo);
    }

    /// Submits a call of `f` as a task, and does what the pool does if the queue is full.
    pub(in crate::process_pool) fn call<F, A>(
        self: &Arc<Self>,
        origin: Origin,
        terms: TaskTerms,
        invocation: Invocation<F, A>,
    ) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let full = match self.room().try_take() {
            // Nobody makes room in a fork.
            _ if self.is_forked() => Full::Refused(Rejected::Forked),
            Some(place) => return self.call_in(|| place, origin, terms, invocation),
            None => self.when_full(origin.made_at()),
        };
        match full {
            Full::Place(place) => self.call_in(|| place, origin, terms, invocation),
            Full::DiscardOldest => self.call_in(|| self.place_of_oldest(origin.made_at()), origin, terms, invocation),
            // The destructors of what is dropped are the user's; the future has the result, or the refusal, all the same.
            Full::RunHere => {
                panic::contain(|| drop(terms));
                self.run_here(origin, invocation)
            }
            Full::Refused(reason) => {
                panic::contain(|| drop(invocation));
                panic::contain(|| drop(terms));
                Future::failed(TaskError::Rejected(reason), origin)
            }
        }
    }

    /// Submits a call of `f` as a task, if there is room in the queue before the limit. `None`: at once.
    ///
    /// # Errors
    ///
    /// There is none, or the pool takes no tasks.
    pub(in crate::process_pool) fn try_call<F, A>(
        self: &Arc<Self>,
        origin: Origin,
        terms: TaskTerms,
        limit: Option<Limit>,
        invocation: Invocation<F, A>,
    ) -> Result<Future<F::Output>, Refused<F, A>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let place = match limit {
            // Nobody makes room in a fork.
            _ if self.is_forked() => Err(Rejected::Forked),
            None => self.room().try_take().ok_or(Rejected::QueueFull),
            Some(limit) => self.room().take(|| limit, origin.made_at()).ok_or(Rejected::Timeout),
        };
        match place.and_then(|place| self.dispatcher.refusal().map_or(Ok(place), Err)) {
            Ok(place) => Ok(self.call_in(|| place, origin, terms, invocation)),
            Err(reason) => Err(Refused { reason, terms, invocation }),
        }
    }

    /// Does what the pool does with a submission that found the queue full.
    #[cold]
    fn when_full(self: &Arc<Self>, site: Site) -> Full {
        let when_full = if self.is_closed() { WhenFull::Block } else { self.settings.when_full };
        match when_full {
            WhenFull::Reject => Full::Refused(Rejected::QueueFull),
            // Such a task may submit others, on top of it: at the end of the stack this waits for room instead.
            WhenFull::CallerRuns if stack::has_room() => Full::RunHere,
            WhenFull::DiscardOldest => Full::DiscardOldest,
            _ => Full::Place(self.wait_for_place(site)),
        }
    }

    /// Waits for room in the queue.
    fn wait_for_place(&self, site: Site) -> Place {
        self.room().take(|| Limit::None, site).expect("a wait without a limit ends with room")
    }

    /// Cancels the oldest task that can be cancelled, and returns its place. If there is none, waits for room.
    #[cold]
    fn place_of_oldest(self: &Arc<Self>, site: Site) -> Place {
        match self.dispatcher.discard_oldest() {
            Some((place, todo)) => {
                self.carry_out(todo);
                place
            }
            None => self.wait_for_place(site),
        }
    }

    /// Calls `f` on the calling thread, in a context of its own.
    #[cold]
    fn run_here<F, A>(&self, origin: Origin, Invocation { f, args, .. }: Invocation<F, A>) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Send + 'static,
    {
        let (task, mine) = TaskRef::without_task::<F::Output>(origin);
        let claimed = task.claim();
        debug_assert!(claimed, "nobody else knows the task");
        let result = run_nested(task.facts(), origin.made_at(), || panic::catch(|| f.call(args)));
        if result.is_err() {
            self.count_panic();
        }
        self.dispatcher.count_completed();
        // SAFETY:
        // - the cell was made with this type.
        unsafe { task.put::<ResultSlot<F::Output>>(result.map_err(TaskError::Panicked)) };
        // SAFETY:
        // - the cell was made with this type, and for this future.
        unsafe { Future::of(mine) }
    }

    fn room(&self) -> &Room {
        &self.dispatcher.room
    }

    /// Submits a call of `f` as a task, in this place, which is not asked for if the call can't be encoded.
    fn call_in<F, A>(
        self: &Arc<Self>,
        place: impl FnOnce() -> Place,
        origin: Origin,
        terms: TaskTerms,
        invocation: Invocation<F, A>,
    ) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let call = invocation.encode(self.settings.max_message_size);
        let place = if call.is_ok() { place() } else { None };
        // SAFETY:
        // - the function is for results of this type.
        unsafe { self.submit_call::<F, F::Output>(call, call::complete::<F::Output>, origin, (terms, place)) }
    }

    /// Submits the calls of `f` with each item as one task, which waits for room in the queue until the limit.
    pub(in crate::process_pool) fn call_chunk<F, I>(
        self: &Arc<Self>,
        site: Site,
        limit: Limit,
        f: F,
        items: Vec<I>,
    ) -> Future<Results<F::Output>>
    where
        F: Callable<(I,)>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        I: Serialize + DeserializeOwned,
    {
        let origin = Origin::at(site, None);
        let place = if self.is_forked() { Err(Rejected::Forked) } else { Ok(self.room().take(|| limit, site)) };
        let place = match place.and_then(|place| place.ok_or(Rejected::Timeout)) {
            Ok(place) => place,
            Err(reason) => {
                panic::contain(|| drop(items));
                return Future::failed(TaskError::Rejected(reason), origin);
            }
        };
        let call = Call::of_chunk(f, items, self.settings.max_message_size);
        // SAFETY:
        // - the function is for the results of a chunk.
        unsafe {
            self.submit_call::<F, _>(call, call::complete_chunk::<F::Output>, origin, (TaskTerms::default(), place))
        }
    }

    /// Submits a call of an `F` with a result of the type `T`.
    ///
    /// # Safety
    ///
    /// `complete` is for cells with results of the type `T`.
    unsafe fn submit_call<F: 'static, T: Send + 'static>(
        self: &Arc<Self>,
        call: Result<Call, TaskError>,
        complete: Complete,
        origin: Origin,
        (terms, place): (TaskTerms, Place),
    ) -> Future<T> {
        let call = match call {
            Ok(call) => call,
            Err(error) => {
                panic::contain(|| drop(terms));
                return Future::failed(error, origin);
            }
        };
        let TaskTerms { limit, retries, listener } = terms;
        let notes = Notes::for_audience(Audience { listener, relay: Relay::here() });
        let (task, mine) = new_task::<F, T>(Arc::clone(self), origin, notes.clone());
        let terms = JobTerms { limit, retries: retries.unwrap_or(self.settings.retries), notes };
        // SAFETY:
        // - the cell was made with this type, which `complete` is for (caller).
        self.submit(unsafe { Job::new(task, call, complete, terms, place) });
        // SAFETY:
        // - the cell was made with this type, and for this future.
        unsafe { Future::of(mine) }
    }
}

/// What becomes of a submission that found the queue full.
enum Full {
    /// There was room after all.
    Place(Place),
    DiscardOldest,
    RunHere,
    Refused(Rejected),
}
