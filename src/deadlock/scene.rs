//! What is copied out of the graph, under its mutex and without allocating, to be told once it is unlocked.

use std::ops::ControlFlow;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::graph::Graph;
use super::group::GroupRecord;
use super::holds::Hold;
use super::judge::Judgement;
use super::report::{Deadlock, Held, Kind, Report, Resource, StuckThread, Task, Wait};
use super::resource::{HoldMode, ResourceFacts, Site};
use super::waitable::Provider;
use crate::primitive::now;

/// One context, as it was.
struct Person {
    name: Option<Arc<str>>,
    os_id: u32,
    is_gone: bool,
    is_in_place: bool,
    pool: Option<Arc<str>>,
    wait: Option<PersonWait>,
    /// How many of the scene's holds are this person's: they lie in the order of the people.
    holds: usize,
}

struct PersonWait {
    resource: ResourceFacts,
    /// The address of the context that owns the resource, 0 if unknown.
    owner: usize,
    site: Site,
    waited: Duration,
    timed: bool,
    queued_in: Option<Arc<str>>,
    process: Option<u32>,
    others: usize,
}

/// Buffers for the copy. They grow outside the mutex only.
pub(super) struct Scene {
    people: Vec<Person>,
    /// Each with the address of its context.
    holds: Vec<(usize, Hold)>,
    needed_people: usize,
    needed_holds: usize,
    /// The first so many people are the deadlock, the rest are bystanders.
    core: usize,
    now: Instant,
}

impl Scene {
    /// Room for a small deadlock: most are told without a second look.
    pub(super) fn new() -> Self {
        Self {
            people: Vec::with_capacity(8),
            holds: Vec::with_capacity(24),
            needed_people: 0,
            needed_holds: 0,
            core: 0,
            now: now(),
        }
    }

    /// Makes the room that the last copy lacked, and some to spare. Called without the mutex.
    pub(super) fn make_room(&mut self) {
        self.people.clear();
        self.holds.clear();
        self.people.reserve(self.needed_people + 4);
        self.holds.reserve(self.needed_holds + 16);
    }

    /// Copies a deadlock. `false`: there was not enough room, nothing is lost, make it and judge again.
    pub(super) fn copy(&mut self, graph: &mut Graph, me: &'static Context, found: Judgement) -> bool {
        self.begin();
        // A scene that cannot hold its bystanders is copied again anyway; nobody else marks contexts meanwhile.
        for &member in graph.core() {
            self.copy_context(graph, member);
        }
        if let Judgement::Abandoned(gone) = found {
            self.copy_context(graph, gone);
        }
        self.core = self.needed_people;
        graph.for_each_bystander(me, |graph, bystander| self.copy_context(graph, bystander)) && self.is_complete()
    }

    /// Copies one wait and whoever holds what it waits for.
    pub(super) fn copy_wait(&mut self, graph: &mut Graph, me: &'static Context) -> bool {
        self.begin();
        graph.begin_core();
        self.copy_context(graph, me);
        if let Some(owner) = graph.entry(me).and_then(|entry| entry.shown_provider(graph).context) {
            self.copy_context(graph, owner);
        }
        self.core = self.needed_people;
        self.is_complete()
    }

    /// Copies everybody who waits or holds something.
    pub(super) fn copy_everything(&mut self, graph: &mut Graph) -> bool {
        self.begin();
        graph.begin_core();
        for context in graph.contexts() {
            if graph.entry(context).is_some() || !context.holds.is_empty() {
                self.copy_context(graph, context);
            }
        }
        self.core = self.needed_people;
        self.is_complete()
    }

    fn begin(&mut self) {
        debug_assert!(self.people.is_empty(), "names are dropped outside the mutex");
        self.holds.clear();
        self.needed_people = 0;
        self.needed_holds = 0;
        self.now = now();
    }

    fn is_complete(&self) -> bool {
        self.people.len() == self.needed_people && self.holds.len() == self.needed_holds
    }

    fn copy_context(&mut self, graph: &Graph, context: &'static Context) {
        let record = graph.record(context);
        let mut holds = 0;
        context.holds.for_each(|hold| {
            holds += 1;
            if self.holds.len() < self.holds.capacity() {
                self.holds.push((context.address(), hold));
            }
        });
        self.needed_holds += holds;
        self.needed_people += 1;
        if self.people.len() == self.people.capacity() {
            return;
        }
        let wait = record.entry.as_ref().map(|entry| {
            let shown = entry.shown_provider(graph);
            PersonWait {
                resource: entry.waitable().facts(shown.nth),
                owner: shown.context.map_or(0, Context::address),
                site: entry.site,
                waited: self.now.saturating_duration_since(entry.since),
                timed: entry.timed,
                queued_in: shown.group.map(|group| Arc::clone(&graph.group(group).name)),
                process: shown.process,
                others: shown.others,
            }
        });
        self.people.push(Person {
            name: record.name.clone(),
            os_id: record.os_id,
            is_gone: context.lifeline.is_cut(),
            is_in_place: record.nested,
            pool: record.group.map(|group| Arc::clone(&graph.group(group).name)),
            wait,
            holds,
        });
    }

