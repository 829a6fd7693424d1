//! The home of a task: the one seam between a task and its executor.

#[cfg(feature = "process")]
use std::time::Duration;

use super::error::TaskError;
use super::state::Phase;
use super::task_ref::TaskRef;
use crate::deadlock::resource::Site;
use crate::deadlock::waitable::Provider;

/// A task's executor, as the task sees it. Each cell has one, behind its vtable.
///
/// An executor that keeps tasks in a queue says who can begin a pending one, and takes part when a task leaves the
/// queue by another way than through a worker. Everything else about a task is the same, whichever executor runs it.
pub(crate) trait Home: Send + Sync + 'static {
    /// Returns who can end the task while it is pending.
    ///
    /// # Safety
    ///
    /// The caller holds the graph's mutex, and has seen since it took it that the task is pending.
    unsafe fn provider(&self) -> Provider {
        Provider::External
    }

    /// Cancels the task if it is pending: claims it, uncounts it in the executor, and ends it. Returns whether this
    /// call did so.
    fn cancel(&self, task: &TaskRef) -> bool {
        let claimed = task.claim_as(Phase::Cancelling);
        if claimed {
            task.fail(TaskError::Cancelled);
        }
        claimed
    }

    /// Cancels the task if it is pending. Otherwise asks it to stop, and, if it runs in another process, ends it within
    /// this time. Returns whether it is cancelled, or is being ended.
    #[cfg(feature = "process")]
    fn terminate(&self, task: &TaskRef, _grace: Duration) -> bool {
        task.cancel()
    }

    /// Runs the task on the calling thread, in a context of its own, if it is pending and this thread works for the
    /// executor. The caller is about to wait for the task, on the line `site`. Returns whether the task is done.
    fn run_here(&self, _task: &TaskRef, _site: Site) -> bool {
        false
    }

    /// Returns whether a running task is usually done in a moment, so that a waiter spins before it sleeps.
    fn is_nearly_done(&self) -> bool {
        false
    }
}

/// The home of a task that is in no queue: it is completed by hand, or runs where it is made.
pub(crate) struct Nowhere;

impl Home for Nowhere {}

#[cfg(all(test, not(loom)))]
mod tests {
    //! An executor that tasks do not know: one thread, one queue.

    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::thread::{self, ThreadId};
    #[cfg(not(feature = "process"))]
    use std::time::Duration;

    use super::*;
    use crate::deadlock::nested::run_nested;
    use crate::deadlock::resource::Origin;
    use crate::primitive::quiet::{Condvar, Mutex};
    use crate::primitive::spawn_thread;
    use crate::task::cell::TaskOf;
    use crate::task::future::Future;
    use crate::task::stats::Stats;
    use crate::task::trace::TaskSpan;

    #[derive(Default)]
    struct OneThread {
        state: Mutex<(VecDeque<TaskRef>, Option<ThreadId>)>,
        changed: Condvar,
    }

    struct InOneThread(Arc<OneThread>);

    impl Home for InOneThread {
        fn run_here(&self, task: &TaskRef, site: Site) -> bool {
            let is_worker = self.0.state.lock().unwrap().1 == Some(thread::current().id());
            let is_mine = is_worker && task.claim();
            if is_mine {
                run_nested(task.facts(), site, || task.run(&Stats::default()));
            }
            is_mine
        }
    }

    impl OneThread {
        fn start() -> Arc<Self> {
            let executor = Arc::new(Self::default());
            let its = Arc::clone(&executor);
            spawn_thread("one".to_owned(), 1 << 20, move || its.work()).unwrap();
            executor
        }

        fn work(&self) {
            self.state.lock().unwrap().1 = Some(thread::current().id());
            loop {
                let idle = |(queue, _): &mut (VecDeque<TaskRef>, _)| queue.is_empty();
                let task = self.changed.wait_while(self.state.lock().unwrap(), idle).unwrap().0.pop_front();
                match task {
                    Some(task) if task.is_promised() => return,
                    Some(task) if task.claim() => task.run(&Stats::default()),
                    _ => {}
                }
            }
        }

        fn submit<F: FnOnce() -> T + Send + 'static, T: Send + 'static>(self: &Arc<Self>, task: F) -> Future<T> {
            let home = InOneThread(Arc::clone(self));
            let made = (Origin::here(None), TaskSpan::none());
            // SAFETY:
            // - the closure and the result can be sent, and last (bounds).
            let (mine, its) = unsafe { TaskRef::with_task::<_, TaskOf<F>, _, _>(task, home, made.0, made.1, true) };
            self.push(mine);
            // SAFETY:
            // - the cell was made for this type, and for this future.
            unsafe { Future::of(its) }
        }

        fn push(&self, task: TaskRef) {
            self.state.lock().unwrap().0.push_back(task);
            self.changed.notify_one();
        }
    }

    #[test]
    fn an_executor_that_tasks_do_not_know_runs_cancels_and_runs_in_place() {
        let executor = OneThread::start();
        assert_eq!(executor.submit(|| 6 * 7).result().unwrap(), 42);
        // The only thread waits for what is behind it in the queue.
        let again = Arc::clone(&executor);
        let nested =
            executor.submit(move || again.submit(thread::current).result().unwrap().id() == thread::current().id());
        assert!(nested.result().unwrap(), "run in place");
        let (go, gone) = std::sync::mpsc::channel();
        let busy = executor.submit(move || gone.recv().unwrap());
        let mut queued = executor.submit(|| ());
        assert!(matches!(queued.result_timeout(Duration::from_millis(1)), Err(TaskError::Timeout)));
        assert!(queued.cancel() && queued.done());
        go.send(()).unwrap();
        busy.result().unwrap();
        executor.push(TaskRef::without_task::<()>(Origin::here(None)).0);
    }
}
