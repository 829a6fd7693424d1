//! The copy that a report or snapshot is made of: taken under the graph's mutex without allocating, and turned into a
//! value once that is unlocked.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::awaited::{Awaited, keep_the_last_of_each};
use super::names_now::NamesNow;
use super::stack::{self, Stack};
use super::suspicion::suspect;
use super::{
    Access, Activity, Deadlock, Held, JoinedThread, Kind, LongWait, Purpose, Report, Resource, StuckThread, Task, Wait,
};
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::blocker::{Need, Provider};
use crate::deadlock::graph::context::Context;
use crate::deadlock::graph::holds::Hold;
use crate::deadlock::graph::id::GroupId;
use crate::deadlock::graph::record::Entry;
use crate::deadlock::graph::resource::{HoldMode, ResourceFacts, SharedId, Site};
use crate::deadlock::graph::span_name::SpanName;
use crate::deadlock::graph::task_id::ReportedId;
use crate::deadlock::graph::thread_name::ThreadName;
use crate::deadlock::judge::{Core, Judge, Judgement};
use crate::deadlock::{detector, policy};
use crate::primitive::now;

/// Of a thread that holds more, only this many holds are copied, or all that are waited for, if these are more.
pub(in crate::deadlock) const MAX_HOLDS: usize = 64;

/// The longest pause before those that are blocked are looked at again. Waits that have a longer grace are not told from
/// others.
const MAX_SECOND_LOOK: Duration = Duration::from_millis(20);

/// The time that all threads of one picture have to tell their stacks.
const STACKS_LIMIT: Duration = Duration::from_secs(5);

/// The system is asked what they do of this many threads at most.
const MAX_ACTIVITIES: usize = 100;

/// So many threads that wait for what a waiter holds are looked at for a long wait.
const MAX_SUSPECTS: usize = 64;

/// A deadlock that looks different at each of this many tries is reported as it looks at the last.
const MAX_TRIES: u32 = 32;

/// One context, as it was.
struct Participant {
    context: &'static Context,
    name: ThreadName,
    os_id: u32,
    is_gone: bool,
    is_in_place: bool,
    /// Whether it is a task that has ended, and has left behind what it holds.
    is_retired: bool,
    pool: Option<Arc<str>>,
    wait: Option<ParticipantWait>,
    /// How many of the scene's holds are this participant's: they lie in the order of the participants.
    holds: usize,
    /// Whether only a part of them is copied.
    holds_much: bool,
    /// How many more there are.
    omitted: usize,
}

struct ParticipantWait {
    resource: ResourceFacts,
    id: Option<ReportedId>,
    /// The address of the context that owns the resource, 0 if unknown, or if several can hold it.
    owner: usize,
    /// Whether it has its turn, and waits for those who hold the resource to leave.
    is_next: bool,
    site: Site,
    waited: Duration,
    timed: bool,
    queued_in: Option<Arc<str>>,
    process: Option<u32>,
    signal: Option<&'static str>,
    others: usize,
    /// The thread that is joined, once it has begun.
    joined: Option<Joined>,
    thread_id: Option<ThreadId>,
    span: Option<SpanName>,
}

/// A thread whose end is waited for, as it was.
struct Joined {
    context: &'static Context,
    name: ThreadName,
    os_id: u32,
    is_gone: bool,
}

impl ParticipantWait {
    fn shown(self, names: &mut NamesNow) -> Wait {
        let resource = Resource::of(self.resource, self.id);
        let (site, purpose) = Purpose::of(self.site, resource.made_at);
        Wait {
            resource,
            site,
            purpose,
            access: Access::of((self.resource.type_of)().mode),
            is_next: self.is_next,
            waited: self.waited,
            timed: self.timed,
            queued_in: self.queued_in,
            process: self.process,
            signal: self.signal,
            others: self.others,
            joined: self.joined.map(|joined| JoinedThread {
                name: names.shown(joined.name, joined.os_id, joined.is_gone),
                os_id: joined.os_id,
                context: joined.context.address(),
            }),
            thread_id: self.thread_id,
            span: self.span,
        }
    }
}

/// Buffers for the copy. They grow outside the mutex only.
pub(in crate::deadlock) struct Scene {
    participants: Vec<Participant>,
    /// Each with the address of the context that lists it, and the id of a task that is known to be there.
    holds: Vec<(usize, Hold, Option<ReportedId>)>,
    /// The keys of what the participants wait for, sorted; only where one of them holds very much, and reserved then.
    wanted: Vec<usize>,
    needed_wanted: usize,
    needed_participants: usize,
    needed_holds: usize,
    /// How often a deadlock was copied, with room and without.
    tries: u32,
    /// How many participants, from the first on, are the core; the rest are bystanders, or suspects.
    core_size: usize,
    now: Instant,
}

