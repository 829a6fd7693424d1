//! The dispatcher's state: the queue, what each worker has in hand, and how tasks get from the one to the other.

use std::collections::VecDeque;
use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

use super::Link;
use super::member::{LONG, Member, Sent};
use super::start::{Placement, StartPolicy};
use super::todo::{PoolEnd, Todo};
use crate::primitive::{Ingredient, is_removed, now};
use crate::process_pool::parent::job::Job;
use crate::process_pool::parent::lifespan::Lifespan;
use crate::process_pool::wire::claim::SLOTS;
use crate::process_pool::wire::usual::Usual;
use crate::task::error::Rejected;

/// How many tasks a worker may have while they are quick, the one that it runs included.
pub(super) const DEPTH: usize = 2;
/// How many it may have while they are short: then most of the time goes into switching from process to process.
const DEPTH_OF_SHORT: usize = SLOTS;
/// The maximum length of a call that counts as short, in bytes.
const MAX_SHORT_CALL: usize = 1 << 10;
/// The maximum number of blobs of a task that is sent ahead. The system allows a user as many descriptors on their way as
/// a process may have open.
const MAX_BLOBS_AHEAD: usize = 4;
/// How many cancelled tasks may lie in the queue beyond the number of others.
const MAX_TOMBSTONES: usize = 64;

/// How a pool that takes no more tasks comes to its end.
pub(super) enum Closing {
    /// Workers run what is queued.
    Drain,
    /// Nothing is begun any more, for this reason.
    Now(Rejected),
}

pub(super) struct State<L> {
    /// How long tasks take.
    pub(super) usual: Arc<Usual>,
    /// In the order of submission.
    pub(super) queue: VecDeque<Job>,
    /// Cancelled tasks in the queue.
    pub(super) tombstones: usize,
    /// By number; `None` for a worker that is being started, or gone.
    pub(super) members: Vec<Option<Member<L>>>,
    /// Numbers that no worker has.
    pub(super) free: Vec<usize>,
    /// Workers that have nothing to run, the one that was busy last on top.
    pub(super) idle: Vec<usize>,
    /// How many tasks lie with a worker behind the one that it runs.
    pub(super) ahead: usize,
    /// Whether tasks are quick.
    pub(super) was_quick: Usual,
    /// When to look for tasks that lie behind a long one: none does before. `None`: none lies behind another.
    pub(super) look_at: Option<Instant>,
    /// Tasks with smaller numbers were taken back from behind a long one: they are spread over all workers.
    pub(super) spread: u64,
    /// How many workers are being started.
    pub(super) starting: usize,
    /// How many workers there are, those included that are being started or have not [left](super::Dispatcher::leave).
    pub(super) workers: usize,
    pub(super) max_workers: usize,
    /// No worker has come up since a start failed.
    pub(super) has_failed_to_start: bool,
    /// How many workers that are up are retiring. So many of them as there may be workers don't count among these.
    pub(super) retiring: usize,
    /// How many workers are up ahead of time.
    pub(super) spares: usize,
    /// How long a worker serves.
    pub(super) lifespan: Lifespan,
    /// How many callers are to fail tasks, and have not yet.
    pub(super) failing: usize,
    /// `None`: the pool takes tasks.
    pub(super) closing: Option<Closing>,
    /// How many tasks were submitted.
    pub(super) submitted: u64,
    /// How far a test has moved the time on.
    #[cfg(test)]
    pub(super) passed: Duration,
    /// How many tasks a worker replied to.
    pub(super) completed: u64,
}

impl<L: Link> State<L> {
    pub(super) fn new(max_workers: usize, lifespan: Lifespan, usual: Arc<Usual>) -> Self {
        Self {
            usual,
            queue: VecDeque::new(),
            tombstones: 0,
            members: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            ahead: 0,
            was_quick: Usual::unknown_below(LONG),
            look_at: None,
            spread: 0,
            starting: 0,
            workers: 0,
            max_workers,
            has_failed_to_start: false,
            retiring: 0,
            spares: 0,
            lifespan,
            failing: 0,
            closing: None,
            submitted: 0,
            #[cfg(test)]
            passed: Duration::ZERO,
            completed: 0,
        }
    }

