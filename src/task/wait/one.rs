//! The wait of one thread for one task.

use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Outcome, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Visit};
use crate::task::cell::TaskRef;
use crate::task::header::Header;
use crate::thread_pool::run_in_place;

/// Why a wait for tasks ended before they were done.
pub(crate) enum Ended {
    TimedOut,
    Deadlock(Deadlock),
}

/// Waits until a task is done. A worker that waits for a task in its own pool's queue, without a limit, runs it.
pub(crate) fn wait_done(task: &TaskRef, limit: Limit, site: Site) -> Result<(), Ended> {
    if task.is_done() || matches!(limit, Limit::None) && run_in_place(task, site) {
        return Ok(());
    }
    #[cfg(feature = "process")]
    {
        if task.pool().is_null() && matches!(limit, Limit::None) && task.spin_while_soon() {
            return Ok(());
        }
    }
    let me = registry::current();
    let relock = task.is_run_by(me.id());
    wait(me, &TaskWait(task), Terms { site, limit, failure: Failure::Value, relock })
}

/// Waits until a task is done, whatever becomes of the wait: it can't fail.
pub(crate) fn wait_until_done(task: &TaskRef, site: Site) {
    let terms = Terms { site, limit: Limit::None, failure: Failure::Never, relock: false };
    while wait(registry::current(), &TaskWait(task), terms).is_err() {}
}

/// Waits at the door.
pub(crate) fn wait<W: Park>(me: &'static Context, what: &W, terms: Terms) -> Result<(), Ended> {
    match door::wait(me, what, terms) {
        Outcome::Granted => Ok(()),
        Outcome::TimedOut => Err(Ended::TimedOut),
        Outcome::Deadlock(deadlock) => Err(Ended::Deadlock(deadlock)),
    }
}

struct TaskWait<'t>(&'t Header);

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
