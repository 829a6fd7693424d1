//! The wait-for graph: contexts, groups, and the registered waits. Data under one mutex, which judges nothing.
//!
//! See `README.md` in the folder above for the protocol and its proof.

pub(crate) mod blocker;
mod chunk;
pub(crate) mod context;
pub(in crate::deadlock) mod contexts;
mod holders;
pub(crate) mod holds;
pub(crate) mod id;
pub(in crate::deadlock) mod members;
mod origin;
pub(in crate::deadlock) mod outer_wait;
pub(in crate::deadlock) mod record;
pub(in crate::deadlock) mod reported;
pub(crate) mod resource;
mod shared_holds;
pub(crate) mod slot;
pub(in crate::deadlock) mod span_name;
mod spill;
mod standing;
mod summons;
pub(crate) mod task_id;
pub(in crate::deadlock) mod thread_name;
pub(crate) mod visible;
pub(crate) mod visible_readers;
mod waits;

use context::{Context, ContextId};
use contexts::Contexts;
use holders::HoldersIndex;
use record::{Entry, Record, ThreadRecord};
use waits::LISTS;

#[cfg(test)]
use crate::primitive::lasting::end_all;
use crate::primitive::{Ingredient, is_removed};

/// The first sweep takes place when there are twice as many contexts.
pub(in crate::deadlock) const FIRST_SWEEP: usize = 64;

/// The wait-for graph.
pub(crate) struct Graph {
    /// All contexts ever made, by index.
    pub(in crate::deadlock) contexts: Contexts,
    pub(in crate::deadlock) free: Option<&'static Context>,
    /// Whether there are threads whose end nothing announces.
    pub(in crate::deadlock) has_untold: bool,
    /// How many contexts the last sweep left.
    pub(in crate::deadlock) swept: usize,
    /// The registered waits: the chained ones, and the forked ones.
    ///
    /// Chained waits lie in lists by the key of what they are for, so that the waits for one lock are found without a look
    /// at the rest.
    pub(in crate::deadlock) chained: [Option<&'static Context>; LISTS],
    pub(in crate::deadlock) forked: Option<&'static Context>,
    /// Who holds the resources that several can hold at once.
    holders: HoldersIndex,
    /// How many registered waits there are.
    pub(in crate::deadlock) waits: usize,
    /// How many passes were made through the queues of summoned waits.
    kicks: u64,
    /// How many deadlocks were reported and left standing.
    pub(in crate::deadlock) reports: u64,
    /// The number of the last of these reports that was forgotten.
    pub(in crate::deadlock) forgotten: u64,
}

// SAFETY:
// - the contexts' and groups' records, which are not `Sync`, are only reached through this value and with its mutex held.
unsafe impl Send for Graph {}

/// Each execution of a model has contexts of its own, and so has each graph that a test makes.
#[cfg(test)]
impl Drop for Graph {
    fn drop(&mut self) {
        for context in self.contexts.iter() {
            // SAFETY:
            // - the context came from `keep` in `add_context` or `add_for_test`, and whatever used it is over.
            unsafe { end_all(std::slice::from_ref(context)) };
        }
        self.contexts.end();
    }
}

impl Graph {
    pub(in crate::deadlock) const fn new() -> Self {
        Self {
            contexts: Contexts::new(),
            free: None,
            has_untold: false,
            swept: FIRST_SWEEP,
            chained: [None; LISTS],
            forked: None,
            holders: HoldersIndex::new(),
            waits: 0,
            kicks: 0,
            reports: 0,
            forgotten: 0,
        }
    }

    /// Returns the notes on a context.
    pub(in crate::deadlock) fn record<'g>(&'g self, context: &'static Context) -> &'g Record {
        // SAFETY:
        // - records are reached only through a `Graph`, which exists once and under a mutex: `&self` excludes any
        //   `&mut` from `record_mut`.
        unsafe { &*context.record.get() }
    }

    /// Returns the notes on a context.
    pub(in crate::deadlock) fn record_mut<'g>(&'g mut self, context: &'static Context) -> &'g mut Record {
        // SAFETY:
        // - as in `record`; `&mut self` makes this the only reference.
        unsafe { &mut *context.record.get() }
    }

    /// Returns the registered wait of a context; `None` for a thread that was ended by force, whose stack may be gone.
    pub(in crate::deadlock) fn entry(&self, context: &'static Context) -> Option<&Entry> {
        let entry = self.record(context).entry.as_ref()?;
        // A model's threads are not ended by force, and each look at a lifeline is one more step to explore.
        (cfg!(all(test, loom)) || !self.first_of(context).lifeline.is_cut()).then_some(entry)
    }

    /// Returns the first context of the thread that has this one.
    pub(in crate::deadlock) fn first_of(&self, context: &'static Context) -> &'static Context {
        self.record(context).first.unwrap_or(context)
    }

    /// Returns the notes on the thread that has this context.
    pub(in crate::deadlock) fn thread(&self, context: &'static Context) -> &ThreadRecord {
        &self.record(self.first_of(context)).thread
    }

    /// Returns the context that has to act before `context` can do anything: itself, or the innermost of its thread,
    /// while that one is registered and this one is not. (Then its body has ended, and left something locked that the
    /// thread alone can release.)
    pub(in crate::deadlock) fn actor(&self, context: &'static Context) -> &'static Context {
        let alone = is_removed(Ingredient::ActorOfTheRetired) || is_removed(Ingredient::OuterContexts);
        if alone || self.record(context).entry.is_some() {
            return context;
        }
        let waiting = self.thread(context).waiting;
        waiting.filter(|&waiting| self.entry(waiting).is_some()).unwrap_or(context)
    }

    /// Returns whether the thread of an unregistered context is gone: not one more instruction of it can run.
    ///
    /// A caller that learns this of an owner has to look at the resource again.
    pub(in crate::deadlock) fn is_gone(&self, context: &'static Context) -> bool {
        let first = self.first_of(context);
        let thread = &self.record(first).thread;
        if !thread.gone.get() {
            thread.gone.set(first.lifeline.is_cut() || is_removed(Ingredient::KernelsWord) && thread.ended);
        }
        thread.gone.get()
    }

    /// Returns the contexts of the same thread whose bodies have ended and that still held something then.
    pub(in crate::deadlock) fn retired(
        &self,
        context: &'static Context,
    ) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(self.thread(context).retired, |&retired| self.record(retired).next_retired)
    }

    /// Returns the context that has this number now.
    pub(in crate::deadlock) fn context(&self, id: ContextId) -> Option<&'static Context> {
        self.contexts.get(id.index()).filter(|context| context.id() == id)
    }

    /// Adds a new context and the first number that it will have. The caller has reserved capacity for it.
    pub(in crate::deadlock) fn add(&mut self, context: &'static Context, id: Option<ContextId>) {
        context.set_index(self, self.contexts.len());
        self.record_mut(context).last_id = id;
        self.contexts.push(context);
    }

    /// Returns every context that a thread has now.
    pub(in crate::deadlock) fn contexts(&self) -> impl Iterator<Item = &'static Context> + '_ {
        self.contexts.iter().filter(|context| context.id().get() != 0)
    }
}
