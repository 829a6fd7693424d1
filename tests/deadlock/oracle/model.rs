//! Who holds and waits for what, by the rules of locks alone, and who is deadlocked, by brute force.

use std::collections::BTreeSet;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Kind, Report};

use super::locks::Answer;
use super::script::{LOCKS, Mode, Sort, Step, THREADS, Way};
use crate::support::deadlocks::{held_names, names, wanted};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Whole,
    Read,
    Upgradable,
    Write,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Whole,
    Read(Mode),
    Upgradable,
    Write,
    /// By the guard at this place.
    Upgrade(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) lock: usize,
    pub(super) want: Want,
    pub(super) way: Way,
}

/// One moment of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    locks: Vec<Sort>,
    /// What each thread holds, one entry a guard, in the order of its guards.
    pub(super) held: Vec<Vec<(usize, Hold)>>,
    pub(super) waiting: Vec<Option<Wait>>,
    /// Of each lock: who waits to write it and is next, so that readers wait behind it.
    next: Vec<Option<usize>>,
}

/// What the detector has to say of a deadlock.
struct Verdict {
    members: BTreeSet<usize>,
    bystanders: BTreeSet<usize>,
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, told: T, known: T) -> Result<(), String> {
    if told == known { Ok(()) } else { Err(format!("{what}: told {told:?}, known {known:?}")) }
}

impl Moment {
    pub(super) fn first(threads: usize, locks: &[Sort]) -> Self {
        Self {
            locks: locks.to_vec(),
            held: vec![Vec::new(); threads],
            waiting: vec![None; threads],
            next: vec![None; locks.len()],
        }
    }

    /// Who holds a lock in this way, once for each guard.
    fn holders(&self, lock: usize, hold: Hold) -> impl Iterator<Item = usize> {
        let guards =
            self.held.iter().enumerate().flat_map(|(thread, held)| held.iter().map(move |held| (thread, held)));
        guards.filter(move |(_, held)| **held == (lock, hold)).map(|(thread, _)| thread)
    }

    /// Whose turn it is: that of a writer, an upgradable reader, or of a writer that waits for the readers.
    fn turn(&self, lock: usize) -> Option<usize> {
        let holds = |hold| self.holders(lock, hold).next();
        holds(Hold::Write).or_else(|| holds(Hold::Upgradable)).or(self.next[lock])
    }

    /// Who keeps a thread out: all of them have to go.
    fn providers(&self, thread: usize, wait: Wait) -> Vec<usize> {
        let Wait { lock, want, .. } = wait;
        let readers = || self.holders(lock, Hold::Read).collect();
        let writer = || self.holders(lock, Hold::Write).next();
        match want {
            Want::Whole => {
                let owner = self.holders(lock, Hold::Whole).next();
                owner.filter(|&owner| owner != thread || self.locks[lock] != Sort::Again).into_iter().collect()
            }
            Want::Read(Mode::Again) => writer().into_iter().collect(),
            Want::Read(_) => writer().or(self.next[lock]).into_iter().collect(),
            Want::Upgradable => self.turn(lock).into_iter().collect(),
            Want::Write if self.next[lock] == Some(thread) => readers(),
            Want::Write => self.turn(lock).map_or_else(readers, |turn| vec![turn]),
            Want::Upgrade(_) => readers(),
        }
    }

    /// Whether somebody waits to write who may be next now, and is not.
    fn may_be_next(&self, thread: usize) -> Option<usize> {
        let wait = self.waiting[thread].filter(|wait| wait.want == Want::Write && wait.way != Way::Try)?;
        let has_readers = self.holders(wait.lock, Hold::Read).next().is_some();
        (self.turn(wait.lock).is_none() && has_readers).then_some(wait.lock)
    }

    /// The moment at which a thread begins to do this. What it gives away is gone.
    pub(super) fn begin(&self, thread: usize, step: Step) -> Self {
        let mut moment = self.clone();
        let held = &mut moment.held[thread];
        match step {
            Step::Take(way, mode, lock) => {
                let want = match mode {
                    _ if !self.locks[lock].is_shared() => Want::Whole,
                    Mode::Read | Mode::Again => Want::Read(mode),
                    Mode::Upgradable => Want::Upgradable,
                    Mode::Write => Want::Write,
                };
                moment.waiting[thread] = Some(Wait { lock, want, way });
            }
            Step::Upgrade(way, at) => {
                let lock = held[at].0;
                moment.waiting[thread] = Some(Wait { lock, want: Want::Upgrade(at), way });
                moment.next[lock] = Some(thread);
            }
            Step::Downgrade(at, to_upgradable) => {
                let is_upgradable = to_upgradable && held[at].1 == Hold::Write;
                held[at].1 = if is_upgradable { Hold::Upgradable } else { Hold::Read };
            }
            Step::Release(at) => drop(held.remove(at)),
            Step::ReleaseAll => unreachable!("one after the other"),
        }
        moment
    }