impl Scene {
    /// Returns an empty scene with capacity for a small deadlock, so that most are copied at the first try.
    pub(in crate::deadlock) fn new() -> Self {
        Self {
            participants: Vec::with_capacity(8),
            holds: Vec::with_capacity(24),
            wanted: Vec::new(),
            needed_wanted: 0,
            needed_participants: 0,
            needed_holds: 0,
            tries: 0,
            core_size: 0,
            now: now(),
        }
    }

    /// Grows the buffers to what the last copy lacked, and some to spare. Called without the mutex.
    pub(in crate::deadlock) fn grow(&mut self) {
        self.participants.clear();
        self.holds.clear();
        self.participants.reserve(self.needed_participants + 4);
        self.holds.reserve(self.needed_holds + 16);
        self.wanted.clear();
        self.wanted.reserve(self.needed_wanted);
    }

    /// Copies a deadlock. Returns `false` if the buffers were too small: nothing is lost, grow them and judge again.
    pub(in crate::deadlock) fn copy(
        &mut self,
        graph: &Graph,
        judge: &mut Judge,
        me: &'static Context,
        found: Judgement,
    ) -> bool {
        self.begin();
        let core = judge.core();
        for &member in core.members() {
            self.copy_context(graph, Some(core), member);
        }
        self.tries += 1;
        let is_whole = !matches!(found, Judgement::Abandoned(_)) && self.tries < MAX_TRIES;
        if let Judgement::Abandoned(gone) = found {
            self.copy_context(graph, Some(core), gone);
        }
        self.core_size = self.needed_participants;
        judge.for_each_bystander(graph, me, is_whole, |core, bystander| self.copy_context(graph, Some(core), bystander))
            && self.copy_holds(graph)
    }

    /// Copies one wait and the context that holds what it waits for; of a wait for a signal, the contexts that wait for
    /// what the thread of `me`, which calls this, holds.
    pub(in crate::deadlock) fn copy_wait(&mut self, graph: &Graph, me: &'static Context) -> bool {
        self.begin();
        self.copy_context(graph, None, me);
        let entry = graph.entry(me);
        if let Some(owner) = entry.and_then(|entry| entry.shown_provider(graph, None).context) {
            self.copy_context(graph, None, graph.actor(owner));
        } else if let Some(id) = graph.entry(me).and_then(|entry| SharedId::of_key(entry.blocker().facts(0).key)) {
            // One that runs, and that no judge has to know.
            if let Some(holder) = graph.contexts().find(|&context| context != me && context.holds.has_share(id)) {
                self.copy_context(graph, None, holder);
            }
        }
        self.core_size = self.needed_participants;
        if entry.is_some_and(|entry| entry.blocker().signal().is_some()) {
            self.copy_suspects(graph, me);
        }
        self.copy_holds(graph)
    }

