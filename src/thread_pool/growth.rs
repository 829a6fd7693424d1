//! The growth of a pool, and what becomes of its tasks where the system refuses a thread.

use std::sync::Arc;

use super::occupancy::Sleepers;
use super::pool::Pool;
use super::worker::Worker;
use crate::deadlock::registry;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{spawn_thread, yield_now};
use crate::task::error::{Rejected, TaskError};
use crate::task::runner::Runner;
use crate::task::task_ref::TaskRef;

/// The tasks that a submitter gave up in place of the worker that it could not start.
struct GivenUp {
    /// Whether it gave up its own tasks, which are not counted any more, and must not be pushed.
    mine: bool,
    /// Tasks of others, claimed and not counted any more, which the caller has to fail.
    orphans: Vec<TaskRef>,
}

impl Pool {
    /// Starts a worker that is counted already, and expected by the group. Returns whether it was started.
    ///
    /// `mine` is the number of tasks that the caller was admitted with and has not pushed.
    ///
    /// # Errors
    ///
    /// The system starts no thread, there is no other worker, and the caller's tasks were given up. Otherwise they are
    /// still counted and have to be pushed.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, mine: u64) -> Result<bool, Rejected> {
        let (number, member) = loop {
            let indexes = self.max_workers_ever.load(Relaxed);
            let begun = self.threads().begin(indexes, self.settings.run_times);
            match begun {
                Some(begun) => break begun,
                // A worker that is counted no more is about to free its index.
                None => yield_now(),
            }
        };
        let workers = self.occupancy.peek().workers() as usize;
        self.threads().note_size(workers);
        let (pool, stack_size) = (Arc::clone(self), self.settings.stack_size);
        let run = move || Worker::run(pool, number, member);
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
                // This runs destructors of the user's, which may wait for anybody: from here on nobody counts on the
                // caller, but for those who wait for one of these tasks, and the graph knows that.
                for task in given_up.orphans {
                    task.fail(TaskError::Rejected(reason.clone()));
                }
                if given_up.mine { Err(reason) } else { Ok(false) }
            }
        }
    }

    /// Uncounts a worker that could not be started. If it was the last, gives up `mine` and takes out what others
    /// pushed because that worker was counted.
    ///
    /// Runs no code of the user's: until it returns, others count on a worker that does not come.
    #[cold]
    fn give_up_start(&self, mine: u64) -> GivenUp {
        let mut given_up = GivenUp { mine: false, orphans: Vec::new() };
        let mut seen = self.occupancy.peek();
        loop {
            // Given up once: another submitter may have a worker counted by the next turn.
            let kept = if given_up.mine { 0 } else { mine };
            let is_last = seen.workers() == 1;
            let (tasks, with_worker) = match seen.queued() {
                _ if !is_last => (0, true),
                // In one step, so that nobody counts on it meanwhile.
                all if all == kept => (kept, true),
                _ if kept > 0 => (kept, false),
                // Somebody was admitted because this worker was counted, and will push. Not waited for asleep: a worker
                // that is started by the next one may take it.
                _ => {
                    given_up.orphans.extend(self.take_orphan());
                    seen = self.occupancy.peek();
                    continue;
                }
            };
            match self.occupancy.try_give_up(seen, tasks, with_worker) {
                Ok(now) => {
                    given_up.mine |= tasks > 0;
                    if tasks > 0 && seen.has(Sleepers::Submitters) {
                        self.wake_submitter();
                    }
                    if now.workers() == 0 && seen.has(Sleepers::Joiners) {
                        self.wake_joiners(self.join_key());
                    }
                    if now.ends_join() {
                        self.tell_joiners();
                    }
                    if with_worker {
                        return given_up;
                    }
                    seen = now;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Takes a task out of the queue that no worker will come for, if one is there by now.
    fn take_orphan(&self) -> Option<TaskRef> {
        match self.queue.pop() {
            Some(Some(task)) if task.claim() => {
                // All who wait for the task wait for the caller from now on, whatever other task's destructor holds
                // that up.
                task.set_runner(Runner::Context(registry::current().id()));
                self.unqueue_claimed();
                return Some(task);
            }
            Some(Some(_)) => self.uncount_tombstone(),
            // A wake-up for a worker that another submitter has started meanwhile.
            Some(None) => {
                self.queue.push(None);
                yield_now();
            }
            None => yield_now(),
        }
        None
    }

    /// Starts up to this many workers for tasks to come, as far as the maximum allows. Returns how many it started.
    pub(super) fn prestart(self: &Arc<Self>, workers: usize) -> usize {
        let mut started = 0;
        while started < workers {
            let seen = self.occupancy.read_in_order();
            if seen.is_closed() || seen.workers() >= self.max_workers() as u64 {
                break;
            }
            self.group.expect();
            // A maximum that is lowered meanwhile is seen by the new worker.
            if !self.occupancy.try_add_worker(seen) {
                self.group.is_not_coming();
            } else if matches!(self.start(0), Ok(true)) {
                started += 1;
            } else {
                break;
            }
        }
        started
    }

    /// Sets the maximum number of workers. Starts those that the queue needs, or lets those end that are too many.
    pub(super) fn set_max_workers(self: &Arc<Self>, max_workers: usize) {
        self.max_workers_ever.fetch_max(max_workers, Relaxed);
        self.max_workers.store(max_workers as u64, Relaxed);
        // In order: a worker that is counted later sees the new maximum.
        let counts = self.occupancy.read_in_order();
        // One wake-up for each worker that is too many: those that sleep look around, and those that work look after
        // their task.
        self.wake_workers(counts.workers().saturating_sub(max_workers as u64));
        let refused = self.grow(0).is_err();
        debug_assert!(!refused, "there was no task to be given up");
    }

    /// Starts the workers that the queue needs, up to the maximum. `mine` and the error are as in
    /// [`start`](Self::start).
    ///
    /// A thread that raises the maximum looks at the word here. A thread that changes the word, so that one more worker
    /// is needed, looks at the maximum after that. Both change the word, one after the other, and the second sees what
    /// the first did before.
    #[cold]
    pub(super) fn grow(self: &Arc<Self>, mine: u64) -> Result<(), Rejected> {
        loop {
            // In order: this read misses no earlier transition, and a thread that makes a later one (`admit`,
            // `try_exit`) sees the maximum.
            let seen = self.occupancy.read_in_order();
            if !seen.is_short(self.max_workers()) {
                return Ok(());
            }
            self.group.expect();
            if !self.occupancy.try_add_worker(seen) {
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

    /// Takes the messages out of the queue of an idle pool. Returns how many there were.
    fn messages(pool: &Pool) -> usize {
        from_fn(|| pool.queue.pop()).count()
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
        while busy.status() == crate::task::Status::Pending {
            std::thread::yield_now();
        }
        // As if nine more had been started, and slept.
        let inner = &pool.0.0;
        inner.occupancy.pretend_idle(9, 0);
        for _ in 0..1000 {
            pool.set_max_workers(10);
            pool.set_max_workers(1);
        }
        let messages = messages(inner);
        inner.occupancy.pretend_idle(0, 9);
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
