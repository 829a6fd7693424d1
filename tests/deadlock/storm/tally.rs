//! How often the interesting things happened: a storm that never meets them checks nothing.

use std::collections::BTreeMap;
use std::fmt;

use bowline::deadlock::Kind;

use super::log::{Entry, Event, Failure, Limit, Outcome, What};
use super::replay::State;

/// What has to happen.
const WANTED: [&str; 22] = [
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
    "tasks refused",
    "waits for room that failed",
    "waits for workers that failed",
    "guards forgotten",
    "guards dropped by the end of a thread",
    "waits of destructors",
    "limits beyond the clock that failed",
];

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
            Event::Forgets(_) => self.add("guards forgotten"),
            Event::Releases(_) if has_left => self.add("guards dropped by the end of a thread"),
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
