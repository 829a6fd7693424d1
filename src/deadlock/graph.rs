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
use super::resource::Site;
use super::wait::Failure;
use super::waitable::{Need, Provider, Waitable};
use crate::primitive::{FilterOp, Ingredient, Mutex, UnparkToken, global, is_removed, thread_is_ending, unpark_filter};

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
    /// The thread runs its last destructors: it may be gone soon, without another word.
    pub(super) ended: bool,
    /// The kernel said that the thread is gone.
    pub(super) gone: Cell<bool>,
    /// Runs a task on its waiter's thread.
    pub(super) nested: bool,
    pub(super) entry: Option<Entry>,
    /// The group that it is a member of.
    pub(super) group: Option<NonNull<GroupRecord>>,
    pub(super) mark: Mark,
    last_id: Option<ContextId>,
    previous: Option<&'static Context>,
    next: Option<&'static Context>,
    next_free: Option<&'static Context>,
    /// The members of the same group before and after it.
    pub(super) previous_member: Option<&'static Context>,
    pub(super) next_member: Option<&'static Context>,
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

impl Record {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            os_id: 0,
            ended: false,
            gone: Cell::new(false),
            nested: false,
            entry: None,
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

/// Everything under the graph's mutex.
pub(crate) struct Graph {
    /// All contexts ever made, by index.
    contexts: Vec<&'static Context>,
    free: Option<&'static Context>,
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

    pub(super) fn entry(&self, context: &'static Context) -> Option<&Entry> {
        self.record(context).entry.as_ref()
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
        self.group_mut(group).rechecked_at = self.stamp;
        if is_removed(Ingredient::GroupEvents) {
            return;
        }
        self.recheck(|graph, _, entry| {
            entry.any_provider(graph, |provider| matches!(provider, Provider::AnyOf(other) if other.address() == group))
        });
    }

    /// Has the waits judged again that a context could end, by itself or as a member of its group.
    pub(super) fn recheck_waits_for(&mut self, context: &'static Context) {
        let group = self.record(context).group;
        self.recheck(|graph, _, entry| {
            entry.any_provider(graph, |provider| match provider {
                Provider::Context(id) => graph.context(id) == Some(context),
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

/// A context for the calling thread, which holds its lifeline from now on.
pub(super) fn take_context(name: Option<Arc<str>>, os_id: u32) -> &'static Context {
    let context = hold_context();
    with(|graph| {
        let record = graph.record_mut(context);
        record.name = name;
        record.os_id = os_id;
        record.nested = false;
        graph.name_context(context);
    });
    context
}

/// A context that runs inside of `outer`, the calling thread's, which holds its lifeline, too.
pub(super) fn take_inner_context(outer: &'static Context) -> &'static Context {
    let context = hold_context();
    with(|graph| {
        let (name, os_id) = (graph.record(outer).name.clone(), graph.record(outer).os_id);
        let record = graph.record_mut(context);
        record.name = name;
        record.os_id = os_id;
        record.nested = true;
        graph.name_context(context);
    });
    context
}

fn hold_context() -> &'static Context {
    let context = reuse_context().unwrap_or_else(add_context);
    // SAFETY:
    // - contexts are never freed or moved.
    // - this one is on no list, so that nobody holds its lifeline.
    unsafe { context.lifeline.hold() };
    context
}

impl Graph {
    /// Gives a context its number.
    fn name_context(&mut self, context: &'static Context) {
        // Taken by a destructor after all of ours: nothing will tell of this context's end.
        self.record_mut(context).ended = thread_is_ending();
        let id = self.record(context).last_id;
        context.set_id(self, id);
    }

    /// A context of no thread, which waits for what a test says.
    #[cfg(all(test, not(loom)))]
    pub(super) fn add_for_test(&mut self) -> &'static Context {
        let context: &'static Context = Box::leak(Box::new(Context::new()));
        let id = ContextId::first(self.contexts.len());
        self.record_mut(context).last_id = id;
        context.set_id(self, id);
        self.contexts.push(context);
        context
    }
}

/// A context whose thread has ended, under a new number.
fn reuse_context() -> Option<&'static Context> {
    with(|graph| {
        loop {
            let context = graph.free?;
            let record = graph.record_mut(context);
            let next = record.next_free.take();
            if !is_removed(Ingredient::FreshNumber) {
                record.last_id = record.last_id.and_then(ContextId::next);
            }
            let has_number = record.last_id.is_some();
            graph.free = next;
            if has_number {
                return Some(context);
            }
        }
    })
}

fn add_context() -> &'static Context {
    let context: &'static Context = Box::leak(Box::new(Context::new()));
    let mut room: Vec<&'static Context> = Vec::new();
    loop {
        let needed = with(|graph| {
            if graph.contexts.len() == graph.contexts.capacity() {
                let needed = graph.contexts.len() * 2 + 16;
                if room.capacity() < needed {
                    return Some(needed);
                }
                room.append(&mut graph.contexts);
                std::mem::swap(&mut room, &mut graph.contexts);
            }
            let id = ContextId::first(graph.contexts.len()).expect("more than 2^24 threads own locks at once");
            graph.record_mut(context).last_id = Some(id);
            graph.contexts.push(context);
            None
        });
        match needed {
            None => return context,
            Some(needed) => room.reserve_exact(needed),
        }
    }
}

/// Marks a context that holds something while its thread ends, and has those who wait for it look again.
pub(super) fn end_context(context: &'static Context) {
    with(|graph| {
        graph.record_mut(context).ended = true;
        if !is_removed(Ingredient::SummonsAtEnd) {
            graph.recheck_waits_for(context);
        }
    });
}

/// Gives a context back at the end of its thread: it holds nothing.
pub(super) fn give_context(context: &'static Context) {
    let name = with(|graph| {
        context.set_id(graph, None);
        graph.record_mut(context).name.take()
    });
    drop(name);
    // SAFETY:
    // - the calling thread took this context, and holds its lifeline since.
    if !unsafe { context.lifeline.release() } {
        // Whoever took this context next would wait for the lifeline for ever: nobody does.
        return;
    }
    with(|graph| {
        let free = graph.free.replace(context);
        graph.record_mut(context).next_free = free;
    });
}
