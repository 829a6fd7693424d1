//! Who can never go on, by brute force: the greatest set of waits none of which anybody outside of it can end.

use bowline::ReturnWhen;

use super::log::{Hold, Limit, What};
use super::replay::{Frame, Phase, State, Sweep, Task};
use super::script::{Mode, Sort};

/// What is not known for certain, and how it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Whoever may be stuck is: nobody is blamed for a report that may be right.
    Possible,
    /// Whoever may go on does: nobody is blamed for a report that may not be due.
    Certain,
    /// As `Certain`, but whoever waits for somebody outside to intervene does not go on.
    UnlessHelped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A thread, or what runs in place on it.
    Frame(usize, usize),
    /// What ended tasks have left to a thread.
    Left(usize),
    Gone(usize),
    Pool(usize),
    /// Somebody outside.
    Outside,
}

/// What it takes to go on.
#[derive(Clone, Debug)]
enum Need {
    Nothing,
    All(Vec<usize>),
    Any(Vec<usize>),
    /// A worker that is not stuck, or one more where there may be more. (One of too many may help, too, until it has left.)
    Worker(Vec<usize>, usize),
    Impossible,
}

/// What it takes to go on, and who is asked for it.
struct Wants {
    need: Need,
    /// Those whom it may wait for, and those whom it waits for in any case, by way of others perhaps: all that it needs, if it
    /// is not said.
    may: Option<Vec<usize>>,
    surely: Option<Vec<usize>>,
}

impl From<Need> for Wants {
    fn from(need: Need) -> Self {
        Self { need, may: None, surely: None }
    }
}

impl Need {
    fn providers(&self) -> &[usize] {
        match self {
            Self::Nothing | Self::Impossible => &[],
            Self::All(providers) | Self::Any(providers) | Self::Worker(providers, _) => providers,
        }
    }
}

pub(crate) struct Residue {
    pub(crate) nodes: Vec<Node>,
    /// For each node that is stuck, by whom it may be; none for the others.
    pub(crate) waits_for: Vec<Option<Vec<usize>>>,
    /// The same, by whom it is in any case, by way of others perhaps.
    surely: Vec<Option<Vec<usize>>>,
}

impl Residue {
    pub(crate) fn of(state: &State, view: View) -> Self {
        let mut nodes = vec![Node::Outside];
        for (at, thread) in state.threads.iter().enumerate() {
            if thread.is_gone {
                nodes.push(Node::Gone(at));
            } else {
                nodes.extend((0..thread.frames.len()).map(|depth| Node::Frame(at, depth)));
                nodes.push(Node::Left(at));
            }
        }
        nodes.extend((0..state.pools.len()).map(Node::Pool));
        let mut residue = Self { nodes, waits_for: Vec::new(), surely: Vec::new() };
        let wants: Vec<_> = residue.nodes.iter().map(|&node| residue.wants(state, view, node)).collect();
        residue.settle(&wants);
        residue
    }

    fn settle(&mut self, wants: &[Wants]) {
        let mut is_stuck = vec![true; wants.len()];
        loop {
            let goes_on = |at: &usize| {
                let stuck = |other: &usize| is_stuck[*other];
                is_stuck[*at]
                    && match &wants[*at].need {
                        Need::Nothing => true,
                        Need::All(providers) => !providers.iter().any(stuck),
                        Need::Any(providers) => !providers.iter().all(stuck),
                        Need::Worker(workers, max) => workers.len() < *max || !workers.iter().all(stuck),
                        Need::Impossible => false,
                    }
            };
            let Some(live) = (0..wants.len()).find(goes_on) else { break };
            is_stuck[live] = false;
        }
        let stuck = |at: usize, providers: &[usize]| -> Option<Vec<usize>> {
            is_stuck[at].then(|| providers.iter().copied().filter(|&provider| is_stuck[provider]).collect())
        };
        let all = || wants.iter().enumerate();
        self.waits_for =
            all().map(|(at, wants)| stuck(at, wants.may.as_deref().unwrap_or(wants.need.providers()))).collect();
        self.surely =
            all().map(|(at, wants)| stuck(at, wants.surely.as_deref().unwrap_or(wants.need.providers()))).collect();
    }

    pub(crate) fn at(&self, node: Node) -> usize {
        self.nodes.iter().position(|&other| other == node).expect("a node")
    }

    pub(crate) fn is_stuck(&self, node: usize) -> bool {
        self.waits_for[node].is_some()
    }