    /// Returns why no task is taken, if none is.
    pub(super) fn refusal(&self) -> Option<Rejected> {
        match &self.closing {
            None => None,
            Some(Closing::Drain) => Some(Rejected::Shutdown),
            Some(Closing::Now(reason)) => Some(reason.clone()),
        }
    }

    /// Returns how many tasks in the queue were not cancelled.
    pub(super) fn live(&self) -> usize {
        self.queue.len() - self.tombstones
    }

    /// Returns whether a worker is to be started: there is more to do than the workers that are being started, or idle,
    /// will take, and there may be one more. It would take what lies behind another task, too.
    pub(super) fn may_start(&self, policy: StartPolicy) -> bool {
        let has_place = self.has_place() && !matches!(self.closing, Some(Closing::Now(_)));
        let is_short = self.live() + self.ahead > self.starting && self.idle.is_empty();
        has_place && is_short && (self.workers == 0 || policy == StartPolicy::AsNeeded && self.starts_succeed())
    }

    /// Returns whether there may be one more worker. Those that retire are on their way out.
    pub(super) fn has_place(&self) -> bool {
        self.workers - self.retiring.min(self.max_workers) < self.max_workers
    }

    /// Returns whether starts succeed, as far as is known. While they do not, the last worker that is being started
    /// finds out, and none joins it.
    pub(super) fn starts_succeed(&self) -> bool {
        !self.has_failed_to_start || self.members.iter().any(Option::is_some)
    }

    /// Keeps the pool from its end until the caller has failed these tasks, if there are any.
    pub(super) fn count_failing(&mut self, todo: &mut Todo<L>) {
        if todo.failed_count() > 0 {
            todo.end = PoolEnd::AskWhenFailed;
            self.failing += 1;
        }
    }

    /// Counts a worker that the caller starts.
    pub(super) fn count_start(&mut self) {
        self.workers += 1;
        self.starting += 1;
    }

    /// Starts a worker for a task that no idle worker takes, or sends a task ahead.
    pub(super) fn place(&mut self, policy: StartPolicy, todo: &mut Todo<L>) {
        self.take_back_from_long();
        match self.placement(policy) {
            Placement::StartWorker => self.start_another(todo),
            Placement::SendAhead { worker } => self.refill(worker, todo),
            Placement::Queue => {}
        }
    }

    fn placement(&self, policy: StartPolicy) -> Placement {
        if self.may_start(policy) {
            return Placement::StartWorker;
        }
        if self.starting > 0 || self.ahead >= self.workers * (self.depth() - 1) || self.next_has_limit() {
            return Placement::Queue;
        }
        let (depth, now) = (self.depth(), self.now());
        let can_take =
            |member: &Member<L>| member.sent.len() < depth && member.may_have_ahead() && !member.is_long(now);
        let found = self.members.iter().position(|member| member.as_ref().is_some_and(can_take));
        found.map_or(Placement::Queue, |worker| Placement::SendAhead { worker })
    }

    /// Lets the caller start a worker under a number that no worker has.
    pub(super) fn start_another(&mut self, todo: &mut Todo<L>) {
        let number = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        self.count_start();
        todo.start = Some(number);
    }

    /// Takes the idle worker that was busy last.
    pub(super) fn pop_idle(&mut self) -> Option<usize> {
        let number = self.idle.pop()?;
        let member = self.members[number].as_mut().expect("an idle worker is up");
        (member.is_idle, member.idle_since) = (false, None);
        Some(number)
    }

    /// Returns how many tasks a worker may have, the next one of the queue included.
    pub(super) fn depth(&self) -> usize {
        let blobs = |job: &Job| job.call.parcel().blobs().len();
        let is_short = |job: &Job| job.call.payload().len() <= MAX_SHORT_CALL && blobs(job) == 0;
        if !self.was_quick.was_short() || self.queue.front().is_some_and(|job| blobs(job) > MAX_BLOBS_AHEAD) {
            return 1;
        }
        let goes_far = |job: &Job| is_short(job) && job.number >= self.spread;
        if self.usual.was_short() && self.queue.front().is_none_or(goes_far) { DEPTH_OF_SHORT } else { DEPTH }
    }

