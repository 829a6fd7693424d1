//! How a pool gets its workers, and what becomes of its tasks where the system refuses a thread.

use std::sync::Arc;

use super::core::Core;
use super::word::{IDLE, JOINERS, QUEUED, SUBMITTERS, WORKER, queued, workers};
use super::worker::Worker;
use crate::deadlock::registry;
use crate::primitive::Ordering::{AcqRel, Relaxed};
use crate::primitive::{spawn_thread, yield_now};
use crate::task::cell::TaskRef;
use crate::task::error::{Rejected, TaskError};

/// What a submitter gave up in place of the worker that it could not start.
struct GivenUp {
    /// Its own tasks are not counted any more, and must not be pushed.
    mine: bool,
    /// Tasks of others, claimed and not counted any more, which the caller has to fail.
    orphans: Vec<TaskRef>,
}

impl Core {
    /// Starts a worker that is counted already, and expected by the group. Returns whether it was started.
    ///
    /// `mine`: how many tasks the caller was admitted with and has not pushed.
    ///
    /// # Errors
    ///
    /// The system starts no thread, there is no other worker, and the caller's tasks were given up. Otherwise they are still
    /// counted and have to be pushed.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, mine: u64) -> Result<bool, Rejected> {
        let (number, stats) = self.threads().begin();
        let (core, stack_size) = (Arc::clone(self), self.settings.stack_size);
        let run = move || Worker::run(core, number, &stats);
        match spawn_thread(format!("{}_{number}", self.settings.name), stack_size, run) {
            Ok(thread) => {
                self.threads().keep(thread);
                Ok(true)
            }
            Err(error) => {
                self.threads().end(number);
                let reason = Rejected::NoThread(Arc::new(error));
                let given_up = self.give_up_start(mine);
                self.group.is_not_coming();
                // Destructors of the user's, which may wait for anybody: from here on nobody counts on the caller, but for
                // those who wait for one of these tasks, and the graph knows that.
                for task in given_up.orphans {
                    task.fail(TaskError::Rejected(reason.clone()));
                }
                if given_up.mine { Err(reason) } else { Ok(false) }
            }
        }
    }

    /// Uncounts a worker that could not be started. If it was the last, gives up `mine` and takes out what others pushed
    /// because that worker was counted.
    ///
    /// Runs no code of the user's: until it returns, others count on a worker that does not come.
    #[cold]
    fn give_up_start(&self, mine: u64) -> GivenUp {
        let mut given_up = GivenUp { mine: false, orphans: Vec::new() };
        let mut word = self.state.load(Relaxed);
        loop {
            // Given up once: somebody else may have a worker counted by the next turn.
            let kept = if given_up.mine { 0 } else { mine };
            let is_last = workers(word) == 1;
            let next = match queued(word) {
                _ if !is_last => word - WORKER - IDLE,
                // In one step, so that nobody counts on it meanwhile.
                all if all == kept => word - kept * QUEUED - WORKER - IDLE,
                _ if kept > 0 => word - kept * QUEUED,
                // Somebody was admitted because this worker was counted, and will push. Not waited for asleep: a worker
                // that is started by the next one may take it.
                _ => {
                    given_up.orphans.extend(self.take_orphan());
                    word = self.state.load(Relaxed);
                    continue;
                }
            };
            // ORDERING: as in `admit`.
            match self.state.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) => {
                    given_up.mine |= queued(next) < queued(word);
                    if queued(next) < queued(word) && word & SUBMITTERS != 0 {
                        self.wake_submitter();
                    }
                    if workers(next) == 0 && word & JOINERS != 0 {
                        self.wake_joiners();
                    }
                    if workers(next) < workers(word) {
                        return given_up;
                    }
                    word = next;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes a task out of the queue that no worker will come for, if one is there by now.
    fn take_orphan(&self) -> Option<TaskRef> {
        match self.queue.pop() {
            Some(Some(task)) if task.claim() => {
                // Whoever waits for it waits for the caller from now on, whatever other task's destructor holds that up.
                task.runner.store(registry::current().id().get(), Relaxed);
                self.uncount(QUEUED);
                return Some(task);
            }
            Some(Some(_)) => self.tombstone_is_out(),
            // For a worker that another one has started meanwhile.
            Some(None) => {
                self.queue.push(None);
                yield_now();
            }
            None => yield_now(),
        }
        None
    }

    /// Sets how many workers there may be, and starts those that the queue needs, or lets those go that are too many.
    pub(super) fn set_max_workers(self: &Arc<Self>, max_workers: usize) {
        self.max_workers.store(max_workers as u64, Relaxed);
        // ORDERING: as in `grow`. Whoever is counted later sees how many there may be.
        let word = self.state.fetch_or(0, AcqRel);
        // One for each that is too many: those that sleep look around, and those that work look after their task.
        self.wake_workers(workers(word).saturating_sub(max_workers as u64));
        let refused = self.grow(0).is_err();
        debug_assert!(!refused, "there was no task to be given up");
    }

    /// Starts the workers that the queue needs and that there may be. `mine` and the error: as in [`start`](Self::start).
    ///
    /// Whoever allows more of them looks at the word here. Whoever changes the word, so that one more is needed, looks after
    /// that how many there may be. Both change the word, one after the other, and the second sees what the first did before.
    #[cold]
    pub(super) fn grow(self: &Arc<Self>, mine: u64) -> Result<(), Rejected> {
        loop {
            // ORDERING: a change that changes nothing: the look misses no earlier one, and (Release) whoever changes the word
            // later (Acquire: `admit`, `try_exit`) sees how many there may be.
            let word = self.state.fetch_or(0, AcqRel);
            if !Self::is_short(word, self.max_workers()) {
                return Ok(());
            }
            self.group.expect();
            // ORDERING: as in `admit`.
            if self.state.compare_exchange(word, word + WORKER + IDLE, AcqRel, Relaxed).is_err() {
                self.group.is_not_coming();
            } else if !self.start(mine)? {
                return Ok(());
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::iter::from_fn;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::thread_pool::ThreadPoolExecutor;

    /// How many messages are in the queue of an idle pool. Takes them out.
    fn messages(core: &Core) -> usize {
        from_fn(|| core.queue.pop()).count()
    }

    #[test]
    fn a_pool_without_workers_is_sent_no_wake_up() {
        let pool = ThreadPoolExecutor::new(1000);
        for _ in 0..1000 {
            pool.set_max_workers(1);
            pool.set_max_workers(1000);
        }
        assert_eq!(messages(&pool.0.0), 0);
    }

    #[test]
    fn no_more_wake_ups_are_on_their_way_than_there_are_workers() {
        let pool = ThreadPoolExecutor::new(1);
        let (held, hold) = crate::promise::<()>();
        let busy = pool.submit(move || hold.result());
        while busy.status() == crate::Status::Pending {
            std::thread::yield_now();
        }
        // As if nine more had been started, and slept.
        let core = &pool.0.0;
        core.state.fetch_add(9 * (WORKER + IDLE), Relaxed);
        for _ in 0..1000 {
            pool.set_max_workers(10);
            pool.set_max_workers(1);
        }
        let messages = messages(core);
        core.state.fetch_sub(9 * (WORKER + IDLE), Relaxed);
        assert_eq!(messages, 9);
        assert!(held.set_result(()).is_ok());
        busy.result().unwrap().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "waits for threads")]
    fn workers_that_are_too_many_end_whenever_that_is_said() {
        let pool = ThreadPoolExecutor::new(8);
        let limit = Instant::now() + Duration::from_secs(60);
        for round in 0..50 {
            let all = Arc::new(std::sync::Barrier::new(8));
            pool.set_max_workers(8);
            let tasks = [(); 8].map(|()| {
                let all = Arc::clone(&all);
                pool.submit(move || all.wait().is_leader())
            });
            tasks.into_iter().for_each(|task| assert!(task.result().is_ok()));
            [1, 5, 2 + round % 7, 1 + round % 3].into_iter().for_each(|workers| pool.set_max_workers(workers));
            while pool.worker_count() > pool.max_workers() {
                assert!(Instant::now() < limit, "{pool:?} has {} workers", pool.worker_count());
                std::thread::yield_now();
            }
        }
    }
}
