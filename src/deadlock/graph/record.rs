//! The graph's notes: on a context, on a thread, on a registered wait. Reached with the graph's mutex held.
//!
//! What a judge finds out for good is in cells: it has the graph by a shared reference.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::thread::ThreadId;
use std::time::Instant;

use super::Graph;
use super::blocker::{Blocker, Provider, Visit};
use super::context::Context;
use super::id::{ContextId, GroupId};
use super::reported::Reported;
use super::resource::Site;
use super::shared_holds::SharedHolds;
use super::span_name::SpanName;
use super::thread_name::ThreadName;
use crate::primitive::{Ingredient, is_removed};

/// The graph's notes on one context.
pub(in crate::deadlock) struct Record {
    pub(in crate::deadlock) name: ThreadName,
    pub(in crate::deadlock) os_id: u32,
    /// Of a thread's first context: what the graph knows of the thread.
    pub(in crate::deadlock) thread: ThreadRecord,
    /// The first context of its thread; `None`: this one is the first.
    pub(in crate::deadlock) first: Option<&'static Context>,
    /// Whether its body has ended and left something locked: it is one of the [retired](ThreadRecord::retired).
    pub(in crate::deadlock) is_retired: bool,
    /// The next of them.
    pub(in crate::deadlock) next_retired: Option<&'static Context>,
    /// Whether it runs a task on its waiter's thread.
    pub(in crate::deadlock) nested: bool,
    pub(in crate::deadlock) entry: Option<Entry>,
    /// While it is registered: the places of its shared holds in the index.
    pub(in crate::deadlock) shared: SharedHolds,
    /// Of a thread's first context: its place in the list of the threads that have ended.
    pub(in crate::deadlock) ended: EndedLink,
    /// What reports have said of its last wait that was part of one.
    pub(in crate::deadlock) reported: Reported,
    /// The group that it is a member of.
    pub(in crate::deadlock) group: Option<GroupId>,
    /// Whether it is a member whose waits are part of what was asked of the group.
    pub(in crate::deadlock) serves: bool,
    /// The last pass through the queues that woke it.
    pub(in crate::deadlock) kicked: Cell<u64>,
    pub(in crate::deadlock) last_id: Option<ContextId>,
    pub(in crate::deadlock) previous: Option<&'static Context>,
    pub(in crate::deadlock) next: Option<&'static Context>,
    pub(in crate::deadlock) next_free: Option<&'static Context>,
    /// The members of the same group before and after it.
    pub(in crate::deadlock) previous_member: Option<&'static Context>,
    pub(in crate::deadlock) next_member: Option<&'static Context>,
}

/// The graph's notes on one thread, in the record of its first context.
pub(in crate::deadlock) struct ThreadRecord {
    /// Whether the thread may be gone without further notice: it runs its last destructors, or nothing announces its
    /// end.
    pub(in crate::deadlock) ended: bool,
    /// Whether the kernel has said that the thread is gone.
    pub(in crate::deadlock) gone: Cell<bool>,
    /// The innermost context of the thread, while that is registered: until then no context of the thread does anything.
    pub(in crate::deadlock) waiting: Option<&'static Context>,
    /// The first and, if there is one, the last of the contexts that still held something when their bodies ended.
    pub(in crate::deadlock) retired: Option<&'static Context>,
    pub(in crate::deadlock) last_retired: Option<&'static Context>,
}

impl ThreadRecord {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { ended: false, gone: Cell::new(false), waiting: None, retired: None, last_retired: None }
    }
}

impl Record {
    pub(in crate::deadlock) const fn new() -> Self {
        Self {
            name: ThreadName::None,
            os_id: 0,
            thread: ThreadRecord::new(),
            first: None,
            is_retired: false,
            next_retired: None,
            nested: false,
            entry: None,
            shared: SharedHolds::new(),
            ended: EndedLink::new(),
            reported: Reported::NEVER,
            group: None,
            serves: false,
            kicked: Cell::new(0),
            last_id: None,
            previous: None,
            next: None,
            next_free: None,
            previous_member: None,
            next_member: None,
        }
    }
}

/// A context's place in the list of the threads that have ended.
pub(in crate::deadlock) struct EndedLink {
    pub(super) is_linked: bool,
    pub(super) previous: Option<&'static Context>,
    pub(super) next: Option<&'static Context>,
}

impl EndedLink {
    pub(in crate::deadlock) const fn new() -> Self {
        Self { is_linked: false, previous: None, next: None }
    }
}

