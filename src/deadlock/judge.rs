//! The judge: whether a wait that is registered can ever end.
//!
//! As long as each wait on the way can be ended by one context alone this is a walk along a chain; the first wait on
//! the way that has alternatives, or needs several, sends it to the [reduction](super::reduction).

use std::ops::ControlFlow;
use std::ptr::NonNull;

use super::context::Context;
use super::graph::{self, Entry, Graph};
use super::group::GroupRecord;
use super::reduction::Reduction;
use super::summons::Summons;
use super::told::Told;
use super::waitable::{Need, Provider};
use crate::primitive::{Ingredient, is_removed};

/// What a walk from one waiter found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Somebody on the way may still run.
    NotDeadlocked,
    /// The way leads into a deadlock that this waiter is no part of: it is stuck until that is broken.
    Bystander,
    /// The thread of an owner may be gone soon, and nothing will say so: ask again. `stuck`: it would not help if that owner
    /// released.
    OwnerEnding { stuck: bool },
    /// The walk needs more room than there is: make it, outside the mutex, and ask again.
    NoRoom,
    /// The waiter waits for itself.
    Relock,
    /// The waiter is on a cycle.
    Cycle,
    /// The waiter is on a cycle that leads through a group.
    Starvation,
    /// What the waiter waits for belongs to a context that is gone.
    Abandoned(&'static Context),
}

/// The deadlock that the last judgement found.
pub(super) struct Core {
    members: Vec<&'static Context>,
    /// What its members are marked with.
    stamp: u64,
    /// Each member waits for the next one alone.
    pub(super) is_ring: bool,
    /// How much room a walk lacked, 0 for none.
    wanted: usize,
}

impl Core {
    pub(super) const fn new() -> Self {
        Self { members: Vec::new(), stamp: 0, is_ring: true, wanted: 0 }
    }
}

/// The room that is made when there was none at all: enough for most programs' waits.
const FIRST_ROOM: usize = 64;

/// Makes the room that a walk lacked. Called without the graph's mutex.
pub(super) fn make_room() {
    let wanted = graph::with(|graph| std::mem::take(&mut graph.core.wanted));
    if wanted != 0 {
        let mut room = Room::new(wanted);
        graph::with(|graph| graph.take_room(&mut room));
    }
}

/// Buffers for the walks and what they find.
struct Room {
    reduction: Reduction,
    members: Vec<&'static Context>,
}

impl Room {
    fn new(wanted: usize) -> Self {
        Self { reduction: Reduction::with_room(wanted), members: Vec::with_capacity(wanted) }
    }
}

/// Where a chain of waits leads from one of them.
enum Way {
    /// The wait may end without anybody who is registered doing anything.
    Open,
    /// Only this context can end it.
    To(&'static Context),
    /// It has alternatives, or takes several.
    Forks,
}

impl Graph {
    /// Where the way leads from a registered wait.
    fn way(&self, context: &'static Context) -> Way {
        let Some(entry) = self.entry(context).filter(|entry| !entry.is_live()) else { return Way::Open };
        if entry.blocker().need() != Need::One {
            return Way::Forks;
        }
        let mut way = Way::Open;
        entry.look(self, &mut |provider| {
            way = match provider {
                Provider::Context(id) => self.context(id).map_or(Way::Open, |provider| Way::To(self.actor(provider))),
                Provider::AnyOf(_) => Way::Forks,
                Provider::External | Provider::Process(_) => Way::Open,
            };
            ControlFlow::Break(())
        });
        way
    }

    /// Follows the waits from `me`. Visits each context at most once.
    ///
    /// A context on the way may wait for what names itself as the owner: handed over to it a moment ago, or asked for
    /// again while it was held. Either way the walk comes back to that context and ends: the first is live, the second
    /// is a deadlock of its own.
    pub(super) fn judge(&mut self, me: &'static Context) -> Judgement {
        let stamp = self.new_stamp();
        let mut at = me;
        loop {
            self.record(at).mark.stamp.set(stamp);
            let blocker = match self.way(at) {
                Way::Open => return Judgement::NotDeadlocked,
                Way::Forks => return self.reduce(me),
                Way::To(blocker) => blocker,
            };
            if blocker == me {
                let found = if at == me { Judgement::Relock } else { Judgement::Cycle };
                if at == me
                    && let Some(entry) = self.record_mut(me).entry.as_mut()
                {
                    entry.own = true;
                }
                return self.note_ring(me, found);
            }
            if self.entry(blocker).is_none() {
                return if at == me { self.judge_owner(me, blocker) } else { self.judge_other_owner(at, blocker) };
            }
            if self.record(blocker).mark.stamp.get() == stamp {
                let handed_over = blocker == at && self.entry(at).is_some_and(|entry| !entry.own);
                return if handed_over { Judgement::NotDeadlocked } else { Judgement::Bystander };
            }
            at = blocker;
        }
    }

    /// Whether the unregistered owner of what `me` waits for is gone.
    fn judge_owner(&mut self, me: &'static Context, owner: &'static Context) -> Judgement {
        let ended = self.thread(owner).ended;
        if !self.is_gone(owner) {
            return if ended { Judgement::OwnerEnding { stuck: false } } else { Judgement::NotDeadlocked };
        }
        // The owner may have released between the look at the resource and its end: now that it can do nothing more,
        // look again.
        if matches!(self.way(me), Way::To(now) if now == owner) || is_removed(Ingredient::SecondLook) {
            self.note_ring(me, Judgement::Abandoned(owner))
        } else {
            Judgement::NotDeadlocked
        }
    }

