//! The wait-for graph: the registered waits, and the judge.
//!
//! See `README.md` beside this file for the protocol and its proof.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::time::Instant;

use super::context::{Context, ContextId};
use super::group::GroupRecord;
use super::judge::Core;
use super::reduction::Reduction;
use super::registry::FIRST_SWEEP;
use super::resource::Site;
use super::summons::Summons;
use super::thread_name::ThreadName;
use super::told::Told;
use super::wait::Failure;
use super::waitable::{Blocker, Provider, Visit};
use crate::primitive::{Ingredient, Mutex, global, is_removed};

/// One registered wait.
pub(super) struct Entry {
    /// Lives on the waiter's stack until it withdraws.
    pub(super) blocker: NonNull<dyn Blocker>,
    /// What its waiter parks on.
    pub(super) key: usize,
    /// [`Blocker::is_chained`].
    pub(super) is_chained: bool,
    pub(super) site: Site,
    pub(super) since: Instant,
    /// Ends by itself: never part of a verdict.
    pub(super) timed: bool,
    /// How it can end when it is part of a deadlock.
    pub(super) failure: Failure,
    pub(super) summons: Summons,
    pub(super) told: Told,
    /// If it names itself as its provider it waits for itself: it was not handed the resource. Its own judge saw so, or the
    /// resource never is handed over.
    pub(super) own: bool,
    /// Its own judge found it stuck, and it stayed.
    pub(super) is_stuck: bool,
    /// Who found the deadlock that this wait is to be the victim of.
    pub(super) finder: Option<&'static Context>,
}

impl Entry {
    pub(super) fn blocker(&self) -> &dyn Blocker {
        // SAFETY:
        // - an entry is withdrawn before its waiter's stack frame goes (`Graph::withdraw`), and this is called with
        //   the graph's mutex held, which withdrawing takes.
        unsafe { self.blocker.as_ref() }
    }

    /// Looks for a judge at those who can end the wait, after it has [subscribed](Blocker::subscribe) to what may go later.
    pub(super) fn look(&self, graph: &Graph, visit: &mut Visit<'_>) {
        let blocker = self.blocker();
        blocker.subscribe();
        blocker.providers(graph, visit);
    }

