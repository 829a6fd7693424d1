//! What only a signal ends the waits for.

use super::{Cell, Moment, State, Wait, Want};
use crate::oracle::script::{Sort, Way};

impl Moment {
    /// Who waits for a notification, in this order.
    pub(super) fn queue(&mut self, condition: usize) -> &mut Vec<usize> {
        let State::Condition(queue) = &mut self.states[condition] else { unreachable!("a condition") };
        queue
    }

    /// Ends the waits for an event, a barrier or a promise.
    fn end_all(&mut self, thing: usize, is_there: bool) {
        let ends = |wait: &&mut Wait| wait.thing == thing && wait.want == Want::Signal(None);
        self.waiting.iter_mut().flatten().filter(ends).for_each(|wait| wait.want = Want::Signal(Some(is_there)));
    }

    fn is_signalled(&self, thing: usize) -> bool {
        self.states[thing] == State::Signal(true)
    }

    /// Somebody comes to an event, a barrier or a promise. Returns what ends its wait at once, if anything does.
    pub(super) fn arrives(&mut self, thing: usize) -> Option<bool> {
        let Sort::Barrier(parties) = self.sorts[thing] else { return self.is_signalled(thing).then_some(true) };
        if self.is_signalled(thing) {
            return Some(false);
        }
        let waiting = self.waits_for(thing).filter(|(_, wait)| wait.want == Want::Signal(None)).count();
        if waiting + 1 < parties {
            return None;
        }
        self.end_all(thing, true);
        Some(true)
    }

    /// A waiter on a condition was notified, or its limit is over.
    fn ends_notified(&mut self, thread: usize, was_notified: bool) {
        let wait = self.waiting[thread].as_mut().expect("it waits on a condition");
        let Want::Notified { ended, .. } = &mut wait.want else { unreachable!("for a notification") };
        *ended = Some(was_notified);
    }

    /// The moment after a thread that has waited on a condition begins to wait for its lock.
    pub(super) fn locks_again(&self, thread: usize) -> Option<Self> {
        let wait = self.waiting[thread]?;
        let Want::Notified { lock, at, ended: Some(was_notified) } = wait.want else { return None };
        let mut moment = self.clone();
        let want = Want::Relock { at, was_notified };
        moment.waiting[thread] = Some(Wait { thing: lock, want, way: wait.way });
        Some(moment)
    }

    /// Somebody gives a signal.
    pub(super) fn signal(&mut self, thing: usize, all: bool) {
        match &mut self.states[thing] {
            State::Signal(state) => match self.sorts[thing] {
                Sort::Barrier(_) => {
                    *state = false;
                    self.end_all(thing, false);
                }
                Sort::Event if !all => *state = false,
                _ => {
                    *state = true;
                    self.end_all(thing, true);
                }
            },
            State::Loose { free } => *free += 1 + usize::from(all),
            State::Condition(queue) => {
                let count = if all { queue.len() } else { queue.len().min(1) };
                for thread in queue.drain(..count).collect::<Vec<_>>() {
                    self.ends_notified(thread, true);
                }
            }
            State::Cell(cell) => *cell = Cell::Initialised,
            State::Lock { .. } | State::Permits => unreachable!("it needs no signal"),
        }
    }

    /// Whether a signal would do anything.
    pub(in crate::oracle) fn needs_signal(&self, thing: usize) -> bool {
        match &self.states[thing] {
            State::Signal(state) => !state,
            State::Loose { free } => *free < 2,
            State::Condition(queue) => !queue.is_empty(),
            _ => false,
        }
    }

    /// The moment after the limit of a thread's wait is over, if others are told of that: one that waits on a condition
    /// leaves its queue, and one that waits at a barrier breaks it.
    pub(super) fn times_out(&self, thread: usize) -> Option<Self> {
        let wait = self.waiting[thread].filter(|wait| wait.way == Way::Timed)?;
        let mut moment = self.clone();
        match wait.want {
            Want::Notified { ended: None, .. } => {
                moment.queue(wait.thing).retain(|&other| other != thread);
                moment.ends_notified(thread, false);
            }
            Want::Signal(None) if matches!(self.sorts[wait.thing], Sort::Barrier(_)) => {
                moment.states[wait.thing] = State::Signal(true);
                moment.end_all(wait.thing, false);
            }
            _ => return None,
        }
        Some(moment)
    }
}
