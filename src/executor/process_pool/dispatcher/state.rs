//! The dispatcher's state: the queue, what each worker has in hand, and how tasks get from the one to the other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Link, Todo};
use crate::executor::error::Rejected;
use crate::executor::process_pool::claim::SLOTS;
use crate::executor::process_pool::job::{Job, Sent};
use crate::executor::process_pool::spin::Usual;
use crate::primitive::{Ingredient, is_removed, now};

/// So many tasks a worker may have, the one that it runs included.
pub(super) const DEPTH: usize = 2;
/// So many while tasks are short: then it is the switching between processes that takes the time.
const DEPTH_OF_SHORT: usize = SLOTS;
/// Longer calls are not sent so far ahead.
const SHORT_CALL: usize = 1 << 10;

/// A task that lies behind another one is given to another worker when that many tasks for each worker have been sent
/// since: the queue may never be empty.
const MOST_OVERTAKE: u64 = 32;
/// So often it is looked for one.
const LOOK_EACH: u64 = 16;

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
    pub(super) starting: usize,
    /// All workers, those that are being started included, and those that have not [left](super::Dispatcher::leave).
    pub(super) workers: usize,
    pub(super) max_workers: usize,
    /// No worker has come up since a start failed.
    pub(super) has_failed_to_start: bool,
    /// Callers who are to fail tasks, and have not yet.
    pub(super) failing: usize,
    pub(super) end: Option<End>,
    /// How many tasks were sent to workers.
    pub(super) sent: u64,
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
        if self.may_start(start_allowed) {
            self.start_another(todo);
        } else if self.starting == 0 && self.ahead < self.workers * (self.depth() - 1) {
            let depth = self.depth();
            let has_room = |member: &Option<Member<L>>| {
                member.as_ref().is_some_and(|member| member.sent.len() < depth && !member.was_told_to_stop)
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
        let is_short = |job: &Job| job.call.payload().len() <= SHORT_CALL;
        if self.usual.was_short() && self.queue.front().is_none_or(is_short) { DEPTH_OF_SHORT } else { DEPTH }
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

    /// Takes a task back that lies behind another one with a worker, and was sent before so many others: for a worker that
    /// has nothing to do, or because it was overtaken too often.
    pub(super) fn steal(&mut self, before: u64) -> Option<Job> {
        if self.ahead == 0 || is_removed(Ingredient::TakenFromBehind) {
            return None;
        }
        for member in self.members.iter_mut().flatten() {
            // The first of these may have been begun, and the reply that tells so not be here yet: those behind it have not.
            let live = member.sent.iter_mut().filter(|sent| sent.job.is_some()).skip(1);
            for sent in live.take_while(|sent| sent.order < before) {
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
            let overtaken = if self.sent.is_multiple_of(LOOK_EACH) {
                self.steal(self.sent.saturating_sub(MOST_OVERTAKE * self.workers as u64))
            } else {
                None
            };
            let job = match overtaken.or_else(|| self.pop()) {
                None if !has_task => self.steal(u64::MAX),
                job => job,
            };
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
            } else {
                let claimed = job.claim();
                debug_assert!(claimed, "a task is cancelled under this mutex");
                job.task.set_process(member.link.pid());
            }
            let id = member.next_id;
            member.next_id += 1;
            member.link.enqueue(id, &job);
            member.sent.push_back(Sent { id, job: Some(job), since: now(), order: self.sent });
            self.sent += 1;
            todo.will_flush(&member.link);
        }
    }

    /// The task that a worker ran has ended: it runs the next one that it has, if any.
    pub(super) fn promote(&mut self, number: usize) {
        let member = self.members[number].as_mut().expect("it replied");
        if let Some((sent, job)) = member.sent.iter_mut().find_map(|sent| Some((&mut sent.since, sent.job.as_mut()?))) {
            *sent = now();
            let claimed = job.claim();
            debug_assert!(claimed, "a task is cancelled under this mutex");
            job.task.set_process(member.link.pid());
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
