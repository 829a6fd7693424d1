//! Who is deadlocked, who is stuck behind, and what a report has to say of that.

use std::collections::BTreeSet;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Kind, Report};

use super::{Blockers, Hold, Moment, Want};
use crate::oracle::script::{THINGS, THREADS, Way};
use crate::support::deadlocks::{held_names, names, wanted};

/// What the detector has to say of a deadlock.
struct Verdict {
    members: BTreeSet<usize>,
    bystanders: BTreeSet<usize>,
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, told: T, known: T) -> Result<(), String> {
    if told == known { Ok(()) } else { Err(format!("{what}: told {told:?}, known {known:?}")) }
}

impl Moment {
    /// For each thread that is stuck, who is in its way and stuck; `None` for the others.
    fn stuck(&self) -> Vec<Option<Vec<usize>>> {
        let waits = |thread: usize| {
            let wait = self.waiting[thread]?;
            let lasts = matches!(wait.way, Way::Lock | Way::Acquire) || wait.is_relock();
            lasts.then(|| self.blockers(thread, wait))
        };
        let blockers: Vec<_> = (0..self.held.len()).map(waits).collect();
        let mut is_stuck: Vec<_> = blockers.iter().map(Option::is_some).collect();
        loop {
            let goes_on = |&thread: &usize| {
                is_stuck[thread]
                    && match &blockers[thread] {
                        Some(Blockers::All(threads)) => !threads.iter().any(|&other| is_stuck[other]),
                        Some(Blockers::AtLeast(count, holders)) => {
                            let live = holders.iter().filter(|(holder, _)| !is_stuck[*holder]);
                            live.map(|&(_, held)| held).sum::<usize>() >= *count
                        }
                        Some(Blockers::Unknown) | None => true,
                    }
            };
            let Some(live) = (0..is_stuck.len()).find(goes_on) else { break };
            is_stuck[live] = false;
        }
        let stuck = |(thread, blockers): (usize, Option<Blockers>)| {
            let mut threads = match blockers.filter(|_| is_stuck[thread])? {
                Blockers::All(threads) => threads,
                Blockers::AtLeast(_, holders) => holders.into_iter().map(|(holder, _)| holder).collect(),
                Blockers::Unknown => unreachable!("it is live"),
            };
            threads.retain(|&thread| is_stuck[thread]);
            Some(threads)
        };
        blockers.into_iter().enumerate().map(stuck).collect()
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
    fn deadlock_of(&self, thread: usize) -> Option<Verdict> {
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

    /// Whether nobody is part of a deadlock.
    pub(super) fn is_free_of_deadlocks(&self) -> bool {
        let reaches = self.reaches();
        (0..reaches.len()).all(|thread| !reaches[thread][thread])
    }

    /// Checks all that a report says of one thread.
    fn check_thread(&self, told: &StuckThread) -> Result<usize, String> {
        let Some(thread) = THREADS.iter().position(|&name| Some(name) == told.name()) else {
            return Err(format!("told of {:?}", told.name()));
        };
        let Some(wait) = self.waiting[thread] else { return Err(format!("{} waits not", THREADS[thread])) };
        if wait.want == Want::Join {
            let joined = told.waits_for().and_then(bowline::deadlock::report::Wait::joined);
            expect("joined", joined.and_then(|joined| joined.name()), Some(THREADS[wait.thing]))?;
        } else {
            expect("wanted", wanted(told).name(), Some(THINGS[wait.thing]))?;
        }
        let guards = self.held[thread].iter().filter(|(_, hold)| !matches!(hold, Hold::Loose(_)));
        let cells = self.initialises[thread].iter();
        let held: BTreeSet<_> = guards.map(|&(thing, _)| thing).chain(cells.copied()).map(|at| THINGS[at]).collect();
        // Each read of a lock is told, and a re-entrant lock once.
        let mut told_held = held_names(told);
        told_held.dedup();
        expect("held", told_held, held.into_iter().collect::<Vec<_>>())?;
        for held in told.holds() {
            let Some(thing) = THINGS.iter().position(|&name| Some(name) == held.resource().name()) else { continue };
            expect("initialises", held.is_initialisation(), self.sorts[thing].is_cell())?;
        }
        expect("permits", permits_told(told), self.permits_held(thread))?;
        Ok(thread)
    }

    /// How many permits that have owners a thread holds.
    fn permits_held(&self, thread: usize) -> usize {
        let permits = |&(_, hold): &(usize, Hold)| if let Hold::Permits(count) = hold { count } else { 0 };
        self.held[thread].iter().map(permits).sum()
    }

    /// An error if this is not what has to be said of the deadlock that a thread is part of.
    pub(super) fn check_report(&self, thread: usize, report: &Report) -> Result<(), String> {
        let verdict = self.deadlock_of(thread).ok_or("there is no deadlock")?;
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
    pub(in crate::oracle) fn is_forked(&self, thread: usize) -> bool {
        let stuck = self.stuck();
        self.deadlock_of(thread).is_some_and(|verdict| {
            let several = |member: &usize| {
                let in_core = |provider: &&usize| verdict.members.contains(provider);
                stuck[*member].iter().flatten().filter(in_core).collect::<BTreeSet<_>>().len() > 1
            };
            verdict.members.iter().any(several)
        })
    }
}

/// How many permits a report says that a thread holds.
fn permits_told(told: &StuckThread) -> usize {
    let permits = told.holds().iter().filter(|held| held.resource().primitive() == "BoundedSemaphore");
    permits.map(bowline::deadlock::report::Held::permits).sum()
}
