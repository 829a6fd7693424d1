//! Replays the log of a round: whether each report is true, none is said twice, and none is owed.
//!
//! A report is true if there is a moment, between the reporter's `Waits` and its `Reported`, at which by the log all its
//! members are stuck and wait for each other: `log.rs` says why the detector's own moment is one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Kind, Policy, Report};

use super::log::{Entry, Event, Failure, Limit, Outcome, What};
use super::replay::{Frame, State, Thread};
use super::residue::{Node, Residue, View};
use super::script::{LOCKS, Mode, POOLS, Program};
use super::tally::Tally;

/// A wait: whose frame waits, and since when.
type Wait = ((usize, usize), u64);

/// A report, and the waits of its members.
struct Verdict {
    number: u64,
    reporter: usize,
    kind: Kind,
    members: Vec<Wait>,
    is_last_to_wait: bool,
    /// The wait that it broke.
    victim: Option<Wait>,
}

pub(crate) struct Oracle<'p> {
    program: &'p Program,
    pub(crate) state: State,
    pub(crate) entries: Vec<Entry>,
    verdicts: Vec<Verdict>,
    /// Threads that a report calls gone.
    declared: Vec<usize>,
}

/// A thread's number in the log.
fn thread_of(state: &State, told: &StuckThread) -> Result<usize, String> {
    let found = state.threads.iter().rposition(|thread| thread.os_id == told.os_id());
    found.ok_or_else(|| format!("nobody has the number {}", told.os_id()))
}

fn task_name(told: &StuckThread) -> Option<&'static str> {
    told.task().and_then(bowline::deadlock::report::Task::name)
}

/// Whose frame is told of.
fn node_of(state: &State, told: &StuckThread) -> Result<Node, String> {
    let thread = thread_of(state, told)?;
    if state.threads[thread].is_gone {
        return Err(format!("[{thread}] is gone"));
    }
    if !told.is_in_place() {
        return Ok(Node::Frame(thread, 0));
    }
    let runs_it = |frame: &Frame| frame.task.is_some_and(|task| state.name(task) == task_name(told));
    let depth = state.threads[thread].frames.iter().skip(1).position(runs_it);
    depth.map(|depth| Node::Frame(thread, depth + 1)).ok_or_else(|| format!("[{thread}] runs no such task"))
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, told: T, known: T) -> Result<(), String> {
    if told == known { Ok(()) } else { Err(format!("{what}: told {told:?}, known {known:?}")) }
}

/// Checks what is told of somebody who waits: its name, its task, its wait and what it holds.
fn check_told(state: &State, told: &StuckThread, node: Node) -> Result<Wait, String> {
    if told.is_gone() {
        return Err(format!("{:?} is gone", told.name()));
    }
    let Some(waits) = told.waits_for() else { return Err(format!("{:?} waits for nothing", told.name())) };
    if waits.is_timed() {
        return Err(format!("{:?} has a limit", told.name()));
    }
    let Node::Frame(at, depth) = node else { return Err(format!("{node:?} does not wait")) };
    let thread = &state.threads[at];
    // The destructors of thread-locals may come after the name.
    expect("name", told.name().unwrap_or(&thread.name), &thread.name)?;
    let frame = &thread.frames[depth];
    expect("task", told.task().map(|_| task_name(told)), frame.task.map(|task| state.name(task)))?;
    // What ended tasks have left to the thread is told with its innermost wait.
    let left = if depth + 1 == thread.frames.len() { &thread.left[..] } else { &[] };
    let held: BTreeSet<_> = frame.held.iter().chain(left).map(|held| LOCKS[held.lock]).collect();
    let told_held: BTreeSet<_> = told.holds().iter().filter_map(|held| held.resource().name()).collect();
    expect(&format!("held by {node:?}"), told_held, held)?;
    let Some(wait) = &frame.wait else { return Err(format!("{:?} does not wait", told.name())) };
    if wait.limit == Limit::Soon {
        return Err(format!("{wait:?} ends by itself"));
    }
    let (name, primitive) = (waits.resource().name(), waits.resource().primitive());
    let is_it = match thread.frames.get(depth + 1) {
        Some(inner) => inner.task.is_some_and(|task| name == state.name(task)),
        None => match &wait.what {
            What::Lock(lock) | What::Shared(lock, _) | What::Upgrade(lock) => name == Some(LOCKS[*lock]),
            What::Tasks(tasks, _) => tasks.iter().any(|&task| name == state.name(task)),
            What::Room(pool) => primitive == "ThreadPoolExecutor" && waits.queued_in() == Some(POOLS[*pool]),
            What::Workers(_) => primitive == "ThreadPoolExecutor",
            What::Promise(_) | What::Token(_) => false,
        },
    };
    if is_it { Ok(((at, depth), wait.since)) } else { Err(format!("told of {primitive} {name:?}, known {wait:?}")) }
}