    /// Whether somebody else's wait is known to be stuck because its owner is gone. Until it has said so itself it is
    /// live: it may be the victim.
    fn judge_other_owner(&self, waiter: &'static Context, owner: &'static Context) -> Judgement {
        let was_said = self.entry(waiter).is_some_and(|entry| entry.told.is_abandoned());
        if was_said && self.thread(owner).gone.get() { Judgement::Bystander } else { Judgement::NotDeadlocked }
    }

    /// Whether the thread of an unregistered context is gone: not one more instruction of it can run.
    ///
    /// Whoever learns this of an owner has to look at the resource again.
    pub(super) fn is_gone(&self, context: &'static Context) -> bool {
        let first = self.first_of(context);
        let thread = &self.record(first).thread;
        if !thread.gone.get() {
            thread.gone.set(first.lifeline.is_cut() || is_removed(Ingredient::KernelsWord) && thread.ended);
        }
        thread.gone.get()
    }

    /// Notes the ring that `me` is on, or `me` alone, as the deadlock that was found.
    fn note_ring(&mut self, me: &'static Context, found: Judgement) -> Judgement {
        self.begin_core();
        let mut at = me;
        loop {
            if !self.add_to_core(at) {
                return self.want_room(self.core.members.capacity());
            }
            match self.way(at) {
                Way::To(next) if self.entry(next).is_some() && !self.is_in_core(next) => at = next,
                _ => return found,
            }
        }
    }

    /// The members of the deadlock that the last judgement found, the one that was judged first. On a ring each waits
    /// for the next.
    pub(super) fn core(&self) -> &[&'static Context] {
        &self.core.members
    }

    /// Whether a context is part of the deadlock that the last judgement found.
    pub(super) fn is_in_core(&self, context: &'static Context) -> bool {
        self.record(context).mark.core.get() == self.core.stamp
    }

    /// Whether a group is part of the deadlock that the last judgement found.
    pub(super) fn is_group_in_core(&self, group: NonNull<GroupRecord>) -> bool {
        self.group(group).mark.core.get() == self.core.stamp
    }

    /// Forgets the last deadlock that was found.
    pub(super) fn begin_core(&mut self) {
        self.core.members.clear();
        self.core.is_ring = true;
        self.core.stamp = self.new_stamp();
    }

    /// `false`: there is no room.
    pub(super) fn add_to_core(&mut self, context: &'static Context) -> bool {
        if self.core.members.len() == self.core.members.capacity() {
            return false;
        }
        self.record(context).mark.core.set(self.core.stamp);
        self.core.members.push(context);
        true
    }

    pub(super) fn add_group_to_core(&mut self, group: NonNull<GroupRecord>) {
        self.group(group).mark.core.set(self.core.stamp);
    }

    /// Notes that a walk lacks room: more than it had.
    pub(super) fn want_room(&mut self, had: usize) -> Judgement {
        self.core.wanted = self.core.wanted.max(had * 2).max(FIRST_ROOM);
        Judgement::NoRoom
    }

    /// Takes the larger buffers of two, and leaves the others.
    fn take_room(&mut self, room: &mut Room) {
        if self.reduction.room() < room.reduction.room() {
            std::mem::swap(&mut self.reduction, &mut room.reduction);
        }
        if self.core.members.capacity() < room.members.capacity() {
            self.begin_core();
            std::mem::swap(&mut self.core.members, &mut room.members);
        }
    }

    #[cfg(test)]
    pub(super) fn make_room_for_test(&mut self, least: usize) {
        self.take_room(&mut Room::new(self.core.wanted.max(least)));
    }

    /// Marks the deadlock that was found as reported. What was said of the one that was judged.
    pub(super) fn mark_reported(&mut self, found: Judgement) -> Told {
        self.reports += 1;
        let (number, is_abandoned) = (self.reports, matches!(found, Judgement::Abandoned(_)));
        let mut first = None;
        let members = std::mem::take(&mut self.core.members);
        for &member in &members {
            let record = self.record_mut(member);
            if let Some(entry) = record.entry.as_mut() {
                entry.told = entry.told.and(number, is_abandoned);
                record.told = entry.told;
                first.get_or_insert(entry.told);
            }
        }
        self.core.members = members;
        first.unwrap_or_default()
    }

    /// Whether each member of the deadlock that was found was part of one that was reported and left standing.
    pub(super) fn is_reported(&self, found: Judgement) -> bool {
        let was_said = match found {
            Judgement::Abandoned(_) => Told::is_abandoned,
            _ => Told::is_anything,
        };
        let is_marked = |&member: &&'static Context| self.entry(member).is_some_and(|entry| was_said(entry.told));
        !self.core().is_empty() && self.core().iter().all(is_marked)
    }
}

impl Entry {
    /// Whether the wait ends by itself, or with a verdict that is on its way.
    pub(super) fn is_live(&self) -> bool {
        self.timed && !is_removed(Ingredient::TimedIsLive) || self.summons == Summons::Victim
    }
}