    /// The deadlock that was copied.
    pub(super) fn report(&mut self, found: Judgement) -> Deadlock {
        let core = self.core;
        let mut threads = self.threads();
        let bystanders = threads.split_off(core);
        Deadlock::new(Report { kind: found.kind(), threads, bystanders })
    }

    /// The people that were copied, in order.
    pub(super) fn threads(&mut self) -> Vec<StuckThread> {
        // A guard that was forgotten stays listed, and a new lock may live at the address of its lock by now. Where
        // somebody waits for that new lock, its word says who owns it, and the old hold is left out.
        let owners: Vec<(usize, usize)> = {
            let mut owners: Vec<_> = self
                .people
                .iter()
                .filter_map(|person| person.wait.as_ref())
                .filter(|wait| wait.owner != 0)
                .map(|wait| (wait.resource.key, wait.owner))
                .collect();
            owners.sort_unstable();
            owners
        };
        let is_stale = |holder: usize, key: usize| {
            let at = owners.partition_point(|&(other, _)| other < key);
            owners.get(at).is_some_and(|&(other, owner)| other == key && owner != holder)
        };
        let mut holds = self.holds.drain(..);
        let told = self.people.drain(..).map(|person| {
            let (mut task, mut held) = (None, Vec::new());
            for (holder, hold) in holds.by_ref().take(person.holds) {
                let resource = Resource::from(hold.resource);
                let is_run = (hold.resource.type_of)().mode == HoldMode::Running;
                // One that it is cancelling meanwhile is among what it holds.
                if is_run && task.is_none() {
                    task = Some(Task { resource: Resource { made_at: hold.site, ..resource } });
                } else if !is_stale(holder, hold.resource.key) {
                    held.push(Held { resource, site: hold.site });
                }
            }
            StuckThread {
                name: person.name,
                os_id: person.os_id,
                is_gone: person.is_gone,
                is_in_place: person.is_in_place,
                task,
                pool: person.pool,
                waits_for: person.wait.map(|wait| Wait {
                    resource: Resource::from(wait.resource),
                    site: wait.site,
                    waited: wait.waited,
                    timed: wait.timed,
                    queued_in: wait.queued_in,
                    process: wait.process,
                    others: wait.others,
                }),
                holds: held,
            }
        });
        told.collect()
    }
}

/// The one of a wait's providers that is told.
struct Shown {
    nth: usize,
    context: Option<&'static Context>,
    group: Option<NonNull<GroupRecord>>,
    process: Option<u32>,
    /// How many other resources are waited for.
    others: usize,
}

impl super::graph::Entry {
    /// The first provider that is part of the deadlock which was found; if there is none, one that is gone, or waits.
    fn shown_provider(&self, graph: &Graph) -> Shown {
        let mut shown = Shown { nth: 0, context: None, group: None, process: None, others: 0 };
        let (mut count, mut best) = (0, 0);
        self.waitable().providers(graph, &mut |provider| {
            let (context, group, process) = match provider {
                Provider::Context(id) => (graph.context(id), None, None),
                Provider::AnyOf(group) => (None, Some(group.address()), None),
                Provider::Process(process) => (None, None, Some(process)),
                Provider::External => (None, None, None),
            };
            let rank = match (context, group) {
                (Some(context), _) if graph.is_in_core(context) => 4,
                (_, Some(group)) if graph.is_group_in_core(group) => 4,
                (Some(context), _) if graph.record(context).gone.get() => 3,
                (Some(context), _) if graph.entry(context).is_some() => 2,
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
            let key = |nth| self.waitable().facts(nth).key;
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
            Self::Cycle | Self::NotDeadlocked | Self::Bystander | Self::OwnerEnding | Self::NoRoom => Kind::Cycle,
        }
    }
}

impl From<ResourceFacts> for Resource {
    fn from(facts: ResourceFacts) -> Self {
        let described = (facts.type_of)();
        Self {
            key: facts.key,
            is_task: described.mode == HoldMode::Running || described.primitive == "Future",
            name: facts.origin.name(),
            primitive: described.primitive,
            data_type: described.data,
            made_at: facts.origin.made_at,
        }
    }
}
