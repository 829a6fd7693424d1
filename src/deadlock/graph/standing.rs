//! The deadlocks that were reported and left standing.

use super::Graph;
use super::context::Context;
use super::reported::Reported;
use super::waits::LISTS;

impl Graph {
    /// Marks a deadlock as reported. Returns what reports have said of its first member, the one that was judged.
    pub(in crate::deadlock) fn mark_reported(&mut self, core: &[&'static Context], is_abandoned: bool) -> Reported {
        self.reports += 1;
        let number = self.reports;
        let mut first = None;
        for &member in core {
            let before = self.entry(member).map(|entry| entry.reported);
            let now = self.mark(member, number, is_abandoned);
            first = first.or(now);
            // The contexts that it runs inside of stay part of what both were part of.
            let mut inner = member;
            while let Some(wait) = inner.outer_wait() {
                if before.is_some_and(|before| before.is_ever() && self.record(wait.outer).reported.is_with(before)) {
                    self.mark(wait.outer, number, false);
                }
                inner = wait.outer;
            }
        }
        first.unwrap_or_default()
    }

    /// Marks a registered wait as part of a report. Returns what reports have said of it.
    fn mark(&mut self, context: &'static Context, number: u64, is_abandoned: bool) -> Option<Reported> {
        let record = self.record_mut(context);
        let entry = record.entry.as_mut()?;
        entry.reported = entry.reported.and(number, is_abandoned);
        record.reported = entry.reported;
        Some(entry.reported)
    }

    /// Returns whether each member of a deadlock was part of one that was reported and left standing.
    pub(in crate::deadlock) fn is_reported(&self, core: &[&'static Context], is_abandoned: bool) -> bool {
        let was_reported = if is_abandoned { Reported::is_abandoned } else { Reported::is_ever };
        let is_marked =
            |&member: &&'static Context| self.entry(member).is_some_and(|entry| was_reported(entry.reported));
        !core.is_empty() && core.iter().all(is_marked)
    }

    /// Forgets which deadlocks were reported.
    pub(in crate::deadlock) fn forget_reports(&mut self) {
        self.forgotten = self.reports;
        for list in 0..=LISTS {
            let mut next = self.first_of_list(list);
            while let Some(context) = next {
                let record = self.record_mut(context);
                next = record.next;
                if let Some(entry) = record.entry.as_mut() {
                    entry.reported = Reported::NEVER;
                }
            }
        }
    }
}
