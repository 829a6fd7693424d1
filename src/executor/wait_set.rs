//! The wait for the first of several tasks: each tells the set when it is done.

use std::sync::Arc;

use super::blocking::{self, Ended};
use super::cell::TaskRef;
use super::continuation::Continuation;
use super::future::Status;
use crate::deadlock::context::{self, Context};
use crate::deadlock::graph::{self, Graph};
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::wait::{Failure, Limit, Terms};
use crate::deadlock::waitable::{Need, Provider, RETRY, Visit, Waitable};
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, Mutex, is_removed, new_atomic, unpark_filter};

/// The waiter is parked, or has looked in vain and is about to be judged and to park.
const WAITERS: u64 = 1;
/// A task without a value has told.
const FAILED: u64 = 1 << 1;
/// One task that has told and was not taken yet. The rest of the word counts them.
const NOTICE: u64 = 1 << 2;

/// What ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// One notice.
    First,
    /// One notice of a task without a value, or so many of any.
    FirstFailure(usize),
}

/// Where the tasks tell that they are done, and one thread waits for that.
pub(super) struct WaitSet {
    word: AtomicU64,
    until: Until,
    /// Who has told, in that order.
    told: Mutex<Vec<usize>>,
    /// Who waits.
    waiter: &'static Context,
}

impl WaitSet {
    /// A set for the calling thread, told by each of these tasks with its position.
    pub(super) fn of<'t>(tasks: impl Iterator<Item = &'t TaskRef>, until: Until) -> Arc<Self> {
        let waiter = context::current();
        let set = Arc::new(Self { word: new_atomic(0), until, told: Mutex::new(Vec::new()), waiter });
        for (number, task) in tasks.enumerate() {
            if task.when_done(Continuation::Notice(Arc::clone(&set), number)).is_err() {
                set.notice(number, task.status());
            }
        }
        set
    }

    /// The task with this number is done.
    pub(super) fn notice(&self, number: usize, status: Status) {
        if status != Status::Finished {
            self.word.fetch_or(FAILED, Relaxed);
        }
        let mut told = self.told.lock();
        told.push(number);
        // ORDERING: Release publishes the flag above, and Acquire pairs with another's: whoever brings the last notice
        // sees all flags.
        let word = self.word.fetch_add(NOTICE, AcqRel) + NOTICE;
        // Counted before anybody can take it: the count is never less than what was taken.
        drop(told);
        if word & WAITERS == 0 {
            return;
        }
        if self.is_over(word) {
            self.wake();
        } else if !is_removed(Ingredient::RecheckOfAlternatives) {
            // One alternative fewer: what is left may be a deadlock.
            graph::recheck(self.waiter);
        }
    }

    fn is_over(&self, word: u64) -> bool {
        let notices = word / NOTICE;
        match self.until {
            Until::First => notices > 0,
            Until::FirstFailure(all) => word & FAILED != 0 || notices >= all as u64,
        }
    }

    #[cold]
    fn wake(&self) {
        // SAFETY:
        // - the key is this set's own address, and the caller has a reference to it.
        // - the closures neither unwind nor park nor unpark.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The numbers of those who have told since the last call, in that order.
    pub(super) fn take_told(&self) -> Vec<usize> {
        let mut told = self.told.lock();
        self.word.fetch_sub(NOTICE * told.len() as u64, Relaxed);
        std::mem::take(&mut *told)
    }

    /// Waits until the set has been told enough. `tasks` are those that are still to tell.
    pub(super) fn wait(&self, tasks: &[TaskRef], limit: Limit, site: Site) -> Result<(), Ended> {
        let wait = SetWait { set: self, tasks };
        // Another thread than the one that made the set: the set does not know whom to tell of a change.
        let me = if self.until == Until::First { context::current() } else { self.waiter };
        blocking::wait(me, &wait, Terms { site, limit, failure: Failure::Value, relock: false })
    }
}

struct SetWait<'s> {
    set: &'s WaitSet,
    tasks: &'s [TaskRef],
}

impl<'s> SetWait<'s> {
    /// The tasks that can still end the wait, and who can end them.
    fn candidates(&self) -> impl Iterator<Item = (&'s TaskRef, Provider<'s>)> {
        let until = self.set.until;
        self.tasks.iter().filter_map(move |task| match (task.status(), until) {
            // Told, and it was not enough. (Or the last, which is about to tell: then there is no other.)
            (Status::Finished, Until::FirstFailure(_)) => None,
            // If it is done, it is about to tell.
            _ => Some((task, task.provider())),
        })
    }
}

impl Waitable for SetWait<'_> {
    fn key(&self) -> usize {
        self.set.key()
    }

    fn facts(&self, nth: usize) -> ResourceFacts {
        self.candidates().nth(nth).map_or(&self.tasks[0], |(task, _)| task).facts()
    }

    fn need(&self) -> Need {
        Need::Any
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        let mut candidates = self.candidates().peekable();
        if candidates.peek().is_none() {
            _ = visit(Provider::External);
        }
        _ = candidates.try_for_each(|(_, provider)| visit(provider));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        // Announced here, before the judge looks: whoever tells afterwards has it look again.
        // ORDERING: Acquire pairs with the Release in `notice`: a task that has told is seen to be done.
        let word = self.set.word.fetch_or(WAITERS, Acquire);
        let over = self.set.is_over(word);
        if over {
            self.set.word.fetch_and(!WAITERS, Relaxed);
        }
        over
    }

    fn accept(&self, _: &'static Context) {}

    fn has_queue(&self) -> bool {
        false
    }

    fn announce(&self) -> bool {
        // By the last look.
        !self.set.is_over(self.set.word.load(Relaxed))
    }

    fn is_announced(&self) -> bool {
        let word = self.set.word.load(Relaxed);
        word & WAITERS != 0 && !self.set.is_over(word)
    }

    fn left_queue(&self, _: bool) {}
}
