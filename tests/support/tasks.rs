//! A model of tasks that wait for each other, for locks and for workers, and what a deadlock among them is, by brute force.

use std::collections::BTreeSet;

use bowline::ReturnWhen;
use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Kind, Report};

use super::deadlocks::task_name;

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Unknown,
    Queued,
    Running,
    Finished,
    Failed,
}

impl Phase {
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

/// What a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    Lock(usize),
    Tasks(Vec<usize>, ReturnWhen),
    /// The rest of a pool: all of its tasks.
    Rest(usize),
    /// Something that ends by itself.
    ForSomeTime,
}

/// Who runs, holds and waits for what.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// How many workers each pool may have.
    pub(crate) workers: Vec<usize>,
    /// Whose tasks they are.
    pub(crate) pool: Vec<usize>,
    pub(crate) phase: Vec<Phase>,
    pub(crate) waits: Vec<Option<Waits>>,
    pub(crate) owner: Vec<Option<usize>>,
    /// For each pool, the tasks on each busy worker's stack: each but the last waits for the next.
    pub(crate) stacks: Vec<Vec<Vec<usize>>>,
}

/// What the detector has to say of a deadlock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    pub(crate) members: BTreeSet<usize>,
    pub(crate) bystanders: BTreeSet<usize>,
}

/// A wait: whether one of several is enough, and for whom. Tasks come first, pools after them.
type Node = Option<(bool, Vec<usize>)>;

impl State {
    pub(crate) fn new(workers: &[usize], pool: &[usize], locks: usize) -> Self {
        Self {
            workers: workers.to_vec(),
            pool: pool.to_vec(),
            phase: vec![Phase::Unknown; pool.len()],
            waits: vec![None; pool.len()],
            owner: vec![None; locks],
            stacks: vec![Vec::new(); workers.len()],
        }
    }

    pub(crate) fn tasks(&self) -> std::ops::Range<usize> {
        0..self.pool.len()
    }

    /// The stack that a task is on.
    pub(crate) fn stack(&self, task: usize) -> Option<&Vec<usize>> {
        self.stacks[self.pool[task]].iter().find(|stack| stack.contains(&task))
    }

    /// The task that runs in place on top of this one.
    pub(crate) fn above(&self, task: usize) -> Option<usize> {
        let stack = self.stack(task)?;
        let at = stack.iter().position(|&other| other == task)?;
        stack.get(at + 1).copied()
    }

    /// Whether what a task waits for is there.
    pub(crate) fn is_over(&self, task: usize) -> bool {
        let is_done = |&other: &usize| self.phase[other].is_done();
        match &self.waits[task] {
            None | Some(Waits::ForSomeTime) => false,
            Some(Waits::Lock(lock)) => self.owner[*lock].is_none(),
            Some(Waits::Rest(pool)) => {
                self.tasks().filter(|&other| self.pool[other] == *pool).all(|other| is_done(&other))
            }
            Some(Waits::Tasks(tasks, ReturnWhen::AllCompleted)) => tasks.iter().all(is_done),
            Some(Waits::Tasks(tasks, ReturnWhen::FirstCompleted)) => tasks.iter().any(is_done),
            Some(Waits::Tasks(tasks, ReturnWhen::FirstException)) => {
                tasks.iter().all(is_done) || tasks.iter().any(|&other| self.phase[other] == Phase::Failed)
            }
        }
    }

    /// The task that a waiter for all runs in place next.
    pub(crate) fn next_in_place(&self, task: usize) -> Option<usize> {
        let Some(Waits::Tasks(tasks, ReturnWhen::AllCompleted)) = &self.waits[task] else { return None };
        let is_mine = |&other: &usize| self.phase[other] == Phase::Queued && self.pool[other] == self.pool[task];
        tasks.iter().copied().find(is_mine)
    }

