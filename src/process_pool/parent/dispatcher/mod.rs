//! Who gets which task: the queue, and what each worker has in hand, under one mutex.
//!
//! Knows nothing of processes and sockets, only [`Link`]s to workers: a model runs it with threads. The protocol and its proof
//! are in the `README.md` of this module.

mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::job::{Job, Sent};
use crate::primitive::{Ingredient, Mutex, is_removed};
use crate::process_pool::usual::Usual;
use crate::task::error::{Rejected, TaskError};
use crate::task::header::Header;
use crate::task::runner::Runner;
use crate::task::state::Phase;
use state::{DEPTH, End, LONG, Member, State};

/// So many cancelled tasks may lie in the queue beside as many others.
const MOST_TOMBSTONES: usize = 64;

/// The way to a worker that is up.
pub(in crate::process_pool) trait Link: Send + Sync {
    /// Offers a task under this number, and puts it behind what is to be sent: [`flush`](Self::flush) sends it. Never waits.
    fn enqueue(&self, id: u64, job: &Job);

    /// Tells the worker, behind what is to be sent, that nothing will follow. Never waits.
    fn enqueue_stop(&self);

    /// Sends what can be sent without waiting. The rest is the worker's to ask for.
    fn flush(&self);

    /// Takes back a task that was offered under this number: `false` if the worker has begun it.
    fn recall(&self, id: u64) -> bool;

    /// How long the task took that was replied to last, as the worker says.
    fn last_time(&self) -> Duration;

    /// The process.
    fn pid(&self) -> u32;
}

/// What a caller has to do when it has left the dispatcher.
#[must_use = "a worker may wait for it"]
pub(in crate::process_pool) struct Todo<L> {
    /// Links that have something to send.
    flush: Vec<Arc<L>>,
    one: Option<Arc<L>>,
    /// A worker has to be started, under this number.
    pub(in crate::process_pool) start: Option<usize>,
    /// Tasks that will not run, for this reason. They are claimed: nobody can cancel them any more.
    pub(in crate::process_pool) failed: Vec<(Job, TaskError)>,
    /// The dispatcher is to be told when those [have failed](Dispatcher::have_failed).
    pub(in crate::process_pool) tells_when_failed: bool,
    /// The last worker is gone, nothing will follow, and every task is done.
    pub(in crate::process_pool) is_over: bool,
    /// The worker that replied has enough to do: what it is sent can wait for the next reply.
    pub(in crate::process_pool) can_wait: bool,
}

impl<L: Link> Todo<L> {
    fn nothing() -> Self {
        Self {
            flush: Vec::new(),
            one: None,
            start: None,
            failed: Vec::new(),
            tells_when_failed: false,
            is_over: false,
            can_wait: false,
        }
    }

    /// Sends what is to be sent.
    pub(in crate::process_pool) fn flush(&mut self) {
        self.one.take().into_iter().chain(self.flush.drain(..)).for_each(|link| link.flush());
    }

    /// Leaves the sending to the caller.
    pub(in crate::process_pool) fn flush_no_more(&mut self) {
        self.one = None;
        self.flush.clear();
    }

    /// To be called under the mutex: what is neither queued nor sent is not a canceller's to claim.
    fn will_fail(&mut self, mut job: Job, error: TaskError) {
        if job.claim() {
            self.failed.push((job, error));
        }
    }

    fn will_flush(&mut self, link: &Arc<L>) {
        if self.one.is_none() {
            self.one = Some(Arc::clone(link));
        } else {
            self.flush.push(Arc::clone(link));
        }
    }
}

/// What was lost with a worker.
pub(in crate::process_pool) struct Loss {
    /// The tasks that it had begun and that are not tried again.
    pub(in crate::process_pool) killed: Vec<Sent>,
    /// It had nothing left to do.
    pub(in crate::process_pool) was_told_to_stop: bool,
}

/// A reply that nobody asked for.
#[derive(Debug)]
pub(in crate::process_pool) struct Unexpected;

pub(in crate::process_pool) struct Dispatcher<L> {
    state: Mutex<State<L>>,
    usual: Arc<Usual>,
}

impl<L: Link> Dispatcher<L> {
    pub(in crate::process_pool) fn new(max_workers: usize) -> Self {
        let usual = Arc::new(Usual::unknown());
        Self {
            usual: Arc::clone(&usual),
            state: Mutex::new(State {
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
                failing: 0,
                end: None,
                submitted: 0,
                #[cfg(test)]
                passed: Duration::ZERO,
                completed: 0,
            }),
        }
    }

