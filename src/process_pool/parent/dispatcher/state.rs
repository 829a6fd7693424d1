//! The dispatcher's state: the queue, what each worker has in hand, and how tasks get from the one to the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Link, Todo};
use crate::primitive::{Ingredient, is_removed, now};
use crate::process_pool::parent::job::{Job, Sent};
use crate::process_pool::usual::Usual;
use crate::process_pool::wire::claim::SLOTS;
use crate::task::error::Rejected;
use crate::task::runner::Runner;

/// How many tasks a worker may have, the one that it runs included, while they are quick.
pub(super) const DEPTH: usize = 2;
/// How many while they are short: then it is the switching between processes that takes the time.
const DEPTH_OF_SHORT: usize = SLOTS;
/// Longer calls are not sent as far ahead, in bytes.
const MAX_SHORT_CALL: usize = 1 << 10;
/// A task that takes less is quick: another one may lie behind it. What lies behind one that has run for longer is taken back.
pub(super) const LONG: Duration = Duration::from_millis(1);

/// How a pool takes no more tasks.
pub(super) enum End {
    /// What is queued is run.
    Closed,
    /// Nothing is begun any more, for this reason.
    Now(Rejected),
}

/// A worker that is up.
pub(super) struct Member<L> {
    pub(super) link: Arc<L>,
    pub(super) next_id: u64,
    /// In the order in which it will run them. The first that was not taken back is running, and claimed.
    pub(super) sent: VecDeque<Sent>,
    pub(super) is_idle: bool,
    pub(super) was_told_to_stop: bool,
}

impl<L> Member<L> {
    pub(super) fn has_task(&self) -> bool {
        self.sent.iter().any(|sent| sent.job.is_some())
    }

    /// When the task that it runs comes to be long.
    fn long_at(&self) -> Option<Instant> {
        self.sent.iter().find(|sent| sent.job.is_some()).map(|sent| sent.since + LONG)
    }

    /// Whether the task that it runs has come to be long.
    fn is_long(&self, now: Instant) -> bool {
        self.long_at().is_some_and(|long_at| long_at <= now)
    }

    /// Whether a task lies behind the one that it runs.
    fn has_ahead(&self) -> bool {
        self.sent.iter().filter(|sent| sent.job.is_some()).nth(1).is_some()
    }
}

pub(super) struct State<L> {
    /// How long a task takes.
    pub(super) usual: Arc<Usual>,
    pub(super) queue: VecDeque<Job>,
    pub(super) tombstones: usize,
    /// By number; `None` for one that is being started, or gone.
    pub(super) members: Vec<Option<Member<L>>>,
    /// Numbers that nobody has.
    pub(super) free: Vec<usize>,
    /// Workers that have nothing to run, the one that was busy last on top.
    pub(super) idle: Vec<usize>,
    /// Tasks that lie with a worker behind the one that it runs.
    pub(super) ahead: usize,
    /// Whether tasks are quick.
    pub(super) was_quick: Usual,
    /// When to look for tasks that lie behind a long one: none does before. `None`: none lies behind another.
    pub(super) look_at: Option<Instant>,
    /// Tasks with smaller numbers were taken back from behind a long one: they are spread over all workers.
    pub(super) spread: u64,
    pub(super) starting: usize,
    /// All workers, those that are being started included, and those that have not [left](super::Dispatcher::leave).
    pub(super) workers: usize,
    pub(super) max_workers: usize,
    /// No worker has come up since a start failed.
    pub(super) has_failed_to_start: bool,
    /// Callers who are to fail tasks, and have not yet.
    pub(super) failing: usize,
    pub(super) end: Option<End>,
    /// How many tasks were taken.
    pub(super) submitted: u64,
    /// How much time has passed, beside what has.
    #[cfg(test)]
    pub(super) passed: Duration,
    pub(super) completed: u64,
}

impl<L: Link> State<L> {
    /// Why no task is taken.
    pub(super) fn refusal(&self) -> Option<Rejected> {
        match &self.end {
            None => None,
            Some(End::Closed) => Some(Rejected::Shutdown),
            Some(End::Now(reason)) => Some(reason.clone()),
        }
    }

    /// Tasks in the queue that were not cancelled.
    pub(super) fn live(&self) -> usize {
        self.queue.len() - self.tombstones
    }

    /// Whether there is more to do than those who are being started, or have nothing to do, will take, and there may be one more.
    /// What lies behind another task would be taken from there.
    pub(super) fn may_start(&self, start_allowed: bool) -> bool {
        let has_room = self.workers < self.max_workers && !matches!(self.end, Some(End::Now(_)));
        let is_short = self.live() + self.ahead > self.starting && self.idle.is_empty();
        has_room && is_short && (self.workers == 0 || start_allowed && self.can_start())
    }

