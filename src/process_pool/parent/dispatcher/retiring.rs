//! Workers that have served their time, and those that take their places.

use super::member::Member;
use super::start::StartPolicy;
use super::state::State;
use super::todo::Todo;
use super::{Dispatcher, Link};

impl<L: Link> Dispatcher<L> {
    /// Lets a worker retire: it runs what it has begun, and another one takes its place. Returns whether it will end; not yet, if its
    /// task is to end, and it may get others afterwards.
    pub(in crate::process_pool::parent) fn retire(&self, number: usize) -> (bool, Todo<L>) {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.retire(number, &mut todo);
        state.hand_out(StartPolicy::AsNeeded, &mut todo);
        state.replace_retiring(&mut todo);
        let will_end = state.members[number].as_ref().is_none_or(Member::is_leaving);
        (will_end, todo)
    }

    /// Lets those workers retire that have nothing to run, and have served their time. Returns whether there are any workers.
    pub(in crate::process_pool::parent) fn retire_idle(&self) -> (bool, Todo<L>) {
        let mut todo = Todo::nothing();
        let mut state = self.state.lock();
        state.retire_idle(&mut todo);
        (state.workers > 0, todo)
    }
}

impl<L: Link> State<L> {
    /// Returns whether a worker that is up has reached the maximum of its age.
    pub(super) fn is_too_old(&self, number: usize) -> bool {
        self.lifespan.max_age.is_some()
            && self.members[number].as_ref().is_some_and(|member| self.lifespan.is_over(member.born, None, self.now()))
    }

    /// Starts the worker that takes the place of one that retires, before that is gone, unless others will have time for its tasks. If
    /// several are to be started, each starts the next when it is up.
    pub(super) fn replace_retiring(&mut self, todo: &mut Todo<L>) {
        if self.retiring == 0 || todo.start.is_some() {
            return;
        }
        let may_be_ahead = self.has_place() && self.closing.is_none() && self.starts_succeed() && self.idle.is_empty();
        let mut retiring = self.members.iter_mut().flatten().filter(|member| member.is_retiring);
        let replaces =
            retiring.find(|member| may_be_ahead && !member.is_replaced).map(|member| member.is_replaced = true);
        if replaces.is_some() || self.may_start(StartPolicy::AsNeeded) {
            self.start_another(todo);
        }
    }

    /// Returns how many workers have a task.
    pub(super) fn busy(&self) -> usize {
        self.members.iter().flatten().filter(|member| member.has_task()).count()
    }

    /// Gives tasks to workers that are up ahead of time, as workers before them have none any more.
    pub(super) fn admit_spares(&mut self, todo: &mut Todo<L>) {
        if self.spares == 0 {
            return;
        }
        for number in 0..self.members.len() {
            if self.members[number].as_ref().is_some_and(|member| member.is_spare) && self.busy() < self.max_workers {
                self.members[number].as_mut().expect("it is a spare").is_spare = false;
                self.spares -= 1;
                self.refill(number, todo);
            }
        }
    }

    /// Lets those workers retire that have nothing to run, and have served their time.
    pub(super) fn retire_idle(&mut self, todo: &mut Todo<L>) {
        let now = self.now();
        for number in self.idle.clone() {
            let member = self.members[number].as_ref().expect("an idle worker is up");
            if self.lifespan.is_over(member.born, member.idle_since, now) {
                self.retire(number, todo);
            }
        }
    }

    /// Lets a worker run what it has begun, and nothing else.
    pub(super) fn retire(&mut self, number: usize, todo: &mut Todo<L>) {
        let member = self.members[number].as_mut().expect("only a worker that is up retires");
        if member.is_closed() {
            return;
        }
        member.is_retiring = true;
        self.retiring += 1;
        let taken = member.running().map_or(Vec::new(), |place| member.take_back_behind(place).0);
        self.ahead -= taken.len();
        if member.is_idle {
            (member.is_idle, member.idle_since) = (false, None);
            self.idle.retain(|&other| other != number);
        }
        taken.into_iter().for_each(|job| self.queue_again(job));
        // It is told to stop, if it has nothing to run.
        self.refill(number, todo);
    }
}
