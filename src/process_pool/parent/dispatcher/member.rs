//! A worker that is up, as the dispatcher knows it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Link;
use crate::process_pool::parent::job::Job;
use crate::task::error::TerminationCause;

/// A task that takes less is quick: another one may lie behind it. What lies behind a task that has run for longer is
/// taken back.
pub(super) const LONG: Duration = Duration::from_millis(1);

/// What becomes of a worker whose task is to end.
pub(super) struct Ending {
    /// The task.
    pub(super) id: u64,
    pub(super) cause: TerminationCause,
    /// When it was asked to stop.
    pub(super) asked: Instant,
    /// A signal was sent, or is about to be: the worker gets no other task, even if it ends this one.
    pub(super) is_signalled: bool,
}

/// A job that was sent to a worker.
pub(super) struct Sent {
    pub(super) id: u64,
    /// `None`: it was taken back, and the worker will skip it.
    pub(super) job: Option<Job>,
    /// When it was sent, or came to be the first.
    pub(super) since: Instant,
}

/// A worker that is up.
pub(super) struct Member<L> {
    pub(super) link: Arc<L>,
    pub(super) next_id: u64,
    /// In the order in which the worker runs them. The first that was not taken back is running, and claimed.
    pub(super) sent: VecDeque<Sent>,
    pub(super) is_idle: bool,
    pub(super) was_told_to_stop: bool,
    /// Of the task that is to end, if it has not.
    pub(super) ending: Option<Ending>,
    /// It has ended a task after it was sent a signal, and is being killed.
    pub(super) is_doomed: bool,
    /// How many tasks were sent to it.
    pub(super) taken: u64,
    /// It is told to stop when it has run what it has, and replaced.
    pub(super) is_retiring: bool,
    /// Another worker was started in its place.
    pub(super) is_replaced: bool,
    /// As many workers as there may be have a task, some of which retire: it waits until one of them has none.
    pub(super) is_spare: bool,
    /// Since when it has been up.
    pub(super) born: Instant,
    /// Since when it has had nothing to run, if it is idle.
    pub(super) idle_since: Option<Instant>,
}

impl<L: Link> Member<L> {
    /// Takes back what lies behind the task in this place, the last first: the worker goes on from the front meanwhile. Returns the
    /// tasks, and whether those are all: otherwise the worker has begun one that comes after it.
    pub(super) fn take_back_behind(&mut self, place: usize) -> (Vec<Job>, bool) {
        let (mut taken, mut are_all) = (Vec::new(), true);
        for sent in self.sent.iter_mut().skip(place + 1).rev().filter(|sent| sent.job.is_some()) {
            if self.link.recall(sent.id) {
                taken.extend(sent.job.take());
            } else {
                are_all = false;
            }
        }
        (taken, are_all)
    }

    /// Returns the place of the task that it runs.
    pub(super) fn running(&self) -> Option<usize> {
        self.sent.iter().position(|sent| sent.job.is_some())
    }
}

impl<L> Member<L> {
    /// Returns whether it gets no other task, at least for now.
    pub(super) fn is_closed(&self) -> bool {
        self.is_leaving() || self.ending.is_some() || self.is_spare
    }

    /// Returns whether a task may lie behind the one that it runs: not if that has a limit, which may end the worker.
    pub(super) fn may_have_ahead(&self) -> bool {
        let running = self.sent.iter().find_map(|sent| sent.job.as_ref());
        !self.is_closed() && running.is_none_or(|job| job.limit.is_none())
    }

    /// Returns whether it will get no other task.
    pub(super) fn is_leaving(&self) -> bool {
        self.was_told_to_stop || self.is_doomed || self.is_retiring
    }

    pub(super) fn has_task(&self) -> bool {
        self.sent.iter().any(|sent| sent.job.is_some())
    }

    /// Returns when the task that it runs becomes long.
    pub(super) fn long_at(&self) -> Option<Instant> {
        self.sent.iter().find(|sent| sent.job.is_some()).map(|sent| sent.since + LONG)
    }

    /// Returns whether the task that it runs is long.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        self.long_at().is_some_and(|long_at| long_at <= now)
    }

    /// Returns whether a task lies behind the one that it runs.
    pub(super) fn has_ahead(&self) -> bool {
        self.sent.iter().filter(|sent| sent.job.is_some()).nth(1).is_some()
    }
}