    /// Copies the contexts that the thread of `me` could let go on, and those that `me` runs inside of, with what they
    /// hold. Looks at all registered waits.
    fn copy_suspects(&mut self, graph: &Graph, me: &'static Context) {
        let mut inner = me;
        while let Some(wait) = inner.outer_wait() {
            self.copy_context(graph, None, wait.outer);
            inner = wait.outer;
        }
        let first = graph.first_of(me);
        let is_here = |context| graph.first_of(context) == first;
        let waits_for_it = |waiter: &&'static Context| {
            let is_it = |provider| match provider {
                Provider::Context(id) => graph.context(id).is_some_and(is_here),
                _ => false,
            };
            !is_here(waiter) && graph.entry(waiter).is_some_and(|entry| entry.any_provider(graph, is_it))
        };
        for waiter in graph.registered().filter(waits_for_it).take(MAX_SUSPECTS) {
            self.copy_context(graph, None, waiter);
        }
    }

    /// Copies each context that waits or holds something, or is joined.
    pub(in crate::deadlock) fn copy_everything(&mut self, graph: &Graph) -> bool {
        self.begin();
        // What a retired context holds is shown with the context that its thread waits in.
        let is_told = |context: &'static Context| {
            graph.actor(context) == context && (graph.entry(context).is_some() || !context.holds.is_empty())
        };
        for context in graph.contexts().filter(|&context| is_told(context)) {
            self.copy_context(graph, None, context);
            // A thread that is waited for twice is copied twice.
            if let Some(joined) = graph.joined(context).filter(|&joined| !is_told(joined)) {
                self.copy_context(graph, None, joined);
            }
        }
        self.core_size = self.needed_participants;
        self.copy_holds(graph)
    }

    fn begin(&mut self) {
        debug_assert!(self.participants.is_empty(), "names are dropped outside the mutex");
        self.holds.clear();
        self.needed_participants = 0;
        self.needed_holds = 0;
        self.now = now();
    }

    /// Copies what the participants hold, once all of them are there. Returns `false` if the buffers were too small.
    ///
    /// Of a participant that holds very much it copies what is waited for, the task that it runs, and others to make up
    /// [`MAX_HOLDS`].
    fn copy_holds(&mut self, graph: &Graph) -> bool {
        if self.participants.len() < self.needed_participants {
            return false;
        }
        let Self { participants, holds: copies, wanted, .. } = self;
        // Counted once: a thread that runs goes on taking and releasing.
        participants
            .iter_mut()
            .for_each(|participant| participant.holds_much = count_holds(graph, participant.context) > MAX_HOLDS);
        wanted.clear();
        if participants.iter().any(|participant| participant.holds_much) {
            self.needed_wanted = participants.len();
            if wanted.capacity() < participants.len() {
                return false;
            }
            wanted.extend(participants.iter().filter_map(|participant| Some(participant.wait.as_ref()?.resource.key)));
            wanted.sort_unstable();
        }
        let mut needed = 0;
        let mut copy = |holder: &'static Context, hold: Hold| {
            needed += 1;
            if copies.len() < copies.capacity() {
                copies.push((holder.address(), hold, run_id(graph, holder, &hold)));
            }
        };
        for participant in participants {
            if !participant.holds_much {
                for_each_hold(graph, participant.context, |holder, hold| {
                    participant.holds += 1;
                    copy(holder, hold);
                });
                continue;
            }
            let matters = |hold: &Hold| {
                wanted.binary_search(&hold.resource.key).is_ok() || (hold.resource.type_of)().mode == HoldMode::Running
            };
            for_each_hold(graph, participant.context, |holder, hold| {
                if matters(&hold) {
                    participant.holds += 1;
                    copy(holder, hold);
                }
            });
            for_each_hold(graph, participant.context, |holder, hold| match matters(&hold) {
                true => {}
                false if participant.holds < MAX_HOLDS => {
                    participant.holds += 1;
                    copy(holder, hold);
                }
                false => participant.omitted += 1,
            });
        }
        self.needed_holds = needed;
        self.holds.len() == needed
    }

    fn copy_context(&mut self, graph: &Graph, core: Option<&Core>, context: &'static Context) {
        let record = graph.record(context);
        // A guess, until all the participants are there.
        self.needed_holds += count_holds(graph, context).min(MAX_HOLDS);
        self.needed_participants += 1;
        if self.participants.len() == self.participants.capacity() {
            return;
        }
        let wait = graph.entry(context).map(|entry| {
            let shown = entry.shown_provider(graph, core);
            let resource = entry.blocker().facts(shown.nth);
            let joined = shown.context.filter(|_| (resource.type_of)().is_thread());
            ParticipantWait {
                owner: shown.context.filter(|_| SharedId::of_key(resource.key).is_none()).map_or(0, Context::address),
                is_next: entry.blocker().need() == Need::All && (resource.type_of)().mode == HoldMode::Write,
                resource,
                // SAFETY:
                // - what is waited for is there while the wait is registered.
                id: unsafe { resource.task_id() },
                site: entry.site,
                waited: self.now.saturating_duration_since(entry.since),
                timed: entry.timed,
                queued_in: shown.group.map(|group| Arc::clone(&graph.group(group).name)),
                process: shown.process,
                signal: entry.blocker().signal(),
                others: shown.others,
                joined: joined.map(|context| Joined {
                    context,
                    name: graph.record(context).name.clone(),
                    os_id: graph.record(context).os_id,
                    is_gone: graph.first_of(context).lifeline.is_cut(),
                }),
                thread_id: entry.thread_id,
                span: entry.span,
            }
        });
        self.participants.push(Participant {
            context,
            name: record.name.clone(),
            os_id: record.os_id,
            is_gone: graph.first_of(context).lifeline.is_cut(),
            is_in_place: record.nested && !record.is_retired,
            is_retired: record.is_retired,
            pool: record.group.map(|group| Arc::clone(&graph.group(group).name)),
            wait,
            holds: 0,
            holds_much: false,
            omitted: 0,
        });
    }

    /// Returns the long wait that was copied.
    pub(in crate::deadlock) fn long_wait(&mut self) -> Option<LongWait> {
        let has_owner = self.core_size > 1;
        let mut threads = self.threads_and_activities(false).into_iter();
        Some(LongWait { waiter: threads.next()?, owner: threads.next().filter(|_| has_owner) })
    }

    /// Returns the deadlock that was copied.
    pub(in crate::deadlock) fn report(&mut self, found: Judgement) -> Deadlock {
        let core_size = self.core_size;
        let mut threads = self.threads();
        trace(&mut threads);
        let bystanders = threads.split_off(core_size);
        Deadlock::new(Report { kind: found.kind(), threads, bystanders })
    }

    /// Returns the participants that were copied, in order.
    pub(in crate::deadlock) fn threads(&mut self) -> Vec<StuckThread> {
        let waits = self.participants.iter().filter_map(|participant| participant.wait.as_ref());
        let awaited = Awaited::new(waits.map(|wait| (wait.owner, wait.resource)));
        let mut names = NamesNow::default();
        // A task that runs is there while it is waited for.
        let waits = self.participants.iter().filter_map(|participant| participant.wait.as_ref());
        let ids: HashMap<_, _> = waits.filter_map(|wait| Some((wait.resource.key, wait.id?))).collect();
        let mut holds = self.holds.drain(..);
        let threads = self.participants.drain(..).map(|participant| {
            let (mut task, mut held) = (None, Vec::new());
            for (holder, hold, id) in holds.by_ref().take(participant.holds) {
                let is_run = (hold.resource.type_of)().mode == HoldMode::Running;
                let id = id.or_else(|| ids.get(&hold.resource.key).copied().filter(|_| is_run));
                let resource = Resource::of(hold.resource, id);
                // A task that it is cancelling meanwhile is among what it holds.
                let left_behind = participant.is_retired || holder != participant.context.address();
                if is_run && task.is_none() && !left_behind {
                    task = Some(Box::new(Task::of(hold, id)));
                } else if !awaited.is_another(holder, &resource) {
                    held.push(Held { resource, ..Held::of(hold, left_behind) });
                }
            }
            keep_the_last_of_each(&mut held);
            StuckThread {
                name: names.shown(participant.name, participant.os_id, participant.is_gone),
                os_id: participant.os_id,
                is_gone: participant.is_gone,
                is_in_place: participant.is_in_place,
                task,
                pool: participant.pool,
                waits_for: participant.wait.map(|wait| wait.shown(&mut names)),
                holds: held,
                omitted_holds: participant.omitted,
                activity: None,
                suspicions: Vec::new(),
                stack: Stack::default(),
                context: participant.context.address(),
            }
        });
        threads.collect()
    }

    /// Returns the participants that were copied, in order, with suspicions, and asks what those do that do not wait.
    ///
    /// A thread that is blocked may be in a wait that is not in the graph yet. If there is time for a second look, it is looked
    /// at again when that would be.
    pub(in crate::deadlock) fn threads_and_activities(&mut self, second_look: bool) -> Vec<StuckThread> {
        let mut threads = self.threads();
        suspect(&mut threads);
        let others = threads.iter_mut().filter(|thread| thread.waits_for.is_none() && !thread.is_gone);
        let mut others: Vec<_> = others.take(MAX_ACTIVITIES).collect();
        for thread in &mut others {
            thread.activity = Activity::of(thread.os_id);
        }
        others.retain(|thread| thread.activity == Some(Activity::Futex));
        if !others.is_empty() {
            if second_look {
                std::thread::sleep((policy::grace() * 2).min(MAX_SECOND_LOOK));
            }
            for thread in others {
                let is_waiting = detector::with(|graph| {
                    let is_it = |context: &&'static Context| graph.record(context).os_id == thread.os_id;
                    graph.contexts().filter(is_it).any(|context| graph.entry(context).is_some())
                });
                thread.activity = Activity::of(thread.os_id).filter(|_| !is_waiting);
            }
        }
        trace(&mut threads);
        threads
    }
}

