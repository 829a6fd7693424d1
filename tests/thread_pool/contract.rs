//! What a pool of threads has in common with a pool of processes.

use bowline::task::PanicInfo;
use bowline::thread_pool::{ShutdownOptions, ShutdownReport};
use bowline::{Future, TaskError, ThreadPoolExecutor};

use crate::support::contract::{Data, Plan, Pool, contract, planned};

impl Pool for ThreadPoolExecutor {
    fn of(workers: usize) -> Self {
        Self::new(workers)
    }

    fn submit<A: Data, T: Data>(&self, call: impl Fn(A) -> T + Copy + Send + Sync + 'static, argument: A) -> Future<T> {
        self.submit(move || call(argument))
    }

    fn map<I, T: Data>(
        &self,
        call: impl Fn(I::Item) -> T + Copy + Send + Sync + 'static,
        items: I,
        plan: Plan,
    ) -> impl Iterator<Item = Result<T, TaskError>> + Send + 'static
    where
        I: Iterator<Item: Data> + Send + 'static,
    {
        planned!(self.map(call, items), plan)
    }

    fn shutdown_with(&self, options: ShutdownOptions) -> ShutdownReport {
        self.shutdown_with(options)
    }

    fn is_shutdown(&self) -> bool {
        self.is_shutdown()
    }

    fn worker_count(&self) -> usize {
        self.worker_count()
    }

    fn queued(&self) -> usize {
        self.queued()
    }

    fn completed(&self) -> u64 {
        self.completed()
    }

    fn panic_count(&self) -> u64 {
        self.panic_count()
    }

    fn end_of_workers(&self) -> impl Fn() -> bool + Send + Sync {
        || self.worker_count() == 0
    }

    fn assert_harmless(&self, panic: &PanicInfo) {
        assert_eq!(panic.process(), None);
        assert_eq!(self.panic_count(), 0, "the task that ran the call is well");
    }
}

contract!(ThreadPoolExecutor);
