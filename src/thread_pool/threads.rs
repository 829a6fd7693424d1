//! The threads that a pool has started, and the totals of its workers.

use std::collections::HashMap;
use std::sync::Arc;

use super::member::Member;
use crate::primitive::Thread;
use crate::task::stats::Stats;

/// The threads and totals of a pool. Every operation on one thread takes constant time, amortised: a pool may have
/// thousands of them, which come and go.
#[derive(Default)]
pub(super) struct Threads {
    started: usize,
    /// The threads that are to be joined. Those that have ended are dropped when there are as many again as at the last
    /// look.
    handles: Vec<Thread>,
    look_at: usize,
    /// The workers, by their numbers.
    workers: HashMap<usize, Arc<Member>>,
    /// Completed and panicked tasks of workers that have ended, and of submitters.
    past: (u64, u64),
}

impl Threads {
    /// The minimum number of handles at which threads that have ended are dropped: a small pool keeps fewer than this
    /// many, with their stacks.
    const MIN_LOOK_AT: usize = 4;

    /// Registers a worker that is about to be started. Returns its number, and what others will know of it.
    pub(super) fn begin(&mut self) -> (usize, Arc<Member>) {
        let (number, member) = (self.started, Arc::new(Member::new()));
        self.started += 1;
        self.workers.insert(number, Arc::clone(&member));
        (number, member)
    }

    /// Returns the workers.
    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.workers.values().cloned().collect()
    }

    /// Keeps the handle of a worker's thread.
    pub(super) fn keep(&mut self, handle: Thread) {
        if self.handles.len() >= self.look_at.max(Self::MIN_LOOK_AT) {
            self.handles.retain(|handle| !handle.is_finished());
            self.look_at = 2 * self.handles.len();
        }
        self.handles.push(handle);
    }

    /// Unregisters a worker that has ended, or was not started, and adds up its totals.
    pub(super) fn end(&mut self, number: usize) {
        if let Some(member) = self.workers.remove(&number) {
            self.add_up(&member.stats);
        }
    }

    /// Adds up the totals of a worker that has ended, or of a submitter that ran a task.
    pub(super) fn add_up(&mut self, stats: &Stats) {
        self.past.0 += stats.completed();
        self.past.1 += stats.panicked();
    }

    /// Returns how many tasks ran, and how many of them panicked.
    pub(super) fn totals(&self) -> (u64, u64) {
        self.workers.values().fold(self.past, |(completed, panicked), member| {
            (completed + member.stats.completed(), panicked + member.stats.panicked())
        })
    }

    /// Takes the handles of the threads that were started, to be joined.
    pub(super) fn take_handles(&mut self) -> Vec<Thread> {
        std::mem::take(&mut self.handles)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::primitive::spawn_thread;

    #[test]
    fn handles_of_ended_threads_are_dropped_and_the_totals_stay() {
        let mut threads = Threads::default();
        for expected in 0..100 {
            let (number, member) = threads.begin();
            assert_eq!(number, expected);
            let handle =
                spawn_thread("short".to_owned(), 1 << 16, move || member.stats.count(expected % 2 == 0)).unwrap();
            while !handle.is_finished() {
                std::thread::yield_now();
            }
            threads.keep(handle);
            threads.end(number);
            assert!(threads.handles.len() <= Threads::MIN_LOOK_AT && threads.workers.is_empty());
        }
        assert_eq!(threads.totals(), (100, 50));
    }
}
