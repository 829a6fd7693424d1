//! The occupancy of a pool, in one word: what is queued, and which workers there are to run it.
//!
//! Every change of the word is a transition below, with a name. They are read-modify-writes of one word, so that they
//! come one after the other, and those that order what was done before and after say so.
//!
//! Whenever nothing but the submitters and workers of this moment is at work: **queued ≤ idle, or workers = max**. So a
//! task that is queued has a worker that will look for it, or there are as many as there may be; growth is decided in
//! the same step that admits a task, and a waiter never has to ask whether the pool can grow.

use std::num::NonZeroU32;

use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::{AtomicU64, new_atomic};

/// One task that was admitted and that nobody claimed yet, queued or about to be.
const QUEUED: u64 = 1;
/// One worker that looks into the queue, or sleeps there, or is being started.
const IDLE: u64 = 1 << 32;
/// One worker, or one that is being started.
const WORKER: u64 = 1 << 46;
/// The pool takes no more tasks.
const CLOSED: u64 = 1 << 60;
/// The pool runs no more tasks: those in the queue fail.
const BROKEN: u64 = 1 << 61;
/// A submitter is parked, or about to park, until there is room in the queue.
const SUBMITTERS: u64 = 1 << 62;
/// A joiner is parked, or about to park, until there are no workers, or has come for the pool to rest. Never cleared.
const JOINERS: u64 = 1 << 63;

/// The maximum number of workers that can be counted.
pub(super) const MAX_WORKERS: usize = (1 << 14) - 1;

/// The word:
///
/// ```text
/// [ JOINERS | SUBMITTERS | BROKEN | CLOSED | workers : 14 | idle : 14 | queued : 32 ]
/// ```
pub(crate) struct Occupancy(AtomicU64);

/// The value of the word at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts(u64);

/// A kind of thread that sleeps beside the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sleepers {
    /// Submitters that wait for room.
    Submitters,
    /// Joiners, which wait for the end of the workers, or for the pool to rest.
    Joiners,
}

/// The state that a worker was counted in until now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    /// Idle: it looked into the queue, or slept there.
    Idle,
    /// Busy with a task.
    Busy,
}

impl Was {
    fn idle(self) -> u64 {
        if self == Self::Idle { IDLE } else { 0 }
    }
}

impl Sleepers {
    fn flag(self) -> u64 {
        match self {
            Self::Submitters => SUBMITTERS,
            Self::Joiners => JOINERS,
        }
    }
}

impl Counts {
    /// Returns the number of queued tasks that nobody has claimed.
    #[inline]
    pub(crate) fn queued(self) -> u64 {
        self.0 & (IDLE - 1)
    }

    /// Returns the number of workers that are idle, or are being started.
    #[inline]
    pub(crate) fn idle(self) -> u64 {
        self.0 / IDLE % (WORKER / IDLE)
    }

    /// Returns the number of workers, including those that are being started.
    #[inline]
    pub(crate) fn workers(self) -> u64 {
        self.0 / WORKER % (CLOSED / WORKER)
    }

    /// Returns whether the pool takes no more tasks.
    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Returns whether the pool runs no more tasks.
    #[inline]
    pub(crate) fn is_broken(self) -> bool {
        self.0 & BROKEN != 0
    }

    /// Returns whether a thread of this kind sleeps here, or is about to.
    #[inline]
    pub(crate) fn has(self, sleepers: Sleepers) -> bool {
        self.0 & sleepers.flag() != 0
    }

    /// Returns whether the pool is closed, or a submitter sleeps: then it may matter to others that a task leaves the queue.
    #[inline]
    pub(crate) fn is_watched(self) -> bool {
        self.0 & (CLOSED | SUBMITTERS) != 0
    }

    /// Returns whether a worker that is about to end a task, which it took at these counts, is to look at the word for
    /// whether anything is queued: the queue was not empty, and not longer than workers empty at once.
    #[inline]
    pub(crate) fn may_be_empty_by_now(self) -> bool {
        self.queued() <= self.workers() + 1
    }

    /// Returns whether the queue needs one more worker, and there may be one.
    #[inline]
    pub(crate) fn is_short(self, max_workers: usize) -> bool {
        self.queued() > self.idle() && self.workers() < max_workers as u64
    }

    /// Returns whether admitting one more task needs one more worker, and there may be one.
    #[inline]
    pub(crate) fn would_be_short(self, max_workers: usize) -> bool {
        Self(self.0 + QUEUED).is_short(max_workers)
    }

    /// Returns whether a queue of this capacity is full.
    #[inline]
    pub(crate) fn is_full(self, capacity: Option<NonZeroU32>) -> bool {
        capacity.is_some_and(|capacity| self.queued() >= u64::from(capacity.get()))
    }

    /// Returns whether a submitter that waits for room has something to do: there is room, or there never will be.
    #[inline]
    pub(crate) fn has_room(self, capacity: Option<NonZeroU32>) -> bool {
        self.is_closed() || !self.is_full(capacity)
    }