    /// Whether starts succeed, as far as is known. While they do not the last of those who try has to find out, and nobody joins.
    pub(super) fn can_start(&self) -> bool {
        !self.has_failed_to_start || self.members.iter().any(Option::is_some)
    }

    /// The end is not told before the caller has failed these.
    pub(super) fn count_failing(&mut self, todo: &mut Todo<L>) {
        todo.tells_when_failed = !todo.failed.is_empty();
        self.failing += usize::from(todo.tells_when_failed);
    }

    /// Has the caller start a worker under this number.
    pub(super) fn start(&mut self, number: usize, todo: &mut Todo<L>) {
        self.workers += 1;
        self.starting += 1;
        todo.start = Some(number);
    }

    /// Starts a worker for a task that nobody is free for, or sends one ahead.
    pub(super) fn need_worker(&mut self, start_allowed: bool, todo: &mut Todo<L>) {
        self.take_back_from_long();
        if self.may_start(start_allowed) {
            self.start_another(todo);
        } else if self.starting == 0 && self.ahead < self.workers * (self.depth() - 1) {
            let (depth, now) = (self.depth(), self.now());
            let has_room = |member: &Option<Member<L>>| {
                let may = |member: &Member<L>| member.sent.len() < depth && !member.was_told_to_stop;
                member.as_ref().is_some_and(|member| may(member) && !member.is_long(now))
            };
            if let Some(number) = self.members.iter().position(has_room) {
                self.refill(number, todo);
            }
        }
    }

