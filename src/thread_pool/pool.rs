//! The state that a pool's handles, workers and tasks share: the queue, and one word that says how full it is.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::full::OnFull;
use super::member::Member;
use super::occupancy::{Counts, Occupancy, Sleepers, Was};
use super::threads::Threads;
use crate::deadlock::group::Group;
use crate::deadlock::resource::Site;
use crate::primitive::Ordering::{AcqRel, Relaxed};
use crate::primitive::quiet::PoisonError;
use crate::primitive::{AtomicBool, AtomicU64, Ingredient, Queue, is_removed, new_atomic, quiet};
use crate::task::error::{Rejected, TaskError};
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;
use crate::task::trace;

/// The behaviour of a submission to a full queue.
///
/// # Examples
///
/// ```
/// use bowline::task::Rejected;
/// use bowline::thread_pool::WhenFull;
/// use bowline::{TaskError, ThreadPoolExecutor, promise};
///
/// let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::Reject).build();
/// let (begin, begun) = promise();
/// let (open, opened) = promise::<()>();
/// let busy = pool.submit(move || {
///     begin.set_result(()).unwrap();
///     opened.result()
/// });
/// begun.result().unwrap(); // the only worker waits in this task
/// let queued = pool.submit(|| 1);
/// let refused = pool.submit(|| 2);
/// assert!(matches!(refused.exception(), Some(TaskError::Rejected(Rejected::QueueFull))));
/// open.set_result(()).unwrap();
/// assert_eq!(queued.result().unwrap(), 1);
/// # busy.result().unwrap().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits for room.
    #[default]
    Block,
    /// It is refused, with [`Rejected::QueueFull`](crate::task::Rejected::QueueFull).
    Reject,
    /// It runs the task on the submitting thread, on top of what that does. Such a task may submit others, which are
    /// run on top of it, until three quarters of the stack are used: then the submission waits for room as with
    /// [`Block`](Self::Block). When a submission returns, the task is done or queued.
    CallerRuns,
    /// It cancels the task that has been queued for longest, whoever submitted that, and takes its place. The closure of
    /// the cancelled task is dropped on the submitting thread, which holds no lock of the pool's meanwhile.
    DiscardOldest,
}

/// What a worker calls when it starts or ends.
pub(super) type WorkerHook = Box<dyn Fn() + Send + Sync>;

/// The maximum number of tombstones in a queue in excess of its tasks.
const MAX_TOMBSTONES: i64 = 64;

/// The settings with which a pool was made.
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    /// The same, if the program chose it: for reports, which may come after the pool.
    pub(super) chosen_name: Option<&'static str>,
    pub(super) made_at: Site,
    pub(super) stack_size: usize,
    pub(super) initializer: Option<Box<dyn Fn() -> Result<(), String> + Send + Sync>>,
    pub(super) capacity: Option<NonZeroU32>,
    pub(super) when_full: WhenFull,
    /// How long an idle worker stays; `None`: until the pool ends.
    pub(super) keep_alive: Option<Duration>,
    /// What decides in place of `when_full`.
    pub(super) on_full: Option<OnFull>,
    pub(super) on_worker_start: Option<WorkerHook>,
    pub(super) on_worker_end: Option<WorkerHook>,
    /// Whether run times are counted.
    pub(super) run_times: bool,
    /// Whether the drop of the last handle waits for the workers.
    pub(super) is_waited_for: bool,
}

/// The condition on which a worker may end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MayEnd {
    /// There are more workers than there may be.
    TooMany,
    /// There are more workers than there may be, or no task will come any more.
    TooManyOrOver,
    /// The same, or nothing is queued.
    NothingQueued,
}

/// A message to a worker: a task that may have been claimed by somebody else, or `None`, which only asks it to look
/// around.
pub(super) type Message = Option<TaskRef>;

