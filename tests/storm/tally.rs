//! How often the interesting things happened: a storm that never meets them checks nothing.

use std::collections::BTreeMap;
use std::fmt;

use bowline::deadlock::Kind;

use crate::log::{Entry, Event, Failure, Limit, Outcome, What};
use crate::replay::State;
use crate::script::leaves_out;

/// What has to happen, and whether the storm leaves it out.
const WANTED: [(&str, bool); 22] = [
    ("relocks", false),
    ("cycles", false),
    ("longer cycles", false),
    ("starvations", false),
    ("abandoned locks", false),
    ("reports with bystanders", false),
    ("deadlocks left standing", false),
    ("victims by value", false),
    ("victims by panic", false),
    ("waits that timed out", false),
    ("scopes", false),
    ("tasks in place", false),
    ("members in place", false),
    ("tasks that failed", false),
    ("tasks cancelled", false),
    ("tasks refused", false),
    ("waits for room that failed", false),
    ("waits for workers that failed", false),
    ("guards forgotten", false),
    ("guards dropped by the end of a thread", false),
    ("waits of destructors", false),
    ("limits beyond the clock that failed", leaves_out::LIMITS_BEYOND_THE_CLOCK),
];

#[derive(Default)]
pub(crate) struct Tally {
    counts: BTreeMap<&'static str, u64>,
    pub(crate) rounds: u64,
    pub(crate) events: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str) {
        debug_assert!(WANTED.iter().any(|&(wanted, _)| wanted == what), "{what}");
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
        let is_missing = |&&(what, left_out): &&(&'static str, bool)| !left_out && !self.counts.contains_key(what);
        WANTED.iter().filter(is_missing).map(|&(what, _)| what).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rounds, {} events", self.rounds, self.events)?;
        WANTED.iter().try_for_each(|&(what, _)| write!(f, "\n{:>8} {what}", self.counts.get(what).unwrap_or(&0)))
    }
}