/// Traces the stacks of the threads, if that is asked for.
fn trace(threads: &mut [StuckThread]) {
    if !stack::is_asked_for() {
        return;
    }
    // A task that runs in place is on its waiter's stack.
    let there = threads.iter_mut().filter(|thread| !thread.is_gone && !thread.is_in_place);
    let begin = Instant::now();
    for thread in there.take(MAX_ACTIVITIES).take_while(|_| begin.elapsed() < STACKS_LIMIT) {
        thread.stack = Stack::of(thread.os_id);
    }
}

/// Returns the contexts whose holds are shown as those of this one: itself, and the retired contexts of its thread that
/// can do nothing before this one goes on.
fn holders(graph: &Graph, context: &'static Context) -> impl Iterator<Item = &'static Context> {
    let waits = graph.thread(context).waiting == Some(context);
    let is_stuck_here = move |retired: &&'static Context| *retired != context && graph.actor(retired) == context;
    std::iter::once(context).chain(waits.then(|| graph.retired(context)).into_iter().flatten().filter(is_stuck_here))
}

fn count_holds(graph: &Graph, context: &'static Context) -> usize {
    holders(graph, context).map(|holder| holder.holds.count()).sum()
}

/// Returns the id of the task that is run, if this is the hold of a run by a context that waits: it does nothing else
/// before it leaves the graph, so that the task is there.
fn run_id(graph: &Graph, holder: &'static Context, hold: &Hold) -> Option<ReportedId> {
    let is_there = (hold.resource.type_of)().mode == HoldMode::Running && graph.entry(holder).is_some();
    // SAFETY:
    // - a run's hold is given back before the reference of its runner is, and this context runs the task still.
    is_there.then(|| unsafe { hold.resource.task_id() })?
}

fn for_each_hold(graph: &Graph, context: &'static Context, mut visit: impl FnMut(&'static Context, Hold)) {
    holders(graph, context).for_each(|holder| holder.holds.for_each(|hold| visit(holder, hold)));
}

