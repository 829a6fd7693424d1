//! What holds after each step.

use super::{World, number_of};
use crate::process_pool::parent::dispatcher::{Closing, PoolEnd};
use crate::process_pool::wire::claim::SLOTS;

impl World<'_> {
    pub(super) fn is_over(&self) -> bool {
        let state = self.dispatcher().state.lock();
        let has_workers = !(self.processes.is_empty() && self.starting.is_empty() && self.leaving.is_empty());
        let is_told_of = self.given_out.iter().any(|(_, end)| *end == PoolEnd::AskWhenFailed);
        state.closing.is_some() && !has_workers && !is_told_of && state.live() == 0
    }

    /// Checks what holds after each step.
    pub(super) fn check(&mut self) {
        assert_eq!(self.is_over(), self.end_was_told, "the end is told when it has come");
        let state = self.pool.dispatcher.state.lock();
        let live = state.queue.iter().filter(|job| job.is_live()).count();
        assert_eq!(state.queue.len() - live, state.tombstones, "cancelled tasks in the queue");
        assert_eq!(state.starting, self.starting.len());
        assert_eq!(state.workers, self.starting.len() + self.processes.len() + self.leaving.len());
        let retiring = state.members.iter().flatten().filter(|member| member.is_retiring).count();
        assert_eq!(state.retiring, retiring);
        self.has_retired |= retiring > 0;
        assert!(state.workers <= 2 * state.max_workers + self.leaving.len());
        let busy = state.members.iter().flatten().filter(|member| member.has_task()).count();
        assert!(busy <= state.max_workers, "no more tasks run at a time than there may be workers");
        let spares = state.members.iter().flatten().filter(|member| member.is_spare).count();
        assert_eq!(state.spares, spares);
        assert!(spares == 0 || busy == state.max_workers, "nobody is spare without need");
        if let Some(max) = state.lifespan.max_tasks {
            assert!(state.members.iter().flatten().all(|member| member.taken <= max.get()));
        }
        assert!(live == 0 || state.workers > 0, "what is queued will be run, or failed");
        assert!(
            state.queue.is_empty() || state.workers > 0,
            "no cancelled task is left when nobody comes by to drop it"
        );
        let may_run = busy < state.max_workers;
        assert!(
            live == 0 || state.idle.is_empty() || !may_run,
            "nobody is idle beside the queue who may run something"
        );
        assert!(live == 0 || !matches!(state.closing, Some(Closing::Now(_))), "nothing is to be begun any more");

        let (mut ahead, mut behind) = (0, 0);
        for process in &self.processes {
            let member = state.members[process.number].as_ref().expect("it is up");
            let has: Vec<_> = member.sent.iter().filter_map(|sent| Some((sent.id, sent.job.as_ref()?))).collect();
            let places = state.idle.iter().filter(|&&number| number == process.number).count();
            let is_idle = has.is_empty() && !member.is_closed();
            assert_eq!(places, usize::from(is_idle), "whoever has nothing to do is idle, once");
            assert!(!is_idle || state.closing.is_none(), "or told to stop");
            assert!(member.sent.len() <= SLOTS);
            let due = process.link.due();
            assert!(due.iter().all(|id| has.iter().any(|(has, _)| has == id)), "nothing is due of what has ended");
            // (One before it may have ended, and its reply is under way.)
            let is_last = |id| has.last().is_some_and(|(last, _)| *last == id);
            assert!(
                member.ending.as_ref().is_none_or(|ending| is_last(ending.id)),
                "nothing lies behind what is to end"
            );
            assert!(!member.is_doomed || has.is_empty(), "a worker that is being killed has nothing");
            let is_limited = has.first().is_some_and(|(_, job)| job.limit.is_some());
            assert!(!is_limited || has.len() == 1, "nothing lies behind what may be ended");
            ahead += has.len().saturating_sub(1);
            for (place, (id, job)) in has.into_iter().enumerate() {
                assert!(job.is_live(), "a cancelled task is taken back");
                assert!(place > 0 || job.is_claimed, "the first can't be cancelled");
                let is_begun = process.last_begun >= id;
                behind += usize::from(place > 0 && !is_begun);
                assert!(place == 0 || state.idle.is_empty() || is_begun, "nobody is idle beside what lies behind");
                assert!(job.limit.is_none() || place == 0 && due.contains(&id), "its time begins when it does");
                let number = number_of(&self.tasks, job);
                let begun_before = self.tasks[number].begun - u32::from(is_begun);
                assert_eq!(job.attempt, 1 + begun_before, "a task knows how often it was begun");
                self.tasks[number].was_sent = true;
            }
        }
        assert_eq!(state.ahead, ahead);
        let is_short =
            live + behind > state.starting && state.workers - retiring.min(state.max_workers) < state.max_workers;
        // A worker that gets up starts another one.
        let is_replaced = retiring > 0 && state.starting > 0;
        // Somebody is idle beside the queue only if no more tasks may run.
        let may_be_short = !self.starts_at_will
            || !self.leaving.is_empty()
            || state.closing.is_some()
            || is_replaced
            || !state.idle.is_empty();
        assert!(!is_short || may_be_short, "no task waits for another one where a worker might be started");
        let waiting = state.queue.iter().filter(|job| job.is_live()).map(|job| number_of(&self.tasks, job));
        let waiting: Vec<_> = waiting.filter(|&number| !self.tasks[number].was_sent).collect();
        let last_sent = self.tasks.iter().rposition(|task| task.was_sent);
        let in_order = last_sent.into_iter().chain(waiting);
        assert!(in_order.is_sorted(), "who comes first is sent first");
    }
}