    /// Returns whether the next task of the queue has a time limit: it is never sent ahead, so that it is known when it begins.
    fn next_has_limit(&self) -> bool {
        self.queue.iter().find(|job| job.is_live()).is_some_and(|job| job.limit.is_some())
    }

    /// Takes the next task of the queue that was not cancelled.
    pub(super) fn pop(&mut self, todo: &mut Todo<L>) -> Option<Job> {
        while let Some(job) = self.queue.pop_front() {
            if job.is_live() {
                return Some(job);
            }
            self.tombstones -= 1;
            todo.will_drop(job);
        }
        None
    }

    /// Notes that a task in the queue was cancelled. Returns tasks that the caller drops when it has left the mutex:
    /// those cancelled ones that are at an end of the queue, or all if there are many more than others. Whoever cancels
    /// tasks in the order of submission, or the other way round, leaves none in the queue.
    pub(super) fn note_cancelled(&mut self) -> Vec<Job> {
        self.tombstones += 1;
        if self.tombstones > self.live() + MAX_TOMBSTONES {
            let (live, cancelled) = std::mem::take(&mut self.queue).into_iter().partition(Job::is_live);
            (self.queue, self.tombstones) = (live, 0);
            return Vec::from(cancelled);
        }
        let is_cancelled = |job: &mut Job| !job.is_live();
        let mut cancelled = Vec::new();
        while let Some(job) = self.queue.pop_front_if(is_cancelled).or_else(|| self.queue.pop_back_if(is_cancelled)) {
            cancelled.push(job);
        }
        self.tombstones -= cancelled.len();
        cancelled
    }

