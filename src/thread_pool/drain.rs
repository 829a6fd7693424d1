//! A shutdown that hands back what no worker has begun.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;

use super::ThreadPoolExecutor;
use super::pool::{Message, Pool};
use crate::deadlock::nested::run_nested;
use crate::primitive::quiet::PoisonError;
use crate::primitive::yield_now;
use crate::task::error::TaskError;
use crate::task::state::Phase;
use crate::task::stats::Stats;
use crate::task::task_ref::TaskRef;

/// A task that was queued in a pool and that no worker had begun when the pool was [drained](ThreadPoolExecutor::drain).
///
/// Its future is connected still: whoever waits for it waits until this is [run](Self::run), [cancelled](Self::cancel) or
/// dropped, which cancels it. Until then the future says that the task runs, and can't cancel it. A task that is kept, or
/// [forgotten](std::mem::forget), is like a promise that nobody keeps: any thread might, so that waits for it are not
/// judged.
///
/// # Examples
///
/// ```
/// use bowline::ThreadPoolExecutor;
///
/// let pool = ThreadPoolExecutor::new(1);
/// let (open, opened) = bowline::promise::<()>();
/// let busy = pool.submit(move || opened.result());
/// while !busy.running() {
///     std::thread::yield_now();
/// }
/// let queued: Vec<_> = (0..3).map(|n| pool.submit_named("late", move || n)).collect();
/// let mut pending = pool.drain(); // and the pool is shut down
/// assert_eq!((pending.len(), pending[0].name()), (3, Some("late")));
/// pending.remove(0).run(); // here
/// let first = pending.remove(0);
/// ThreadPoolExecutor::new(1).submit(move || first.run()).result().unwrap(); // by another pool
/// drop(pending); // cancels the last
/// let results: Vec<_> = queued.into_iter().map(|future| future.result().ok()).collect();
/// assert_eq!(results, [Some(0), Some(1), None]);
/// open.set_result(()).unwrap();
/// # busy.result().unwrap().unwrap();
/// ```
#[must_use = "dropping a pending task cancels it"]
pub struct PendingTask {
    /// Claimed by whoever has this, and not done.
    task: ManuallyDrop<TaskRef>,
}

impl PendingTask {
    /// Runs the task on the calling thread, in a context of its own. A panic goes to its future.
    ///
    /// # Deadlocks
    ///
    /// While it runs, those who wait for its future wait for this thread, in the wait-for graph.
    #[track_caller]
    pub fn run(self) {
        let task = self.into_task();
        run_nested(task.facts(), Location::caller(), || task.run(&Stats::default()));
    }

    /// Cancels the task, as dropping it does: drops its closure, on the calling thread, and then its future is
    /// [cancelled](crate::Future::cancelled).
    pub fn cancel(self) {
        drop(self);
    }

    /// Returns the name that the task was submitted under.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.task.name()
    }

    /// Returns the line that submitted the task.
    #[must_use]
    pub fn submitted_at(&self) -> &'static Location<'static> {
        self.task.site()
    }

    fn into_task(self) -> TaskRef {
        let mut this = ManuallyDrop::new(self);
        // SAFETY:
        // - the destructor, which takes it too, does not run.
        unsafe { ManuallyDrop::take(&mut this.task) }
    }
}

impl Drop for PendingTask {
    fn drop(&mut self) {
        // SAFETY:
        // - this is its end.
        let task = unsafe { ManuallyDrop::take(&mut self.task) };
        task.fail(TaskError::Cancelled);
    }
}

impl fmt::Debug for PendingTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingTask")
            .field("name", &self.name())
            .field("type", &self.task.type_name())
            .field("submitted_at", &self.submitted_at())
            .finish()
    }
}

impl ThreadPoolExecutor {
    /// Takes no more tasks, and hands back those that no worker has begun, in the order in which they were queued: Java's
    /// `shutdownNow`. Waits for nobody: tasks that have begun run to their end, and a
    /// [shutdown](ThreadPoolExecutor::shutdown) waits for them.
    ///
    /// Tasks of a [scope](ThreadPoolExecutor::scope) may borrow from the scope, and are not handed back: the workers run
    /// them.
    ///
    /// Costs one look at each queued task. No code of the user's runs.
    ///
    /// # Examples
    ///
    /// See [`PendingTask`].
    #[must_use = "dropping the tasks cancels them"]
    pub fn drain(&self) -> Vec<PendingTask> {
        self.pool().close();
        self.pool().take_pending()
    }
}

/// Returns how many of these tasks nobody has begun or cancelled.
fn count_pending(messages: &[Message]) -> u64 {
    messages.iter().flatten().filter(|task| task.phase() == Phase::Pending).count() as u64
}

impl Pool {
    /// Takes the tasks out of the queue of a closed pool that nobody has begun, and that borrow nothing.
    fn take_pending(&self) -> Vec<PendingTask> {
        let (mut pending, mut tombstones, mut others) = (Vec::new(), Vec::new(), Vec::new());
        // One thread at a time has a part of the queue in hand.
        let clearing = self.clearing().lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.queue.pop() {
                Some(Some(task)) if !task.is_lasting() && task.phase() == Phase::Pending => {
                    others.push(Some(task));
                }
                Some(Some(task)) if task.claim() => {
                    self.unqueue_claimed();
                    pending.push(PendingTask { task: ManuallyDrop::new(task) });
                }
                Some(Some(task)) => {
                    self.uncount_tombstone();
                    tombstones.push(task);
                }
                Some(None) => others.push(None),
                // No task is admitted any more. One that was, and is not in the queue yet, is pushed in a moment.
                None if self.occupancy.read().queued() > count_pending(&others) => yield_now(),
                None => break,
            }
        }
        others.into_iter().for_each(|message| self.queue.push(message));
        drop(clearing);
        // They may be the last references to their cells: freed when nothing is in hand any more.
        drop(tombstones);
        pending
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::deadlock::resource::Origin;
    use crate::task::cell::TaskOf;
    use crate::task::trace::TaskSpan;
    use crate::thread_pool::home::Queued;

    /// Makes the task of a submission to the pool.
    fn task<F: FnOnce() + Send>(pool: &std::sync::Arc<Pool>, run: F) -> (TaskRef, TaskRef) {
        // SAFETY:
        // - the closure and its result can be sent, and borrow nothing here.
        unsafe {
            TaskRef::with_task::<_, TaskOf<F>, _, _>(run, Queued::of(pool), Origin::here(None), TaskSpan::none(), true)
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for threads")]
    fn a_task_that_is_admitted_and_not_pushed_is_handed_back_though_a_scoped_one_is_cancelled_meanwhile() {
        let pool = ThreadPoolExecutor::new(1);
        let (open, opened) = crate::promise::<()>();
        let busy = pool.submit(move || opened.result());
        while !busy.running() {
            thread::yield_now();
        }
        let handed_back = pool.scope(|s| {
            let scoped = s.submit(|| ());
            pool.pool().admit().unwrap();
            let drain = {
                let pool = pool.clone();
                thread::spawn(move || pool.drain().len())
            };
            while !pool.is_shutdown() {
                thread::yield_now();
            }
            // It has the scoped task in hand, and waits for the other one.
            thread::sleep(Duration::from_millis(20));
            scoped.cancel();
            thread::sleep(Duration::from_millis(20));
            let (queued, _future) = task(pool.pool(), || ());
            pool.pool().push(queued);
            drain.join().unwrap()
        });
        assert!(open.set_result(()).is_ok());
        assert_eq!(handed_back, 1);
    }
}
