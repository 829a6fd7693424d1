//! The wait-for graph: the registered waits, and the judge.
//!
//! See `README.md` beside this file for the protocol and its proof.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, ContextId};
use super::group::GroupRecord;
use super::judge::Core;
use super::reduction::Reduction;
use super::registry::FIRST_SWEEP;
use super::resource::Site;
use super::wait::Failure;
use super::waitable::{Need, Provider, Waitable};
use crate::primitive::{FilterOp, Ingredient, Mutex, UnparkToken, global, is_removed, unpark_filter};

/// What wakes a registered waiter without a grant: look at your entry, under the graph's mutex.
pub(crate) const KICK: UnparkToken = UnparkToken(2);

/// What the graph asks of a registered wait. Kept in its entry; the unpark token is only a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summons {
    None,
    /// Something changed that no wait of its own announces: judge again.
    Recheck,
    /// A deadlock was found whose finder can neither return nor unwind: be its victim.
    Victim,
}

/// One registered wait.
pub(super) struct Entry {
    /// Lives on the waiter's stack until it withdraws.
    pub(super) waitable: NonNull<dyn Waitable>,
    pub(super) site: Site,
    pub(super) since: Instant,
    /// Ends by itself: never part of a verdict.
    pub(super) timed: bool,
    /// How it can end when it is part of a deadlock.
    pub(super) failure: Failure,
    pub(super) summons: Summons,
    /// The report that this wait was part of and that left it standing; 0 for none.
    pub(super) reported: u64,
    /// Its own judge saw that it waits for itself: not handed over to it, but asked for again.
    pub(super) own: bool,
    /// Its own judge found it stuck, and it stayed.
    pub(super) stands: bool,
    /// Who found the deadlock that this wait is to be the victim of.
    pub(super) finder: Option<&'static Context>,
}

impl Entry {
    pub(super) fn waitable(&self) -> &dyn Waitable {
        // SAFETY:
        // - an entry is withdrawn before its waiter's stack frame goes (`Graph::withdraw`), and this is called with
        //   the graph's mutex held, which withdrawing takes.
        unsafe { self.waitable.as_ref() }
    }