    /// Takes a task: gives it to an idle worker, or queues it. `start_allowed`: no start has failed lately.
    pub(in crate::process_pool) fn submit(&self, mut job: Job, start_allowed: bool) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        if let Some(reason) = state.refusal() {
            todo.will_fail(job, TaskError::Rejected(reason));
            return todo;
        }
        job.number = state.submitted;
        state.submitted += 1;
        state.queue.push_back(job);
        match state.pop_idle() {
            Some(number) => state.refill(number, &mut todo),
            None => state.need_worker(start_allowed, &mut todo),
        }
        todo
    }

    /// A worker that was being started is up, and can be given tasks.
    pub(in crate::process_pool) fn up(&self, number: usize, link: Arc<L>) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.starting -= 1;
        state.has_failed_to_start = false;
        state.members[number] = Some(Member {
            link,
            next_id: 1,
            sent: VecDeque::with_capacity(DEPTH),
            is_idle: false,
            was_told_to_stop: false,
        });
        state.refill(number, &mut todo);
        // For what was queued while starts failed.
        if state.may_start(true) {
            state.start_another(&mut todo);
        }
        todo
    }

    /// A worker replied to the task with this number: the task, and what it gets to do next.
    pub(in crate::process_pool) fn replied(
        &self,
        number: usize,
        id: u64,
    ) -> Result<(Option<Job>, Todo<L>), Unexpected> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let member = state.members[number].as_mut().ok_or(Unexpected)?;
        if member.sent.front().is_none_or(|sent| sent.id != id) {
            return Err(Unexpected);
        }
        // Before a reply that only says that a task was skipped the worker may be idle already, or have been told to stop.
        let was_busy = member.has_task();
        let sent = member.sent.pop_front().expect("it is there");
        let job = sent.job;
        if job.is_some() {
            let took = member.link.last_time();
            todo.can_wait = member.sent.len() > DEPTH;
            self.usual.note(took);
            state.was_quick.note(took);
            state.completed += 1;
            state.promote(number);
        }
        if was_busy {
            state.refill(number, &mut todo);
        }
        Ok((job, todo))
    }

    /// A worker is gone. It is counted until it [leaves](Self::leave).
    pub(in crate::process_pool) fn lost(&self, number: usize) -> (Loss, Todo<L>) {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let member = state.members[number].take().expect("a worker is lost once");
        state.idle.retain(|&other| other != number);
        if is_removed(Ingredient::CountedToTheLast) {
            state.workers -= 1;
        }
        // Taken back, nobody will begin it.
        let take_back = |sent: Sent| {
            let was_begun = is_removed(Ingredient::RecallOfTheLost) || !member.link.recall(sent.id);
            sent.job.is_some().then_some((was_begun, sent))
        };
        let sent: Vec<_> = member.sent.into_iter().filter_map(take_back).collect();
        // What lies behind the task in which the worker died has nothing to do with that.
        let died_in_a_task = sent.iter().any(|(was_begun, _)| *was_begun);
        let mut killed = Vec::new();
        state.ahead -= sent.len().saturating_sub(1);
        for (was_begun, mut sent) in sent {
            let Some(mut job) = sent.job.take() else { continue };
            match &state.end {
                Some(End::Now(reason)) if !was_begun => todo.will_fail(job, TaskError::Rejected(reason.clone())),
                None | Some(End::Closed) if job.may_go_on(was_begun, died_in_a_task) => {
                    if was_begun {
                        job.claim();
                    }
                    state.queue_again(job);
                }
                _ => {
                    job.claim();
                    killed.push(Sent { job: Some(job), ..sent });
                }
            }
        }
        while state.live() > 0
            && let Some(idle) = state.pop_idle()
        {
            state.refill(idle, &mut todo);
        }
        (Loss { killed, was_told_to_stop: member.was_told_to_stop }, todo)
    }

    /// A worker that was being started did not get up, for this reason. Whether the caller is to try again: nobody else would
    /// run what is queued. After the `last` try that fails instead, and the worker is counted until it [leaves](Self::leave).
    pub(in crate::process_pool) fn start_failed(&self, reason: &Rejected, last: bool) -> (bool, Todo<L>) {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.has_failed_to_start = true;
        // Those who are leaving look by themselves.
        let is_alone = state.starting == 1 && state.members.iter().flatten().all(|member| member.was_told_to_stop);
        if is_alone && !last && state.live() > 0 {
            return (true, todo);
        }
        state.starting -= 1;
        if is_alone {
            state.tombstones = 0;
            for job in std::mem::take(&mut state.queue) {
                todo.will_fail(job, TaskError::Rejected(reason.clone()));
            }
        }
        (false, todo)
    }

    /// A worker is not counted any more: it is gone, or did not get up, and what failed with it has failed, so that whoever sees
    /// no worker finds done what was theirs. The caller may have to start another one under this number. `start_allowed`: it did get up,
    /// and was not told to stop; or no start has failed lately.
    pub(in crate::process_pool) fn leave(&self, number: usize, start_allowed: bool) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        if !is_removed(Ingredient::CountedToTheLast) {
            state.workers -= 1;
        }
        if state.may_start(start_allowed) {
            state.start(number, &mut todo);
        } else {
            state.release(number, &mut todo);
        }
        todo
    }

    /// Takes no more tasks. Workers are told to stop when there is nothing left for them to run.
    pub(in crate::process_pool) fn close(&self) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(End::Closed);
        }
        state.stop_idle(&mut todo);
        todo
    }

    /// As [`close`](Self::close); and what no worker has begun fails, for this reason. Whether tasks were taken until now.
    pub(in crate::process_pool) fn close_now(&self, reason: Rejected) -> (bool, Todo<L>) {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        for job in state.take_back(|_| true) {
            todo.will_fail(job, TaskError::Rejected(reason.clone()));
        }
        state.count_failing(&mut todo);
        let was_open = state.end.is_none();
        if !matches!(state.end, Some(End::Now(_))) {
            state.end = Some(End::Now(reason));
        }
        state.stop_idle(&mut todo);
        (was_open, todo)
    }

    /// Cancels what no worker has begun.
    pub(in crate::process_pool) fn cancel_queued(&self) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        for mut job in state.take_back(Job::is_pending) {
            job.claim_to_cancel();
            todo.will_fail(job, TaskError::Cancelled);
        }
        state.count_failing(&mut todo);
        todo
    }

    /// What a caller was to fail has failed.
    pub(in crate::process_pool) fn have_failed(&self) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.failing -= 1;
        todo.is_over = state.is_over();
        todo
    }

    /// Claims a task for a canceller, unless a worker has begun it.
    pub(in crate::process_pool) fn claim_to_cancel(&self, task: &Header) -> bool {
        let mut state = self.state.lock();
        let is_it = |sent: &&mut Sent| sent.job.as_ref().is_some_and(|job| job.task.key() == task.key());
        let state = &mut *state;
        let mut members = state.members.iter_mut().flatten();
        let found = members.find_map(|member| Some((&member.link, member.sent.iter_mut().find(is_it)?)));
        if let Some((link, sent)) = found {
            let job = sent.job.as_mut().expect("it was found by its job");
            if job.is_claimed || !link.recall(sent.id) {
                // Behind another one, and begun already: as soon as it is known to be so.
                if job.claim() {
                    job.task.set_runner(Runner::Process(link.pid()));
                }
                return false;
            }
            sent.job = None;
            state.ahead -= 1;
            return task.claim_as(Phase::Cancelling);
        }
        let claimed = task.claim_as(Phase::Cancelling);
        if claimed {
            state.tombstones += 1;
            if state.tombstones > state.live() + MOST_TOMBSTONES {
                state.queue.retain(Job::is_live);
                state.tombstones = 0;
            }
        }
        claimed
    }

    /// Moves the time on.
    #[cfg(all(test, not(loom)))]
    pub(in crate::process_pool) fn pass(&self, time: Duration) {
        self.state.lock().passed += time;
    }

    /// A task took this long, in a model of a pool that has run some.
    #[cfg(test)]
    pub(in crate::process_pool) fn note_time(&self, took: Duration) {
        self.state.lock().was_quick.note(took);
    }

    /// Whether tasks take so little time that whoever waits for one may spin.
    pub(in crate::process_pool) fn has_short_tasks(&self) -> bool {
        self.usual.is_worth_a_spin()
    }

    /// Whether tasks are still taken.
    pub(in crate::process_pool) fn is_closed(&self) -> bool {
        self.state.lock().end.is_some()
    }

    /// The ways to the workers that are up.
    pub(in crate::process_pool) fn links(&self) -> Vec<Arc<L>> {
        self.state.lock().members.iter().flatten().map(|member| Arc::clone(&member.link)).collect()
    }

    /// The processes that are up.
    pub(in crate::process_pool) fn pids(&self) -> Vec<u32> {
        self.state.lock().members.iter().flatten().map(|member| member.link.pid()).collect()
    }

    /// How much there is of everything.
    pub(in crate::process_pool) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            queued: state.live() + state.ahead,
            workers: state.workers,
            active: state.members.iter().flatten().filter(|member| member.has_task()).count(),
            completed: state.completed,
        }
    }
}

/// How much there is of everything.
pub(in crate::process_pool) struct Counts {
    /// Tasks that no worker has begun.
    pub(in crate::process_pool) queued: usize,
    /// Workers, those that are being started included.
    pub(in crate::process_pool) workers: usize,
    /// Workers that have a task.
    pub(in crate::process_pool) active: usize,
    /// Tasks that a worker replied to.
    pub(in crate::process_pool) completed: u64,
}

#[cfg(all(test, not(loom)))]
mod tests;
