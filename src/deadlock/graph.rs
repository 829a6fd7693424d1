//! The wait-for graph: the registered waits, and the judge.
//!
//! See `README.md` beside this file for the protocol and its proof.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::context::{Context, ContextId};
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
}

impl Entry {
    pub(super) fn waitable(&self) -> &dyn Waitable {
        // SAFETY:
        // - an entry is withdrawn before its waiter's stack frame goes (`Graph::withdraw`), and this is called with
        //   the graph's mutex held, which withdrawing takes.
        unsafe { self.waitable.as_ref() }
    }
}

/// The graph's notes on one context.
pub(super) struct Record {
    pub(super) name: Option<Arc<str>>,
    pub(super) os_id: u32,
    /// The thread runs its last destructors: it may be gone soon, without another word.
    pub(super) ended: bool,
    pub(super) entry: Option<Entry>,
    last_id: Option<ContextId>,
    previous: Option<&'static Context>,
    next: Option<&'static Context>,
    next_free: Option<&'static Context>,
    /// The next member of the same group.
    pub(super) next_member: Option<&'static Context>,
    stamp: u64,
}

impl Record {
    pub(super) const fn new() -> Self {
        Self {
            name: None,
            os_id: 0,
            ended: false,
            entry: None,
            last_id: None,
            previous: None,
            next: None,
            next_free: None,
            next_member: None,
            stamp: 0,
        }
    }
}

/// Everything under the graph's mutex.
pub(crate) struct Graph {
    /// All contexts ever made, by index.
    contexts: Vec<&'static Context>,
    free: Option<&'static Context>,
    /// The registered waits.
    first: Option<&'static Context>,
    stamp: u64,
    reports: u64,
}

// SAFETY:
// - the contexts' records, which are not `Sync`, are only reached through this value and with its mutex held.
unsafe impl Send for Graph {}

/// Each execution of a model has contexts of its own.
#[cfg(all(test, loom))]
impl Drop for Graph {
    fn drop(&mut self) {
        for &context in &self.contexts {
            // SAFETY:
            // - the context came from `Box::leak` in `add_context`, and the execution that used it is over.
            drop(unsafe { Box::from_raw(std::ptr::from_ref(context).cast_mut()) });
        }
    }
}

