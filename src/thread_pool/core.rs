//! What a pool's handles, workers and tasks share: the queue, and one word that says how full it is.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::threads::Threads;
use super::word::{BROKEN, CLOSED, IDLE, JOINERS, QUEUED, SUBMITTERS, WORKER, idle, queued, workers};
use crate::deadlock::group::Group;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::quiet::PoisonError;
use crate::primitive::{AtomicBool, AtomicU64, Ingredient, Queue, is_removed, new_atomic, quiet};
use crate::task::cell::TaskRef;
use crate::task::error::{Rejected, TaskError};
use crate::task::state::Phase;
use crate::task::trace;

/// What a submitter does about a full queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// Waits for room.
    #[default]
    Block,
    /// Is told so.
    Reject,
    /// Runs the task itself, on top of what it does. Such a task may submit others, which are run on top of it, until three
    /// quarters of the stack are used: then it waits for room as with [`Block`](Self::Block). Once a submission returns, the
    /// task is done or queued.
    CallerRuns,
}

/// So many tombstones may lie in a queue beside as many tasks.
const MOST_TOMBSTONES: i64 = 64;

/// What was decided when the pool was made.
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) made_at: Site,
    pub(super) stack_size: usize,
    pub(super) initializer: Option<Box<dyn Fn() -> Result<(), String> + Send + Sync>>,
    pub(super) capacity: Option<NonZeroU32>,
    pub(super) when_full: WhenFull,
    /// Whether the end of the last handle waits for the workers.
    pub(super) is_waited_for: bool,
}

/// A message to a worker: a task that may have been claimed by somebody else, or nothing but a reason to look around.
type Message = Option<TaskRef>;

pub(crate) struct Core {
    /// ```text
    /// [ JOINERS | SUBMITTERS | BROKEN | CLOSED | workers : 14 | idle : 14 | queued : 32 ]
    /// ```
    ///
    /// Whenever nothing but the submitters and workers of this moment is at work: **queued ≤ idle, or workers = max**.
    /// So a task that is queued has a worker that will look for it, or there are as many as there may be; growth is decided
    /// in the same step that admits a task, and a waiter never has to ask whether the pool can grow.
    pub(super) state: Apart<AtomicU64>,
    pub(super) max_workers: AtomicU64,
    pub(super) queue: Queue<Message>,
    pub(super) group: Group,
    pub(super) settings: Settings,
    /// A wait for room was judged when there was some, and nobody has been told since that it is gone.
    room_counted_on: AtomicBool,
    broken: OnceLock<Arc<str>>,
    /// A shutdown was told not to wait, or not for longer: the end of the last handle does not wait either.
    is_detached: quiet::AtomicBool,
    /// How many tasks are in the queue that somebody has claimed. For a moment it can be less than that, and below zero.
    tombstones: quiet::AtomicU64,
    /// How many messages without a task are in the queue, or were taken out by a worker that has yet to look around.
    wake_ups: AtomicU64,
    clearing: quiet::Mutex<()>,
    threads: quiet::Mutex<Threads>,
}

