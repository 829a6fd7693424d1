//! The judge where waits have alternatives or need several: a reduction of the AND-OR graph.
//!
//! From the waits that it starts with, it explores all providers. A wait that can end without any registered context
//! acting is live. Liveness propagates from provider to waiter, each waiter counting how many providers it still lacks
//! (one, all, or a number of them), until nothing changes. What is left is stuck. The time is linear in waits and
//! providers. This is the reduction of Holt (Some Deadlock Properties of Computer Systems, 1972) with general needs as
//! in Brzezinski, Helary and Raynal (1995).

use std::ops::ControlFlow;

use super::marks::Marks;
use super::{Judge, Judgement};
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::blocker::{Need, Provider};
use crate::deadlock::graph::context::Context;
use crate::deadlock::graph::id::GroupId;
use crate::deadlock::graph::record::Entry;

#[cfg(all(test, not(loom)))]
mod tests;

/// The scratch memory of one walk. It grows outside the graph's mutex only.
pub(in crate::deadlock) struct Reduction {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Places of nodes: still to be looked at, or in the order of a walk.
    order: Vec<u32>,
    /// The places of contexts.
    contexts: Marks<u32>,
    /// The places of groups, each at its first member, which is in no other group.
    groups: Marks<u32>,
    /// How many providers of a wait that any of them ends are looked at.
    max_providers: usize,
    /// Whether some were not looked at: a wait that was found stuck may be live.
    was_cut: bool,
    /// Whether something did not fit.
    overflowed: bool,
    /// Whether a context was found to be gone after its resource had been looked at.
    look_again: bool,
    /// A context that is gone and that the walker waits for, if nobody else can help.
    abandoned: Option<&'static Context>,
    /// Whether the walker waits for a context that has run its last destructor and is not gone yet.
    is_ending: bool,
    /// Whether any wait on the way does.
    is_near_end: bool,
}

#[derive(Clone, Copy)]
enum Who {
    Context(&'static Context),
    Group(GroupId),
}

struct Node {
    who: Who,
    /// How many more live providers it takes. 0: it is live.
    missing: u32,
    /// How many it took before any liveness was propagated.
    lacked: u32,
    /// Its providers are the edges from here …
    first: u32,
    /// … to here.
    end: u32,
    /// The first of the edges that lead to it, [`NONE`] for none.
    waiters: u32,
    reached: Reached,
}

impl Node {
    fn is_stuck(&self) -> bool {
        self.missing != 0
    }
}

/// The walks over stuck nodes that have reached a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    No,
    /// It waits for where the walk began.
    Backward,
    /// It does, and where the walk began waits for it.
    Both,
}

struct Edge {
    waiter: u32,
    provider: u32,
    /// How many providers this one counts as.
    count: u32,
    /// The next edge that leads to the same provider.
    next: u32,
}

const NONE: u32 = u32::MAX;
/// The nodes and edges that the search for the best victim may visit: some milliseconds.
const MAX_WORK: usize = 1 << 20;
/// The count of a node that lacks more than it can ever get.
const FOREVER: u32 = u32::MAX;

/// How many providers the first look at a wait that any of them ends goes through: most waits are live by one of these.
const FIRST_LOOK: usize = if cfg!(test) { 2 } else { 64 };