/// The one of a wait's providers that is shown.
struct Shown {
    nth: usize,
    context: Option<&'static Context>,
    group: Option<GroupId>,
    process: Option<u32>,
    /// How many other resources are waited for.
    others: usize,
}

impl Graph {
    /// Returns the thread whose end a context waits for, if it does, and that thread has begun.
    fn joined(&self, waiter: &'static Context) -> Option<&'static Context> {
        let entry = self.entry(waiter)?;
        // Of a wait for several threads, all are of one type.
        let is_join = (entry.blocker().facts(0).type_of)().is_thread();
        is_join.then(|| entry.shown_provider(self, None).context)?
    }
}

impl Entry {
    /// Returns the first provider that is part of the deadlock that is reported; if there is none, one that is gone, or
    /// waits.
    fn shown_provider(&self, graph: &Graph, core: Option<&Core>) -> Shown {
        let mut shown = Shown { nth: 0, context: None, group: None, process: None, others: 0 };
        let (mut count, mut best) = (0, 0);
        self.blocker().providers(graph, &mut |provider| {
            let context = provider.context().and_then(|id| graph.context(id));
            let (group, process) = match provider {
                Provider::AnyOf(group) => (Some(group), None),
                Provider::Process(process) => (None, Some(process)),
                Provider::Context(_) | Provider::Permits { .. } | Provider::External => (None, None),
            };
            let rank = match (context, group) {
                (Some(context), _) if core.is_some_and(|core| core.contains(graph.actor(context))) => 4,
                (_, Some(group)) if core.is_some_and(|core| core.contains_group(graph, group)) => 4,
                (Some(context), _) if graph.thread(context).gone.get() => 3,
                (Some(context), _) if graph.entry(graph.actor(context)).is_some() => 2,
                _ => 1,
            };
            if rank > best {
                best = rank;
                shown = Shown { nth: count, context, group, process, others: 0 };
            }
            count += 1;
            ControlFlow::Continue(())
        });
        // Several may provide one thing: the readers of one lock.
        if count > 1 {
            let key = |nth| self.blocker().facts(nth).key;
            let is_one_thing = key(shown.nth) == key(usize::from(shown.nth == 0));
            shown.others = if is_one_thing { 0 } else { count - 1 };
        }
        shown
    }
}

impl Judgement {
    fn kind(self) -> Kind {
        match self {
            Self::Relock => Kind::Relock,
            Self::Abandoned(_) => Kind::Abandoned,
            Self::Starvation => Kind::Starvation,
            Self::Cycle | Self::NotDeadlocked | Self::Bystander | Self::OwnerEnding { .. } | Self::NoCapacity => {
                Kind::Cycle
            }
        }
    }
}

impl Task {
    /// Returns the task that a context runs, by the hold of its run.
    pub(super) fn of(run: Hold, id: Option<ReportedId>) -> Self {
        Self { resource: Resource { made_at: run.site, ..Resource::of(run.resource, id) } }
    }
}

impl Held {
    pub(super) fn of(hold: Hold, left_behind: bool) -> Self {
        let access = Access::of((hold.resource.type_of)().mode);
        let resource = Resource::from(hold.resource);
        let (site, purpose) = Purpose::of(hold.site, resource.made_at);
        Self { resource, site, purpose, access, left_behind, permits: hold.permits }
    }
}
