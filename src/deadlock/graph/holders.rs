//! Who holds a shared resource: the index from a resource's id to the registered contexts that hold it, and the list of
//! the threads that have ended.
//!
//! A resource that several contexts can hold at once does not name them all in its own words: they list it in their
//! holds, under an id that is never given twice. What a registered context holds is frozen, so its shared holds are
//! entered here while it is registered. A context that runs is not looked up at all: it can release what it holds, so
//! to a judge it is the same as one that holds nothing. What is left are threads that have ended: they are in a list of
//! their own, and their holds are read where they are.

use std::ops::ControlFlow;

use super::Graph;
use super::blocker::Need;
use super::context::Context;
use super::holds::{Hold, INLINE};
use super::record::{EndedLink, Entry};
use super::resource::SharedId;
use super::shared_holds::{HoldRef, Link};
use super::waits::{LISTS, list_of};

/// The first hold in each list of the index, and what is not in it.
pub(in crate::deadlock) struct HoldersIndex {
    first: [HoldRef; LISTS],
    /// How many registered contexts hold more than fits inline.
    spilled: usize,
    /// The first contexts of the threads that have ended while they held something, or whose end nothing announces.
    ended: Option<&'static Context>,
}

impl HoldersIndex {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { first: [HoldRef::NONE; LISTS], spilled: 0, ended: None }
    }
}

impl Graph {
    /// Calls `visit` with each context that holds a share of the resource, until it returns `Break`: of those that are
    /// registered, or whose thread has ended. Any other context that holds one is running. One that holds several may be
    /// visited several times.
    ///
    /// Takes time linear in the holders, and in the threads that have ended with holds.
    pub(crate) fn holders(&self, id: SharedId, mut visit: impl FnMut(&'static Context) -> ControlFlow<()>) {
        self.shares(id, |context, _| visit(context));
    }

    /// Calls `visit` as [`holders`](Self::holders) does, with how many shares these are: one for each read, or as many as
    /// there are permits. The sum of what a context is visited with is what it holds.
    pub(crate) fn shares(&self, id: SharedId, mut visit: impl FnMut(&'static Context, u32) -> ControlFlow<()>) {
        _ = self.try_shares(id, &mut visit);
    }

    fn try_shares(
        &self,
        id: SharedId,
        visit: &mut impl FnMut(&'static Context, u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut at = self.holders.first[list_of(id.key())];
        while let Some((index, slot)) = at.get() {
            let context = self.contexts.at(index);
            at = self.record(context).shared.links[slot].next;
            if let Some(hold) = context.holds.inline(slot).filter(|hold| hold.resource.key == id.key()) {
                visit(context, hold.permits)?;
            }
        }
        if self.holders.spilled > 0 {
            for context in self.contexts.iter().filter(|&context| self.record(context).shared.is_spilled) {
                visit_shares(context, id, false, visit)?;
            }
        }
        let mut next = self.holders.ended;
        while let Some(first) = next {
            next = self.record(first).ended.next;
            for context in std::iter::once(first).chain(self.retired(first)) {
                // What is registered was visited.
                if self.record(self.actor(context)).entry.is_none() {
                    visit_shares(context, id, true, visit)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Enters the shared holds of a context into the index. Its thread is about to register, and is the caller.
    pub(super) fn enter_holds(&mut self, context: &'static Context) {
        for slot in 0..INLINE {
            let Some(id) = context.holds.inline(slot).as_ref().and_then(Hold::shared_id) else { continue };
            let here = HoldRef::new(context.index(), slot);
            let next = std::mem::replace(&mut self.holders.first[list_of(id.key())], here);
            self.set_previous(next, here);
            let shared = &mut self.record_mut(context).shared;
            shared.links[slot] = Link { previous: HoldRef::NONE, next };
            shared.linked |= 1 << slot;
        }
        if context.holds.is_spilled() {
            self.record_mut(context).shared.is_spilled = true;
            self.holders.spilled += 1;
        }
    }

    /// Takes the shared holds of a context out of the index. Its thread is about to withdraw, and is the caller; it has
    /// released nothing since it registered, and what it was granted meanwhile is not in the index.
    pub(super) fn remove_holds(&mut self, context: &'static Context) {
        let mut linked = std::mem::take(&mut self.record_mut(context).shared.linked);
        while linked != 0 {
            let slot = linked.trailing_zeros() as usize;
            linked &= linked - 1;
            let Link { previous, next } = self.record(context).shared.links[slot];
            self.set_previous(next, previous);
            match previous.get() {
                Some((index, slot)) => self.record_mut(self.contexts.at(index)).shared.links[slot].next = next,
                None => {
                    let key = context.holds.inline(slot).map_or(0, |hold| hold.resource.key);
                    self.holders.first[list_of(key)] = next;
                }
            }
        }
        if std::mem::take(&mut self.record_mut(context).shared.is_spilled) {
            self.holders.spilled -= 1;
        }
    }

    fn set_previous(&mut self, of: HoldRef, previous: HoldRef) {
        if let Some((index, slot)) = of.get() {
            self.record_mut(self.contexts.at(index)).shared.links[slot].previous = previous;
        }
    }

    /// Looks for threads that are gone without having said so, and hold a share of what a wait that begins needs. (They were
    /// ended by force: of any other the end is known.) Takes time linear in the contexts.
    pub(super) fn find_gone_holders(&mut self, entry: &Entry) {
        let blocker = entry.blocker();
        let id = SharedId::of_key(blocker.facts(0).key);
        let Some(id) = id.filter(|_| matches!(blocker.need(), Need::All | Need::AtLeast(_))) else { return };
        for at in 0..self.contexts.len() {
            let context = self.contexts.at(at);
            let first = self.first_of(context);
            let may_be_gone = self.record(context).entry.is_none() && !self.record(first).ended.is_linked;
            if may_be_gone && context.holds.has_share(id) && first.lifeline.is_cut() {
                self.mark_ended(first);
            }
        }
    }

    /// Notes that a thread may be gone without further notice.
    pub(in crate::deadlock) fn mark_ended(&mut self, first: &'static Context) {
        let record = self.record_mut(first);
        record.thread.ended = true;
        if std::mem::replace(&mut record.ended.is_linked, true) {
            return;
        }
        let next = self.holders.ended.replace(first);
        self.record_mut(first).ended.next = next;
        if let Some(next) = next {
            self.record_mut(next).ended.previous = Some(first);
        }
    }

    /// Takes a context that holds nothing from the threads that have ended.
    pub(in crate::deadlock) fn unmark_ended(&mut self, first: &'static Context) {
        let EndedLink { is_linked, previous, next } =
            std::mem::replace(&mut self.record_mut(first).ended, EndedLink::new());
        if !is_linked {
            return;
        }
        match previous {
            Some(previous) => self.record_mut(previous).ended.next = next,
            None => self.holders.ended = next,
        }
        if let Some(next) = next {
            self.record_mut(next).ended.previous = previous;
        }
    }
}

/// Calls `visit` with the shares of the resource that `context` holds, those held inline only if `inline`.
fn visit_shares(
    context: &'static Context,
    id: SharedId,
    inline: bool,
    visit: &mut impl FnMut(&'static Context, u32) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut count = 0_u32;
    let mut add = |hold: Hold| count += if hold.shared_id() == Some(id) { hold.permits } else { 0 };
    if inline {
        context.holds.for_each(&mut add);
    } else {
        context.holds.for_each_spilled(&mut add);
    }
    if count == 0 { ControlFlow::Continue(()) } else { visit(context, count) }
}
