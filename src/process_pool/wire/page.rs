//! The page of memory that a worker process shares with its parent.
//!
//! The other process may write any bytes at any time. So the page consists of atomics only, and their values are used
//! as numbers: never as a pointer, a length or an index.

use std::io;
use std::os::fd::OwnedFd;

use memmap2::{MmapOptions, MmapRaw};

use super::claim::{Claims, Line, SLOTS};
use super::memfd;
use super::progress::Count;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet::{AtomicU32, AtomicU64};

#[repr(C)]
struct Layout {
    /// Which process has which task.
    claims: Claims<AtomicU64>,
    /// How many frames the parent has sent.
    sent: Line<AtomicU64>,
    /// Why the worker is about to end, if it could still write that.
    fate: Line<AtomicU32>,
    /// How long the last task took, in nanoseconds.
    took: Line<AtomicU32>,
    /// Of each of the last tasks that were sent: how often it was begun before, by workers that are gone.
    attempts: Line<[AtomicU32; SLOTS]>,
    /// The last task that is to stop.
    to_stop: Line<AtomicU64>,
    /// How much of what the worker has put into its region the parent has taken out.
    taken: Line<AtomicU64>,
    /// Of each of the last tasks that were sent: how much of what it has said the parent has heard.
    heard: Line<[AtomicU64; SLOTS]>,
    /// The number of the most verbose level of spans and events of which the parent wants to hear.
    level: Line<AtomicU32>,
}

const SIZE: usize = size_of::<Layout>();

/// A mapping of the page, in one of the two processes.
pub(in crate::process_pool) struct Page {
    /// Exactly a [`Layout`], and readable and writable as long as this is there.
    map: MmapRaw,
}

impl Page {
    /// Makes a page, all zero, and the descriptor by which the other process opens it.
    pub(in crate::process_pool) fn new() -> io::Result<(Self, OwnedFd)> {
        let file = memory()?;
        Ok((Self::map(&file)?, file))
    }

