//! The wait for the first of several tasks: each notifies the set when it is done.

use std::cell::RefCell;
use std::sync::Arc;

use super::pending::Pending;
use crate::deadlock::context::Context;
use crate::deadlock::detector;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{ResourceFacts, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, RETRY, Visit};
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, Mutex, is_removed, new_atomic, unpark_filter};
use crate::task::continuation::{Continuation, Watcher};
use crate::task::status::Status;
use crate::task::task_ref::TaskRef;

/// The waiter is parked or about to park, or a judge counts on the tasks that have not told yet.
const WAITERS: u64 = 1;
/// A task without a value has notified the set.
const FAILED: u64 = 1 << 1;
/// One task that has notified the set and was not taken yet. The rest of the word counts them.
const NOTICE: u64 = 1 << 2;

/// The condition that ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// One notice.
    First,
    /// One notice of a task without a value, or this number of notices of any.
    FirstFailure(usize),
}

/// The set that tasks notify when they are done, and one thread that waits for that.
pub(crate) struct WaitSet {
    word: AtomicU64,
    until: Until,
    /// The numbers of the tasks that have notified the set, in that order.
    told: Mutex<Vec<usize>>,
    /// The context that waits.
    waiter: &'static Context,
    /// The number of times that the judge looked at a task.
    #[cfg(all(test, not(loom)))]
    looks: AtomicU64,
}

impl WaitSet {
    /// Makes a set for the calling thread, which each of these tasks notifies with its position.
    pub(crate) fn of<'t>(tasks: impl Iterator<Item = &'t TaskRef>, until: Until) -> Arc<Self> {
        let waiter = registry::current();
        let set = Arc::new(Self {
            word: new_atomic(0),
            until,
            told: Mutex::new(Vec::new()),
            waiter,
            #[cfg(all(test, not(loom)))]
            looks: new_atomic(0),
        });
        for (number, task) in tasks.enumerate() {
            if task.when_done(Continuation::Notice(Arc::<Self>::clone(&set), number)).is_err() {
                set.notice(number, task.status());
            }
        }
        set
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

    /// Takes the numbers of the tasks that have notified the set since the last call, in that order.
    pub(crate) fn take_told(&self) -> Vec<usize> {
        let mut told = self.told.lock();
        self.word.fetch_sub(NOTICE * told.len() as u64, Relaxed);
        std::mem::take(&mut *told)
    }

    /// Waits until the set has enough notices. `pending` are the tasks that have not notified it yet.
    pub(crate) fn wait(&self, pending: &mut Pending, limit: Limit, site: Site) -> Result<(), WaitError> {
        let wait = SetWait { set: self, pending: RefCell::new(pending) };
        // A wait for the first may be on another thread than the one that made the set. The set does not know that
        // thread, and need not re-check it: the first notice ends the wait.
        let me = if self.until == Until::First { registry::current() } else { self.waiter };
        door::wait(me, &wait, Terms { site, limit, failure: Failure::Value, relock: false })
    }
}

impl Watcher for WaitSet {
    fn notice(&self, number: usize, status: Status) {
        if status != Status::Finished {
            self.word.fetch_or(FAILED, Relaxed);
        }
        let mut told = self.told.lock();
        told.push(number);
        // ORDERING: Release publishes the flag above, and Acquire pairs with another's: the task that brings the last
        // notice sees all flags.
        let word = self.word.fetch_add(NOTICE, AcqRel) + NOTICE;
        // Counted before anybody can take it: the count is never less than what was taken.
        drop(told);
        if word & WAITERS == 0 {
            return;
        }
        if self.is_over(word) {
            self.wake();
        } else if !is_removed(Ingredient::RecheckOfAlternatives) {
            // One alternative fewer: the rest may be a deadlock.
            detector::recheck(self.waiter);
        }
    }
}

/// A wait of the set's waiter.
struct SetWait<'s> {
    set: &'s WaitSet,
    /// Changed under the graph's mutex only, while the wait is registered. The first task was live at the last look, if
    /// any was.
    pending: RefCell<&'s mut Pending>,
}

