//! The dispatcher decides which worker gets which task: the queue, and what each worker has in hand, under one mutex.
//!
//! It knows nothing of processes and sockets, only [`Link`]s to workers: a model runs it with threads. The protocol and
//! its proof are in the `README.md` of `parent`.
//!
//! Each step is a method that takes the mutex once and answers what its caller does afterwards ([`Todo`]).

mod ending;
mod member;
mod retiring;
mod start;
mod state;
mod todo;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::job::{DiedIn, Job};
use super::lifespan::Lifespan;
use super::notes::Notes;
use super::room::{Place, Room};
use super::terms::TimeLimit;
use crate::primitive::{Ingredient, Mutex, is_removed};
use crate::process_pool::wire::usual::Usual;
use crate::task::error::{Rejected, TaskError};
use crate::task::header::Header;
use crate::task::state::Phase;
use crate::task::task_ref::TaskRef;
pub(in crate::process_pool::parent) use ending::Which;
use member::{Member, Sent};
pub(in crate::process_pool::parent) use start::{FailedStart, Left, StartAttempt, StartPolicy};
use state::{Closing, DEPTH, State};
pub(in crate::process_pool::parent) use todo::{
    AfterReply, Asked, ClosedNow, Counts, FailedJob, Farewell, Killed, Loss, PoolEnd, SendNext, Todo, Unexpected,
};

/// The way to a worker that is up.
pub(in crate::process_pool::parent) trait Link: Send + Sync {
    /// Offers a task under this number, and puts it behind what is to be sent: [`flush`](Self::flush) sends it. Never
    /// waits.
    fn enqueue(&self, id: u64, job: &Job);

    /// Tells the worker, behind what is to be sent, that nothing will follow. Never waits.
    fn enqueue_stop(&self);

    /// Sends what can be sent without waiting. The worker asks for the rest.
    fn flush(&self);

    /// Takes back the task that was offered under this number. Returns whether it did: `false` if the worker has begun
    /// the task.
    fn recall(&self, id: u64) -> bool;

    /// Starts the clock of the task under this number: when its limit is over, it is ended.
    fn limit(&self, id: u64, limit: TimeLimit);

    /// Forgets the limit of a task that has ended.
    fn forget_limit(&self, id: u64);

    /// Lets the task under this number know that it is to stop.
    fn ask_to_stop(&self, id: u64);

    /// Returns a number that no other worker has, nor had.
    fn serial(&self) -> u64;

    /// Returns how long the task took that was replied to last, as the worker says.
    fn last_time(&self) -> Duration;

    /// Returns the id of the process.
    fn pid(&self) -> u32;
}

/// Gives tasks to workers.
pub(in crate::process_pool::parent) struct Dispatcher<L> {
    state: Mutex<State<L>>,
    usual: Arc<Usual>,
    pub(in crate::process_pool::parent) room: Room,
}

impl<L: Link> Dispatcher<L> {
    pub(in crate::process_pool::parent) fn new(max_workers: usize, lifespan: Lifespan, room: Room) -> Self {
        let usual = Arc::new(Usual::unknown());
        Self { state: Mutex::new(State::new(max_workers, lifespan, Arc::clone(&usual))), usual, room }
    }

