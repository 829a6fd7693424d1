//! What a pool of processes has in common with a pool of threads.

#![cfg(target_os = "linux")]

use bowline::task::PanicInfo;
use bowline::thread_pool::{ShutdownOptions, ShutdownReport};
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::contract::{Data, Plan, Pool, contract, planned};
use crate::support::processes::is_gone;
use crate::support::workers::{only_worker, pool_of};

impl Pool for ProcessPoolExecutor {
    fn of(workers: usize) -> Self {
        pool_of(workers)
    }

    fn submit<A: Data, T: Data>(&self, call: impl Fn(A) -> T + Copy + Send + Sync + 'static, argument: A) -> Future<T> {
        self.submit(call, (argument,))
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
        let workers = self.worker_pids();
        move || workers.iter().all(|&worker| is_gone(worker))
    }

    fn assert_harmless(&self, panic: &PanicInfo) {
        // A worker in its place would have another number.
        assert_eq!(panic.process(), Some(only_worker(self)), "the worker lives on");
    }
}

contract!(ProcessPoolExecutor);
