//! The threads that a pool has started, and the totals of its workers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::member::Member;
use super::metrics::RunTimeHistogram;
use crate::primitive::Thread;

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
    past_times: Option<Box<RunTimeHistogram>>,
    /// The indexes below `next_index` that no worker has.
    free_indexes: BTreeSet<usize>,
    next_index: usize,
    /// The largest number of workers that there were at a time.
    largest: usize,
}

impl Threads {
    /// The minimum number of handles at which threads that have ended are dropped: a small pool keeps fewer than this
    /// many, with their stacks.
    const MIN_LOOK_AT: usize = 4;

    /// Notes that there are so many workers.
    pub(super) fn note_size(&mut self, workers: usize) {
        self.largest = self.largest.max(workers);
    }

    /// Registers a worker that is about to be started, under the lowest index that is free. Returns its number, and what
    /// others will know of it; `None` if that index is not below `indexes`.
    pub(super) fn begin(&mut self, indexes: usize, counts_times: bool) -> Option<(usize, Arc<Member>)> {
        let index = self.free_indexes.pop_first().unwrap_or(self.next_index);
        if index == self.next_index {
            if index >= indexes {
                return None;
            }
            self.next_index += 1;
        }
        let (number, member) = (self.started, Arc::new(Member::new(index, counts_times)));
        self.started += 1;
        self.workers.insert(number, Arc::clone(&member));
        Some((number, member))
    }

    /// Returns the workers.
    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.workers.values().cloned().collect()
    }

    /// Frees the index of a worker that is about to end, or was not started.
    pub(super) fn free_index(&mut self, member: &Member) {
        self.free_indexes.extend(member.take_index());
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
            self.free_index(&member);
            self.add_up(&member);
        }
    }

    /// Adds up the totals of a worker that has ended, or of a submitter that ran a task.
    pub(super) fn add_up(&mut self, member: &Member) {
        self.past.0 += member.stats.completed();
        self.past.1 += member.stats.panicked();
        if let Some(times) = &member.run_times {
            times.add_to(self.past_times.get_or_insert_with(|| Box::new(RunTimeHistogram::EMPTY)));
        }
    }

    /// Returns how long tasks ran.
    pub(super) fn run_times(&self) -> RunTimeHistogram {
        let mut sum = self.past_times.as_deref().cloned().unwrap_or(RunTimeHistogram::EMPTY);
        self.workers.values().filter_map(|member| member.run_times.as_ref()).for_each(|times| times.add_to(&mut sum));
        sum
    }

    /// Returns the largest number of workers that there were at a time.
    pub(super) fn largest(&self) -> usize {
        self.largest
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
            let (number, member) = threads.begin(1, false).unwrap();
            assert_eq!(member.index(), Some(0));
            assert_eq!(number, expected);
            let handle =
                spawn_thread("short".to_owned(), 1 << 16, move || member.stats.count(expected % 2 == 0)).unwrap();
            while !handle.is_finished() {
                std::thread::yield_now();
            }
            threads.note_size(1);
            threads.keep(handle);
            threads.end(number);
            assert!(threads.handles.len() <= Threads::MIN_LOOK_AT && threads.workers.is_empty());
        }
        assert_eq!((threads.totals(), threads.largest()), ((100, 50), 1));
    }

    #[test]
    fn the_lowest_free_index_comes_next_and_none_twice() {
        let mut threads = Threads::default();
        let begin = |threads: &mut Threads| threads.begin(3, false).and_then(|(_, member)| member.index());
        let members: Vec<_> = (0..3).map(|_| threads.begin(3, false).unwrap().1).collect();
        assert!(members.iter().map(|member| member.index()).eq([Some(0), Some(1), Some(2)]));
        assert_eq!(begin(&mut threads), None);
        [2, 0].into_iter().for_each(|index: usize| threads.free_index(&members[index]));
        threads.free_index(&members[0]); // again: it has none
        assert_eq!(members[0].index(), None);
        assert_eq!([(); 3].map(|()| begin(&mut threads)), [Some(0), Some(2), None]);
    }
}