global! {
    static GRAPH: Mutex<Graph> = Mutex::new(Graph {
        contexts: Vec::new(),
        free: None,
        first: None,
        stamp: 0,
        reports: 0,
    });
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

/// What a walk from one waiter found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Somebody on the way may still run, or the way leads into a deadlock that this waiter is no part of.
    NotDeadlocked,
    /// The owner's thread runs its last destructors but is not quite gone: ask again soon.
    OwnerEnding,
    /// The waiter waits for itself.
    Relock,
    /// The waiter is on a cycle.
    Cycle,
    /// What the waiter waits for belongs to a context that is gone.
    Abandoned(&'static Context),
}

impl Graph {
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

    /// Adds a wait.
    pub(super) fn register(&mut self, me: &'static Context, entry: Entry) {
        let first = self.first.replace(me);
        if let Some(first) = first {
            self.record_mut(first).previous = Some(me);
        }
        let record = self.record_mut(me);
        debug_assert!(record.entry.is_none(), "one context waits for one thing");
        record.entry = Some(entry);
        record.previous = None;
        record.next = first;
        me.set_summoned(self, false);
    }

    /// Takes a wait out.
    pub(super) fn withdraw(&mut self, me: &'static Context) -> Option<Entry> {
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
        me.set_summoned(self, false);
        Some(entry)
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

    /// Has the waits that count on a group judged again.
    pub(super) fn recheck_group(&mut self) {
        self.summon_all(Summons::Recheck);
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

    fn new_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// The one context that can end this registered wait, `None` when the wait is live: it may end without anybody
    /// who is registered doing anything.
    fn blocker(&self, context: &'static Context) -> Option<&'static Context> {
        let entry = self.entry(context)?;
        if entry.timed && !is_removed(Ingredient::TimedIsLive) || entry.summons == Summons::Victim {
            return None;
        }
        let waitable = entry.waitable();
        // Waits with several providers are not judged yet: whatever cannot be proved is silent.
        if waitable.need() != Need::One {
            return None;
        }
        let mut provider = None;
        waitable.providers(self, &mut |found| {
            provider = if let Provider::Context(id) = found { self.context(id) } else { None };
        });
        provider
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
            self.record_mut(at).stamp = stamp;
            let Some(blocker) = self.blocker(at) else {
                return Judgement::NotDeadlocked;
            };
            if blocker == me {
                return if at == me { Judgement::Relock } else { Judgement::Cycle };
            }
            if self.entry(blocker).is_none() {
                return if at == me { self.judge_owner(me, blocker) } else { Judgement::NotDeadlocked };
            }
            if self.record(blocker).stamp == stamp {
                return Judgement::NotDeadlocked;
            }
            at = blocker;
        }
    }

    /// Whether the unregistered owner of what `me` waits for is gone.
    fn judge_owner(&self, me: &'static Context, owner: &'static Context) -> Judgement {
        let ended = self.record(owner).ended;
        let is_gone = owner.lifeline.is_cut() || is_removed(Ingredient::KernelsWord) && ended;
        if !is_gone {
            return if ended { Judgement::OwnerEnding } else { Judgement::NotDeadlocked };
        }
        // The owner may have released between the look at the resource and its end: now that it can do nothing more,
        // look again.
        if self.blocker(me) == Some(owner) || is_removed(Ingredient::SecondLook) {
            Judgement::Abandoned(owner)
        } else {
            Judgement::NotDeadlocked
        }
    }

    /// The members of the cycle that `me` is on, `me` first, each waiting for the next.
    pub(super) fn cycle(&self, me: &'static Context) -> impl Iterator<Item = &'static Context> + '_ {
        std::iter::successors(Some(me), move |&at| self.registered_blocker(at).filter(|&next| next != me))
    }

    /// Calls `visit` with everybody who is stuck behind the deadlock that `me` is part of, and is not part of it.
    ///
    /// Each chain of waits is followed once: linear in the number of registered waits.
    pub(super) fn for_each_bystander(&mut self, me: &'static Context, mut visit: impl FnMut(&Self, &'static Context)) {
        let core = self.new_stamp();
        let stuck = self.new_stamp();
        let free = self.new_stamp();
        let mut next = Some(me);
        while let Some(member) = next.filter(|&member| self.record(member).stamp != core) {
            self.record_mut(member).stamp = core;
            next = self.registered_blocker(member);
        }
        let mut start = self.first;
        while let Some(waiter) = start {
            start = self.record(waiter).next;
            // Walk until the answer is known …
            let walked = self.new_stamp();
            let mut at = waiter;
            let answer = loop {
                match self.record(at).stamp {
                    stamp if stamp == core || stamp == stuck => break stuck,
                    stamp if stamp == free => break free,
                    stamp if stamp == walked => break free, // a deadlock, but another one
                    _ => self.record_mut(at).stamp = walked,
                }
                match self.registered_blocker(at) {
                    Some(blocker) => at = blocker,
                    None => break free,
                }
            };
            // … and write it along the way.
            let mut back = Some(waiter);
            while let Some(at) = back.filter(|&at| self.record(at).stamp == walked) {
                self.record_mut(at).stamp = answer;
                if answer == stuck {
                    visit(self, at);
                }
                back = self.registered_blocker(at);
            }
        }
    }

    fn registered_blocker(&self, context: &'static Context) -> Option<&'static Context> {
        self.blocker(context).filter(|&blocker| self.entry(blocker).is_some())
    }

    /// Takes what a registered wait was asked to do.
    pub(super) fn answer_summons(&mut self, me: &'static Context) -> Summons {
        me.set_summoned(self, false);
        match self.record_mut(me).entry.as_mut() {
            Some(entry) => std::mem::replace(&mut entry.summons, Summons::None),
            None => Summons::None,
        }
    }

    /// Asks again what could not be answered yet.
    pub(super) fn put_back(&mut self, me: &'static Context, summons: Summons) {
        if let Some(entry) = self.record_mut(me).entry.as_mut() {
            entry.summons = summons;
        }
    }

    /// Marks the deadlock that `me` is part of as reported.
    pub(super) fn mark_reported(&mut self, me: &'static Context) -> u64 {
        self.reports += 1;
        let number = self.reports;
        let mut member = me;
        loop {
            if let Some(entry) = self.record_mut(member).entry.as_mut() {
                entry.reported = number;
            }
            match self.registered_blocker(member) {
                Some(next) if next != me => member = next,
                _ => return number,
            }
        }
    }

    /// Whether the deadlock that `me` is part of was reported, all of it at once, and left standing.
    pub(super) fn is_reported(&self, me: &'static Context) -> bool {
        let mark = |member| self.entry(member).map_or(0, |entry| entry.reported);
        let number = mark(me);
        number != 0 && self.cycle(me).all(|member| mark(member) == number)
    }
}

/// Has a wait judged again, if it is registered: it has one alternative fewer, and no wait of its own says so.
pub(crate) fn recheck(context: &'static Context) {
    with(|graph| graph.summon(context, Summons::Recheck));
}

/// A context for the calling thread, which holds its lifeline from now on.
pub(super) fn take_context(name: Option<Arc<str>>, os_id: u32) -> &'static Context {
    let context = reuse_context().unwrap_or_else(add_context);
    // SAFETY:
    // - contexts are never freed or moved.
    // - this one is on no list, so that nobody holds its lifeline.
    unsafe { context.lifeline.hold() };
    with(|graph| {
        let record = graph.record_mut(context);
        record.name = name;
        record.os_id = os_id;
        // Taken by a destructor after one of ours, which may have been the last: nothing may tell of this one's end.
        record.ended = thread_is_ending();
        let id = record.last_id;
        context.set_id(graph, id);
    });
    context
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
        let mut next = graph.first;
        while let Some(waiter) = next {
            next = graph.record(waiter).next;
            if graph.blocker(waiter) == Some(context) && !is_removed(Ingredient::SummonsAtEnd) {
                graph.summon(waiter, Summons::Recheck);
            }
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