    /// Has the caller start a worker under a number that nobody has.
    pub(super) fn start_another(&mut self, todo: &mut Todo<L>) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        self.start(number, todo);
    }

    /// The idle worker that was busy last.
    pub(super) fn pop_idle(&mut self) -> Option<usize> {
        let number = self.idle.pop()?;
        self.members[number].as_mut().expect("an idle worker is up").is_idle = false;
        Some(number)
    }

    /// How many tasks a worker may have, the next one of the queue included.
    pub(super) fn depth(&self) -> usize {
        let is_short = |job: &Job| job.call.payload().len() <= MAX_SHORT_CALL;
        if !self.was_quick.was_short() {
            return 1;
        }
        let goes_far = |job: &Job| is_short(job) && job.number >= self.spread;
        if self.usual.was_short() && self.queue.front().is_none_or(goes_far) { DEPTH_OF_SHORT } else { DEPTH }
    }

    /// The next task of the queue that was not cancelled.
    pub(super) fn pop(&mut self) -> Option<Job> {
        while let Some(job) = self.queue.pop_front() {
            if job.is_live() {
                return Some(job);
            }
            self.tombstones -= 1;
        }
        None
    }

    /// Takes back what lies behind other tasks, if one of these has become long: into the queue again, in the order in which it
    /// was submitted. Looks at the workers once in as long as a task may take before it is long.
    fn take_back_from_long(&mut self) {
        let Some(look_at) = self.look_at else { return };
        let now = self.now();
        if now < look_at {
            return;
        }
        let members = || self.members.iter().flatten();
        let is_stuck = members().any(|member| member.is_long(now) && member.has_ahead());
        let next = members().filter(|member| member.has_ahead()).filter_map(Member::long_at).filter(|&at| at > now);
        self.look_at = next.min();
        if !is_stuck {
            return;
        }
        let mut taken = Vec::new();
        for member in self.members.iter_mut().flatten() {
            // The last first: the worker goes on from the front meanwhile.
            let behind: Vec<_> = member.sent.iter_mut().filter(|sent| sent.job.is_some()).skip(1).collect();
            for sent in behind.into_iter().rev() {
                if member.link.recall(sent.id) {
                    self.ahead -= 1;
                    taken.extend(sent.job.take());
                }
            }
        }
        taken.sort_unstable_by_key(|job| std::cmp::Reverse(job.number));
        self.spread = taken.first().map_or(self.spread, |last| self.spread.max(last.number + 1));
        taken.into_iter().for_each(|job| self.queue_again(job));
    }

    /// Puts a task back into the queue, which is in the order of submission: near the front, as it was taken out before.
    pub(super) fn queue_again(&mut self, job: Job) {
        let place = self.queue.iter().position(|other| other.number > job.number);
        self.queue.insert(place.unwrap_or(self.queue.len()), job);
    }

    /// The time, which a test may move on.
    pub(super) fn now(&self) -> Instant {
        #[cfg(test)]
        return now() + self.passed;
        #[cfg(not(test))]
        now()
    }

    /// Takes a task back that lies behind another one, for a worker that has nothing to do.
    fn steal(&mut self) -> Option<Job> {
        if self.ahead == 0 || is_removed(Ingredient::TakenFromBehind) {
            return None;
        }
        for member in self.members.iter_mut().flatten() {
            // The first of these may have been begun, and the reply that tells so not be here yet: those behind it have not.
            for sent in member.sent.iter_mut().filter(|sent| sent.job.is_some()).skip(1) {
                if member.link.recall(sent.id) {
                    self.ahead -= 1;
                    return sent.job.take();
                }
            }
        }
        None
    }

    /// Gives a worker what it can have; if there is nothing, it is idle, or told to stop.
    pub(super) fn refill(&mut self, number: usize, todo: &mut Todo<L>) {
        self.take_back_from_long();
        loop {
            let member = self.members[number].as_ref().expect("only a worker that is up is refilled");
            let has_task = member.has_task();
            if member.sent.len() >= self.depth() && has_task {
                return;
            }
            // Others are to have what is left, if they have nothing yet.
            if has_task && (self.starting > 0 || !self.idle.is_empty()) {
                return;
            }
            let job = match self.pop() {
                None if !has_task => self.steal(),
                job => job,
            };
            let now = self.now();
            let member = self.members[number].as_mut().expect("as above");
            let Some(mut job) = job else {
                if has_task {
                    return;
                }
                if self.end.is_none() {
                    // It may be idle already, and have skipped what was taken back from it.
                    if !member.is_idle {
                        member.is_idle = true;
                        self.idle.push(number);
                    }
                } else if !member.was_told_to_stop {
                    member.was_told_to_stop = true;
                    member.link.enqueue_stop();
                    todo.will_flush(&member.link);
                }
                return;
            };
            if has_task {
                self.ahead += 1;
                self.look_at = self.look_at.into_iter().chain(member.long_at()).min();
            } else {
                let claimed = job.claim();
                debug_assert!(claimed, "a task is cancelled under this mutex");
                job.task.set_runner(Runner::Process(member.link.pid()));
            }
            let id = member.next_id;
            member.next_id += 1;
            member.link.enqueue(id, &job);
            member.sent.push_back(Sent { id, job: Some(job), since: now });
            todo.will_flush(&member.link);
        }
    }

    /// The task that a worker ran has ended: it runs the next one that it has, if any.
    pub(super) fn promote(&mut self, number: usize) {
        let now = self.now();
        let member = self.members[number].as_mut().expect("it replied");
        if let Some((since, job)) = member.sent.iter_mut().find_map(|sent| Some((&mut sent.since, sent.job.as_mut()?)))
        {
            *since = now;
            let claimed = job.claim();
            debug_assert!(claimed, "a task is cancelled under this mutex");
            job.task.set_runner(Runner::Process(member.link.pid()));
            self.ahead -= 1;
        }
    }

    /// Takes out of the queue, and back from the workers, what `is_meant` and no worker has begun.
    pub(super) fn take_back(&mut self, is_meant: impl Fn(&Job) -> bool) -> Vec<Job> {
        let live = std::mem::take(&mut self.queue).into_iter().filter(Job::is_live);
        let (mut taken, left) = live.partition::<Vec<_>, _>(&is_meant);
        self.queue = left.into();
        self.tombstones = 0;
        for member in self.members.iter_mut().flatten() {
            for sent in member.sent.iter_mut().filter(|sent| sent.job.is_some()).skip(1) {
                if sent.job.as_ref().is_some_and(&is_meant) && member.link.recall(sent.id) {
                    self.ahead -= 1;
                    taken.extend(sent.job.take());
                }
            }
        }
        taken
    }

    /// Tells those to stop who have nothing to do.
    pub(super) fn stop_idle(&mut self, todo: &mut Todo<L>) {
        while let Some(number) = self.pop_idle() {
            self.refill(number, todo);
        }
        todo.is_over = self.is_over();
    }

    /// A number is free again.
    pub(super) fn release(&mut self, number: usize, todo: &mut Todo<L>) {
        self.free.push(number);
        if self.live() == 0 {
            // Perhaps nobody comes by any more who would take them out, and each keeps the pool alive.
            self.queue.clear();
            self.tombstones = 0;
        }
        todo.is_over = self.is_over();
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_some() && self.workers == 0 && self.live() == 0 && self.failing == 0
    }
}
