//! How a pool gets its workers, and what becomes of its tasks where the system refuses a thread.

use std::sync::Arc;

use super::core::Core;
use super::word::{IDLE, JOINERS, QUEUED, SUBMITTERS, WORKER, queued, workers};
use super::worker::Worker;
use crate::executor::error::{Rejected, TaskError};
use crate::executor::stats::Stats;
use crate::primitive::Ordering::{AcqRel, Relaxed};
use crate::primitive::{spawn_thread, yield_now};

/// The system does not start a thread.
pub(super) struct Refusal {
    pub(super) error: std::io::Error,
    /// There is no other worker.
    pub(super) is_last: bool,
}

impl Core {
    /// Starts a worker that is counted already. `mine`: the tasks that the caller was admitted with, and gives up if there
    /// is no other worker.
    #[cold]
    pub(super) fn start(self: &Arc<Self>, mine: u64) -> Result<(), Refusal> {
        let stats = Arc::new(Stats::default());
        let number = {
            let mut threads = self.threads();
            threads.handles.retain(|thread| !thread.is_finished());
            threads.stats.push(Arc::clone(&stats));
            threads.started += 1;
            threads.started - 1
        };
        let (core, stack_size) = (Arc::clone(self), self.settings.stack_size);
        let run = {
            let stats = Arc::clone(&stats);
            move || Worker::run(core, &stats)
        };
        match spawn_thread(format!("{}_{number}", self.settings.name), stack_size, run) {
            Ok(thread) => {
                self.threads().handles.push(thread);
                Ok(())
            }
            Err(error) => {
                self.add_up(&stats);
                let is_last = self.give_up_start(mine);
                self.group.is_not_coming();
                Err(Refusal { error, is_last })
            }
        }
    }

    /// Uncounts a worker that could not be started. Whether it was the last; then `mine` is given up, and tasks that others
    /// put into the queue meanwhile fail.
    #[cold]
    fn give_up_start(&self, mut mine: u64) -> bool {
        let mut word = self.state.load(Relaxed);
        loop {
            let is_last = workers(word) == 1;
            let next = match queued(word) {
                _ if !is_last => word - WORKER - IDLE,
                // In one step, so that nobody counts on it meanwhile.
                all if all == mine => word - mine * QUEUED - WORKER - IDLE,
                _ if mine > 0 => word - mine * QUEUED,
                // Somebody was admitted because this worker was counted, and will push. Not waited for asleep: a worker
                // that is started by the next one may take it.
                _ => {
                    match self.queue.pop() {
                        Some(Some(task)) if task.claim() => {
                            self.uncount(QUEUED);
                            let refused = std::io::Error::from(std::io::ErrorKind::WouldBlock);
                            task.fail(TaskError::Rejected(Rejected::NoThread(Arc::new(refused))));
                        }
                        Some(Some(_)) => self.tombstone_is_out(),
                        // For a worker that another one has started meanwhile.
                        Some(None) => {
                            self.queue.push(None);
                            yield_now();
                        }
                        None => yield_now(),
                    }
                    word = self.state.load(Relaxed);
                    continue;
                }
            };
            // ORDERING: as in `admit`.
            match self.state.compare_exchange(word, next, AcqRel, Relaxed) {
                Ok(_) => {
                    if queued(next) < queued(word) && word & SUBMITTERS != 0 {
                        self.wake_submitter();
                    }
                    if workers(next) == 0 && word & JOINERS != 0 {
                        self.wake_joiners();
                    }
                    if workers(next) < workers(word) {
                        return is_last;
                    }
                    mine = 0;
                    word = next;
                }
                Err(now) => word = now,
            }
        }
    }

    /// Sets how many workers there may be, and starts those that the queue needs, or lets those go that are too many.
    pub(super) fn set_max_workers(self: &Arc<Self>, max_workers: usize) {
        let before = self.max_workers.swap(max_workers as u64, Relaxed) as usize;
        for _ in max_workers..before {
            self.queue.push(None);
        }
        self.grow();
    }

    /// Starts the workers that the queue needs and that there may be.
    ///
    /// Whoever allows more of them looks at the word here. Whoever changes the word, so that one more is needed, looks after
    /// that how many there may be. Both change the word, one after the other, and the second sees what the first did before.
    #[cold]
    pub(super) fn grow(self: &Arc<Self>) {
        loop {
            // ORDERING: a change that changes nothing: the look misses no earlier one, and (Release) whoever changes the word
            // later (Acquire: `admit`, `try_exit`) sees how many there may be.
            let word = self.state.fetch_or(0, AcqRel);
            if !Self::is_short(word, self.max_workers()) {
                return;
            }
            self.group.expect();
            // ORDERING: as in `admit`.
            if self.state.compare_exchange(word, word + WORKER + IDLE, AcqRel, Relaxed).is_err() {
                self.group.is_not_coming();
            } else if self.start(0).is_err() {
                return;
            }
        }
    }
}