pub(super) struct Pool {
    pub(super) occupancy: Apart<Occupancy>,
    pub(super) max_workers: AtomicU64,
    /// The largest maximum so far.
    pub(super) max_workers_ever: quiet::AtomicUsize,
    pub(super) queue: Queue<Message>,
    pub(super) group: Group,
    pub(super) settings: Settings,
    /// A wait for room was judged when there was some, and no waiter has been re-checked since that room was taken.
    room_counted_on: AtomicBool,
    broken: OnceLock<Arc<str>>,
    /// The number of threads that wait for the pool to rest.
    pub(super) joiners: AtomicU64,
    /// A shutdown was told not to wait, or not for longer: the drop of the last handle does not wait either.
    is_detached: quiet::AtomicBool,
    /// The number of tasks in the queue that somebody has claimed. For a moment it can be too low, and below zero.
    tombstones: quiet::AtomicU64,
    /// The number of messages without a task that are in the queue, or were taken out by a worker that has yet to look
    /// around.
    wake_ups: AtomicU64,
    clearing: quiet::Mutex<()>,
    threads: quiet::Mutex<Threads>,
}

/// A value in a cache line of its own, and in the pair of lines that is fetched at once: the other fields are read for
/// every task, and nearly never written.
#[repr(align(128))]
pub(super) struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Pool {
    pub(super) fn new(settings: Settings, max_workers: usize) -> Arc<Self> {
        Arc::new(Self {
            occupancy: Apart(Occupancy::new()),
            max_workers: new_atomic(max_workers as u64),
            max_workers_ever: quiet::AtomicUsize::new(max_workers),
            queue: Queue::new(),
            group: Group::new(Arc::clone(&settings.name), settings.made_at),
            settings,
            room_counted_on: AtomicBool::new(false),
            broken: OnceLock::new(),
            joiners: new_atomic(0),
            is_detached: quiet::AtomicBool::new(false),
            tombstones: quiet::AtomicU64::new(0),
            wake_ups: new_atomic(0),
            clearing: quiet::Mutex::new(()),
            threads: quiet::Mutex::new(Threads::default()),
        })
    }

    /// Returns a counted reference to the pool that a claimed task was queued in.
    ///
    /// # Safety
    ///
    /// The task that the pointer comes from was claimed by the caller and is still counted as queued.
    pub(super) unsafe fn retain(pool: *const Self) -> Arc<Self> {
        // SAFETY:
        // - the pointer came from an `Arc` (`ThreadPoolExecutor`). While a task is counted as queued, a worker or the
        //   submitter that is about to start one is there and has a reference (`try_exit`, `give_up_start`).
        unsafe {
            Arc::increment_strong_count(pool);
            Arc::from_raw(pool)
        }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn max_workers(&self) -> usize {
        self.max_workers.load(Relaxed) as usize
    }

    /// Makes the drop of the last handle wait for nobody.
    pub(super) fn detach(&self) {
        self.is_detached.store(true, Relaxed);
    }

    pub(super) fn is_detached(&self) -> bool {
        // Relaxed: the caller has the last handle, and whoever detached had one.
        self.is_detached.load(Relaxed)
    }

    /// Returns the number of workers that are not idle.
    pub(super) fn active(&self) -> usize {
        let counts = self.occupancy.peek();
        counts.workers().saturating_sub(counts.idle()) as usize
    }

    /// Returns the lock that a thread holds while it has a part of the queue in hand.
    pub(super) fn clearing(&self) -> &quiet::Mutex<()> {
        &self.clearing
    }

    pub(super) fn threads(&self) -> quiet::MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a submitter that waits for room has something to do: there is room, or there never will be.
    pub(super) fn has_room(&self) -> bool {
        self.occupancy.peek().has_room(self.settings.capacity)
    }

    #[cold]
    pub(super) fn refusal(&self) -> Rejected {
        match self.broken.get() {
            Some(reason) => Rejected::Broken(Arc::clone(reason)),
            None => Rejected::Shutdown,
        }
    }

    /// Admits one task, and starts a worker if the task needs one. After `Ok` the caller has to [push](Self::push) the
    /// task.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>) -> Result<(), Rejected> {
        let mut expected = false;
        let mut seen = self.occupancy.peek();
        let (max_workers, capacity) = (self.max_workers(), self.settings.capacity);
        let admitted = loop {
            if seen.is_closed() {
                break Err(self.refusal());
            }
            if seen.is_full(capacity) {
                break Err(Rejected::QueueFull);
            }
            let starts = seen.would_be_short(max_workers);
            if starts && !expected && !is_removed(Ingredient::ExpectedFirst) {
                // Before anybody can count on that worker.
                self.group.expect();
                expected = true;
            }
            match self.occupancy.try_admit(seen, starts) {
                Ok(now) => {
                    if now.is_full(capacity) {
                        self.recheck_waiters_for_room();
                    }
                    break Ok(starts);
                }
                Err(now) => seen = now,
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
        // More workers may be allowed since that was read: see `grow`. (Their number, and not the word once more, which
        // is another processor's by now.)
        if self.max_workers() != max_workers && !is_removed(Ingredient::SecondLookAtLimit) {
            return self.grow(1);
        }
        Ok(())
    }

    /// Re-checks the waiters for room after the last room was taken. A waiter may have been judged when there was some.
    /// That was a way out of a deadlock, and may have been the last: it is gone without anybody having begun to wait.
    fn recheck_waiters_for_room(&self) {
        // The flag's line is written only where it has to be.
        let was_counted_on = self.room_counted_on.load(Relaxed) && self.room_counted_on.swap(false, Relaxed);
        if was_counted_on && !is_removed(Ingredient::RecheckOfRoom) {
            self.group.recheck();
        }
    }

    /// Returns whether there is room, for a judge, under the graph's mutex. If so, the submitter that takes the last of it
    /// [re-checks](Self::recheck_waiters_for_room) the waits that count on the pool. If not, nobody is subscribed: the queue
    /// may fill up often while a submitter waits for room.
    pub(super) fn subscribe_to_room(&self) -> bool {
        let before = self.room_counted_on.swap(true, Relaxed);
        // This read comes before the transition that takes the last room, which sees the flag then, or after it, and
        // sees that the room is gone.
        let has_room = self.occupancy.read_in_order().has_room(self.settings.capacity);
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

    /// Wakes one worker to look around: there may be too many, or no task will come any more.
    fn wake_worker(&self) {
        self.wake_ups.fetch_add(1, Relaxed);
        self.queue.push(None);
    }

    /// Makes sure that at least `workers` wake-ups are on their way to workers that may sleep: there may be too many of
    /// them.
    pub(super) fn wake_workers(&self, workers: u64) {
        // ORDERING: Release: the caller has changed something, and whoever is counted here looks at that after it
        // uncounts itself (Acquire, in `next`). A no-op read-modify-write if nobody has to be woken: those who are
        // counted look later.
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
    pub(super) fn unqueue(&self) {
        let before = self.unqueue_claimed();
        let tombstones = self.tombstones.fetch_add(1, Relaxed).wrapping_add(1).cast_signed();
        let queued = before.queued() as i64 - 1;
        if tombstones > queued.saturating_add(MAX_TOMBSTONES) {
            self.clear_tombstones();
        }
    }

    /// Uncounts a task that the caller claimed, and wakes whom that concerns. Returns the counts before that.
    pub(super) fn unqueue_claimed(&self) -> Counts {
        let before = self.occupancy.unqueue();
        self.wake_after_unqueue(before);
        if before.less_one_queued().ends_join() && !is_removed(Ingredient::JoinersTold) {
            self.tell_joiners();
        }
        before
    }

    /// Removes the tombstones from the queue: workers that are busy for long do not come by.
    #[cold]
    fn clear_tombstones(&self) {
        // One thread at a time, and once through the queue: messages that others add meanwhile are not looked at.
        let Ok(clearing) = self.clearing.try_lock() else { return };
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        let mut rest =
            self.tombstones.load(Relaxed).cast_signed().saturating_add(self.occupancy.read().queued() as i64);
        while rest > 0 {
            rest -= 1;
            match self.queue.pop() {
                None => break,
                Some(Some(task)) if task.phase() != Phase::Pending => {
                    self.uncount_tombstone();
                    dead.push(task);
                }
                Some(message) => live.push(message),
            }
        }
        // Behind the messages that came meanwhile, in their old order.
        live.into_iter().for_each(|message| self.queue.push(message));
        // These may be the last references to their cells: freed when nothing is in hand any more.
        drop(clearing);
        drop(dead);
    }

    /// Uncounts a tombstone that was popped.
    pub(super) fn uncount_tombstone(&self) {
        self.tombstones.fetch_sub(1, Relaxed);
    }

    /// Wakes a worker or a submitter if it concerns them that one task fewer is queued than there were `before`.
    #[inline]
    pub(super) fn wake_after_unqueue(&self, before: Counts) {
        if !before.is_watched() {
            return;
        }
        if before.is_closed() && before.queued() == 1 {
            // The workers may end: the first that hears of it tells the next.
            self.wake_worker();
        }
        if before.has(Sleepers::Submitters) {
            self.wake_submitter();
        }
    }

    /// Takes the next task out of the queue, for a worker, which waits for it. Returns `None` if the worker ends; it is
    /// not counted any more then.
    ///
    /// `last` are the counts when this worker took its previous task, `None` for a worker that has just begun; `worker`
    /// is how it is counted.
    pub(super) fn next(
        self: &Arc<Self>,
        me: &Member,
        last: Option<Counts>,
        mut worker: Was,
    ) -> Option<(TaskRef, Counts)> {
        // Old counts will do, and cost nothing: a thread that lowers the maximum sends messages, too.
        if last.is_none_or(|counts| counts.has_too_many(self.max_workers()))
            && self.try_exit(me, worker, MayEnd::TooMany)
        {
            return None;
        }
        loop {
            let message = match self.queue.pop() {
                Some(message) => message,
                None => {
                    if worker == Was::Busy {
                        let now = self.occupancy.rest();
                        worker = Was::Idle;
                        if now.ends_join() {
                            self.tell_joiners();
                        }
                    }
                    if self.try_exit(me, worker, MayEnd::TooManyOrOver) {
                        return None;
                    }
                    match self.wait_for_message() {
                        Some(message) => message,
                        None if self.try_exit(me, worker, MayEnd::NothingQueued) => return None,
                        None => continue,
                    }
                }
            };
            match message {
                Some(task) if task.claim() => {
                    let before = self.occupancy.begin(worker);
                    self.wake_after_unqueue(before);
                    return Some((task, before));
                }
                // Claimed by somebody else.
                Some(_) => self.uncount_tombstone(),
                None => {
                    // ORDERING: Acquire pairs with the Release in `wake_workers`, for the look at the maximum.
                    self.wake_ups.fetch_sub(1, AcqRel);
                    if self.try_exit(me, worker, MayEnd::TooManyOrOver) {
                        return None;
                    }
                }
            }
        }
    }

    /// Sleeps until there is a message. Returns `None` if an idle worker has slept for as long as it may.
    #[inline]
    fn wait_for_message(&self) -> Option<Message> {
        match self.settings.keep_alive {
            None => Some(self.queue.wait_pop()),
            Some(limit) => self.queue.wait_pop_for(limit),
        }
    }

    /// Counts the calling worker, which rested, as busy again, and starts the worker that the queue needs now.
    #[cold]
    pub(super) fn stay_busy(self: &Arc<Self>) {
        if self.occupancy.stay_busy().is_short(self.max_workers()) {
            let refused = self.grow(0).is_err();
            debug_assert!(!refused, "there was no task to be given up");
        }
    }

    /// Uncounts the calling worker, if it may end. Returns whether it ends.
    fn try_exit(self: &Arc<Self>, me: &Member, worker: Was, may_end: MayEnd) -> bool {
        let mut seen = self.occupancy.peek();
        let mut leaves_nothing = false;
        let now = loop {
            leaves_nothing = match may_end {
                MayEnd::TooMany => false,
                MayEnd::TooManyOrOver => seen.is_over(),
                MayEnd::NothingQueued => seen.queued() == 0 || leaves_nothing && is_removed(Ingredient::LeftInOneStep),
            };
            if !leaves_nothing && !seen.has_too_many(self.max_workers()) {
                return false;
            }
            // This comes after the transition of the thread that took the last task out of the queue, and after that in
            // `grow`.
            match self.occupancy.try_leave(seen, worker) {
                Ok(now) => break now,
                Err(now) => seen = now,
            }
        };
        // First: whoever starts the next worker may wait for it.
        self.threads().free_index(me);
        if now.ends_join() {
            self.tell_joiners();
        }
        if seen.is_closed() && seen.workers() > 1 && !is_removed(Ingredient::SentinelPassedOn) {
            self.wake_worker();
        }
        // More workers may be allowed since that was read: see `grow`. Last, since it may run destructors of the
        // user's.
        if !leaves_nothing && self.occupancy.peek().is_short(self.max_workers()) {
            // It runs no task of the pool any more: no joiner waits for it.
            self.group.stop_serving();
            let refused = self.grow(0).is_err();
            debug_assert!(!refused, "there was no task to be given up");
        }
        true
    }

    /// Wakes the joiners if no worker is left. This is the last thing that a worker does here, after it was uncounted.
    pub(super) fn exited(&self) {
        let counts = self.occupancy.read();
        if counts.workers() == 0 && counts.has(Sleepers::Joiners) {
            self.wake_joiners(self.join_key());
        }
    }

    /// Closes the pool, which takes no more tasks from now on. Workers end when the queue is empty.
    pub(super) fn close(&self) {
        let before = self.occupancy.close();
        if before.is_closed() {
            return;
        }
        if before.queued() == 0 {
            self.wake_worker();
        }
        if before.has(Sleepers::Submitters) {
            self.wake_submitters();
        }
    }

    /// Breaks the pool, because an initializer failed: queued tasks fail for this reason, and no task is taken any
    /// more.
    #[cold]
    pub(super) fn break_down(&self, reason: &str) {
        if self.broken.set(reason.into()).is_ok() {
            crate::deadlock::print_line(format_args!("bowline: {} is broken: {reason}", self.settings.name));
            trace::pool_broken(&self.settings.name, reason);
        }
        self.occupancy.break_down();
        self.close();
    }

    /// Returns why tasks are not to be run, if they are not.
    pub(super) fn broken(&self) -> Option<TaskError> {
        self.broken_by(self.occupancy.read())
    }

    /// Returns why tasks are not to be run, if these counts say that they are not.
    pub(super) fn broken_by(&self, counts: Counts) -> Option<TaskError> {
        counts.is_broken().then(|| TaskError::Rejected(self.refusal()))
    }

    /// Cancels the queued tasks. Returns how many it cancelled.
    pub(super) fn cancel_queued(&self) -> usize {
        let pop = || {
            // Not while another thread has a part of the queue in hand, to put it back. Not for longer either:
            // cancelled tasks have destructors of the user's, which may wait for what is still queued.
            let _clearing = self.clearing.lock().unwrap_or_else(PoisonError::into_inner);
            self.queue.pop()
        };
        let (mut cancelled, mut was_told) = (0, false);
        while let Some(message) = pop() {
            match message {
                Some(task) => {
                    cancelled += usize::from(task.cancel_pending());
                    self.uncount_tombstone();
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
