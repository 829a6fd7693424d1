//! A process pool as its tasks see it.

use std::sync::Arc;
use std::time::Duration;

use super::notes::Notes;
use crate::deadlock::resource::Origin;
use crate::process_pool::wire::reply::Replied;
use crate::task::cell::TaskOf;
use crate::task::error::TaskError;
use crate::task::header::Header;
use crate::task::home::Home;
use crate::task::panic;
use crate::task::task_ref::TaskRef;
use crate::task::trace::TaskSpan;

/// The pool that sends tasks to other processes, and knows how far they have come there.
pub(in crate::process_pool::parent) trait Sender: Send + Sync + 'static {
    /// Claims a pending task for a canceller, if no process has begun it and none will.
    fn claim_to_cancel(&self, task: &Header) -> bool;

    /// Ends a task that a process has begun. Returns whether it ends by that.
    fn terminate(self: &Arc<Self>, task: &Header, grace: Duration) -> bool;

    /// Returns whether a task that a process has begun will soon have ended, as a rule.
    fn has_short_tasks(&self) -> bool;
}

/// The pool whose workers run the task.
struct InProcesses<P> {
    pool: Arc<P>,
    notes: Option<Arc<Notes>>,
}

/// Until a worker has begun the task, nobody in this process can end it: a child that lives is external.
impl<P: Sender> Home for InProcesses<P> {
    fn cancel(&self, task: &TaskRef) -> bool {
        let claimed = self.pool.claim_to_cancel(task);
        if claimed {
            task.fail(TaskError::Cancelled);
            // Here, and not where the pool comes across what is left of the task.
            let audience = self.notes.as_ref().and_then(|notes| notes.take_audience());
            panic::contain(|| drop(audience));
        }
        claimed
    }

    fn terminate(&self, task: &TaskRef, grace: Duration) -> bool {
        self.cancel(task) || self.pool.terminate(task, grace)
    }

    fn is_nearly_done(&self) -> bool {
        self.pool.has_short_tasks()
    }
}

/// Makes the cell of a task that calls `F` in a worker of `pool`, which puts the [reply](Replied). Two references: one
/// for the pool, one for the future.
pub(in crate::process_pool::parent) fn new_task<F: 'static, T: Send + 'static>(
    pool: Arc<impl Sender>,
    origin: Origin,
    notes: Option<Arc<Notes>>,
) -> (TaskRef, TaskRef) {
    let home = InProcesses { pool, notes };
    // SAFETY:
    // - the result can be sent (bound), and lasts.
    let pair = unsafe { TaskRef::new_pair::<_, _, TaskOf<F>>(home, Replied::<T>::not_yet(), origin, TaskSpan::none()) };
    pair.0.make_lasting();
    pair
}