    /// Takes back what lies behind other tasks, if one of these has become long, and queues it again in the order of
    /// submission. Looks at the workers at most once in the time in which a task becomes long.
    pub(super) fn take_back_from_long(&mut self) {
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
            let Some(place) = member.running() else { continue };
            let (behind, _) = member.take_back_behind(place);
            self.ahead -= behind.len();
            taken.extend(behind);
        }
        taken.sort_unstable_by_key(|job| std::cmp::Reverse(job.number));
        self.spread = taken.first().map_or(self.spread, |last| self.spread.max(last.number + 1));
        taken.into_iter().for_each(|job| self.queue_again(job));
    }

    /// Puts a task back into the queue, which is in the order of submission. Its place is near the front: it was there
    /// before.
    pub(super) fn queue_again(&mut self, job: Job) {
        let place = self.queue.iter().position(|other| other.number > job.number);
        self.queue.insert(place.unwrap_or(self.queue.len()), job);
    }

    /// Returns the time, which a test may move on.
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
            // The first of these may have been begun, if the reply before it is under way: those behind it have not.
            for sent in member.sent.iter_mut().filter(|sent| sent.job.is_some()).skip(1) {
                if member.link.recall(sent.id) {
                    self.ahead -= 1;
                    return sent.job.take();
                }
            }
        }
        None
    }

    /// Gives a worker as many tasks as it may have. If there is none, it becomes idle, or is told to stop.
    pub(super) fn refill(&mut self, number: usize, todo: &mut Todo<L>) {
        self.take_back_from_long();
        loop {
            let member = self.members[number].as_ref().expect("only a worker that is up is refilled");
            if member.ending.is_some() || member.is_doomed {
                return;
            }
            let has_task = member.has_task();
            if member.is_retiring {
                if !has_task {
                    self.tell_to_stop(number, todo);
                }
                return;
            }
            if !has_task && self.retiring > 0 && self.busy() >= self.max_workers {
                let member = self.members[number].as_mut().expect("as above");
                self.spares += usize::from(!std::mem::replace(&mut member.is_spare, true));
                return;
            }
            if member.sent.len() >= self.depth() && has_task {
                return;
            }
            // The rest is for those that have nothing yet.
            let is_alone = self.starting == 0 && self.idle.is_empty();
            if has_task && !(is_alone && member.may_have_ahead() && !self.next_has_limit()) {
                return;
            }
            let job = match self.pop(todo) {
                None if !has_task => self.steal(),
                job => job,
            };
            let now = self.now();
            let member = self.members[number].as_mut().expect("as above");
            let Some(mut job) = job else {
                if has_task {
                    return;
                }
                if self.closing.is_some() {
                    self.tell_to_stop(number, todo);
                } else if !member.is_idle {
                    // (It may be idle already: then this is the reply to a task that was taken back from it.)
                    member.is_idle = true;
                    member.idle_since = Some(now);
                    self.idle.push(number);
                }
                return;
            };
            if has_task {
                self.ahead += 1;
                self.look_at = self.look_at.into_iter().chain(member.long_at()).min();
            } else {
                let claimed = job.claim();
                debug_assert!(claimed, "a task is cancelled under this mutex");
                job.place = None;
                job.runs_in(member.link.pid());
            }
            let id = member.next_id;
            member.next_id += 1;
            member.link.enqueue(id, &job);
            if let Some(limit) = job.limit {
                member.link.limit(id, limit);
            }
            member.sent.push_back(Sent { id, job: Some(job), since: now });
            member.taken += 1;
            todo.will_flush(&member.link);
            if self.lifespan.max_tasks.is_some_and(|max| member.taken >= max.get()) {
                member.is_retiring = true;
                self.retiring += 1;
                return;
            }
        }
    }

    /// Tells a worker that has nothing to run to stop.
    fn tell_to_stop(&mut self, number: usize, todo: &mut Todo<L>) {
        let member = self.members[number].as_mut().expect("only a worker that is up is told");
        if !member.was_told_to_stop {
            member.was_told_to_stop = true;
            member.link.enqueue_stop();
            todo.will_flush(&member.link);
        }
    }

    /// Notes that the task of a worker has ended, and that it runs the next one that it has, if any.
    pub(super) fn promote(&mut self, number: usize) {
        let now = self.now();
        let member = self.members[number].as_mut().expect("it replied");
        if let Some((since, job)) = member.sent.iter_mut().find_map(|sent| Some((&mut sent.since, sent.job.as_mut()?)))
        {
            *since = now;
            let claimed = job.claim();
            debug_assert!(claimed, "a task is cancelled under this mutex");
            job.place = None;
            job.runs_in(member.link.pid());
            self.ahead -= 1;
        }
    }

    /// Takes out of the queue, and back from the workers, the tasks that `is_meant` selects and no worker has begun.
    pub(super) fn take_back(&mut self, todo: &mut Todo<L>, is_meant: impl Fn(&Job) -> bool) -> Vec<Job> {
        self.drop_cancelled(todo);
        let (mut taken, left) = std::mem::take(&mut self.queue).into_iter().partition::<Vec<_>, _>(&is_meant);
        self.queue = left.into();
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

    /// Takes all cancelled tasks out of the queue.
    fn drop_cancelled(&mut self, todo: &mut Todo<L>) {
        if self.tombstones > 0 {
            let (live, cancelled) =
                std::mem::take(&mut self.queue).into_iter().partition::<VecDeque<_>, _>(Job::is_live);
            (self.queue, self.tombstones) = (live, 0);
            cancelled.into_iter().for_each(|job| todo.will_drop(job));
        }
    }

    /// Tells the idle workers to stop.
    pub(super) fn stop_idle(&mut self, todo: &mut Todo<L>) {
        while let Some(number) = self.pop_idle() {
            self.refill(number, todo);
        }
        if todo.end == PoolEnd::NotYet {
            todo.end = self.pool_end();
        }
    }

    /// Frees the number of a worker that is gone.
    pub(super) fn release(&mut self, number: usize, todo: &mut Todo<L>) {
        self.free.push(number);
        if self.live() == 0 {
            // Perhaps no worker takes these any more, and each keeps the pool alive.
            self.drop_cancelled(todo);
        }
        todo.end = self.pool_end();
    }

    /// Returns whether the pool has come to its end.
    pub(super) fn pool_end(&self) -> PoolEnd {
        let is_over = self.closing.is_some() && self.workers == 0 && self.live() == 0 && self.failing == 0;
        if is_over { PoolEnd::Reached } else { PoolEnd::NotYet }
    }
}