/// Whether a report is true in a state; if so, the waits of its members.
fn prove(state: &State, reporter: usize, report: &Report) -> Result<Vec<Wait>, String> {
    let residue = Residue::of(state, View::Possible);
    let is_abandoned = report.kind() == Kind::Abandoned;
    let mut members = report.threads();
    if is_abandoned {
        members = &members[..1];
    }
    let mut places = Vec::new();
    let mut waits = Vec::new();
    for told in members.iter().chain(report.bystanders()) {
        let node = node_of(state, told)?;
        let wait = check_told(state, told, node)?;
        let place = residue.at(node);
        if places.contains(&place) {
            return Err(format!("{node:?} is told twice"));
        }
        if !residue.is_stuck(place) {
            return Err(format!("{:?} may go on", residue.nodes[place]));
        }
        if places.len() < members.len() {
            waits.push(wait);
        }
        places.push(place);
    }
    let (members, bystanders) = places.split_at(members.len());
    if residue.nodes[members[0]] != Node::Frame(reporter, state.threads[reporter].frames.len() - 1) {
        return Err(format!("the reporter is {:?}", residue.nodes[members[0]]));
    }
    let is_left = |node: usize| matches!(residue.nodes[node], Node::Left(_));
    if is_abandoned {
        check_abandoned(state, report, &residue, members[0])?;
    } else {
        check_core(report, &residue, members)?;
    }
    // Who is stuck behind it waits for it, and it does not wait for them, as far as was told of.
    let is_told = |node: usize| places.contains(&node) || is_left(node);
    // A task that seems to be queued may be cancelled by now: then its pool is in nobody's way.
    let is_certain = |pool: usize| match residue.nodes[pool] {
        Node::Pool(number) => state.is_certain(number) && residue.providers(pool).iter().all(|&worker| is_told(worker)),
        _ => false,
    };
    let reached = residue.surely_reach(members[0], |node| is_told(node) || is_certain(node));
    for &bystander in bystanders {
        let reach = residue.reach(bystander, |_| true);
        if !members.iter().any(|&member| reach[member]) {
            return Err(format!("{:?} does not wait for it", residue.nodes[bystander]));
        }
        // (Who waits for all readers is told of the one who is gone, whoever else is among them.)
        if reached[bystander] && !is_abandoned {
            return Err(format!("{:?} is no bystander", residue.nodes[bystander]));
        }
    }
    Ok(waits)
}

/// The first of two is told that the other has ended with what it waits for.
fn check_abandoned(state: &State, report: &Report, residue: &Residue, waiter: usize) -> Result<(), String> {
    let [_, gone] = report.threads() else { return Err("two threads make an abandoned lock".to_owned()) };
    let gone = Node::Gone(thread_of(state, gone)?);
    let waits_for: Vec<_> = residue.providers(waiter).iter().map(|&provider| residue.nodes[provider]).collect();
    // A writer may wait for several.
    if waits_for.contains(&gone) { Ok(()) } else { Err(format!("{gone:?} is not among {waits_for:?}")) }
}

