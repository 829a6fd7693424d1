//! A call on its way into the pool: makes the cell of its task, and its future.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::home::new_task;
use super::job::Job;
use super::shared::Shared;
use super::terms::TaskTerms;
use crate::deadlock::resource::Origin;
use crate::process_pool::wire::call::{self, Call, Complete};
use crate::process_pool::wire::callable::Callable;
use crate::task::error::{Rejected, TaskError};
use crate::task::future::Future;
use crate::task::results::Results;

impl Shared {
    /// Takes a task.
    fn submit(self: &Arc<Self>, job: Job) {
        if self.is_forked() {
            return drop(job.fail(TaskError::Rejected(Rejected::Forked)));
        }
        if job.limit.is_some()
            && let Err(error) = self.start_deadlines()
        {
            return drop(job.fail(TaskError::Rejected(Rejected::NoThread(Arc::new(error)))));
        }
        let todo = self.dispatcher.submit(job, self.start_policy());
        self.carry_out(todo);
    }

    /// Submits a call of `f` as a task.
    pub(in crate::process_pool) fn call<F, A>(
        self: &Arc<Self>,
        origin: Origin,
        terms: TaskTerms,
        f: F,
        args: A,
    ) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let call = Call::of(f, args, self.settings.max_message_size);
        // SAFETY:
        // - the function is for results of this type.
        unsafe { self.submit_call::<F, F::Output>(call, call::complete::<F::Output>, origin, terms) }
    }

    /// Submits the calls of `f` with each item as one task.
    pub(in crate::process_pool) fn call_chunk<F, I>(
        self: &Arc<Self>,
        origin: Origin,
        f: F,
        items: Vec<I>,
    ) -> Future<Results<F::Output>>
    where
        F: Callable<(I,)>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        I: Serialize + DeserializeOwned,
    {
        let call = Call::of_chunk(f, items, self.settings.max_message_size);
        // SAFETY:
        // - the function is for the results of a chunk.
        unsafe { self.submit_call::<F, _>(call, call::complete_chunk::<F::Output>, origin, TaskTerms::default()) }
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
        terms: TaskTerms,
    ) -> Future<T> {
        let call = match call {
            Ok(call) => call,
            Err(error) => return Future::failed(error, origin),
        };
        let (task, mine) = new_task::<F, T>(Arc::clone(self), origin);
        // SAFETY:
        // - the cell was made with this type, which `complete` is for (caller).
        self.submit(unsafe { Job::new(task, call, complete, terms.retries.unwrap_or(self.settings.retries), terms.limit) });
        // SAFETY:
        // - the cell was made with this type, and for this future.
        unsafe { Future::of(mine) }
    }
}