/// A value in a line of its own, and in the pair of lines that is fetched at once: the others are read for every task, and
/// nearly never written.
#[repr(align(128))]
pub(super) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Core {
    pub(super) fn new(settings: Settings, max_workers: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Apart(new_atomic(0)),
            max_workers: new_atomic(max_workers as u64),
            queue: Queue::new(),
            group: Group::new(Arc::clone(&settings.name), settings.made_at),
            settings,
            room_counted_on: AtomicBool::new(false),
            broken: OnceLock::new(),
            is_detached: quiet::AtomicBool::new(false),
            tombstones: quiet::AtomicU64::new(0),
            wake_ups: new_atomic(0),
            clearing: quiet::Mutex::new(()),
            threads: quiet::Mutex::new(Threads::default()),
        })
    }

    /// A counted reference to the pool that a claimed task was queued in; `None` for null.
    ///
    /// # Safety
    ///
    /// The pointer is null, or the task that it comes from was claimed by the caller and is still counted as queued.
    pub(crate) unsafe fn retain(pool: *const Self) -> Option<Arc<Self>> {
        (!pool.is_null()).then(|| {
            // SAFETY:
            // - the pointer came from an `Arc` (`ThreadPoolExecutor`). While a task is counted as queued, a worker or the
            //   submitter that is about to start one is there and has a reference (`try_exit`, `give_up_start`).
            unsafe {
                Arc::increment_strong_count(pool);
                Arc::from_raw(pool)
            }
        })
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn max_workers(&self) -> usize {
        self.max_workers.load(Relaxed) as usize
    }

    /// The word, for a look at it. Whatever was done by those who made it so is seen.
    pub(super) fn word(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release of every change.
        self.state.load(Acquire)
    }

    /// The end of the last handle waits for nobody.
    pub(super) fn detach(&self) {
        self.is_detached.store(true, Relaxed);
    }

    pub(super) fn is_detached(&self) -> bool {
        // Relaxed: who asks has the last handle, and whoever detached had one.
        self.is_detached.load(Relaxed)
    }

    /// Workers that are not idle.
    pub(super) fn active(&self) -> usize {
        let word = self.state.load(Relaxed);
        workers(word).saturating_sub(idle(word)) as usize
    }

    pub(super) fn threads(&self) -> quiet::MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_short(word: u64, max_workers: usize) -> bool {
        queued(word) > idle(word) && workers(word) < max_workers as u64
    }

    pub(super) fn is_full(&self, word: u64) -> bool {
        self.settings.capacity.is_some_and(|capacity| queued(word) >= u64::from(capacity.get()))
    }

    /// Whether a submitter that waits for room has something to do: there is room, or there never will be.
    pub(super) fn has_room(&self) -> bool {
        self.has_room_in(self.state.load(Relaxed))
    }

    fn has_room_in(&self, word: u64) -> bool {
        word & CLOSED != 0 || !self.is_full(word)
    }

    #[cold]
    pub(super) fn refusal(&self) -> Rejected {
        match self.broken.get() {
            Some(reason) => Rejected::Broken(Arc::clone(reason)),
            None => Rejected::Shutdown,
        }
    }

    /// Makes room for one task, and starts a worker if it needs one. After `Ok` the task has to be [pushed](Self::push).
    #[inline]
    pub(super) fn admit(self: &Arc<Self>) -> Result<(), Rejected> {
        let mut expected = false;
        let mut word = self.state.load(Relaxed);
        let max_workers = self.max_workers();
        let admitted = loop {
            if word & CLOSED != 0 {
                break Err(self.refusal());
            }
            if self.is_full(word) {
                break Err(Rejected::QueueFull);
            }
            let starts = Self::is_short(word + QUEUED, max_workers);
            if starts && !expected && !is_removed(Ingredient::ExpectedFirst) {
                // Before anybody can count on that worker.
                self.group.expect();
                expected = true;
            }
            let next = word + QUEUED + if starts { WORKER + IDLE } else { 0 };
            // ORDERING: Release and Acquire order the changes of the word, and what was done before them, for whoever acts
            // on it.
            match self.state.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => {
                    if self.is_full(next) {
                        self.last_room_taken();
                    }
                    break Ok(starts);
                }
                Err(now) => word = now,
            }
        };
        if expected && !matches!(admitted, Ok(true)) {
            self.group.is_not_coming();
        }
        if admitted? {
            if is_removed(Ingredient::ExpectedFirst) {
                self.group.expect();
            }
            return self.start(1).map(drop);
        }
        // More workers may be allowed since the look at that: see `grow`. (Their number, and not the word once more, which is
        // another core's by now.)
        if self.max_workers() != max_workers && !is_removed(Ingredient::SecondLookAtLimit) {
            return self.grow(1);
        }
        Ok(())
    }

    /// Re-checks the waits that count on the pool if a judge [counted](Self::subscribe_to_room) on the room that was just
    /// taken. That was a way out of a deadlock, and may have been the last: it is gone without anybody having begun to wait.
    fn last_room_taken(&self) {
        // The flag's line is written only where it has to be.
        let was_counted_on = self.room_counted_on.load(Relaxed) && self.room_counted_on.swap(false, Relaxed);
        if was_counted_on && !is_removed(Ingredient::RecheckOfRoom) {
            self.group.recheck();
        }
    }

    /// Returns whether there is room, for a judge, under the graph's mutex. If so, whoever takes the last of it
    /// [re-checks](Self::last_room_taken) the waits that count on the pool. Where there is none, nobody is told of anything:
    /// the queue may fill up often while somebody waits for room.
    pub(super) fn subscribe_to_room(&self) -> bool {
        let before = self.room_counted_on.swap(true, Relaxed);
        // ORDERING: a no-op read-modify-write: it comes before the one that takes the last room, whose Acquire pairs with
        // this Release and sees the flag, or after it, and sees that.
        let word = self.state.fetch_or(0, AcqRel);
        let has_room = self.has_room_in(word);
        if !has_room && !before {
            self.room_counted_on.store(false, Relaxed);
        }
        has_room
    }

    /// Queues a task that was admitted.
    #[inline]
    pub(super) fn push(&self, task: TaskRef) {
        self.queue.push(Some(task));
    }

    /// Has one worker look around: there may be too many, or no task will come any more.
    fn wake_worker(&self) {
        self.wake_ups.fetch_add(1, Relaxed);
        self.queue.push(None);
    }

    /// Has so many workers look around that may sleep: there may be too many of them.
    pub(super) fn wake_workers(&self, workers: u64) {
        // ORDERING: Release: the caller has changed something, and whoever is counted here looks at that after it uncounts
        // itself (Acquire, in `next`). A no-op read-modify-write if nobody has to be woken: those who are counted look later.
        let mut there = self.wake_ups.fetch_add(0, AcqRel);
        while there < workers {
            match self.wake_ups.compare_exchange(there, there + 1, AcqRel, Relaxed) {
                Ok(_) => {
                    self.queue.push(None);
                    there += 1;
                }
                Err(now) => there = now,
            }
        }
    }

    /// Uncounts a task that the caller claimed, and whose place in the queue is a tombstone now.
    pub(crate) fn unqueue(&self) {
        let word = self.uncount(QUEUED);
        let tombstones = self.tombstones.fetch_add(1, Relaxed).wrapping_add(1).cast_signed();
        if tombstones > (queued(word) as i64).saturating_add(MOST_TOMBSTONES) {
            self.clear_tombstones();
        }
    }

    /// Takes the tombstones out of the queue: workers that are busy for long do not come by.
    #[cold]
    fn clear_tombstones(&self) {
        // One at a time, and once through the queue: what others add meanwhile is not looked at.
        let Ok(clearing) = self.clearing.try_lock() else { return };
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        let mut rest = self.tombstones.load(Relaxed).cast_signed().saturating_add(queued(self.word()) as i64);
        while rest > 0 {
            rest -= 1;
            match self.queue.pop() {
                None => break,
                Some(Some(task)) if task.phase() != Phase::Pending => {
                    self.tombstone_is_out();
                    dead.push(task);
                }
                Some(message) => live.push(message),
            }
        }
        // Behind those that came meanwhile, in the order in which they were.
        live.into_iter().for_each(|message| self.queue.push(message));
        // Perhaps the last references to their cells: freed when nothing is in hand any more.
        drop(clearing);
        drop(dead);
    }

    /// A task that was popped had been claimed.
    pub(super) fn tombstone_is_out(&self) {
        self.tombstones.fetch_sub(1, Relaxed);
    }

    /// Uncounts one claimed task, and with it the worker that was idle until now, if `what` says so. The word after that.
    pub(super) fn uncount(&self, what: u64) -> u64 {
        // ORDERING: Release publishes the claim to whoever finds the queue empty.
        let before = self.state.fetch_sub(what, AcqRel);
        let after = before - what;
        if before & (CLOSED | SUBMITTERS) == 0 {
            return after;
        }
        if before & CLOSED != 0 && queued(before) == 1 {
            // The workers may go: the first to hear of it tells the next.
            self.wake_worker();
        }
        if before & SUBMITTERS != 0 {
            self.wake_submitter();
        }
        after
    }

    /// Takes the next task out of the queue, for a worker, who waits for it. `None`: the worker ends, and is uncounted.
    ///
    /// `last`: the word as this worker left it when it took the task before; `None` for one that has just begun, and is idle.
    pub(super) fn next(self: &Arc<Self>, last: Option<u64>) -> Option<(TaskRef, u64)> {
        let mut is_idle = last.is_none();
        // An old word will do, and costs nothing: whoever lowers the number sends messages, too.
        if last.is_none_or(|word| workers(word) > self.max_workers() as u64) && self.try_exit(is_idle, false) {
            return None;
        }
        loop {
            let message = match self.queue.pop() {
                Some(message) => message,
                None => {
                    if !is_idle {
                        // ORDERING: as in `admit`.
                        self.state.fetch_add(IDLE, AcqRel);
                        is_idle = true;
                    }
                    if self.try_exit(is_idle, true) {
                        return None;
                    }
                    self.queue.wait_pop()
                }
            };
            match message {
                Some(task) if task.claim() => {
                    let word = self.uncount(if is_idle { QUEUED + IDLE } else { QUEUED });
                    return Some((task, word));
                }
                // Claimed by somebody else.
                Some(_) => self.tombstone_is_out(),
                None => {
                    // ORDERING: Acquire pairs with the Release in `wake_workers`, for the look at how many there may be.
                    self.wake_ups.fetch_sub(1, AcqRel);
                    if self.try_exit(is_idle, true) {
                        return None;
                    }
                }
            }
        }
    }

    /// Uncounts the calling worker if it may end: there are too many, or (`when_closed`) no task will come any more.
    fn try_exit(self: &Arc<Self>, is_idle: bool, when_closed: bool) -> bool {
        let mut word = self.state.load(Relaxed);
        let is_over = loop {
            let is_over = when_closed && word & CLOSED != 0 && queued(word) == 0;
            if !is_over && workers(word) <= self.max_workers() as u64 {
                return false;
            }
            let next = word - WORKER - if is_idle { IDLE } else { 0 };
            // ORDERING: Acquire pairs with the Release of whoever took the last task out of the queue, and with that in `grow`.
            match self.state.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => break is_over,
                Err(now) => word = now,
            }
        };
        if word & CLOSED != 0 && workers(word) > 1 && !is_removed(Ingredient::SentinelPassedOn) {
            self.wake_worker();
        }
        // More workers may be allowed since the look at that: see `grow`. Last, since it may run destructors of the user's.
        if !is_over && Self::is_short(self.state.load(Relaxed), self.max_workers()) {
            let refused = self.grow(0).is_err();
            debug_assert!(!refused, "there was no task to be given up");
        }
        true
    }

    /// The last thing that a worker does here, after it was uncounted.
    pub(super) fn exited(&self) {
        let word = self.word();
        if workers(word) == 0 && word & JOINERS != 0 {
            self.wake_joiners();
        }
    }

    /// Takes no more tasks from now on. Workers end when the queue is empty.
    pub(super) fn close(&self) {
        // ORDERING: as in `admit`.
        let before = self.state.fetch_or(CLOSED, AcqRel);
        if before & CLOSED != 0 {
            return;
        }
        if queued(before) == 0 {
            self.wake_worker();
        }
        if before & SUBMITTERS != 0 {
            self.wake_submitters();
        }
    }

    /// An initializer failed: what is queued fails for this reason, and nothing is taken any more.
    #[cold]
    pub(super) fn break_down(&self, reason: &str) {
        if self.broken.set(reason.into()).is_ok() {
            crate::deadlock::print_line(format_args!("bowline: {} is broken: {reason}", self.settings.name));
            trace::pool_broken(&self.settings.name, reason);
        }
        // ORDERING: Release publishes the reason to whoever sees the flag (`uncount`, `word`).
        self.state.fetch_or(BROKEN, AcqRel);
        self.close();
    }

    /// Why tasks are not to be run, if they are not.
    pub(super) fn broken(&self) -> Option<TaskError> {
        self.broken_by(self.word())
    }

    /// Why tasks are not to be run, if the word says that they are not.
    pub(super) fn broken_by(&self, word: u64) -> Option<TaskError> {
        (word & BROKEN != 0).then(|| TaskError::Rejected(self.refusal()))
    }

    /// Cancels the tasks that are queued. How many.
    pub(super) fn cancel_queued(&self) -> usize {
        let pop = || {
            // Not while somebody has a part of the queue in hand, to put it back. Not for longer either: what is cancelled has
            // destructors of the user's, which may wait for what is still queued.
            let _clearing = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
            self.queue.pop()
        };
        let (mut cancelled, mut was_told) = (0, false);
        while let Some(message) = pop() {
            match message {
                Some(task) => {
                    cancelled += usize::from(task.cancel());
                    self.tombstone_is_out();
                }
                None => was_told = true,
            }
        }
        if was_told {
            self.queue.push(None);
        }
        cancelled
    }
}
