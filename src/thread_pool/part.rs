//! A thread pool that is a part of another executor.

use std::marker::PhantomData;

use super::submit::{IfFull, Task};
use super::{ThreadPoolBuilder, ThreadPoolExecutor, shutdown};
use crate::deadlock::door::{Failure, WaitError};
use crate::deadlock::resource::{Origin, Site};
use crate::task::error::SubmitError;
use crate::task::future::Future;
use crate::task::trace::TaskSpan;
impl ThreadPoolBuilder {
    /// Makes the pool a part of the executor that was made on this line. That executor [ends](ThreadPoolExecutor::end)
    /// it when it wants to: the drop of the last handle, which may be on any thread, waits for nothing.
    pub(crate) fn for_executor(mut self, made_at: Site) -> Self {
        self.owner = Some(made_at);
        self
    }
}

impl ThreadPoolExecutor {
    /// Queues the callbacks of the other executor's task `of`, whose line reports show. Runs no code of a `tracing`
    /// subscriber.
    pub(crate) fn try_submit_callbacks<F>(&self, of: Origin, run: F) -> Result<Future<()>, SubmitError<F>>
    where
        F: FnOnce() + Send + 'static,
    {
        let name = Some("callbacks of a process task");
        let task: Task<F> =
            Task { run, name, site: of.made_at(), span: TaskSpan::none(), lasting: true, described: PhantomData };
        // SAFETY:
        // - the task borrows nothing, and has no result.
        unsafe { task.enqueue(self.pool(), IfFull::Refuse) }
    }

    /// Closes the pool and waits for its workers, as the drop of the last handle does for other pools.
    pub(crate) fn end(&self, failure: Failure, site: Site) -> Result<(), WaitError> {
        shutdown::end(self.pool(), failure, site)
    }
}