/// One registered wait.
pub(in crate::deadlock) struct Entry {
    /// Lives on the waiter's stack until it withdraws.
    pub(in crate::deadlock) blocker: NonNull<dyn Blocker>,
    /// What its waiter parks on.
    pub(in crate::deadlock) key: usize,
    /// The key of the holds of what is waited for, where one context alone can end the wait.
    pub(in crate::deadlock) held_key: usize,
    /// [`Blocker::is_chained`].
    pub(in crate::deadlock) is_chained: bool,
    pub(in crate::deadlock) site: Site,
    pub(in crate::deadlock) since: Instant,
    /// Whether it has a limit: it ends by itself, and is never part of a verdict.
    pub(in crate::deadlock) timed: bool,
    /// How it can end when it is part of a deadlock.
    pub(in crate::deadlock) failure: Failure,
    pub(in crate::deadlock) summons: Summons,
    pub(in crate::deadlock) reported: Reported,
    /// Whether it cannot have been handed its resource: its own judge saw that, or the resource is never handed over.
    /// If such a wait names itself as its provider, it waits for itself.
    pub(in crate::deadlock) not_handed_over: Cell<bool>,
    /// Whether its own judge found it stuck, and it stayed.
    pub(in crate::deadlock) is_stuck: bool,
    /// The context that found the deadlock that this wait is to be the victim of.
    pub(in crate::deadlock) finder: Option<&'static Context>,
    /// Std's id of its thread, if it is known.
    pub(in crate::deadlock) thread_id: Option<ThreadId>,
    /// The span that its thread is in; `None` without the feature `tracing`.
    pub(in crate::deadlock) span: Option<SpanName>,
}

impl Entry {
    pub(in crate::deadlock) fn blocker(&self) -> &dyn Blocker {
        // SAFETY:
        // - an entry is withdrawn before its waiter's stack frame goes (`Graph::withdraw`), and this is called with
        //   the graph's mutex held, which withdrawing takes.
        unsafe { self.blocker.as_ref() }
    }

    /// Returns whether the wait ends by itself, or with a verdict that is on its way.
    pub(in crate::deadlock) fn is_live(&self) -> bool {
        self.timed && !is_removed(Ingredient::TimedIsLive) || self.summons == Summons::Victim
    }

    /// Calls `visit` with each provider on behalf of a judge, after the wait has [subscribed](Blocker::subscribe) to
    /// alternatives that may go later.
    pub(in crate::deadlock) fn look(&self, graph: &Graph, visit: &mut Visit<'_>) {
        self.subscribe();
        self.blocker().providers(graph, visit);
    }

    /// [Subscribes](super::blocker::Blocker::subscribe) the wait to what its providers do without a wait.
    pub(in crate::deadlock) fn subscribe(&self) {
        if !is_removed(Ingredient::SubscribedFirst) {
            self.blocker().subscribe();
        }
    }

    /// Returns whether `matches` holds for any of the wait's providers.
    pub(in crate::deadlock) fn any_provider(&self, graph: &Graph, mut matches: impl FnMut(Provider) -> bool) -> bool {
        let mut found = false;
        self.blocker().providers(graph, &mut |provider| {
            found = matches(provider);
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }
}

/// Erases the lifetime of a borrowed resource: its waiter withdraws the entry before the borrow ends.
pub(in crate::deadlock) fn erase(resource: &dyn Blocker) -> NonNull<dyn Blocker> {
    let pointer: *const (dyn Blocker + '_) = resource;
    // SAFETY:
    // - only the lifetime bound of the trait object changes; the graph uses the pointer no longer than the entry is
    //   registered, and `wait_registered` returns, by every way, only after it was withdrawn.
    let pointer = unsafe { std::mem::transmute::<*const (dyn Blocker + '_), *const (dyn Blocker + 'static)>(pointer) };
    // SAFETY:
    // - made from a reference.
    unsafe { NonNull::new_unchecked(pointer.cast_mut()) }
}

/// How a wait can end that is part of a deadlock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The deadlock is returned.
    Value,
    /// The thread unwinds, if the policy is to panic and it is not unwinding already.
    Unwind,
    /// The thread unwinds out of a destructor that the panic must not leave: chosen only if no other member can fail.
    UnwindLast,
    /// It cannot: another member has to be the victim.
    Never,
    /// The code that waits knows nothing of deadlocks that are found. If somebody chose a policy and a wait of this line `may_unwind`,
    /// this is [`Unwind`](Self::Unwind). Otherwise it cannot fail, and a deadlock whose members all cannot is left standing, unless
    /// somebody chose to abort. (Asked only of long waits: it may take as long as a short one.)
    Foreign { may_unwind: fn(Site) -> bool },
}

impl Failure {
    /// Returns whether something that this line asks for may unwind for a reason of its own.
    pub(crate) fn may_unwind(self, site: Site) -> bool {
        match self {
            Self::Foreign { may_unwind } => may_unwind(site),
            _ => true,
        }
    }
}

/// What the graph asks of a registered wait. Kept in its entry; the unpark token is only a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deadlock) enum Summons {
    None,
    /// Something changed that no wait of its own announces: judge again.
    Recheck,
    /// A deadlock was found whose finder can neither return nor unwind: be its victim.
    Victim,
}
