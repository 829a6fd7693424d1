//! The wait until a pool is at rest: nothing is queued, and no worker runs a task.

use std::cell::Cell;
use std::panic::Location;
use std::time::Duration;

use super::ThreadPoolExecutor;
use super::occupancy::Sleepers;
use super::pool::Pool;
use super::queue_room::{facts, tasks_type};
use super::worker::works_for;
use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit, recheck_waits_at};
use crate::primitive::Ordering::{AcqRel, Relaxed};
use crate::primitive::{Ingredient, is_removed};

impl ThreadPoolExecutor {
    /// Waits until the pool is at rest: until the caller sees a moment at which nothing is queued and no worker runs a task.
    /// The pool stays open.
    ///
    /// When this returns, the effects of those tasks are visible, their futures are [done](crate::Future::done), and the callbacks that
    /// workers run have run. Tasks that anybody submits meanwhile are waited for, too: if they never stop, this never returns.
    ///
    /// Not waited for is what no worker does: a task that a submitter runs itself
    /// ([`CallerRuns`](super::WhenFull::CallerRuns)), the closure of a cancelled or discarded task while whoever cancels it drops
    /// it, a [drained](Self::drain) task; nor what an initializer or a hook does, such as a task that it waits for.
    ///
    /// If the pool is at rest already, this costs some changes of shared counters and a look at each worker; workers do
    /// nothing for it while nobody joins.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is to panic. The message is the report.
    ///
    /// # Deadlocks
    ///
    /// The wait is in the wait-for graph: for all workers that run tasks, and, while tasks are queued, for any worker of
    /// the pool. It never ends if a task joins the pool that runs it, or if a task needs what the caller holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use std::sync::Arc;
    ///
    /// let pool = bowline::ThreadPoolExecutor::new(2);
    /// let lines = Arc::new(AtomicUsize::new(0));
    /// for batch in 1..=3 {
    ///     for _ in 0..10 {
    ///         let lines = Arc::clone(&lines);
    ///         drop(pool.submit(move || lines.fetch_add(1, Relaxed)));
    ///     }
    ///     pool.join(); // and the pool takes the next batch
    ///     assert_eq!(lines.load(Relaxed), 10 * batch);
    /// }
    /// ```
    #[track_caller]
    pub fn join(&self) {
        match join(self.pool(), Limit::None, Failure::Unwind, Location::caller()) {
            Ok(()) => {}
            Err(error) => error.deadlock().raise(),
        }
    }

    /// [Joins](Self::join) the pool, and returns an error if that is part of a deadlock.
    ///
    /// # Errors
    ///
    /// The wait is part of a deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let same = pool.clone();
    /// let joined = pool.submit(move || same.acquire_join()).result().unwrap();
    /// assert!(joined.is_err()); // the task would wait for its own end
    /// assert!(pool.acquire_join().is_ok());
    /// ```
    #[track_caller]
    pub fn acquire_join(&self) -> Result<(), Deadlock> {
        join(self.pool(), Limit::None, Failure::Value, Location::caller()).map_err(WaitError::deadlock)
    }

    /// [Joins](Self::join) the pool if it comes to rest within `timeout`. Returns whether it did.
    ///
    /// # Panics
    ///
    /// If `timeout` is too large for the clock, it counts as no limit. Then this panics as [`join`](Self::join) does.
    ///
    /// # Deadlocks
    ///
    /// A join with a limit ends by itself, and is part of no deadlock.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let (open, opened) = bowline::promise::<()>();
    /// let busy = pool.submit(move || opened.result());
    /// assert!(!pool.join_timeout(Duration::from_millis(1)));
    /// open.set_result(()).unwrap();
    /// assert!(pool.join_timeout(Duration::from_secs(60)) && busy.done());
    /// ```
    #[must_use = "returns whether the pool came to rest"]
    #[track_caller]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        match join(self.pool(), Limit::after(timeout), Failure::Unwind, Location::caller()) {
            Ok(()) => true,
            Err(WaitError::TimedOut) => false,
            // The time-out was past what the clock can tell.
            Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
        }
    }
}

