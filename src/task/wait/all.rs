//! The wait for all of several tasks, one after the other, which the graph knows as a wait for all of them.

use std::cell::Cell;

use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Visit};
use crate::task::task_ref::TaskRef;

/// Waits until all of `tasks` are done. A worker that waits without a limit runs those that are queued in its own pool.
///
/// Allocates nothing, whatever their number.
pub(crate) fn wait_all(tasks: &[TaskRef], limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
    if matches!(limit, Limit::None) {
        for task in tasks {
            task.home().run_here(task, site);
        }
    }
    let wait = AllWait { tasks, at: Cell::new(0) };
    if wait.advance() {
        return Ok(());
    }
    let me = registry::current();
    let relock = tasks.iter().any(|task| task.is_run_by(me.id()));
    door::wait(me, &wait, Terms { site, limit, failure, relock })
}

struct AllWait<'t> {
    tasks: &'t [TaskRef],
    /// All before this one are done. Moved on by the waiter itself, and under the graph's mutex while it is registered.
    at: Cell<usize>,
}

impl AllWait<'_> {
    /// Moves on to the first task that is not done. Returns `true` if there is none.
    fn advance(&self) -> bool {
        let rest = &self.tasks[self.at.get()..];
        let done = rest.iter().take_while(|task| task.is_done()).count();
        self.at.set(self.at.get() + done);
        done == rest.len()
    }

    /// Returns the task that the waiter parks on: the first that was not done at its last look, or the last of all.
    fn current(&self) -> &TaskRef {
        &self.tasks[self.at.get().min(self.tasks.len() - 1)]
    }

    fn pending(&self) -> impl Iterator<Item = &TaskRef> {
        self.tasks[self.at.get()..].iter().filter(|task| !task.is_done())
    }
}

impl Blocker for AllWait<'_> {
    fn facts(&self, nth: usize) -> ResourceFacts {
        self.pending().nth(nth).unwrap_or_else(|| self.current()).facts()
    }

    fn need(&self) -> Need {
        Need::All
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = self.pending().try_for_each(|task| visit(task.provider()));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for AllWait<'_> {
    fn key(&self) -> usize {
        self.current().key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.advance()
    }

    fn announce(&self) -> bool {
        self.current().announce()
    }

    fn is_announced(&self) -> bool {
        self.current().is_announced()
    }
}