    fn node(&self, node: usize) -> Node {
        let Some(task) = self.tasks().nth(node) else {
            let stacks = &self.stacks[node - self.pool.len()];
            let bottoms = || stacks.iter().map(|stack| stack[0]).collect();
            return (stacks.len() >= self.workers[node - self.pool.len()]).then(|| (true, bottoms()));
        };
        if self.phase[task] != Phase::Running {
            return None;
        }
        if let Some(above) = self.above(task) {
            return Some((false, vec![above]));
        }
        if self.is_over(task) || self.next_in_place(task).is_some() {
            return None;
        }
        let provider = |&other: &usize| match self.phase[other] {
            Phase::Unknown | Phase::Queued => self.pool.len() + self.pool[other],
            _ => other,
        };
        match self.waits[task].as_ref()? {
            Waits::ForSomeTime => None,
            Waits::Lock(lock) => Some((false, vec![self.owner[*lock]?])),
            Waits::Rest(pool) => {
                let has_begun = |other: usize| !matches!(self.phase[other], Phase::Unknown | Phase::Queued);
                let is_queued = self.tasks().any(|other| self.pool[other] == *pool && !has_begun(other));
                let bottoms = self.stacks[*pool].iter().map(|stack| stack[0]);
                Some((false, bottoms.chain(is_queued.then_some(self.pool.len() + pool)).collect()))
            }
            Waits::Tasks(tasks, return_when) => {
                let pending = tasks.iter().filter(|&&other| !self.phase[other].is_done());
                Some((*return_when != ReturnWhen::AllCompleted, pending.map(provider).collect()))
            }
        }
    }

    /// What each task and pool that can never go on waits for.
    fn stuck(&self) -> Vec<Node> {
        let mut nodes: Vec<_> = (0..self.pool.len() + self.workers.len()).map(|node| self.node(node)).collect();
        loop {
            let is_stuck = |node: &usize| nodes[*node].is_some();
            let goes_on = |node: &Node| match node {
                None => false,
                Some((true, providers)) => !providers.iter().all(is_stuck),
                Some((false, providers)) => !providers.iter().any(is_stuck),
            };
            match nodes.iter().position(goes_on) {
                Some(live) => nodes[live] = None,
                None => return nodes,
            }
        }
    }

    /// Who reaches whom along waits that can never end.
    fn reach(&self) -> Vec<Vec<bool>> {
        let stuck = self.stuck();
        let all = 0..stuck.len();
        let waits = |from: usize, to: usize| {
            stuck[to].is_some() && stuck[from].as_ref().is_some_and(|(_, providers)| providers.contains(&to))
        };
        let mut reach: Vec<Vec<_>> = all.clone().map(|from| all.clone().map(|to| waits(from, to)).collect()).collect();
        for through in all.clone() {
            for from in all.clone() {
                for to in all.clone() {
                    reach[from][to] |= reach[from][through] && reach[through][to];
                }
            }
        }
        reach
    }

    /// What has to be said to a task that waits, if it is part of a deadlock.
    pub(crate) fn verdict(&self, task: usize) -> Option<Verdict> {
        let reach = self.reach();
        if !reach[task][task] {
            return None;
        }
        let is_member = |&other: &usize| reach[task][other] && reach[other][task];
        let members: BTreeSet<_> = self.tasks().filter(is_member).collect();
        let has_pool = (self.pool.len()..reach.len()).any(|pool| is_member(&pool));
        let kind = match members.len() {
            _ if has_pool => Kind::Starvation,
            1 => Kind::Relock,
            _ => Kind::Cycle,
        };
        let bystanders = self.tasks().filter(|other| !is_member(other) && reach[*other][task]).collect();
        Some(Verdict { kind, members, bystanders })
    }

    /// Whether these tasks are part of one deadlock, and perhaps others with them.
    pub(crate) fn is_deadlock(&self, members: &BTreeSet<usize>) -> bool {
        let reach = self.reach();
        members.iter().all(|&from| members.iter().all(|&to| reach[from][to]))
    }
}

/// The tasks that the threads run, told by their names.
pub(crate) fn tasks_of(threads: &[StuckThread], names: &[&str]) -> BTreeSet<usize> {
    let task = |thread: &StuckThread| {
        let name = task_name(thread);
        names.iter().position(|&other| other == name).unwrap_or_else(|| panic!("no task: {thread:?}"))
    };
    let tasks: BTreeSet<_> = threads.iter().map(task).collect();
    assert_eq!(tasks.len(), threads.len(), "each task once");
    tasks
}

/// What a report says.
pub(crate) fn said(report: &Report, names: &[&str]) -> Verdict {
    let [members, bystanders] = [report.threads(), report.bystanders()].map(|threads| tasks_of(threads, names));
    Verdict { kind: report.kind(), members, bystanders }
}