/// The members wait for each other, through pools if it is a starvation.
fn check_core(report: &Report, residue: &Residue, members: &[usize]) -> Result<(), String> {
    let is_starvation = report.kind() == Kind::Starvation;
    let allowed = |node: usize| match residue.nodes[node] {
        Node::Pool(_) => is_starvation,
        Node::Left(_) => true,
        _ => members.contains(&node),
    };
    let mut leads_through_a_pool = false;
    for &member in members {
        let reach = residue.reach(member, allowed);
        if let Some(&other) = members.iter().find(|&&other| !reach[other]) {
            return Err(format!("{:?} does not wait for {:?}", residue.nodes[member], residue.nodes[other]));
        }
        leads_through_a_pool |= (0..residue.nodes.len()).any(|node| {
            reach[node] && matches!(residue.nodes[node], Node::Pool(_)) && residue.reach(node, allowed)[member]
        });
    }
    match report.kind() {
        Kind::Relock if members.len() == 1 => Ok(()),
        Kind::Cycle if members.len() > 1 => Ok(()),
        Kind::Starvation if leads_through_a_pool => Ok(()),
        kind => Err(format!("{kind:?} of {}", members.len())),
    }
}

impl<'p> Oracle<'p> {
    pub(crate) fn new(program: &'p Program) -> Self {
        let state = State::new(program);
        Self { program, state, entries: Vec::new(), verdicts: Vec::new(), declared: Vec::new() }
    }