impl Blocker for SetWait<'_> {
    fn facts(&self, nth: usize) -> ResourceFacts {
        self.pending.borrow().tasks()[nth].facts()
    }

    fn need(&self) -> Need {
        Need::Any
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        let mut pending = self.pending.borrow_mut();
        let mut place = 0;
        while let Some(task) = pending.tasks().get(place) {
            #[cfg(all(test, not(loom)))]
            self.set.looks.fetch_add(1, Relaxed);
            // Its notice was not enough: nothing to look at again. (The last of them is about to give notice, as is one that
            // is done in a wait for the first.) The waiter has a future of it, so that nothing is freed here.
            let is_over = task.status() == Status::Finished && self.set.until != Until::First;
            if is_over && pending.tasks().len() > 1 {
                pending.remove_at(place);
                continue;
            }
            if visit(task.provider()).is_break() {
                pending.move_to_front(place);
                return;
            }
            place += 1;
        }
    }

    /// Makes each notice from now on that does not end the wait re-check the waiter.
    fn subscribe(&self) {
        // ORDERING: Acquire pairs with the Release in `notice`: a task that has given notice is seen to be done.
        self.set.word.fetch_or(WAITERS, Acquire);
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for SetWait<'_> {
    fn key(&self) -> usize {
        self.set.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        // ORDERING: Acquire pairs with the Release in `notice`: a task that has told is seen to be done.
        let word = self.set.word.load(Acquire);
        let over = self.set.is_over(word);
        if over && word & WAITERS != 0 {
            self.set.word.fetch_and(!WAITERS, Relaxed);
        }
        over
    }

    fn announce(&self) -> bool {
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look of whoever wakes.
        !self.set.is_over(self.set.word.fetch_or(WAITERS, Relaxed))
    }

    fn is_announced(&self) -> bool {
        let word = self.set.word.load(Relaxed);
        word & WAITERS != 0 && !self.set.is_over(word)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::task::promise::{Promise, promise};
    use crate::task::{Future, any_future::task_of};

    const MANY: usize = if cfg!(miri) { 20 } else { 300 };

    /// Waits for promises, each of which is kept once the wait has been judged since the last one was kept. Returns the
    /// number of times that the judge looked at a task.
    fn looks(until: Until, wait: impl FnOnce(&WaitSet, Pending)) -> u64 {
        let (promises, futures): (Vec<Promise<u8>>, Vec<Future<u8>>) = (0..MANY).map(|_| promise()).unzip();
        let tasks: Vec<_> = futures.iter().map(|future| task_of(future).clone()).collect();
        let set = WaitSet::of(tasks.iter(), until);
        thread::scope(|s| {
            s.spawn(|| {
                for promise in promises {
                    let before = set.looks.load(Relaxed);
                    promise.set_result(1).unwrap();
                    while set.looks.load(Relaxed) == before && Arc::strong_count(&set) > 1 {
                        thread::sleep(Duration::from_micros(50));
                    }
                }
            });
            wait(&set, Pending::new(tasks));
        });
        set.looks.load(Relaxed)
    }

    fn site() -> Site {
        std::panic::Location::caller()
    }

    #[test]
    fn futures_as_they_are_done_cost_the_judge_a_look_each() {
        let looks = looks(Until::First, |set, mut pending| {
            for _ in 0..MANY {
                assert!(set.wait(&mut pending, Limit::None, site()).is_ok());
                set.take_told().into_iter().for_each(|number| pending.remove(number));
                if pending.tasks().is_empty() {
                    break;
                }
            }
        });
        // A few more where other tests of this process re-check all that waits. Looking at all each time is 75 times as
        // much.
        assert!((MANY as u64 / 2..=20 * MANY as u64).contains(&looks), "{looks} looks at {MANY} futures");
    }

    #[test]
    fn values_while_a_failure_is_waited_for_cost_the_judge_a_look_each() {
        let looks = looks(Until::FirstFailure(MANY), |set, mut pending| {
            assert!(set.wait(&mut pending, Limit::None, site()).is_ok());
        });
        assert!((MANY as u64 / 2..=20 * MANY as u64).contains(&looks), "{looks} looks at {MANY} futures");
    }
}