    /// Whether this holds of one of those who can end the wait.
    fn any_provider(&self, graph: &Graph, mut matches: impl FnMut(Provider<'_>) -> bool) -> bool {
        let mut found = false;
        self.waitable().providers(graph, &mut |provider| found |= matches(provider));
        found
    }
}

/// The graph's notes on one context.
pub(super) struct Record {
    pub(super) name: Option<Arc<str>>,
    pub(super) os_id: u32,
    /// Of a thread's first context: what the graph knows of the thread.
    pub(super) thread: ThreadRecord,
    /// The first context of its thread; `None`: this one is the first.
    pub(super) first: Option<&'static Context>,
    /// The next context that [retired](ThreadRecord::retired) before this one.
    pub(super) next_retired: Option<&'static Context>,
    /// Runs a task on its waiter's thread.
    pub(super) nested: bool,
    pub(super) entry: Option<Entry>,
    /// The group that it is a member of.
    pub(super) group: Option<NonNull<GroupRecord>>,
    pub(super) mark: Mark,
    pub(super) last_id: Option<ContextId>,
    previous: Option<&'static Context>,
    next: Option<&'static Context>,
    pub(super) next_free: Option<&'static Context>,
    /// The next member of the same group.
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
    /// The latest context that still held something when its body ended.
    pub(super) retired: Option<&'static Context>,
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
}

impl Mark {
    pub(super) const fn new() -> Self {
        Self { stamp: Cell::new(0), node: Cell::new(0), core: Cell::new(0) }
    }
}

impl ThreadRecord {
    pub(super) const fn new() -> Self {
        Self { ended: false, gone: Cell::new(false), waiting: None, retired: None }
    }
}

impl Record {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            os_id: 0,
            thread: ThreadRecord::new(),
            first: None,
            next_retired: None,
            nested: false,
            entry: None,
            group: None,
            mark: Mark::new(),
            last_id: None,
            previous: None,
            next: None,
            next_free: None,
            next_member: None,
        }
    }
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
    /// The registered waits, and how many there are.
    first: Option<&'static Context>,
    pub(super) waits: usize,
    stamp: u64,
    pub(super) reports: u64,
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
            first: None,
            waits: 0,
            stamp: 0,
            reports: 0,
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
        if self.record(context).entry.is_some() || is_removed(Ingredient::ActorOfTheRetired) {
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
        std::iter::successors(self.first, |&context| self.record(context).next)
    }

    /// Adds a wait, and those of the contexts that `me` runs inside of, each for the next one. The thread of `me`
    /// alone calls this.
    pub(super) fn register(&mut self, me: &'static Context, entry: Entry) {
        let (reported, since) = (entry.reported, entry.since);
        self.link(me, entry);
        let first = self.first_of(me);
        self.record_mut(first).thread.waiting = Some(me);
        let mut inner = me;
        while let Some(frame) = inner.frame() {
            if !is_removed(Ingredient::OuterContexts) {
                self.link(frame.outer, frame.entry(reported, since));
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
        let first = self.first.replace(me);
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
            None => self.first = next,
        }
        if let Some(next) = next {
            self.record_mut(next).previous = previous;
        }
        self.waits -= 1;
        me.set_summoned(self, false);
        self.recheck_finder(entry.finder);
        Some(entry)
    }

    /// Has the one judged again who made another wait the victim of a deadlock, now that this is settled. A wait for
    /// several can be part of several deadlocks, and its judge tells of one at a time.
    fn recheck_finder(&mut self, finder: Option<&'static Context>) {
        if let Some(finder) = finder.filter(|_| !is_removed(Ingredient::FindersLook)) {
            self.summon(finder, Summons::Recheck);
        }
    }

    /// Makes another wait the victim of the deadlock that `me` found.
    pub(super) fn make_victim(&mut self, victim: &'static Context, me: &'static Context) {
        if let Some(entry) = self.record_mut(victim).entry.as_mut() {
            entry.finder = Some(me);
        }
        self.summon(victim, Summons::Victim);
    }

    /// Leaves a summons in a registered wait and wakes it.
    pub(super) fn summon(&mut self, context: &'static Context, summons: Summons) {
        let Some(entry) = self.record_mut(context).entry.as_mut() else { return };
        if entry.summons != Summons::Victim {
            entry.summons = summons;
        }
        let key = entry.waitable().key();
        context.set_summoned(self, true);
        let me = context.address();
        // SAFETY:
        // - the key is an address that a primitive of ours controls.
        // - the closures neither unwind nor park nor unpark.
        unsafe {
            unpark_filter(key, |token| if token.0 == me { FilterOp::Unpark } else { FilterOp::Skip }, |_| KICK);
        }
    }

    /// Summons every registered wait.
    pub(super) fn summon_all(&mut self, summons: Summons) {
        let mut next = self.first;
        while let Some(context) = next {
            next = self.record(context).next;
            self.summon(context, summons);
        }
    }

    /// Has the registered waits judged again of which `concerns` holds.
    fn recheck(&mut self, concerns: impl Fn(&Self, &'static Context, &Entry) -> bool) {
        let mut next = self.first;
        while let Some(context) = next {
            next = self.record(context).next;
            if self.entry(context).is_some_and(|entry| !entry.timed && concerns(self, context, entry)) {
                self.summon(context, Summons::Recheck);
            }
        }
    }

    /// Has the waits that count on a group judged again.
    pub(super) fn recheck_group(&mut self, group: NonNull<GroupRecord>) {
        if is_removed(Ingredient::GroupEvents) {
            return;
        }
        self.recheck(|graph, _, entry| {
            entry.any_provider(graph, |provider| matches!(provider, Provider::AnyOf(other) if other.address() == group))
        });
    }

    /// Has the waits judged again that a thread could end, by one of its contexts or as a member of its group.
    pub(super) fn recheck_waits_for(&mut self, first: &'static Context) {
        let group = self.record(first).group;
        self.recheck(|graph, _, entry| {
            entry.any_provider(graph, |provider| match provider {
                Provider::Context(id) => graph.context(id).is_some_and(|context| graph.first_of(context) == first),
                Provider::AnyOf(other) => Some(other.address()) == group,
                Provider::External | Provider::Process(_) => false,
            })
        });
    }

    /// A wait was found not to be stuck.
    pub(super) fn moves(&mut self, me: &'static Context) {
        if let Some(entry) = self.record_mut(me).entry.as_mut() {
            entry.stands = false;
        }
    }

    /// A wait was found to be stuck, and stays: whoever had an alternative that led here is judged again, for the
    /// deadlock that this completes need not be one that this wait is part of.
    pub(super) fn stands(&mut self, me: &'static Context) {
        if let Some(entry) = self.record_mut(me).entry.as_mut()
            && !std::mem::replace(&mut entry.stands, true)
        {
            self.recheck(|graph, context, entry| {
                context != me
                    && (matches!(entry.waitable().need(), Need::Any | Need::AtLeast(_))
                        || entry.any_provider(graph, |provider| matches!(provider, Provider::AnyOf(_))))
            });
        }
    }

    /// Forgets which deadlocks were reported.
    pub(super) fn forget_reports(&mut self) {
        let mut next = self.first;
        while let Some(context) = next {
            let record = self.record_mut(context);
            next = record.next;
            if let Some(entry) = record.entry.as_mut() {
                entry.reported = 0;
            }
        }
    }

    pub(super) fn new_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Takes what a registered wait was asked to do.
    pub(super) fn answer_summons(&mut self, me: &'static Context) -> Summons {
        me.set_summoned(self, false);
        let Some(entry) = self.record_mut(me).entry.as_mut() else { return Summons::None };
        let summons = std::mem::replace(&mut entry.summons, Summons::None);
        let finder = entry.finder.filter(|_| summons == Summons::Victim);
        self.recheck_finder(finder);
        summons
    }

    /// Asks again what could not be answered yet.
    pub(super) fn put_back(&mut self, me: &'static Context, summons: Summons) {
        if let Some(entry) = self.record_mut(me).entry.as_mut() {
            entry.summons = summons;
        }
    }
}

/// Has a wait judged again, if it is registered: it has one alternative fewer, and no wait of its own says so.
pub(crate) fn recheck(context: &'static Context) {
    with(|graph| graph.summon(context, Summons::Recheck));
}
