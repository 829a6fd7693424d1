//! The registered waits: how they enter the graph, leave it, and are found.

use super::Graph;
use super::context::Context;
use super::record::Entry;
use super::reported::Reported;
use crate::primitive::{Ingredient, is_removed};

/// The number of lists of chained waits. One in models: there the order of a list may not depend on addresses.
pub(super) const LISTS: usize = if cfg!(all(test, loom)) { 1 } else { 256 };

/// Returns which of the [`LISTS`] a chained wait lies in. (Knuth's multiplicative hash.)
pub(super) fn list_of(key: usize) -> usize {
    // Of 32 bits the highest, as many as it takes.
    let hash = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS / 2);
    (hash >> (u64::BITS / 2 - LISTS.trailing_zeros())) as usize
}

impl Graph {
    /// Returns the registered waits.
    pub(in crate::deadlock) fn registered(&self) -> impl Iterator<Item = &'static Context> + '_ {
        self.chained.iter().chain([&self.forked]).flat_map(|&first| self.waits_from(first))
    }

    /// Returns the chained waits that may be for what is held under this key.
    pub(in crate::deadlock) fn chained_at(&self, key: usize) -> impl Iterator<Item = &'static Context> + '_ {
        self.waits_from(self.chained[list_of(key)])
    }

    fn waits_from(&self, first: Option<&'static Context>) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(first, |&context| self.record(context).next)
    }

    fn list_of(&mut self, is_chained: bool, key: usize) -> &mut Option<&'static Context> {
        if is_chained { &mut self.chained[list_of(key)] } else { &mut self.forked }
    }

    /// Adds a wait, and those of the contexts that `me` runs inside of, each for the next one. The thread of `me`
    /// alone calls this.
    pub(in crate::deadlock) fn register(&mut self, me: &'static Context, entry: Entry) {
        // It may have been forgotten while the hooks of its report ran.
        let (reported, since) = (entry.reported.since(self.forgotten), entry.since);
        self.find_gone_holders(&entry);
        self.link(me, Entry { reported, ..entry });
        self.enter_holds(me);
        let first = self.first_of(me);
        self.for_each_retired(first, Self::enter_holds);
        self.record_mut(first).thread.waiting = Some(me);
        let mut inner = me;
        while let Some(wait) = inner.outer_wait() {
            if !is_removed(Ingredient::OuterContexts) {
                // It is left standing together with the inner one if it was part of what was reported.
                let was_part = self.record(wait.outer).reported.is_with(reported);
                self.enter_holds(wait.outer);
                self.link(
                    wait.outer,
                    wait.entry(if was_part { self.record(wait.outer).reported } else { Reported::NEVER }, since),
                );
            }
            inner = wait.outer;
        }
    }

    /// Takes out the wait of `me`, and those of the contexts that it runs inside of. The thread of `me` alone calls
    /// this.
    pub(in crate::deadlock) fn withdraw(&mut self, me: &'static Context) -> Option<Entry> {
        let entry = self.unlink(me)?;
        self.remove_holds(me);
        let first = self.first_of(me);
        self.record_mut(first).thread.waiting = None;
        self.for_each_retired(first, Self::remove_holds);
        let mut inner = me;
        while let Some(wait) = inner.outer_wait() {
            self.unlink(wait.outer);
            self.remove_holds(wait.outer);
            inner = wait.outer;
        }
        Some(entry)
    }

    fn for_each_retired(&mut self, first: &'static Context, mut visit: impl FnMut(&mut Self, &'static Context)) {
        let mut next = self.record(first).thread.retired;
        while let Some(retired) = next {
            next = self.record(retired).next_retired;
            visit(self, retired);
        }
    }

    pub(in crate::deadlock) fn link(&mut self, me: &'static Context, entry: Entry) {
        let first = self.list_of(entry.is_chained, entry.held_key).replace(me);
        if let Some(first) = first {
            self.record_mut(first).previous = Some(me);
        }
        let record = self.record_mut(me);
        debug_assert!(record.entry.is_none(), "one context waits for one thing");
        record.entry = Some(entry);
        record.previous = None;
        record.next = first;
        self.waits += 1;
        me.set_summoned(self, false);
    }

    pub(in crate::deadlock) fn unlink(&mut self, me: &'static Context) -> Option<Entry> {
        let record = self.record_mut(me);
        let entry = record.entry.take()?;
        let (previous, next) = (record.previous.take(), record.next.take());
        match previous {
            Some(previous) => self.record_mut(previous).next = next,
            None => *self.list_of(entry.is_chained, entry.held_key) = next,
        }
        if let Some(next) = next {
            self.record_mut(next).previous = previous;
        }
        self.waits -= 1;
        me.set_summoned(self, false);
        self.recheck_finder(entry.finder);
        Some(entry)
    }

    /// Returns the first wait in one of the [`LISTS`], or, behind these, of the forked ones.
    pub(super) fn first_of_list(&self, list: usize) -> Option<&'static Context> {
        self.chained.get(list).copied().unwrap_or(self.forked)
    }
}