    /// Maps the page that another process made.
    pub(in crate::process_pool) fn open(file: OwnedFd) -> io::Result<Self> {
        let size = rustix::fs::fstat(&file)?.st_size;
        if u64::try_from(size) != Ok(SIZE as u64) {
            let problem = format!("the page shared with the parent process has {size} bytes, and should have {SIZE}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Self::map(&file)
    }

    fn map(file: &OwnedFd) -> io::Result<Self> {
        Ok(Self { map: MmapOptions::new().len(SIZE).map_raw(file)? })
    }

    /// Keeps the page for the rest of this process's life.
    #[cfg(all(test, not(loom)))]
    pub(in crate::process_pool) fn leak(self) -> &'static Self {
        Box::leak(Box::new(self))
    }

    fn layout(&self) -> &Layout {
        // SAFETY:
        // - the mapping is readable and writable, `SIZE` bytes long, at the start of a page of memory (so aligned), and
        //   lives as long as the borrow.
        // - the file behind it can't shrink: it has this size (`open`) and is sealed (`memory`), or it has no name by
        //   which another process could find it.
        // - zeroes are a valid `Layout`, and so are all other bytes: it is made of atomics, by which alone both
        //   processes reach it.
        unsafe { &*self.map.as_ptr().cast::<Layout>() }
    }

    /// The parent offers task `id` before it sends it: it may be started from now on, for the `attempt`th time.
    pub(in crate::process_pool) fn offer(&self, id: u64, attempt: u32) {
        self.attempt_of(id).store(attempt, Relaxed);
        self.heard_of(id).store(Count::none(id), Relaxed);
        self.layout().claims.offer(id);
    }

    fn attempt_of(&self, id: u64) -> &AtomicU32 {
        &self.layout().attempts.0[(id % SLOTS as u64) as usize]
    }

    /// Returns the number of the attempt to run task `id`, which the worker has started.
    pub(in crate::process_pool) fn attempt(&self, id: u64) -> u32 {
        // ORDERING: Relaxed: it was written before the task was offered.
        self.attempt_of(id).load(Relaxed)
    }

    /// The parent asks task `id` to stop.
    pub(in crate::process_pool) fn ask_to_stop(&self, id: u64) {
        self.layout().to_stop.0.store(id, Relaxed);
    }

    /// Returns whether task `id` was asked to stop, while no other was.
    pub(in crate::process_pool) fn is_asked_to_stop(&self, id: u64) -> bool {
        self.layout().to_stop.0.load(Relaxed) == id
    }

    /// The worker claims task `id` before it looks at it. `false`: it was recalled, and is not to be run.
    pub(in crate::process_pool) fn start(&self, id: u64) -> bool {
        self.layout().claims.start(id)
    }

    /// The parent takes task `id` back. `false`: the worker has started it, or the parent had taken it back before.
    pub(in crate::process_pool) fn recall(&self, id: u64) -> bool {
        self.layout().claims.recall(id)
    }

    /// Returns whether the worker has started task `id`, as [`Claims::is_started`] does.
    #[cfg(all(test, not(loom), not(miri)))]
    fn is_started(&self, id: u64) -> bool {
        self.layout().claims.is_started(id)
    }

    /// Counts what the parent has sent, after it has sent it.
    pub(in crate::process_pool) fn note_sent(&self) {
        // ORDERING: Release, for the Acquire of `sent`: the frame is in the socket by then.
        self.layout().sent.0.fetch_add(1, Release);
    }

    /// Returns how often the parent has sent something: if it is more than before, there is something to read.
    pub(in crate::process_pool) fn sent(&self) -> u64 {
        // ORDERING: Acquire, for the Release of `note_sent`.
        self.layout().sent.0.load(Acquire)
    }

    /// Notes how long the worker's task took, in nanoseconds, before the worker replies.
    pub(in crate::process_pool) fn note_time(&self, took: u32) {
        self.layout().took.0.store(took, Relaxed);
    }

    /// Returns how long the task took that the worker replied to last, in nanoseconds.
    pub(in crate::process_pool) fn time(&self) -> u32 {
        self.layout().took.0.load(Relaxed)
    }

    /// Counts what the parent has taken out of the worker's region, the region itself first.
    pub(in crate::process_pool) fn note_taken(&self) {
        // ORDERING: Release, for the Acquire of `taken`: the parent has read what the worker will write over.
        self.layout().taken.0.fetch_add(1, Release);
    }

    /// Returns how much the parent has taken out of the worker's region.
    pub(in crate::process_pool) fn taken(&self) -> u64 {
        // ORDERING: Acquire, for the Release of `note_taken`.
        self.layout().taken.0.load(Acquire)
    }

    fn heard_of(&self, id: u64) -> &AtomicU64 {
        &self.layout().heard.0[(id % SLOTS as u64) as usize]
    }

    /// Counts what the parent has heard of task `id`: as much more as this.
    pub(in crate::process_pool) fn note_heard(&self, id: u64, weight: u32) {
        // Of a task that ended long ago nobody wants to know.
        let more = |word| Count::of(word, id).map(|_| Count::plus(word, weight));
        let _ = self.heard_of(id).fetch_update(Relaxed, Relaxed, more);
    }

    /// Returns how much the parent has heard of task `id`.
    pub(in crate::process_pool) fn heard(&self, id: u64) -> u32 {
        Count::of(self.heard_of(id).load(Relaxed), id).unwrap_or(0)
    }

    /// Notes of which spans and events the parent wants to hear, before it sends a task.
    pub(in crate::process_pool) fn set_level(&self, level: u32) {
        self.layout().level.0.store(level, Relaxed);
    }

    /// Returns of which spans and events the parent wants to hear.
    pub(in crate::process_pool) fn level(&self) -> u32 {
        self.layout().level.0.load(Relaxed)
    }

    /// The worker's last word: why it ends, or 0. The parent reads it when the worker is gone.
    pub(in crate::process_pool) fn fate(&self) -> &AtomicU32 {
        &self.layout().fate.0
    }
}

/// Makes memory of the page's size, by a descriptor that another process can be given.
fn memory() -> io::Result<OwnedFd> {
    use rustix::fs::SealFlags;

    let file = memfd::create("bowline-page")?;
    memfd::set_length(&file, SIZE, "the page of memory that it would share with the worker")?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::primitive::{join_thread, spawn_thread};
    use crate::process_pool::wire::claim::SLOTS;

    fn two_mappings() -> (Page, Page) {
        let (page, file) = Page::new().expect("a page");
        (page, Page::open(file).expect("the same page"))
    }

    #[test]
    fn a_task_goes_from_offered_to_started_once() {
        let (parent, worker) = two_mappings();
        assert!(!worker.start(0) && !worker.is_started(0), "a new page offers nothing, not even task 0");
        let last = SLOTS as u64 + 9;
        for id in 0..=last {
            parent.offer(id, 1 + id as u32 % 3);
            assert!(!parent.is_started(id));
            assert!(worker.start(id));
            assert_eq!(worker.attempt(id), 1 + id as u32 % 3);
            assert!(parent.is_started(id));
            assert!(!worker.start(id) && !parent.recall(id), "it is decided");
        }
        assert!(parent.is_started(last) && parent.is_started(10), "so many are known at a time");
        assert!(!parent.is_started(9), "and not those before");
    }

    #[test]
    fn a_recalled_task_is_not_started_nor_recalled_again() {
        let (parent, worker) = two_mappings();
        parent.offer(5, 1);
        parent.offer(6, 1);
        assert!(parent.recall(6));
        assert!(!worker.start(6) && !parent.recall(6) && !parent.is_started(6));
        assert!(worker.start(5), "its neighbour isn't concerned");
        assert!(!parent.recall(4) && !parent.recall(8), "what is not offered can't be recalled");
    }

    #[test]
    fn the_other_process_sees_what_was_sent_and_the_fate() {
        let (parent, worker) = two_mappings();
        parent.note_sent();
        parent.note_sent();
        assert_eq!(worker.sent(), 2);
        worker.leak().fate().store(7, Relaxed);
        assert_eq!(parent.fate().load(Relaxed), 7);
    }

    #[test]
    fn what_is_heard_of_a_task_counts_for_no_other() {
        let (parent, worker) = two_mappings();
        let next = 3 + SLOTS as u64;
        parent.offer(3, 1);
        parent.note_heard(3, 5);
        parent.note_heard(3, u32::MAX);
        assert_eq!((worker.heard(3), worker.heard(next)), (4, 0));
        parent.offer(next, 1);
        parent.note_heard(3, 7);
        assert_eq!((worker.heard(3), worker.heard(next)), (0, 0));
        parent.note_heard(next, 9);
        assert_eq!(worker.heard(next), 9);
    }

    #[test]
    fn one_task_at_a_time_is_asked_to_stop() {
        let (parent, worker) = two_mappings();
        assert!(!worker.is_asked_to_stop(7));
        parent.ask_to_stop(7);
        assert!(worker.is_asked_to_stop(7) && !worker.is_asked_to_stop(8));
    }

    #[test]
    fn of_start_and_recall_exactly_one_wins() {
        const ROUNDS: u64 = 100_000;
        let (parent, worker) = two_mappings();
        let worker = Arc::new(worker);
        let started = Arc::new(AtomicU64::new(0));
        let through = Arc::new(AtomicU64::new(0));
        let thread = {
            let (worker, started, through) = (Arc::clone(&worker), Arc::clone(&started), Arc::clone(&through));
            let run = move || {
                for id in 0..ROUNDS {
                    while worker.sent() <= id {
                        crate::primitive::yield_now();
                    }
                    started.fetch_add(u64::from(worker.start(id)), Relaxed);
                    through.store(id + 1, Release);
                }
            };
            spawn_thread("starts".to_owned(), 1 << 16, run).expect("a thread")
        };
        let mut recalled = 0;
        for id in 0..ROUNDS {
            parent.offer(id, 1);
            parent.note_sent();
            // Now and then the other side gets a moment's start, so that both win some.
            (0..id % 64).for_each(|_| std::hint::spin_loop());
            let ours = parent.recall(id);
            while through.load(Acquire) <= id {
                crate::primitive::yield_now();
            }
            recalled += u64::from(ours);
            assert_eq!(started.load(Relaxed) + recalled, id + 1, "one of them, in round {id}");
            assert_eq!(parent.is_started(id), !ours);
        }
        join_thread(thread);
    }

    #[test]
    fn a_page_of_another_size_is_refused() {
        let file = rustix::fs::memfd_create("short", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
        rustix::fs::ftruncate(&file, SIZE as u64 - 1).expect("some bytes");
        let error = Page::open(file).err().expect("a page that would end too early");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn nobody_can_shrink_the_page() {
        let (page, file) = Page::new().expect("a page");
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        page.fate().store(1, Relaxed);
    }
}