    /// Whom this one may wait for who cannot go on.
    pub(crate) fn providers(&self, node: usize) -> &[usize] {
        self.waits_for[node].as_deref().unwrap_or_default()
    }

    /// Whom this one waits for in any case, by way of others perhaps; of those who are gone only whom it waits for itself.
    pub(crate) fn sure_providers(&self, node: usize) -> &[usize] {
        self.surely[node].as_deref().unwrap_or_default()
    }

    /// Who is reached from here over nodes that are `allowed`, which this one need not be.
    pub(crate) fn reach(&self, from: usize, allowed: impl Fn(usize) -> bool) -> Vec<bool> {
        self.reach_by(&self.waits_for, from, allowed)
    }

    /// The same, by what is known for certain.
    pub(crate) fn surely_reach(&self, from: usize, allowed: impl Fn(usize) -> bool) -> Vec<bool> {
        self.reach_by(&self.surely, from, allowed)
    }

    fn reach_by(&self, edges: &[Option<Vec<usize>>], from: usize, allowed: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut is_reached = vec![false; self.nodes.len()];
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            for &next in edges[at].iter().flatten() {
                if allowed(next) && !std::mem::replace(&mut is_reached[next], true) {
                    todo.push(next);
                }
            }
        }
        is_reached
    }

    /// The strong components that contain a cycle, of what is known for certain.
    pub(crate) fn cores(&self) -> Vec<Vec<usize>> {
        let reach: Vec<_> = (0..self.nodes.len()).map(|from| self.surely_reach(from, |_| true)).collect();
        let mut cores: Vec<Vec<usize>> = Vec::new();
        for (at, reached) in reach.iter().enumerate() {
            if reached[at] && !cores.iter().any(|core| core.contains(&at)) {
                cores.push((0..self.nodes.len()).filter(|&other| reached[other] && reach[other][at]).collect());
            }
        }
        cores
    }

    fn owner(&self, state: &State, lock: usize) -> Option<Node> {
        let owner = state.owner[lock]?;
        let thread = &state.threads[owner];
        if thread.is_gone {
            return Some(Node::Gone(owner));
        }
        let depth = thread.frames.iter().position(|frame| frame.held.iter().any(|held| held.is(lock, Hold::Whole)));
        Some(depth.map_or(Node::Left(owner), |depth| Node::Frame(owner, depth)))
    }

    /// Who holds a lock of readers and writers in this way.
    fn holders(&self, state: &State, lock: usize, hold: Hold) -> Vec<usize> {
        let mut holders = Vec::new();
        for (at, thread) in state.threads.iter().enumerate() {
            let is_gone = thread.is_gone;
            let frames = thread.frames.iter().enumerate();
            let lists = frames.map(|(depth, frame)| (Node::Frame(at, depth), &frame.held));
            for (node, held) in lists.chain([(Node::Left(at), &thread.left)]) {
                let node = if is_gone { Node::Gone(at) } else { node };
                if held.iter().any(|held| held.is(lock, hold)) && !holders.contains(&self.at(node)) {
                    holders.push(self.at(node));
                }
            }
        }
        holders
    }

    /// Who waits to write a lock, but for this one. One of them is next.
    fn candidates(&self, state: &State, lock: usize, me: (usize, usize)) -> Vec<usize> {
        let waits = |&(at, depth, frame): &(usize, usize, &Frame)| {
            let what = frame.wait.as_ref().map(|wait| &wait.what);
            let writes = matches!(what, Some(What::Shared(other, Mode::Write)) if *other == lock);
            (writes || what == Some(&What::Upgrade(lock))) && (at, depth) != me && !state.threads[at].is_gone
        };
        let frames = state.threads.iter().enumerate().flat_map(|(at, thread)| {
            let depth = thread.frames.len() - 1;
            [(at, depth, &thread.frames[depth])]
        });
        frames.filter(waits).map(|(at, depth, _)| self.at(Node::Frame(at, depth))).collect()
    }

    /// Whoever holds it in a way that leaves no room for a writer, or for another upgradable reader.
    fn has_the_turn(&self, state: &State, lock: usize) -> Option<Vec<usize>> {
        let writers = self.holders(state, lock, Hold::Write);
        let holders = if writers.is_empty() { self.holders(state, lock, Hold::Upgradable) } else { writers };
        (!holders.is_empty()).then_some(holders)
    }

    /// What somebody needs whom a writer keeps out that is next: one of these, who all wait for the readers.
    fn wants_the_next(view: View, candidates: Vec<usize>, living_readers: Vec<usize>) -> Wants {
        if candidates.is_empty() {
            return Need::Nothing.into();
        }
        let surely = if candidates.len() == 1 { candidates.clone() } else { living_readers };
        let may = Some(candidates.clone());
        let need = if view == View::Possible { Need::All(candidates) } else { Need::Any(candidates) };
        Wants { need, may, surely: Some(surely) }
    }

    fn wants_shared(&self, state: &State, view: View, me: (usize, usize), lock: usize, mode: Mode) -> Wants {
        let writers = self.holders(state, lock, Hold::Write);
        if !writers.is_empty() {
            return Need::All(writers).into();
        }
        let candidates = self.candidates(state, lock, me);
        let readers = self.holders(state, lock, Hold::Read);
        let is_living = |&reader: &usize| !matches!(self.nodes[reader], Node::Gone(_));
        let living_readers: Vec<_> = readers.iter().copied().filter(is_living).collect();
        match (mode, self.has_the_turn(state, lock)) {
            (Mode::Again, _) => Need::Nothing.into(),
            // It keeps readers out only while it waits to write.
            (Mode::Read, Some(upgradable)) => {
                let upgrades = upgradable.into_iter().filter(|holder| candidates.contains(holder)).collect::<Vec<_>>();
                if upgrades.is_empty() { Need::Nothing.into() } else { Need::All(upgrades).into() }
            }
            (Mode::Read | Mode::Upgradable, None) => Self::wants_the_next(view, candidates, living_readers),
            (Mode::Upgradable | Mode::Write, Some(upgradable)) => Need::All(upgradable).into(),
            // If it is next it waits for the readers; if not, for the one that is, which does. So all are stuck if one is.
            (Mode::Write, None) => {
                if readers.is_empty() {
                    return Need::Nothing.into();
                }
                let surely = if candidates.is_empty() { readers.clone() } else { living_readers };
                let may = readers.iter().chain(&candidates).copied().collect();
                Wants { need: Need::All(readers), may: Some(may), surely: Some(surely) }
            }
        }
    }

    fn wants(&self, state: &State, view: View, node: Node) -> Wants {
        let Node::Frame(at, depth) = node else { return self.need(state, view, node).into() };
        let thread = &state.threads[at];
        let wait = thread.frames[depth].wait.as_ref().filter(|_| depth + 1 == thread.frames.len());
        match wait.filter(|wait| wait.limit != Limit::Soon).map(|wait| &wait.what) {
            Some(&What::Shared(lock, mode)) => self.wants_shared(state, view, (at, depth), lock, mode),
            Some(&What::Upgrade(lock)) => {
                let readers = self.holders(state, lock, Hold::Read);
                if readers.is_empty() { Need::Nothing.into() } else { Need::All(readers).into() }
            }
            _ => self.need(state, view, node).into(),
        }
    }

    fn need(&self, state: &State, view: View, node: Node) -> Need {
        match node {
            Node::Outside if view == View::UnlessHelped => Need::Impossible,
            Node::Outside => Need::Nothing,
            Node::Gone(_) => Need::Impossible,
            // The thread can release it, in whatever it comes to do next.
            Node::Left(thread) => Need::All(vec![self.at(Node::Frame(thread, state.threads[thread].frames.len() - 1))]),
            Node::Pool(pool) => self.need_of_pool(state, view, pool),
            Node::Frame(at, depth) => {
                let thread = &state.threads[at];
                if depth + 1 < thread.frames.len() {
                    return Need::All(vec![self.at(Node::Frame(at, depth + 1))]);
                }
                if thread.is_idle() {
                    // It ends with its pool, and is gone then.
                    let waits = !state.pools[thread.pool.expect("a worker")].is_closing;
                    return if waits { Need::All(vec![self.at(Node::Outside)]) } else { Need::Nothing };
                }
                self.need_of_wait(state, view, (at, depth), &thread.frames[depth])
            }
        }
    }

    fn need_of_pool(&self, state: &State, view: View, pool: usize) -> Need {
        let workers = state.threads.iter().enumerate().filter(|(_, thread)| {
            // One that idles would have taken what is queued.
            thread.pool == Some(pool) && !thread.is_gone && !thread.is_idle()
        });
        let workers = workers.map(|(at, _)| self.at(Node::Frame(at, 0))).collect();
        let plan = &state.pools[pool];
        let next = plan.next_max.unwrap_or(plan.max_workers);
        let max = match view {
            View::Possible => plan.max_workers.min(next),
            View::Certain | View::UnlessHelped => plan.max_workers.max(next),
        };
        Need::Worker(workers, max)
    }

    fn need_of_wait(&self, state: &State, view: View, me: (usize, usize), frame: &Frame) -> Need {
        let Some(wait) = frame.wait.as_ref().filter(|wait| wait.limit != Limit::Soon) else { return Need::Nothing };
        match &wait.what {
            What::Promise(number) if state.fulfilled[*number] => Need::Nothing,
            What::Token(task) if state.may_be_asked(*task) => Need::Nothing,
            What::Promise(_) | What::Token(_) => Need::All(vec![self.at(Node::Outside)]),
            What::Lock(lock) => match self.owner(state, *lock) {
                None => Need::Nothing,
                Some(owner) if owner == Node::Frame(me.0, me.1) && state.locks[*lock] == Sort::Again => Need::Nothing,
                Some(owner) => Need::All(vec![self.at(owner)]),
            },
            What::Shared(..) | What::Upgrade(_) => unreachable!("it has wants"),
            What::Room(pool) => self.need_of_room(state, view, *pool),
            What::Workers(pool) => {
                let workers = state
                    .threads
                    .iter()
                    .enumerate()
                    .filter(|(_, thread)| thread.pool == Some(*pool) && !thread.is_gone && !thread.is_idle());
                Need::All(workers.map(|(at, _)| self.at(Node::Frame(at, 0))).collect())
            }
            What::Tasks(tasks, when) => {
                let is_over = |task: &usize| match view {
                    View::Possible => self.is_done(state, *task),
                    View::Certain | View::UnlessHelped => state.may_be_done(*task),
                };
                let has_failed =
                    |task: &usize| is_over(task) && state.tasks[*task].phase != Phase::Done { failed: false };
                let over = match when {
                    ReturnWhen::AllCompleted => tasks.iter().all(is_over),
                    ReturnWhen::FirstCompleted => tasks.iter().any(is_over),
                    ReturnWhen::FirstException => tasks.iter().all(is_over) || tasks.iter().any(has_failed),
                };
                if over {
                    return Need::Nothing;
                }
                let mut providers = Vec::new();
                for &task in tasks.iter().filter(|task| !is_over(task)) {
                    let pool = state.tasks[task].pool;
                    let runs_it = *when == ReturnWhen::AllCompleted && state.threads[me.0].pool == Some(pool);
                    match state.tasks[task].phase {
                        Phase::Running(thread, depth) => providers.push(self.at(Node::Frame(thread, depth))),
                        _ if runs_it && view != View::Possible => return Need::Nothing,
                        // Cancelled meanwhile, or begun by another worker: it is in nobody's way. Whether one is run in
                        // place within a limit that never ends is its own affair.
                        _ if runs_it && wait.limit == Limit::Never => {}
                        _ => providers.push(self.at(Node::Pool(pool))),
                    }
                }
                if *when == ReturnWhen::AllCompleted { Need::All(providers) } else { Need::Any(providers) }
            }
        }
    }

    /// Whether a task is done for certain.
    fn is_done(&self, state: &State, task: usize) -> bool {
        let Task { phase, is_cancelled, ref sweep, .. } = state.tasks[task];
        match phase {
            Phase::Done { .. } | Phase::Rejected => true,
            Phase::Submitting | Phase::Queued => is_cancelled || *sweep == Sweep::Done,
            Phase::New | Phase::Running(..) => false,
        }
    }

    fn need_of_room(&self, state: &State, view: View, pool: usize) -> Need {
        let plan = &state.pools[pool];
        let is_closed = if view == View::Possible { plan.is_closed } else { plan.is_closing };
        let Some(capacity) = plan.capacity.filter(|_| !is_closed) else { return Need::Nothing };
        let is_queued = |phase: Phase| match phase {
            Phase::Queued => true,
            Phase::Submitting => view == View::Possible,
            _ => false,
        };
        let queued = state.tasks.iter().enumerate().filter(|(at, task)| {
            let may_be_gone = view != View::Possible && state.may_be_done(*at);
            task.pool == pool && is_queued(task.phase) && !may_be_gone && !self.is_done(state, *at)
        });
        if queued.count() < capacity { Need::Nothing } else { Need::All(vec![self.at(Node::Pool(pool))]) }
    }
}