    /// Returns whether a worker may end: there are too many. (A worker that finds the queue of a closed pool empty may
    /// end, too.)
    #[inline]
    pub(crate) fn has_too_many(self, max_workers: usize) -> bool {
        self.workers() > max_workers as u64
    }

    /// Returns whether nothing is queued, and no worker runs a task.
    #[inline]
    pub(crate) fn is_at_rest(self) -> bool {
        self.queued() == 0 && self.idle() == self.workers()
    }

    /// Returns whether the transition to these counts brought the pool to rest, if it changed one of the figures, and
    /// joiners may have to be told.
    #[inline]
    pub(crate) fn ends_join(self) -> bool {
        self.has(Sleepers::Joiners) && self.is_at_rest()
    }

    /// Returns the counts after one task was [unqueued](Occupancy::unqueue).
    #[inline]
    pub(crate) fn less_one_queued(self) -> Self {
        Self(self.0 - QUEUED)
    }

    /// Returns whether no task will come any more, and none is queued.
    #[inline]
    pub(crate) fn is_over(self) -> bool {
        self.is_closed() && self.queued() == 0
    }
}

impl Occupancy {
    pub(crate) fn new() -> Self {
        Self(new_atomic(0))
    }

    /// Returns the address that [joiners](Sleepers::Joiners) park on.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(&self.0).addr()
    }

    /// Reads the word. Everything that was done before the transitions to this value is seen.
    #[inline]
    pub(crate) fn read(&self) -> Counts {
        // ORDERING: Acquire pairs with the Release of every transition.
        Counts(self.0.load(Acquire))
    }

    /// Reads the word, for a guess that the next transition confirms, or for a figure that is shown.
    #[inline]
    pub(crate) fn peek(&self) -> Counts {
        Counts(self.0.load(Relaxed))
    }

    /// Reads the word by a no-op read-modify-write: it misses no earlier transition, and every later one sees what the
    /// caller did before.
    pub(crate) fn read_in_order(&self) -> Counts {
        // ORDERING: a no-op read-modify-write: it comes before or after any other in the order of the word; Release for
        // the ones after it, whose Acquire pairs with this, and Acquire for the ones before.
        Counts(self.0.fetch_or(0, AcqRel))
    }

    /// **Admits** a task, and counts the worker that it needs in the same step. Returns the counts after that.
    ///
    /// # Errors
    ///
    /// The word is not as `seen`. The error has the counts as they are now.
    #[inline(always)]
    pub(crate) fn try_admit(&self, seen: Counts, starts_worker: bool) -> Result<Counts, Counts> {
        let next = seen.0 + QUEUED + if starts_worker { WORKER + IDLE } else { 0 };
        self.try_change_weak(seen, next)
    }

    /// **Counts a worker** that is about to be started, for tasks that are queued already. Returns whether the word was
    /// as `seen`.
    pub(crate) fn try_add_worker(&self, seen: Counts) -> bool {
        // ORDERING: as in `try_change_weak`.
        self.0.compare_exchange(seen.0, seen.0 + WORKER + IDLE, AcqRel, Relaxed).is_ok()
    }

    /// **Begins** a task: one that the caller claimed is no longer queued, and the worker that takes it is busy.
    /// Returns the counts before that.
    #[inline(always)]
    pub(crate) fn begin(&self, worker: Was) -> Counts {
        // ORDERING: Release publishes the claim to whoever finds the queue empty.
        Counts(self.0.fetch_sub(QUEUED + worker.idle(), AcqRel))
    }

    /// **Unqueues** a task that the caller claimed, which no worker takes. Returns the counts before that.
    pub(crate) fn unqueue(&self) -> Counts {
        self.begin(Was::Busy)
    }

    /// **Rests**: a worker that found nothing to do is idle. Returns the counts after that.
    #[inline]
    pub(crate) fn rest(&self) -> Counts {
        // ORDERING: as in `try_change_weak`.
        Counts(self.0.fetch_add(IDLE, AcqRel) + IDLE)
    }

    /// **Stays**: a worker that rested is busy all the same, before it took a task. Returns the counts after that.
    pub(crate) fn stay_busy(&self) -> Counts {
        // ORDERING: as in `try_change_weak`.
        Counts(self.0.fetch_sub(IDLE, AcqRel) - IDLE)
    }

    /// **Leaves**: a worker is not counted any more.
    ///
    /// # Errors
    ///
    /// The word is not as `seen`. The error has the counts as they are now.
    pub(crate) fn try_leave(&self, seen: Counts, worker: Was) -> Result<Counts, Counts> {
        self.try_change_weak(seen, seen.0 - WORKER - worker.idle())
    }

    /// **Gives up** tasks that were admitted and will not be pushed, and, if `with_worker`, a worker that could not be
    /// started.
    ///
    /// # Errors
    ///
    /// The word is not as `seen`. The error has the counts as they are now.
    pub(crate) fn try_give_up(&self, seen: Counts, tasks: u64, with_worker: bool) -> Result<Counts, Counts> {
        let next = seen.0 - tasks * QUEUED - if with_worker { WORKER + IDLE } else { 0 };
        // ORDERING: as in `try_change_weak`.
        self.0.compare_exchange(seen.0, next, AcqRel, Relaxed).map(|_| Counts(next)).map_err(Counts)
    }

    /// **Closes** the pool. Returns the counts before that.
    pub(crate) fn close(&self) -> Counts {
        // ORDERING: as in `try_change_weak`.
        Counts(self.0.fetch_or(CLOSED, AcqRel))
    }

    /// **Breaks** the pool.
    pub(crate) fn break_down(&self) {
        // ORDERING: Release publishes the reason to whoever sees the flag (`begin`, `read`).
        self.0.fetch_or(BROKEN, AcqRel);
    }

    /// Announces a thread that is about to sleep, if `still` holds of the counts. Returns whether it holds.
    pub(crate) fn announce(&self, sleepers: Sleepers, still: impl Fn(Counts) -> bool) -> bool {
        let mut seen = self.peek();
        while still(seen) && !seen.has(sleepers) {
            // Relaxed: the flag publishes nothing; the queue's lock orders it with the waker's look.
            match self.0.compare_exchange_weak(seen.0, seen.0 | sleepers.flag(), Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = Counts(now),
            }
        }
        still(seen)
    }

    /// Announces joiners for good. In order: a transition that comes later sees them.
    pub(crate) fn expect_joiners(&self) {
        // ORDERING: Release publishes the joiner's count to whoever sees the flag in a later transition, and Acquire shows
        // the joiner what came before.
        self.0.fetch_or(JOINERS, AcqRel);
    }

    /// Takes the announcement back: no thread of this kind sleeps any more.
    pub(crate) fn clear(&self, sleepers: Sleepers) {
        self.0.fetch_and(!sleepers.flag(), Relaxed);
    }

    #[inline(always)]
    fn try_change_weak(&self, seen: Counts, next: u64) -> Result<Counts, Counts> {
        // ORDERING: Release and Acquire order the transitions, and what was done before them, for whoever acts on the
        // word.
        self.0.compare_exchange_weak(seen.0, next, AcqRel, Relaxed).map(|_| Counts(next)).map_err(Counts)
    }

    /// Counts this many idle workers more, or fewer, which are not there.
    #[cfg(all(test, not(loom)))]
    pub(super) fn pretend_idle(&self, more: u64, fewer: u64) {
        self.0.fetch_add(more * (WORKER + IDLE), Relaxed);
        self.0.fetch_sub(fewer * (WORKER + IDLE), Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn figures(counts: Counts) -> (u64, u64, u64) {
        (counts.queued(), counts.idle(), counts.workers())
    }

    #[test]
    fn each_transition_changes_its_own_figures_and_no_flag() {
        let pool = Occupancy::new();
        assert!(pool.announce(Sleepers::Joiners, |_| true));
        pool.break_down();
        let admitted = pool.try_admit(pool.peek(), true).unwrap();
        assert_eq!(figures(admitted), (1, 1, 1));
        assert_eq!(figures(pool.try_admit(admitted, false).unwrap()), (2, 1, 1));
        assert!(pool.try_add_worker(pool.peek()));
        assert_eq!(figures(pool.begin(Was::Idle)), (2, 2, 2));
        assert_eq!(figures(pool.unqueue()), (1, 1, 2));
        assert_eq!(figures(pool.read()), (0, 1, 2));
        assert_eq!(figures(pool.rest()), (0, 2, 2));
        assert_eq!(figures(pool.stay_busy()), (0, 1, 2));
        pool.rest();
        assert_eq!(figures(pool.try_leave(pool.peek(), Was::Idle).unwrap()), (0, 1, 1));
        assert_eq!(figures(pool.try_admit(pool.peek(), false).unwrap()), (1, 1, 1));
        assert_eq!(figures(pool.try_give_up(pool.peek(), 1, true).unwrap()), (0, 0, 0));
        let last = pool.close();
        assert!(
            last.is_broken() && last.has(Sleepers::Joiners) && !last.has(Sleepers::Submitters) && !last.is_closed()
        );
        pool.clear(Sleepers::Joiners);
        assert_eq!(pool.read().0, CLOSED | BROKEN);
    }

    #[test]
    fn a_transition_from_what_was_not_seen_changes_nothing() {
        let pool = Occupancy::new();
        let seen = pool.peek();
        pool.rest();
        let now = pool.peek();
        assert_eq!(pool.try_admit(seen, true), Err(now));
        assert_eq!(pool.try_give_up(seen, 0, false), Err(now));
        assert!(!pool.try_add_worker(seen));
        assert_eq!(pool.read(), now);
    }

    #[test]
    fn the_figures_do_not_reach_into_each_other() {
        let most = Counts((IDLE - 1) + (WORKER / IDLE - 1) * IDLE + MAX_WORKERS as u64 * WORKER);
        assert_eq!(figures(most), (u64::from(u32::MAX), MAX_WORKERS as u64, MAX_WORKERS as u64));
        assert!(!most.is_closed() && !most.is_broken());
    }
}