/// Waits until the pool is at rest.
fn join(pool: &Pool, limit: Limit, failure: Failure, site: Site) -> Result<(), WaitError> {
    let _joiner = Joiner::of(pool);
    // A task would wait for its own end.
    let relock = works_for(pool);
    let wait = RestWait { pool, was_at_rest: Cell::new(false) };
    loop {
        door::wait(registry::current(), &wait, Terms { site, limit, failure, relock })?;
        // Workers count as idle a moment before their results are there. One that has to run code of the user's in between is
        // busy again, and this look at the word comes after that.
        let members = pool.threads().members();
        members.iter().for_each(|member| member.wait_for_publication());
        if wait.is_over() || is_removed(Ingredient::RestSeenAgain) {
            return Ok(());
        }
    }
}

/// A caller of [`join`], which is counted.
struct Joiner<'p>(&'p Pool);

impl<'p> Joiner<'p> {
    fn of(pool: &'p Pool) -> Self {
        pool.joiners.fetch_add(1, Relaxed);
        // After that: whoever brings the pool to rest from now on sees the flag, and then the count.
        pool.occupancy.expect_joiners();
        Self(pool)
    }
}

impl Drop for Joiner<'_> {
    fn drop(&mut self) {
        self.0.joiners.fetch_sub(1, AcqRel);
    }
}

impl Pool {
    /// Returns the key that joiners park on.
    fn rest_key(&self) -> usize {
        std::ptr::from_ref(&self.joiners).addr()
    }

    /// Tells the joiners that the pool has come to rest, by a transition of the caller's that saw
    /// [`Sleepers::Joiners`].
    #[cold]
    pub(super) fn tell_joiners(&self) {
        // Relaxed: the caller's transition came after that of a joiner that is to be told, and saw its flag (`Joiner`).
        if self.joiners.load(Relaxed) == 0 {
            return;
        }
        // A judge that came by while the pool was at rest has taken the joiners for live: the pool may be busy again by
        // now. So they judge for themselves.
        recheck_waits_at(self.rest_key());
        self.wake_joiners(self.rest_key());
    }
}

impl Pool {
    /// Re-checks the joiners after a worker has left the group: those that were judged when nothing was queued did not
    /// [count](crate::deadlock::group::Group::leave) on the group.
    pub(super) fn recheck_joiners(&self) {
        if self.joiners.load(Relaxed) > 0 {
            recheck_waits_at(self.rest_key());
        }
    }
}

struct RestWait<'p> {
    pool: &'p Pool,
    /// Whether the pool was at rest at the last look of a judge. Changed under the graph's mutex only.
    was_at_rest: Cell<bool>,
}

impl RestWait<'_> {
    fn is_over(&self) -> bool {
        self.pool.occupancy.read().is_at_rest()
    }
}

impl Blocker for RestWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        ResourceFacts { type_of: tasks_type, ..facts(self.pool, self.key()) }
    }

    fn need(&self) -> Need {
        if self.was_at_rest.get() { Need::Any } else { Need::All }
    }

    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>) {
        let group = self.pool.group();
        // Workers that have not joined the group yet. While the pool is at rest, nobody has to do anything.
        if visit(Provider::External).is_break() {
            return;
        }
        let was_at_rest = self.was_at_rest.get();
        if (was_at_rest || self.pool.occupancy.read().queued() > 0) && visit(Provider::AnyOf(group.id())).is_break() {
            return;
        }
        if !was_at_rest {
            group.for_each_serving_member(graph, visit);
        }
    }

    /// The thread that brings the pool to rest re-checks the joiners after that.
    fn subscribe(&self) {
        self.was_at_rest.set(self.is_over());
    }
}

impl Park for RestWait<'_> {
    fn key(&self) -> usize {
        self.pool.rest_key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.is_over()
    }

    fn announce(&self) -> bool {
        debug_assert!(self.pool.occupancy.peek().has(Sleepers::Joiners), "announced for good (`Joiner`)");
        !self.is_over()
    }

    fn is_announced(&self) -> bool {
        !self.is_over() || is_removed(Ingredient::ValidatedAnnouncement)
    }
}
