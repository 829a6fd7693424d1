//! The end of a task that runs: which worker has it, and what becomes of that.

use std::sync::Arc;

use super::member::{Ending, Sent};
use super::start::StartPolicy;
use super::state::State;
use super::todo::{Asked, Todo};
use super::{Dispatcher, Link};
use crate::task::error::{TaskError, TerminationCause};
use crate::task::header::Header;

/// The task that is to end.
#[derive(Clone, Copy)]
pub(in crate::process_pool::parent) enum Which<'t> {
    /// This one, wherever it is.
    Task(&'t Header),
    /// The one that was sent under this number to the worker with this serial number.
    Sent { serial: u64, id: u64 },
}

impl<L: Link> Dispatcher<L> {
    /// Asks a task to stop that a worker has begun. From then on its worker gets no other one, and what lies behind it is taken back:
    /// so a signal meets this task, or a worker that has none. The policy is about workers for what was taken back.
    pub(in crate::process_pool::parent) fn ask_to_end(
        &self,
        which: Which<'_>,
        cause: TerminationCause,
        policy: StartPolicy,
    ) -> Asked<L> {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some((number, place)) = state.find(which) else { return state.end_between_workers(which, todo) };
        let now = state.now();
        let member = state.members[number].as_mut().expect("it was found there");
        let sent = &member.sent[place];
        if sent.job.as_ref().is_none_or(|job| !job.is_claimed) {
            return Asked::NotBegun;
        }
        let id = sent.id;
        if member.sent.iter().take(place).any(|sent| sent.job.is_some()) && member.link.recall(id) {
            // It was claimed for another worker, which is lost, and lies behind a task that runs.
            let job = member.sent[place].job.take().expect("it was found by its job");
            state.ahead -= 1;
            todo.will_fail(job, TaskError::Cancelled);
            state.count_failing(&mut todo);
            return Asked::Cancelled { todo };
        }
        let (taken, is_running) = member.take_back_behind(place);
        state.ahead -= taken.len();
        if is_running {
            let ending = Ending { id, cause, asked: now, is_signalled: false };
            member.ending.get_or_insert(ending);
            member.link.ask_to_stop(id);
        }
        let link = Arc::clone(&member.link);
        taken.into_iter().for_each(|job| state.queue_again(job));
        state.hand_out(policy, &mut todo);
        if is_running { Asked::Running { link, id, todo } } else { Asked::Over { todo } }
    }

    /// Returns the way to the worker with this serial number, if the task with this number is to end and has not: the caller sends a
    /// signal, after which the worker gets no other task.
    pub(in crate::process_pool::parent) fn will_signal(&self, serial: u64, id: u64) -> Option<Arc<L>> {
        let mut state = self.state.lock();
        let mut members = state.members.iter_mut().flatten();
        let member = members.find(|member| member.link.serial() == serial)?;
        let ending = member.ending.as_mut().filter(|ending| ending.id == id)?;
        ending.is_signalled = true;
        Some(Arc::clone(&member.link))
    }
}

impl<L: Link> State<L> {
    /// Returns which worker has the task, and where.
    fn find(&self, which: Which<'_>) -> Option<(usize, usize)> {
        let is_it = |link: &L, sent: &Sent| match which {
            Which::Task(task) => sent.job.as_ref().is_some_and(|job| job.task.key() == task.key()),
            Which::Sent { serial, id } => sent.id == id && link.serial() == serial && sent.job.is_some(),
        };
        self.members.iter().enumerate().find_map(|(number, member)| {
            let member = member.as_ref()?;
            Some((number, member.sent.iter().position(|sent| is_it(&member.link, sent))?))
        })
    }

    /// Cancels a task whose worker was lost, and that is queued to be run again.
    fn end_between_workers(&mut self, which: Which<'_>, mut todo: Todo<L>) -> Asked<L> {
        let Which::Task(task) = which else { return Asked::NotBegun };
        let place = self.queue.iter().position(|job| job.is_claimed && job.task.key() == task.key());
        let Some(job) = place.and_then(|place| self.queue.remove(place)) else { return Asked::NotBegun };
        todo.will_fail(job, TaskError::Cancelled);
        self.count_failing(&mut todo);
        Asked::Cancelled { todo }
    }

    /// Gives what is queued to idle workers, or has one started.
    pub(super) fn hand_out(&mut self, policy: StartPolicy, todo: &mut Todo<L>) {
        while self.live() > 0
            && let Some(idle) = self.pop_idle()
        {
            self.refill(idle, todo);
        }
        if self.may_start(policy) {
            self.start_another(todo);
        }
    }
}