/// What can be expected of one provider of a wait.
enum Prospect {
    Live,
    Gone(&'static Context),
    /// It waits itself, and its node is at this place.
    Waits(u32),
}

impl Reduction {
    pub(in crate::deadlock) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            edges: Vec::new(),
            order: Vec::new(),
            contexts: Marks::new(),
            groups: Marks::new(),
            max_providers: FIRST_LOOK,
            was_cut: false,
            overflowed: false,
            look_again: false,
            abandoned: None,
            is_ending: false,
            is_near_end: false,
        }
    }

    /// Returns empty buffers with capacity for this many waits among this many contexts. Called without the graph's
    /// mutex.
    pub(in crate::deadlock) fn with_capacity(waits: usize, contexts: usize) -> Self {
        Self {
            nodes: Vec::with_capacity(waits),
            edges: Vec::with_capacity(waits * 4),
            order: Vec::with_capacity(waits),
            contexts: Marks::with_capacity(contexts),
            groups: Marks::with_capacity(contexts),
            ..Self::new()
        }
    }

    pub(in crate::deadlock) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Returns whether the walker waits for a context that has run its last destructor and is not gone yet.
    pub(super) fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Forgets the ends that the last walk met.
    pub(super) fn forget_ends(&mut self) {
        (self.is_ending, self.is_near_end) = (false, false);
    }

    /// Takes the larger buffers of two, and leaves the others.
    pub(super) fn take_larger(&mut self, other: &mut Self) {
        if self.capacity() < other.capacity() {
            std::mem::swap(&mut self.nodes, &mut other.nodes);
            std::mem::swap(&mut self.edges, &mut other.edges);
            std::mem::swap(&mut self.order, &mut other.order);
        }
        self.contexts.take_larger(&mut other.contexts);
        self.groups.take_larger(&mut other.groups);
    }

    /// Finds out which waits are live and which are stuck, beginning with the wait of `me`, or with those of
    /// `everybody`. Returns `false` if the capacity is used up.
    ///
    /// `me` is the context whose judge this is: it waits for itself if it names itself, and it alone may be abandoned.
    pub(in crate::deadlock) fn run(&mut self, graph: &Graph, me: &'static Context, everybody: bool) -> bool {
        self.max_providers = if everybody { usize::MAX } else { FIRST_LOOK };
        loop {
            self.begin();
            self.context_node(me);
            if everybody {
                graph.registered().for_each(|context| _ = self.context_node(context));
            }
            self.explore(graph, me);
            if self.overflowed {
                return false;
            }
            // This ends: each time one more context is known to be gone before its resource is looked at.
            if self.look_again {
                continue;
            }
            self.settle();
            // Alternatives that were left out can only make a wait live.
            if self.was_cut && self.nodes[0].is_stuck() {
                self.max_providers = usize::MAX;
                continue;
            }
            return true;
        }
    }

    fn begin(&mut self) {
        self.nodes.clear();
        self.edges.clear();
        self.order.clear();
        self.contexts.clear();
        self.groups.clear();
        self.was_cut = false;
        self.overflowed = false;
        self.look_again = false;
        self.abandoned = None;
        self.is_ending = false;
        self.is_near_end = false;
    }

    /// Returns the place of a context's node, which is added if it is new.
    fn context_node(&mut self, context: &'static Context) -> u32 {
        self.contexts.get(context).unwrap_or_else(|| {
            let place = self.add_node(Who::Context(context), 0);
            self.contexts.set(context, place);
            place
        })
    }

    /// Adds a node that lacks `missing` providers, or notes that the capacity is used up.
    fn add_node(&mut self, who: Who, missing: u32) -> u32 {
        if self.nodes.len() == self.nodes.capacity() {
            self.overflowed = true;
            return 0;
        }
        let place = self.nodes.len() as u32;
        self.nodes.push(Node { who, missing, lacked: 0, first: 0, end: 0, waiters: NONE, reached: Reached::No });
        place
    }

    fn edge(&mut self, waiter: u32, provider: u32, count: u32) {
        if self.overflowed || self.edges.len() == self.edges.capacity() {
            self.overflowed = true;
            return;
        }
        let next = std::mem::replace(&mut self.nodes[provider as usize].waiters, self.edges.len() as u32);
        self.edges.push(Edge { waiter, provider, count, next });
    }

    /// Explores all providers, breadth first.
    fn explore(&mut self, graph: &Graph, me: &'static Context) {
        let mut at = 0;
        while at < self.nodes.len() && !self.overflowed {
            let first = self.edges.len() as u32;
            let missing = match self.nodes[at].who {
                Who::Context(context) => self.explore_context(graph, at as u32, context, context == me),
                Who::Group(group) => self.explore_group(graph, at as u32, group),
            };
            let end = self.edges.len() as u32;
            let node = &mut self.nodes[at];
            (node.missing, node.lacked, node.first, node.end) = (missing, missing, first, end);
            at += 1;
        }
    }

    /// Returns how many of its providers a registered wait still lacks.
    fn explore_context(&mut self, graph: &Graph, at: u32, context: &'static Context, is_me: bool) -> u32 {
        let Some(entry) = graph.entry(context).filter(|entry| !entry.is_live()) else { return 0 };
        // Before it says how many it needs, which may depend on that.
        entry.subscribe();
        // This many live providers end the wait, whatever the others do.
        let enough = match entry.blocker().need() {
            Need::One | Need::Any => 1,
            Need::All => u32::MAX,
            Need::AtLeast(least) => least,
        };
        let (mut looks, mut all, mut live, mut gone) = (0, 0, 0, 0);
        let mut first_gone = None;
        let mut was_cut = false;
        entry.blocker().providers(graph, &mut |provider| {
            if enough == 1 && looks == self.max_providers {
                was_cut = true;
                return ControlFlow::Break(());
            }
            looks += 1;
            let count = provider.count();
            all += count;
            let other = provider.context().and_then(|id| graph.context(id)).map(|other| graph.actor(other));
            // Handed over, unless its own judge saw that it asked for what it has.
            let is_handed_over = other == Some(context) && !is_me && !entry.not_handed_over.get();
            match self.prospect(graph, provider, is_me) {
                Prospect::Live => live += count,
                Prospect::Waits(_) if is_handed_over => live += count,
                Prospect::Waits(place) => self.edge(at, place, count),
                Prospect::Gone(other) => {
                    gone += count;
                    first_gone = first_gone.or(Some(other));
                }
            }
            if live >= enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.was_cut |= was_cut;
        let required = if entry.blocker().need() == Need::All { all } else { enough };
        // Enough, or nobody to wait for, or more wanted than there are: nothing can be proved.
        if required <= live || required > all {
            return 0;
        }
        if all - gone >= required {
            return required - live;
        }
        if was_cut {
            return FOREVER;
        }
        if is_me {
            self.abandoned = first_gone;
        }
        // Another wait reports that itself, and may be the victim: until it has, it is live.
        if is_me || entry.reported.is_abandoned() { FOREVER } else { 0 }
    }

    fn prospect(&mut self, graph: &Graph, provider: Provider, of_walker: bool) -> Prospect {
        if let Provider::AnyOf(group) = provider {
            let place = self.group_node(graph, group).filter(|&place| self.nodes[place as usize].is_stuck());
            return place.map_or(Prospect::Live, Prospect::Waits);
        }
        // Unknown; or the context that had this number has given it back, and the resource has changed since.
        let Some(other) = provider.context().and_then(|id| graph.context(id)) else { return Prospect::Live };
        let other = graph.actor(other);
        match graph.entry(other) {
            Some(entry) if entry.is_live() => Prospect::Live,
            Some(_) => Prospect::Waits(self.context_node(other)),
            None if self.is_gone(graph, other, of_walker) => Prospect::Gone(other),
            None => {
                self.is_ending |= of_walker && graph.thread(other).ended;
                self.is_near_end |= graph.thread(other).ended;
                Prospect::Live
            }
        }
    }

    /// Returns whether an unregistered context is gone. The system is asked only where the answer is needed.
    fn is_gone(&mut self, graph: &Graph, context: &'static Context, ask: bool) -> bool {
        let thread = graph.thread(context);
        let was_known = thread.gone.get();
        let is_gone = was_known || (ask || thread.ended) && graph.is_gone(context);
        self.look_again |= is_gone && !was_known;
        is_gone
    }

    /// Returns the place of a group's node, which lacks nothing if the group is live at once. A group without members
    /// has none, and is live.
    fn group_node(&mut self, graph: &Graph, group: GroupId) -> Option<u32> {
        let record = graph.group(group);
        record.count_on();
        let first = record.first?;
        Some(self.groups.get(first).unwrap_or_else(|| {
            let missing = u32::from(!self.is_live_group(graph, group));
            let place = self.add_node(Who::Group(group), missing);
            self.groups.set(first, place);
            place
        }))
    }

    /// Returns whether a group has a live member, or nobody knows which members it will have.
    fn is_live_group(&mut self, graph: &Graph, group: GroupId) -> bool {
        let record = graph.group(group);
        record.expected > 0
            || record.first.is_none()
            || graph.members(group).any(|member| match graph.entry(member) {
                Some(entry) => entry.is_live(),
                None => {
                    let is_live = !self.is_gone(graph, member, false);
                    self.is_near_end |= is_live && graph.thread(member).ended;
                    is_live
                }
            })
    }

    /// Returns how many live members a group lacks: one, or none.
    fn explore_group(&mut self, graph: &Graph, at: u32, group: GroupId) -> u32 {
        if !self.nodes[at as usize].is_stuck() {
            return 0;
        }
        for member in graph.members(group).filter(|&member| graph.entry(member).is_some()) {
            let place = self.context_node(member);
            self.edge(at, place, 1);
        }
        1
    }

    /// Propagates liveness from provider to waiter until nothing changes.
    fn settle(&mut self) {
        for (at, node) in self.nodes.iter().enumerate() {
            if !node.is_stuck() {
                self.order.push(at as u32);
            }
        }
        while let Some(live) = self.order.pop() {
            let mut edge = self.nodes[live as usize].waiters;
            while let Some(&Edge { waiter, count, next, .. }) = self.edges.get(edge as usize) {
                edge = next;
                let missing = &mut self.nodes[waiter as usize].missing;
                if *missing != 0 && *missing != FOREVER {
                    *missing = missing.saturating_sub(count);
                    if *missing == 0 {
                        self.order.push(waiter);
                    }
                }
            }
        }
    }

    /// Returns whether all of the core goes on once the wait at this place ends. Costs as much as [`work`](Self::work)
    /// says.
    fn frees_the_core(&mut self, place: u32) -> bool {
        for node in &mut self.nodes {
            node.missing = node.lacked;
        }
        self.nodes[place as usize].missing = 0;
        self.order.clear();
        self.settle();
        !self.nodes.iter().any(|node| node.reached == Reached::Both && node.is_stuck())
    }

    fn work(&self) -> usize {
        self.nodes.len() + self.edges.len()
    }

    /// Follows the waits backward from the members of a core, once [`run`](Self::run) has looked at everybody, and
    /// forward from them. Returns how many contexts wait for the members and are waited for by them, the members
    /// included.
    pub(in crate::deadlock) fn look_behind(&mut self, core: &[&'static Context]) -> usize {
        for &member in core {
            if let Some(place) = self.contexts.get(member) {
                self.reach(place, Reached::No, Reached::Backward);
            }
        }
        let count = self.order.len();
        self.reach_backward();
        self.order.truncate(count);
        for at in 0..count {
            self.nodes[self.order[at] as usize].reached = Reached::Both;
        }
        self.reach_forward();
        self.order.iter().filter(|&&place| matches!(self.nodes[place as usize].who, Who::Context(_))).count()
    }

    /// Calls `visit` with each context that waits for the nodes that were looked behind, these nodes included.
    pub(in crate::deadlock) fn for_each_behind(&self, mut visit: impl FnMut(&'static Context)) {
        for node in &self.nodes {
            if let Who::Context(context) = node.who
                && node.reached != Reached::No
            {
                visit(context);
            }
        }
    }

    /// Follows the waits for the nodes that `order` begins with backward, over stuck nodes.
    fn reach_backward(&mut self) {
        let mut at = 0;
        while let Some(&provider) = self.order.get(at) {
            at += 1;
            let mut edge = self.nodes[provider as usize].waiters;
            while let Some(&Edge { waiter, next, .. }) = self.edges.get(edge as usize) {
                edge = next;
                self.reach(waiter, Reached::No, Reached::Backward);
            }
        }
    }

    /// Follows the waits of the nodes that `order` begins with forward, over nodes that were reached backward.
    fn reach_forward(&mut self) {
        let mut at = 0;
        while let Some(&waiter) = self.order.get(at) {
            at += 1;
            let Node { first, end, .. } = self.nodes[waiter as usize];
            for edge in first..end {
                self.reach(self.edges[edge as usize].provider, Reached::Backward, Reached::Both);
            }
        }
    }

    fn reach(&mut self, place: u32, from: Reached, to: Reached) {
        let node = &mut self.nodes[place as usize];
        if node.is_stuck() && node.reached == from {
            node.reached = to;
            self.order.push(place);
        }
    }

    /// Returns whether the first node is on a cycle of stuck nodes, once these were followed backward from it.
    fn is_on_cycle(&self) -> bool {
        let Node { first, end, .. } = self.nodes[0];
        let mut providers = self.edges[first as usize..end as usize].iter();
        providers.any(|edge| self.nodes[edge.provider as usize].reached != Reached::No)
    }

    fn waits_for_itself(&self) -> bool {
        let Node { first, end, .. } = self.nodes[0];
        self.edges[first as usize..end as usize].iter().any(|edge| edge.provider == 0)
    }
}

impl Judge {
    /// Judges a registered wait where waits have alternatives or need several.
    pub(super) fn reduce(&mut self, graph: &Graph, me: &'static Context) -> Judgement {
        let reduction = &mut self.reduction;
        if !reduction.run(graph, me, false) {
            let had = reduction.capacity();
            return self.want_capacity(graph, had);
        }
        if reduction.waits_for_itself()
            && let Some(entry) = graph.entry(me)
        {
            entry.not_handed_over.set(true);
        }
        let is_stuck = reduction.nodes[0].is_stuck();
        if let Some(gone) = reduction.abandoned.filter(|_| is_stuck) {
            reduction.order.push(0);
            return self.note_core(graph, Judgement::Abandoned(gone));
        }
        // Whether it will be stuck, or part of a deadlock, is known once that context is gone.
        let ending = reduction.is_ending.then_some(Judgement::OwnerEnding { stuck: is_stuck });
        if !is_stuck {
            let ending = Judgement::OwnerEnding { stuck: false };
            return if reduction.is_near_end { ending } else { Judgement::NotDeadlocked };
        }
        reduction.reach(0, Reached::No, Reached::Backward);
        reduction.reach_backward();
        if !reduction.is_on_cycle() {
            return ending.unwrap_or(Judgement::Bystander);
        }
        reduction.order.clear();
        reduction.reach(0, Reached::Backward, Reached::Both);
        reduction.reach_forward();
        let mut members = reduction.order.iter().map(|&place| reduction.nodes[place as usize].who);
        let found = match reduction.order.len() {
            _ if members.any(|who| matches!(who, Who::Group(_))) => Judgement::Starvation,
            1 => Judgement::Relock,
            _ => Judgement::Cycle,
        };
        self.note_core(graph, found)
    }

    /// Notes what a walk reached as the deadlock that was found.
    fn note_core(&mut self, graph: &Graph, found: Judgement) -> Judgement {
        let Self { reduction, core, .. } = self;
        core.clear();
        for &place in &reduction.order {
            match reduction.nodes[place as usize].who {
                Who::Context(context) if !core.add(context) => {
                    let had = reduction.capacity();
                    return self.want_capacity(graph, had);
                }
                Who::Context(_) => {}
                Who::Group(group) => core.add_group(graph, group),
            }
        }
        core.is_chained = false;
        found
    }

    /// Returns the first member of the deadlock just found that `accepts` allows and whose failing lets all of it go
    /// on. (Where a wait needs several, not every member's failing does.) Gives up after too much `work` under the
    /// mutex.
    pub(in crate::deadlock) fn find_breaker(
        &mut self,
        graph: &Graph,
        work: &mut usize,
        accepts: impl Fn(&Entry) -> bool,
    ) -> Option<&'static Context> {
        let Self { reduction, core, .. } = self;
        core.members().iter().copied().find(|&member| {
            let can = graph.entry(member).is_some_and(&accepts);
            // In a chained core each member is all that another one waits for.
            can && (core.is_chained || {
                *work += reduction.work();
                *work <= MAX_WORK && reduction.contexts.get(member).is_some_and(|place| reduction.frees_the_core(place))
            })
        })
    }
}