    /// A wait is over, however it ended.
    fn end_wait(&mut self, thread: usize) -> Option<Wait> {
        let wait = self.waiting[thread].take()?;
        if self.next[wait.lock] == Some(thread) {
            self.next[wait.lock] = None;
        }
        Some(wait)
    }

    /// The moment after this answer, if it may be given at this one. `report`: what was reported, if that is a deadlock.
    fn after(&self, thread: usize, answer: &Answer, report: Option<&Report>) -> Result<Self, String> {
        let mut moment = self.clone();
        let Some(wait) = moment.end_wait(thread) else {
            return if matches!(answer, Answer::Done) { Ok(moment) } else { Err("it does not wait".to_owned()) };
        };
        let blockers = self.providers(thread, wait);
        match answer {
            Answer::Granted if blockers.is_empty() => match wait.want {
                Want::Whole => moment.held[thread].push((wait.lock, Hold::Whole)),
                Want::Read(_) => moment.held[thread].push((wait.lock, Hold::Read)),
                Want::Upgradable => moment.held[thread].push((wait.lock, Hold::Upgradable)),
                Want::Write => moment.held[thread].push((wait.lock, Hold::Write)),
                Want::Upgrade(at) => moment.held[thread][at].1 = Hold::Write,
            },
            Answer::Refused if wait.way == Way::Timed || wait.way == Way::Try && !blockers.is_empty() => {}
            Answer::Value(_) | Answer::Panic(_) => {
                let report = report.ok_or("no report")?;
                self.check_report(thread, report)?;
                if let (Want::Upgrade(at), Answer::Panic(_)) = (wait.want, answer) {
                    // It unwound with the guard.
                    moment.held[thread].remove(at);
                }
            }
            answer => return Err(format!("{answer:?} with {blockers:?} in the way")),
        }
        Ok(moment)
    }

    /// For each thread that is stuck, who is in its way and stuck; `None` for the others.
    fn stuck(&self) -> Vec<Option<Vec<usize>>> {
        let waits = |thread: usize| self.waiting[thread].filter(|wait| matches!(wait.way, Way::Lock | Way::Acquire));
        let providers: Vec<_> =
            (0..self.held.len()).map(|thread| waits(thread).map(|wait| self.providers(thread, wait))).collect();
        let mut is_stuck: Vec<_> = providers.iter().map(Option::is_some).collect();
        loop {
            let goes_on = |&thread: &usize| {
                let in_its_way = providers[thread].as_deref().unwrap_or_default();
                is_stuck[thread] && !in_its_way.iter().any(|&provider| is_stuck[provider])
            };
            let Some(live) = (0..is_stuck.len()).find(goes_on) else { break };
            is_stuck[live] = false;
        }
        let stuck = |(thread, providers): (usize, Option<Vec<usize>>)| {
            let providers = providers.filter(|_| is_stuck[thread])?;
            Some(providers.into_iter().filter(|&provider| is_stuck[provider]).collect())
        };
        providers.into_iter().enumerate().map(stuck).collect()
    }

    /// Which waits lead to which, by closing the whole relation of who is stuck behind whom.
    fn reaches(&self) -> Vec<Vec<bool>> {
        let stuck = self.stuck();
        let threads = 0..stuck.len();
        let leads = |from: usize, to: usize| stuck[from].as_ref().is_some_and(|providers| providers.contains(&to));
        let mut reaches: Vec<Vec<bool>> =
            threads.clone().map(|from| threads.clone().map(|to| leads(from, to)).collect()).collect();
        for through in threads.clone() {
            for from in threads.clone() {
                for to in threads.clone() {
                    reaches[from][to] |= reaches[from][through] && reaches[through][to];
                }
            }
        }
        reaches
    }

    /// The deadlock that a thread is part of, if it is.
    fn verdict(&self, thread: usize) -> Option<Verdict> {
        let reaches = self.reaches();
        if !reaches[thread][thread] {
            return None;
        }
        let members: BTreeSet<_> =
            (0..reaches.len()).filter(|&other| reaches[thread][other] && reaches[other][thread]).collect();
        let is_bystander = |other: &usize| !members.contains(other) && reaches[*other][thread];
        let bystanders = (0..reaches.len()).filter(is_bystander).collect();
        Some(Verdict { members, bystanders })
    }