    /// Takes note of what has happened.
    pub(crate) fn absorb(&mut self, entries: Vec<Entry>, tally: &mut Tally) -> Result<(), String> {
        for entry in entries {
            self.entries.push(entry.clone());
            let wait = match &entry.event {
                Event::Waited(_) => self.state.threads[entry.thread].top().wait.clone(),
                _ => None,
            };
            self.state.apply(&entry).map_err(|why| format!("{why}, at {entry}"))?;
            tally.count(&self.state, &entry);
            match &entry.event {
                Event::Reported(report) => {
                    self.reported(entry.number, entry.thread, report).map_err(|why| format!("{why}, at {entry}"))?;
                }
                Event::Waited(outcome) => {
                    let wait = wait.expect("it waited");
                    if let (What::Token(_), Outcome::Granted) = (&wait.what, outcome) {
                        tally.add("waits for a request to stop");
                    }
                    let announced = wait.reports - usize::from(*outcome == Outcome::Deadlock);
                    if announced > 0 {
                        tally.add("deadlocks left standing");
                    }
                    if announced > 0 && !wait.policies.contains(&Policy::Report) {
                        return Err(format!("left standing under {:?}, at {entry}", wait.policies));
                    }
                    if *outcome == Outcome::Deadlock {
                        let frame = (entry.thread, self.state.threads[entry.thread].frames.len() - 1);
                        let by = wait.failure == Failure::Value && wait.policies.contains(&Policy::Report);
                        if !by && !wait.policies.contains(&Policy::Panic) {
                            return Err(format!("failed under {:?}, at {entry}", wait.policies));
                        }
                        tally.failed(&wait.what, wait.limit, wait.failure == Failure::Value);
                        self.failed((frame, wait.since)).map_err(|why| format!("{why}, at {entry}"))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn with_gone(&self, mut state: State, report: &Report) -> Result<State, String> {
        // Who was in the middle of something was not gone yet.
        let may_be_gone = |thread: &&mut Thread| (thread.has_left || thread.is_idle()) && thread.top().wait.is_none();
        for &declared in &self.declared {
            if let Some(thread) = state.threads.get_mut(declared).filter(may_be_gone) {
                thread.is_gone = true;
            }
        }
        if let (Kind::Abandoned, [_, gone]) = (report.kind(), report.threads()) {
            if !gone.is_gone() {
                return Err("the owner is not gone".to_owned());
            }
            let number = thread_of(&state, gone)?;
            match state.threads.get_mut(number).filter(may_be_gone) {
                Some(thread) => thread.is_gone = true,
                None => return Err(format!("[{number}] is not at its end")),
            }
        }
        Ok(state)
    }

    fn reported(&mut self, number: u64, reporter: usize, report: &Report) -> Result<(), String> {
        let Some(wait) = self.state.threads[reporter].top().wait.clone() else { return Err("no wait".to_owned()) };
        if wait.policies.iter().all(|&policy| policy == Policy::Off) {
            return Err("reported while that was off".to_owned());
        }
        let now = prove(&self.with_gone(self.state.clone(), report)?, reporter, report);
        let members = match now {
            Ok(members) => members,
            Err(why) => self.prove_earlier(wait.since, reporter, report).ok_or(why)?,
        };
        if let (Kind::Abandoned, [_, gone]) = (report.kind(), report.threads()) {
            let gone = thread_of(&self.state, gone)?;
            // From now on nothing may come from it.
            self.state.threads[gone].is_gone = true;
            self.declared.push(gone);
        }
        let is_last_to_wait = members.iter().all(|&(_, since)| since <= wait.since);
        let verdict = Verdict { number, reporter, kind: report.kind(), members, is_last_to_wait, victim: None };
        let is_again = |before: &&Verdict| self.is_again(before, &verdict);
        if let Some(before) = self.verdicts.iter().find(is_again) {
            return Err(format!("said before, at {}", before.number));
        }
        self.verdicts.push(verdict);
        Ok(())
    }

    /// The latest moment before now, and after `since`, at which a report is true.
    fn prove_earlier(&self, since: u64, reporter: usize, report: &Report) -> Option<Vec<Wait>> {
        let mut state = State::new(self.program);
        let mut found = None;
        for entry in &self.entries {
            state.apply(entry).ok()?;
            if entry.number >= since
                && let Ok(state) = self.with_gone(state.clone(), report)
                && let Ok(members) = prove(&state, reporter, report)
            {
                found = Some(members);
            }
        }
        found
    }

    /// Whether one report repeats another, without anything that would give it leave.
    fn is_again(&self, before: &Verdict, verdict: &Verdict) -> bool {
        let set = |verdict: &Verdict| verdict.members.iter().copied().collect::<BTreeSet<_>>();
        let since = before.members.iter().map(|&(_, since)| since).min().unwrap_or_default();
        let intervenes = |entry: &Entry| match entry.event {
            Event::SetsPolicy(_) | Event::HasSetPolicy => true,
            Event::Cancels(_) | Event::ShutsDown { .. } => !before.is_last_to_wait,
            _ => false,
        };
        let is_excused = || {
            self.state.next_policy.is_some() || self.entries.iter().filter(|entry| entry.number > since).any(intervenes)
        };
        before.kind == verdict.kind && set(before) == set(verdict) && !is_excused()
    }

    /// A wait failed: the last report of its thread was about that.
    ///
    /// Of two deadlocks that were broken, the second was found when the first one's victim had gone.
    fn failed(&mut self, wait: Wait) -> Result<(), String> {
        let reporter = wait.0.0;
        let Some(last) = self.verdicts.iter_mut().rfind(|verdict| verdict.reporter == reporter) else {
            return Err("it failed without a report".to_owned());
        };
        last.victim = Some(wait);
        let (number, members) = (last.number, last.members.clone());
        let contradicts = |other: &&Verdict| {
            let Some(victim) = other.victim.filter(|_| other.number != number) else { return false };
            members.contains(&victim) && other.members.contains(&wait)
        };
        match self.verdicts.iter().find(contradicts) {
            Some(other) => Err(format!("broken before, by the report at {}", other.number)),
            None => Ok(()),
        }
    }

    /// Whether everybody waits for what will not come by itself.
    pub(crate) fn is_settled(&self) -> bool {
        let residue = Residue::of(&self.state, View::UnlessHelped);
        self.busy().next().is_some() && self.busy().all(|thread| residue.is_stuck(residue.at(Node::Frame(thread, 0))))
    }

    /// Who has something to do, but for the one who looks on.
    pub(crate) fn busy(&self) -> impl Iterator<Item = usize> {
        let threads = self.state.threads.iter().enumerate().skip(1);
        threads.filter(|(_, thread)| !thread.is_gone && !thread.is_idle()).map(|(at, _)| at)
    }

    /// The deadlock that ought to have been broken, or reported, by now, if there is one.
    pub(crate) fn owed(&self) -> Option<String> {
        let policy = self.state.policy;
        if policy == Policy::Off || self.state.has_endless_grace() {
            return None;
        }
        let residue = Residue::of(&self.state, View::Certain);
        // Several that were told of may be one by now: each of its waits was.
        let told_of = |wait: &Wait, kinds: &dyn Fn(Kind) -> bool| {
            self.verdicts.iter().any(|verdict| {
                verdict.number > self.state.policy_since && kinds(verdict.kind) && verdict.members.contains(wait)
            })
        };
        let waits = |nodes: &[usize]| -> Vec<(Wait, Failure)> {
            let frames = nodes.iter().filter_map(|&node| match residue.nodes[node] {
                Node::Frame(thread, depth) => {
                    let wait = self.state.threads[thread].frames[depth].wait.as_ref()?;
                    let is_top = self.state.threads[thread].frames.len() == depth + 1;
                    Some((((thread, depth), wait.since), if is_top { wait.failure } else { Failure::Never }))
                }
                _ => None,
            });
            frames.collect()
        };
        let mut cores: Vec<_> = residue.cores().into_iter().map(|core| (core, false)).collect();
        let is_gone = |&provider: &usize| matches!(residue.nodes[provider], Node::Gone(_));
        let mourners = (0..residue.nodes.len()).filter(|&node| residue.sure_providers(node).iter().any(is_gone));
        cores.extend(mourners.map(|node| (vec![node], true)));
        // The waits of what was told, and stands.
        let mut standing = Vec::new();
        for (core, is_abandoned) in cores {
            let waits = waits(&core);
            let can_fail = waits.iter().any(|&(_, failure)| {
                failure == Failure::Value || failure == Failure::Unwind && policy == Policy::Panic
            });
            let waits: Vec<_> = waits.into_iter().map(|(wait, _)| wait).collect();
            // A writer that was told of a reader who is gone is told no more of its own reads. …
            let is_kind = |kind| !is_abandoned || kind == Kind::Abandoned;
            // … Nor are those told that it runs inside of: the thread was.
            let runs_one_told = |&((thread, depth), _): &Wait| {
                let is_inside = |&&((other, inner), _): &&Wait| other == thread && inner > depth;
                waits.iter().filter(is_inside).any(|wait| told_of(wait, &|kind| kind == Kind::Abandoned))
            };
            let was_told = || waits.iter().all(|wait| told_of(wait, &is_kind) || !is_abandoned && runs_one_told(wait));
            if !is_abandoned && !can_fail && was_told() {
                standing.extend(waits);
                continue;
            }
            // Nor is a writer told of a reader who is gone, if it stands already for another one. (The mourners come last.)
            if is_abandoned && waits.iter().all(|wait| standing.contains(wait)) {
                continue;
            }
            if can_fail || !was_told() {
                let mut text = format!("under {policy:?}, with a grace of {:?}, ", self.state.grace);
                text += if is_abandoned { "abandoned:" } else { "a deadlock:" };
                for node in core {
                    let _ = write!(text, " {:?}", residue.nodes[node]);
                }
                return Some(text);
            }
        }
        // Of several who wait to write what somebody reads who is gone, the one that is next is to be told.
        for (lock, nodes) in self.who_may_mourn(&residue) {
            let was_told =
                |(wait, _): &(Wait, Failure)| standing.contains(wait) || told_of(wait, &|kind| kind == Kind::Abandoned);
            if policy == Policy::Panic || !waits(&nodes).iter().any(was_told) {
                return Some(format!("under {policy:?}, {}, which somebody reads who is gone", LOCKS[lock]));
            }
        }
        None
    }

    /// Who may wait for somebody who is gone, or for another one who does, by what they want to write.
    fn who_may_mourn(&self, residue: &Residue) -> BTreeMap<usize, Vec<usize>> {
        let is_gone = |&provider: &usize| matches!(residue.nodes[provider], Node::Gone(_));
        let mut mourners: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (at, node) in residue.nodes.iter().enumerate() {
            let Node::Frame(thread, depth) = *node else { continue };
            let wait = self.state.threads[thread].frames[depth].wait.as_ref();
            if let Some(What::Shared(lock, Mode::Write)) = wait.map(|wait| &wait.what)
                && residue.providers(at).iter().any(is_gone)
                && !residue.sure_providers(at).iter().any(is_gone)
            {
                mourners.entry(*lock).or_default().push(at);
            }
        }
        mourners
    }
}
