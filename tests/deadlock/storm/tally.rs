//! How often the interesting things happened: a storm that never meets them checks nothing.

use std::collections::BTreeMap;
use std::fmt;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Kind, Report};

use super::log::{Entry, Event, Failure, Hold, Limit, Outcome, What};
use super::replay::State;
use super::script::Mode;

/// What has to happen.
const WANTED: [&str; 31] = [
    "relocks",
    "cycles",
    "longer cycles",
    "starvations",
    "abandoned locks",
    "reports with bystanders",
    "deadlocks left standing",
    "victims by value",
    "victims by panic",
    "waits that timed out",
    "scopes",
    "tasks in place",
    "members in place",
    "tasks that failed",
    "tasks cancelled",
    "waits for a request to stop",
    "tasks refused",
    "waits for room that failed",
    "waits for workers that failed",
    "guards forgotten",
    "guards dropped by the end of a thread",
    "waits of destructors",
    "limits beyond the clock that failed",
    "reads that others share",
    "upgrades",
    "downgrades",
    "waits to read that failed",
    "waits to write that failed",
    "upgrades that failed",
    "deadlocks of a writer and several readers",
    "read-write locks that were abandoned",
];

/// Whether several hold what one member waits for: more than a ring.
fn is_forked(report: &Report) -> bool {
    report.threads().iter().any(|waiter| {
        let Some(wait) = waiter.waits_for().filter(|wait| wait.resource().primitive() == "RwLock") else {
            return false;
        };
        let holds = |told: &&StuckThread| told.holds().iter().any(|held| held.resource().is_same(wait.resource()));
        report.threads().iter().filter(holds).count() > 1
    })
}

/// Whether more than one reads a lock.
fn is_shared_read(state: &State, lock: usize) -> bool {
    state.threads.iter().filter(|thread| thread.holds(lock)).count() > 1
}

#[derive(Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    pub(crate) rounds: u64,
    pub(crate) events: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str) {
        debug_assert!(WANTED.contains(&what), "{what}");
        *self.counts.entry(what).or_default() += 1;
    }

    /// Counts what an event that was applied amounts to.
    pub(crate) fn count(&mut self, state: &State, entry: &Entry) {
        self.events += 1;
        let thread = state.threads.get(entry.thread);
        let has_left = thread.is_some_and(|thread| thread.has_left);
        match &entry.event {
            Event::Reported(report) => {
                match report.kind() {
                    Kind::Relock => self.add("relocks"),
                    Kind::Cycle if report.threads().len() > 2 => self.add("longer cycles"),
                    Kind::Cycle => self.add("cycles"),
                    Kind::Starvation => self.add("starvations"),
                    _ => self.add("abandoned locks"),
                }
                let is_shared =
                    |told: &StuckThread| told.waits_for().is_some_and(|wait| wait.resource().primitive() == "RwLock");
                if report.kind() == Kind::Abandoned && is_shared(&report.threads()[0]) {
                    self.add("read-write locks that were abandoned");
                }
                if is_forked(report) {
                    self.add("deadlocks of a writer and several readers");
                }
                if !report.bystanders().is_empty() {
                    self.add("reports with bystanders");
                }
                if report.threads().iter().any(|told| told.is_in_place()) {
                    self.add("members in place");
                }
            }
            Event::Waited(Outcome::TimedOut) => self.add("waits that timed out"),
            Event::Begins(_) if thread.is_some_and(|thread| thread.frames.len() > 1) => self.add("tasks in place"),
            Event::Ends { failed: true, .. } => self.add("tasks that failed"),
            Event::Cancelled { was: true, .. } => self.add("tasks cancelled"),
            Event::Submitted { accepted: false, .. } => self.add("tasks refused"),
            Event::Forgets(..) => self.add("guards forgotten"),
            Event::Took(lock, Hold::Read) if is_shared_read(state, *lock) => self.add("reads that others share"),
            Event::Upgraded(_) => self.add("upgrades"),
            Event::Downgrades { .. } => self.add("downgrades"),
            Event::Releases(..) | Event::DropsKept(..) if has_left => self.add("guards dropped by the end of a thread"),
            Event::Waits(What::Tasks(tasks, _), _, Failure::Never) if tasks.len() > 1 => self.add("scopes"),
            Event::Waits(..) if has_left => self.add("waits of destructors"),
            _ => {}
        }
    }

    /// Counts a wait that failed.
    pub(crate) fn failed(&mut self, what: &What, limit: Limit, by_value: bool) {
        self.add(if by_value { "victims by value" } else { "victims by panic" });
        match what {
            What::Room(_) => self.add("waits for room that failed"),
            What::Workers(_) => self.add("waits for workers that failed"),
            What::Shared(_, Mode::Read | Mode::Again) => self.add("waits to read that failed"),
            What::Shared(_, Mode::Write) => self.add("waits to write that failed"),
            What::Upgrade(_) => self.add("upgrades that failed"),
            _ => {}
        }
        if limit == Limit::Beyond {
            self.add("limits beyond the clock that failed");
        }
    }

    /// What never happened and ought to.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        WANTED.into_iter().filter(|what| !self.counts.contains_key(what)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds, {} events", self.rounds, self.events)?;
        WANTED.iter().try_for_each(|&what| write!(f, "\n{:>8} {what}", self.counts.get(what).unwrap_or(&0)))
    }
}