    /// Whether this holds of one of those who can end the wait.
    pub(super) fn any_provider(&self, graph: &Graph, mut matches: impl FnMut(Provider<'_>) -> bool) -> bool {
        let mut found = false;
        self.blocker().providers(graph, &mut |provider| {
            found = matches(provider);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }
}

/// The graph's notes on one context.
pub(super) struct Record {
    pub(super) name: ThreadName,
    pub(super) os_id: u32,
    /// Of a thread's first context: what the graph knows of the thread.
    pub(super) thread: ThreadRecord,
    /// The first context of its thread; `None`: this one is the first.
    pub(super) first: Option<&'static Context>,
    /// Its body has ended and left something locked: one of the [retired](ThreadRecord::retired).
    pub(super) is_retired: bool,
    /// The next of them.
    pub(super) next_retired: Option<&'static Context>,
    /// Runs a task on its waiter's thread.
    pub(super) nested: bool,
    pub(super) entry: Option<Entry>,
    /// Of its last wait that a report was about.
    pub(super) told: Told,
    /// The group that it is a member of.
    pub(super) group: Option<NonNull<GroupRecord>>,
    pub(super) mark: Mark,
    pub(super) last_id: Option<ContextId>,
    previous: Option<&'static Context>,
    pub(super) next: Option<&'static Context>,
    pub(super) next_free: Option<&'static Context>,
    /// The members of the same group before and after it.
    pub(super) previous_member: Option<&'static Context>,
    pub(super) next_member: Option<&'static Context>,
}

/// The graph's notes on one thread, in the record of its first context.
pub(super) struct ThreadRecord {
    /// The thread may be gone soon, or some day, without another word: it runs its last destructors, or nothing tells of
    /// its end.
    pub(super) ended: bool,
    /// The kernel said that the thread is gone.
    pub(super) gone: Cell<bool>,
    /// The innermost context of the thread, while that is registered: until then no context of the thread does anything.
    pub(super) waiting: Option<&'static Context>,
    /// The first and, if there is one, the last of the contexts that still held something when their bodies ended.
    pub(super) retired: Option<&'static Context>,
    pub(super) last_retired: Option<&'static Context>,
}

/// What a walk notes on what it visits. Reached with the graph's mutex held, like all of a record.
#[derive(Default)]
pub(super) struct Mark {
    /// The last walk that came by.
    pub(super) stamp: Cell<u64>,
    /// Its node in that walk.
    pub(super) node: Cell<u32>,
    /// The last deadlock that it is a part of.
    pub(super) core: Cell<u64>,
    /// The next one in the order of that walk.
    pub(super) after: Cell<Option<&'static Context>>,
}

impl Mark {
    pub(super) const fn new() -> Self {
        Self { stamp: Cell::new(0), node: Cell::new(0), core: Cell::new(0), after: Cell::new(None) }
    }
}

impl ThreadRecord {
    pub(super) const fn new() -> Self {
        Self { ended: false, gone: Cell::new(false), waiting: None, retired: None, last_retired: None }
    }
}

impl Record {
    pub(super) const fn new() -> Self {
        Self {
            name: ThreadName::None,
            os_id: 0,
            thread: ThreadRecord::new(),
            first: None,
            is_retired: false,
            next_retired: None,
            nested: false,
            entry: None,
            told: Told::NOTHING,
            group: None,
            mark: Mark::new(),
            last_id: None,
            previous: None,
            next: None,
            next_free: None,
            previous_member: None,
            next_member: None,
        }
    }
}

/// In so many lists lie the waits that one context can end.
pub(super) const LISTS: usize = 256;

/// Which of the [`LISTS`] a wait lies in. (Knuth's multiplicative hash.)
fn list_of(key: usize) -> usize {
    ((key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - LISTS.trailing_zeros())) as usize
}

/// Everything under the graph's mutex.
pub(crate) struct Graph {
    /// All contexts ever made, by index.
    pub(super) contexts: Vec<&'static Context>,
    pub(super) free: Option<&'static Context>,
    /// Nothing tells of the end of some threads.
    pub(super) has_untold: bool,
    /// How many contexts the last sweep left.
    pub(super) swept: usize,
    /// The registered waits that one context can end, and the others.
    ///
    /// The first lie in lists by what they park on, so that those who wait for a lock are found without a look at the rest.
    pub(super) chained: [Option<&'static Context>; LISTS],
    pub(super) forked: Option<&'static Context>,
    /// How many registered waits there are.
    pub(super) waits: usize,
    stamp: u64,
    /// How many deadlocks were reported and left standing.
    pub(super) reports: u64,
    /// The last of them that was forgotten.
    pub(super) forgotten: u64,
    pub(super) reduction: Reduction,
    pub(super) core: Core,
}

// SAFETY:
// - the contexts' and groups' records, which are not `Sync`, are only reached through this value and with its mutex held.
unsafe impl Send for Graph {}

/// Each execution of a model has contexts of its own, and so has each graph that a test makes.
#[cfg(test)]
impl Drop for Graph {
    fn drop(&mut self) {
        for &context in &self.contexts {
            // SAFETY:
            // - the context came from `Box::leak` in `add_context`, and whatever used it is over.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(context).cast_mut()) });
        }
    }
}

global! {
    static GRAPH: Mutex<Graph> = Mutex::new(Graph::first());
}

/// Runs `f` with the graph's mutex held. Inside: no user code, no allocation, no tracked lock. A panic aborts.
pub(super) fn with<R>(f: impl FnOnce(&mut Graph) -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            super::print_line(format_args!("bowline: panic inside the wait-for graph, aborting"));
            std::process::abort();
        }
    }
    // A model fails by a panic of its own, wherever it is.
    let abort = (!cfg!(all(test, loom))).then(|| Abort);
    let result = f(&mut GRAPH.lock());
    std::mem::forget(abort);
    result
}

impl Graph {
    pub(super) const fn new() -> Self {
        Self {
            contexts: Vec::new(),
            free: None,
            has_untold: false,
            swept: FIRST_SWEEP,
            chained: [None; LISTS],
            forked: None,
            waits: 0,
            stamp: 0,
            reports: 0,
            forgotten: 0,
            reduction: Reduction::new(),
            core: Core::new(),
        }
    }

    #[cfg(not(all(test, loom)))]
    const fn first() -> Self {
        Self::new()
    }

    /// A model's: with room, since whoever judges again after making some looks twice at everything.
    #[cfg(all(test, loom))]
    fn first() -> Self {
        let mut graph = Self::new();
        graph.make_room_for_test(16);
        graph
    }

    /// The notes on a context.
    pub(super) fn record<'g>(&'g self, context: &'static Context) -> &'g Record {
        // SAFETY:
        // - records are reached only through a `Graph`, which exists once and under a mutex: `&self` excludes any
        //   `&mut` from `record_mut`.
        unsafe { &*context.record.get() }
    }

    /// The notes on a context.
    pub(super) fn record_mut<'g>(&'g mut self, context: &'static Context) -> &'g mut Record {
        // SAFETY:
        // - as in `record`; `&mut self` makes this the only reference.
        unsafe { &mut *context.record.get() }
    }

    /// The registered wait of a context. None of a thread that was ended by force: its stack may be gone.
    pub(super) fn entry(&self, context: &'static Context) -> Option<&Entry> {
        let entry = self.record(context).entry.as_ref()?;
        // A model's threads are not ended by force, and each look at a lifeline is one more step to explore.
        (cfg!(all(test, loom)) || !self.first_of(context).lifeline.is_cut()).then_some(entry)
    }

    /// The first context of the thread that has this one.
    pub(super) fn first_of(&self, context: &'static Context) -> &'static Context {
        self.record(context).first.unwrap_or(context)
    }

    /// What the graph knows of the thread that has this context.
    pub(super) fn thread(&self, context: &'static Context) -> &ThreadRecord {
        &self.record(self.first_of(context)).thread
    }

    /// The context that has to act before `context` can do anything: itself, or the innermost of its thread, while that
    /// is registered and this one is not. (Its body has ended, and left something locked that the thread alone can release.)
    pub(super) fn actor(&self, context: &'static Context) -> &'static Context {
        let alone = is_removed(Ingredient::ActorOfTheRetired) || is_removed(Ingredient::OuterContexts);
        if alone || self.record(context).entry.is_some() {
            return context;
        }
        let waiting = self.thread(context).waiting;
        waiting.filter(|&waiting| self.entry(waiting).is_some()).unwrap_or(context)
    }

    /// The contexts of the same thread whose bodies have ended and that still held something then.
    pub(super) fn retired(&self, context: &'static Context) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(self.thread(context).retired, |&retired| self.record(retired).next_retired)
    }

    /// The context that has this number now.
    pub(super) fn context(&self, id: ContextId) -> Option<&'static Context> {
        self.contexts.get(id.index()).copied().filter(|context| context.id() == id)
    }

    /// Every context that somebody has now.
    pub(super) fn contexts(&self) -> impl Iterator<Item = &'static Context> + '_ {
        self.contexts.iter().copied().filter(|context| context.id().get() != 0)
    }

    /// The registered waits.
    pub(super) fn registered(&self) -> impl Iterator<Item = &'static Context> + '_ {
        self.chained.iter().chain([&self.forked]).flat_map(|&first| self.waits_from(first))
    }

    /// The registered waits that one context can end, and that may park on this key.
    pub(super) fn chained_at(&self, key: usize) -> impl Iterator<Item = &'static Context> + '_ {
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
    pub(super) fn register(&mut self, me: &'static Context, entry: Entry) {
        // It may have been forgotten while the hooks of its report ran.
        let (told, since) = (entry.told.since(self.forgotten), entry.since);
        self.link(me, Entry { told, ..entry });
        let first = self.first_of(me);
        self.record_mut(first).thread.waiting = Some(me);
        let mut inner = me;
        while let Some(frame) = inner.frame() {
            if !is_removed(Ingredient::OuterContexts) {
                // It stands with the inner one if it was part of what was reported.
                let was_part = self.record(frame.outer).told.is_with(told);
                self.link(
                    frame.outer,
                    frame.entry(if was_part { self.record(frame.outer).told } else { Told::NOTHING }, since),
                );
            }
            inner = frame.outer;
        }
    }

    /// Takes out the wait of `me`, and those of the contexts that it runs inside of. The thread of `me` alone calls
    /// this.
    pub(super) fn withdraw(&mut self, me: &'static Context) -> Option<Entry> {
        let entry = self.unlink(me);
        let first = self.first_of(me);
        self.record_mut(first).thread.waiting = None;
        let mut inner = me;
        while let Some(frame) = inner.frame() {
            self.unlink(frame.outer);
            inner = frame.outer;
        }
        entry
    }

    pub(super) fn link(&mut self, me: &'static Context, entry: Entry) {
        let first = self.list_of(entry.is_chained, entry.key).replace(me);
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

    pub(super) fn unlink(&mut self, me: &'static Context) -> Option<Entry> {
        let record = self.record_mut(me);
        let entry = record.entry.take()?;
        let (previous, next) = (record.previous.take(), record.next.take());
        match previous {
            Some(previous) => self.record_mut(previous).next = next,
            None => *self.list_of(entry.is_chained, entry.key) = next,
        }
        if let Some(next) = next {
            self.record_mut(next).previous = previous;
        }
        self.waits -= 1;
        me.set_summoned(self, false);
        self.recheck_finder(entry.finder);
        Some(entry)
    }

    /// The last walk's.
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(super) fn new_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }
}
