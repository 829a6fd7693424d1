//! A thread pool as its tasks see it.

use std::ptr;
use std::sync::Arc;

use super::pool::Pool;
use super::worker::{Worker, run_counted};
use crate::deadlock::nested::run_nested;
use crate::deadlock::resource::Site;
use crate::deadlock::waitable::Provider;
use crate::task::error::TaskError;
use crate::task::home::Home;
use crate::task::panic;
use crate::task::stack;
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;

/// The pool in whose queue a task is, or was. It is alive while the task is counted as queued: no reference is counted
/// for that.
pub(super) struct Queued(*const Pool);

// SAFETY:
// - the pool is made for sharing.
unsafe impl Send for Queued {}
// SAFETY:
// - as above.
unsafe impl Sync for Queued {}

impl Queued {
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Self(Arc::as_ptr(pool))
    }
}

impl Home for Queued {
    unsafe fn provider(&self) -> Provider {
        // SAFETY:
        // - the pool is alive. Before it is freed it takes the graph's mutex once (`Group`'s destructor), and by then
        //   every task that was queued had left the phase that the caller has seen, in what happened before. The caller
        //   holds that mutex: the pool has not come so far, and does not until the caller is done.
        Provider::AnyOf(unsafe { (*self.0).group() }.id())
    }

    fn cancel(&self, task: &TaskRef) -> bool {
        if !task.claim_as(Phase::Cancelling) {
            return false;
        }
        // SAFETY:
        // - the task is claimed and still counted as queued.
        let pool = unsafe { Pool::retain(self.0) };
        pool.unqueue();
        task.fail(TaskError::Cancelled);
        // This may be the last reference, and then runs the destructor of the user's initializer.
        panic::contain(|| drop(pool));
        true
    }

    /// Runs the task if a worker of its own pool waits for it: that is progress for which the worker has to wait
    /// anyway.
    fn run_here(&self, task: &TaskRef, site: Site) -> bool {
        let Some(worker) = Worker::current() else { return false };
        if !ptr::eq(Arc::as_ptr(&worker.pool), self.0) || !stack::has_room() || !task.claim() {
            return false;
        }
        worker.pool.unqueue();
        match worker.pool.broken() {
            Some(error) => task.fail(error),
            None => run_nested(task.facts(), site, || run_counted(task, &worker.member)),
        }
        true
    }
}