    /// Takes a task: gives it to an idle worker, or queues it and starts a worker under this policy.
    pub(in crate::process_pool::parent) fn submit(&self, mut job: Job, policy: StartPolicy) -> Todo<L> {
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
            None => state.place(policy, &mut todo),
        }
        state.replace_retiring(&mut todo);
        todo
    }

    /// Gives tasks to a worker that was being started and is up.
    pub(in crate::process_pool::parent) fn up(&self, number: usize, link: Arc<L>) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let born = state.now();
        state.starting -= 1;
        state.has_failed_to_start = false;
        state.members[number] = Some(Member {
            link,
            next_id: 1,
            sent: VecDeque::with_capacity(DEPTH),
            is_idle: false,
            was_told_to_stop: false,
            ending: None,
            is_doomed: false,
            taken: 0,
            is_retiring: false,
            is_replaced: false,
            is_spare: false,
            born,
            idle_since: None,
        });
        state.refill(number, &mut todo);
        // For what was queued while starts failed.
        if state.may_start(StartPolicy::AsNeeded) {
            state.start_another(&mut todo);
        }
        state.replace_retiring(&mut todo);
        todo
    }

    /// Takes a worker's reply to the task of this number, and gives the worker its next tasks.
    ///
    /// # Errors
    ///
    /// The worker does not have this task.
    pub(in crate::process_pool::parent) fn replied(&self, number: usize, id: u64) -> Result<AfterReply<L>, Unexpected> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let member = state.members[number].as_mut().ok_or(Unexpected)?;
        if member.sent.front().is_none_or(|sent| sent.id != id) {
            return Err(Unexpected);
        }
        // The reply to a skipped task may come when the worker is idle already, or was told to stop.
        let was_busy = member.has_task();
        let Sent { job, .. } = member.sent.pop_front().expect("it is there");
        let ending = member.ending.take_if(|ending| ending.id == id);
        if ending.is_some() || job.as_ref().is_some_and(|job| job.limit.is_some()) {
            member.link.forget_limit(id);
        }
        // Whether the signal has come, or comes now, to this task or to none: there will be no other.
        member.is_doomed |= ending.is_some_and(|ending| ending.is_signalled);
        let mut send = if member.is_doomed { SendNext::Never } else { SendNext::Now };
        if job.is_some() {
            let took = member.link.last_time();
            if member.sent.len() > DEPTH && send == SendNext::Now {
                send = SendNext::WithLaterReplies;
            }
            self.usual.note(took);
            state.was_quick.note(took);
            state.completed += 1;
            state.promote(number);
        }
        state.admit_spares(&mut todo);
        if state.is_too_old(number) {
            state.retire(number, &mut todo);
            state.hand_out(StartPolicy::AsNeeded, &mut todo);
        }
        if was_busy {
            state.refill(number, &mut todo);
        }
        state.replace_retiring(&mut todo);
        Ok(AfterReply { job, send, todo })
    }

    /// Returns what hears the task of this number, if the worker runs it, with the task.
    pub(in crate::process_pool::parent) fn notes_of(&self, number: usize, id: u64) -> Option<(Arc<Notes>, TaskRef)> {
        let state = self.state.lock();
        let member = state.members[number].as_ref()?;
        let job = member.sent.get(member.running()?).filter(|sent| sent.id == id)?.job.as_ref()?;
        Some((Arc::clone(job.notes.as_ref()?), job.task.clone()))
    }

    /// Takes from a worker that is gone what it had. The worker is counted until it [leaves](Self::leave).
    pub(in crate::process_pool::parent) fn lost(&self, number: usize) -> Loss<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let member = state.members[number].take().expect("a worker is lost once");
        state.idle.retain(|&other| other != number);
        state.retiring -= usize::from(member.is_retiring);
        state.spares -= usize::from(member.is_spare);
        if is_removed(Ingredient::CountedToTheLast) {
            state.workers -= 1;
        }
        // What is taken back is begun by no worker.
        let take_back = |sent: Sent| {
            let was_begun = is_removed(Ingredient::RecallOfTheLost) || !member.link.recall(sent.id);
            sent.job.is_some().then_some((was_begun, sent))
        };
        let sent: Vec<_> = member.sent.into_iter().filter_map(take_back).collect();
        // What lies behind the task in which the worker died has nothing to do with that.
        let died_in_a_task = sent.iter().any(|(was_begun, _)| *was_begun);
        let was_in_a_task = died_in_a_task || member.ending.is_some();
        let mut killed = Vec::new();
        state.ahead -= sent.len().saturating_sub(1);
        for (was_begun, sent) in sent {
            let Some(mut job) = sent.job else { continue };
            let ending = member.ending.as_ref().filter(|ending| ending.id == sent.id);
            if ending.is_some() || job.limit.is_some() {
                member.link.forget_limit(sent.id);
            }
            if let Some(ending) = ending {
                job.claim();
                let asked = Some((ending.cause, ending.asked));
                killed.push(Killed { job, since: sent.since, asked });
                continue;
            }
            let died_in = match (was_begun, died_in_a_task) {
                (true, _) => DiedIn::This,
                (false, true) => DiedIn::Another,
                (false, false) => DiedIn::Nothing,
            };
            match &state.closing {
                Some(Closing::Now(reason)) if !was_begun => todo.will_fail(job, TaskError::Rejected(reason.clone())),
                None | Some(Closing::Drain) if job.survives(died_in) => {
                    if was_begun {
                        job.claim();
                    }
                    state.queue_again(job);
                }
                _ => {
                    job.claim();
                    killed.push(Killed { job, since: sent.since, asked: None });
                }
            }
        }
        while state.live() > 0
            && let Some(idle) = state.pop_idle()
        {
            state.refill(idle, &mut todo);
        }
        state.admit_spares(&mut todo);
        let was_told = member.was_told_to_stop && !member.is_retiring;
        let farewell = if was_told { Farewell::ToldToStop } else { Farewell::Unasked };
        Loss { killed, was_in_a_task, farewell, todo }
    }

    /// Notes that a worker that was being started did not get up, for this reason. After the last attempt, if no other
    /// worker would run what is queued, that fails. The worker is counted until it [leaves](Self::leave).
    pub(in crate::process_pool::parent) fn start_failed(
        &self,
        reason: &Rejected,
        attempt: StartAttempt,
    ) -> FailedStart<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.has_failed_to_start = true;
        // A worker that is leaving looks for itself whether another one is needed.
        let is_alone = state.starting == 1 && state.members.iter().flatten().all(Member::is_leaving);
        if is_alone && attempt == StartAttempt::MayRetry && state.live() > 0 {
            return FailedStart::Retry;
        }
        state.starting -= 1;
        if is_alone {
            state.tombstones = 0;
            for job in std::mem::take(&mut state.queue) {
                todo.will_fail(job, TaskError::Rejected(reason.clone()));
            }
        }
        FailedStart::GiveUp(todo)
    }

    /// Counts a worker no more that is gone, or did not get up. What failed with it has failed: so a thread that sees no
    /// worker finds done what it had. The policy is about the worker that replaces it.
    pub(in crate::process_pool::parent) fn leave(&self, number: usize, policy: StartPolicy) -> Left<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        if !is_removed(Ingredient::CountedToTheLast) {
            state.workers -= 1;
        }
        if state.may_start(policy) {
            state.count_start();
            return Left::Replace;
        }
        state.release(number, &mut todo);
        Left::Gone(todo)
    }

    /// Takes no more tasks. Workers are told to stop when there is nothing left for them to run.
    pub(in crate::process_pool::parent) fn close(&self) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        if state.closing.is_none() {
            state.closing = Some(Closing::Drain);
            self.room.close();
        }
        state.stop_idle(&mut todo);
        todo
    }

    /// [Closes](Self::close) the pool, and fails what no worker has begun, for this reason.
    pub(in crate::process_pool::parent) fn close_now(&self, reason: Rejected) -> ClosedNow<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        for job in state.take_back(&mut todo, |_| true) {
            todo.will_fail(job, TaskError::Rejected(reason.clone()));
        }
        state.count_failing(&mut todo);
        let was_open = state.closing.is_none();
        if was_open {
            self.room.close();
        }
        if !matches!(state.closing, Some(Closing::Now(_))) {
            state.closing = Some(Closing::Now(reason));
        }
        state.stop_idle(&mut todo);
        ClosedNow { was_open, todo }
    }

    /// Cancels what no worker has begun.
    pub(in crate::process_pool::parent) fn cancel_queued(&self) -> Todo<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        for mut job in state.take_back(&mut todo, Job::is_pending) {
            job.claim_to_cancel();
            todo.will_fail(job, TaskError::Cancelled);
        }
        state.count_failing(&mut todo);
        todo
    }

    /// Cancels the task in the queue that was submitted first, and returns its place. `None`: the oldest lie with workers, behind others
    /// that are quick.
    pub(in crate::process_pool::parent) fn discard_oldest(&self) -> Option<(Place, Todo<L>)> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.take_back_from_long();
        let oldest = state.queue.iter().position(Job::is_pending)?;
        let mut job = state.queue.remove(oldest)?;
        job.claim_to_cancel();
        // Not free in between: others wait for room.
        let place = job.place.take();
        todo.will_fail(job, TaskError::Cancelled);
        state.count_failing(&mut todo);
        Some((place, todo))
    }

    /// Returns why no task is taken, if none is.
    pub(in crate::process_pool::parent) fn refusal(&self) -> Option<Rejected> {
        self.state.lock().refusal()
    }

    /// Notes that a caller has failed the tasks that it was to fail. Returns whether the pool has come to its end.
    pub(in crate::process_pool::parent) fn have_failed(&self) -> PoolEnd {
        let mut state = self.state.lock();
        state.failing -= 1;
        state.pool_end()
    }

    /// Claims a task for a canceller. Returns whether it did: `false` if a worker has begun the task.
    pub(in crate::process_pool::parent) fn claim_to_cancel(&self, task: &Header) -> bool {
        // Declared first: dropped when the mutex is free.
        let mut cancelled = Vec::new();
        let mut state = self.state.lock();
        let is_it = |sent: &&mut Sent| sent.job.as_ref().is_some_and(|job| job.task.key() == task.key());
        let state = &mut *state;
        let mut members = state.members.iter_mut().flatten();
        let found = members.find_map(|member| Some((&member.link, member.sent.iter_mut().find(is_it)?)));
        if let Some((link, sent)) = found {
            let job = sent.job.as_mut().expect("it was found by its job");
            if job.is_claimed || !link.recall(sent.id) {
                // It was sent ahead, and its worker has begun it before the reply to the task before it is here.
                if job.claim() {
                    job.runs_in(link.pid());
                }
                return false;
            }
            // Free now: once the task is claimed, the job forgets its place.
            job.place = None;
            cancelled.extend(sent.job.take());
            state.ahead -= 1;
            return task.claim_as(Phase::Cancelling);
        }
        let claimed = task.claim_as(Phase::Cancelling);
        if claimed {
            self.room.free();
            cancelled.extend(state.note_cancelled());
        }
        claimed
    }

    /// Moves the time on.
    #[cfg(all(test, not(loom)))]
    pub(in crate::process_pool::parent) fn pass(&self, time: Duration) {
        self.state.lock().passed += time;
    }

    /// Notes that a task took this long, in a model of a pool that has run some.
    #[cfg(test)]
    pub(in crate::process_pool::parent) fn note_time(&self, took: Duration) {
        self.state.lock().was_quick.note(took);
    }

    /// Returns whether tasks take so little time that a thread that waits for one may spin.
    pub(in crate::process_pool::parent) fn has_short_tasks(&self) -> bool {
        self.usual.is_worth_a_spin()
    }

    /// Returns whether no more tasks are taken.
    pub(in crate::process_pool::parent) fn is_closed(&self) -> bool {
        self.state.lock().closing.is_some()
    }

    /// Returns the ways to the workers that are up.
    pub(in crate::process_pool::parent) fn links(&self) -> Vec<Arc<L>> {
        self.state.lock().members.iter().flatten().map(|member| Arc::clone(&member.link)).collect()
    }

    /// Returns the ids of the processes that are up.
    pub(in crate::process_pool::parent) fn pids(&self) -> Vec<u32> {
        self.state.lock().members.iter().flatten().map(|member| member.link.pid()).collect()
    }

    /// Counts a task that its submitter ran.
    pub(in crate::process_pool::parent) fn count_completed(&self) {
        self.state.lock().completed += 1;
    }

    /// Returns how many tasks and workers there are.
    pub(in crate::process_pool::parent) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            queued: state.live() + state.ahead,
            workers: state.workers,
            active: state.members.iter().flatten().filter(|member| member.has_task()).count(),
            completed: state.completed,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