    /// Whether nothing more happens by itself.
    fn is_at_rest(&self) -> bool {
        let rests = |thread: usize| {
            let Some(wait) = self.waiting[thread] else { return true };
            wait.way != Way::Try
                && !self.providers(thread, wait).is_empty()
                && self.may_be_next(thread).is_none()
                && self.verdict(thread).is_none()
        };
        (0..self.held.len()).all(rests)
    }

    /// All moments at rest to which these answers may have led from here, in whatever order. The reports are those of the
    /// answers.
    pub(super) fn explain(
        &self,
        answers: &[(usize, Answer, Option<Report>)],
        found: &mut Vec<Self>,
        why: &mut Vec<String>,
    ) {
        if answers.is_empty() && self.is_at_rest() && !found.contains(self) {
            found.push(self.clone());
        }
        for (at, (thread, answer, report)) in answers.iter().enumerate() {
            match self.after(*thread, answer, report.as_ref()) {
                Ok(after) => {
                    let rest: Vec<_> = answers[..at].iter().chain(&answers[at + 1..]).cloned().collect();
                    after.explain(&rest, found, why);
                }
                Err(text) => why.push(format!("{}: {text}", THREADS[*thread])),
            }
        }
        for thread in 0..self.held.len() {
            if let Some(lock) = self.may_be_next(thread) {
                let mut after = self.clone();
                after.next[lock] = Some(thread);
                after.explain(answers, found, why);
            }
        }
    }

    /// Checks all that a report says of one thread.
    fn check_thread(&self, told: &StuckThread) -> Result<usize, String> {
        let Some(thread) = THREADS.iter().position(|&name| Some(name) == told.name()) else {
            return Err(format!("told of {:?}", told.name()));
        };
        let Some(wait) = self.waiting[thread] else { return Err(format!("{} waits not", THREADS[thread])) };
        expect("wanted", wanted(told).name(), Some(LOCKS[wait.lock]))?;
        let held: BTreeSet<_> = self.held[thread].iter().map(|&(lock, _)| LOCKS[lock]).collect();
        // Each read of a lock is told, and a re-entrant lock once.
        let mut told_held = held_names(told);
        told_held.dedup();
        expect("held", told_held, held.into_iter().collect::<Vec<_>>())?;
        Ok(thread)
    }

    /// An error if this is not what has to be said of the deadlock that a thread is part of.
    fn check_report(&self, thread: usize, report: &Report) -> Result<(), String> {
        let verdict = self.verdict(thread).ok_or("there is no deadlock")?;
        let all_names = |threads: &BTreeSet<usize>| threads.iter().map(|&thread| THREADS[thread]).collect::<Vec<_>>();
        expect("members", names(report.threads()), all_names(&verdict.members))?;
        expect("bystanders", names(report.bystanders()), all_names(&verdict.bystanders))?;
        expect("who found it", report.threads()[0].name(), Some(THREADS[thread]))?;
        expect("kind", report.kind(), if verdict.members.len() == 1 { Kind::Relock } else { Kind::Cycle })?;
        let stuck = self.stuck();
        let members = report.threads().iter().map(|told| self.check_thread(told)).collect::<Result<Vec<_>, _>>()?;
        report.bystanders().iter().try_for_each(|told| self.check_thread(told).map(drop))?;
        // In a ring each waits for the next.
        let in_ring = |&member: &usize| stuck[member].as_ref().is_some_and(|providers| providers.len() == 1);
        if members.iter().all(in_ring) {
            for (at, &member) in members.iter().enumerate() {
                expect("the next", members[(at + 1) % members.len()], stuck[member].as_ref().expect("it is stuck")[0])?;
            }
        }
        Ok(())
    }

    /// Whether the deadlock that a thread is part of is more than a ring.
    pub(super) fn is_forked(&self, thread: usize) -> bool {
        let stuck = self.stuck();
        self.verdict(thread).is_some_and(|verdict| {
            let several = |member: &usize| {
                let in_core = |provider: &&usize| verdict.members.contains(provider);
                stuck[*member].iter().flatten().filter(in_core).collect::<BTreeSet<_>>().len() > 1
            };
            verdict.members.iter().any(several)
        })
    }
}
