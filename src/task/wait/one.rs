//! The wait of one thread for one task.

use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Visit};
use crate::primitive::spin::spin_until;
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;

/// Waits until a task is done. A worker that waits for a task in its own pool's queue, without a limit, runs it.
pub(crate) fn wait_done(task: &TaskRef, limit: Limit, site: Site) -> Result<(), WaitError> {
    if task.is_done() || matches!(limit, Limit::None) && (task.home().run_here(task, site) || is_done_in_a_moment(task))
    {
        return Ok(());
    }
    let me = registry::current();
    let relock = task.is_run_by(me.id());
    door::wait(me, &TaskWait(task), Terms { site, limit, failure: Failure::Value, relock })
}

/// Spins for a moment, if the task runs and is usually done soon. Returns whether it is done.
fn is_done_in_a_moment(task: &TaskRef) -> bool {
    if task.phase() == Phase::Running && task.home().is_nearly_done() {
        spin_until(|| task.is_done());
    }
    task.is_done()
}

/// Waits until a task is done. The wait cannot fail.
pub(crate) fn wait_until_done(task: &TaskRef, site: Site) {
    let terms = Terms { site, limit: Limit::None, failure: Failure::Never, relock: false };
    while door::wait(registry::current(), &TaskWait(task), terms).is_err() {}
}

struct TaskWait<'t>(&'t TaskRef);

impl Blocker for TaskWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.0.facts()
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(self.0.provider());
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for TaskWait<'_> {
    fn key(&self) -> usize {
        self.0.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.0.is_done()
    }

    fn announce(&self) -> bool {
        self.0.announce()
    }

    fn is_announced(&self) -> bool {
        self.0.is_announced()
    }
}
