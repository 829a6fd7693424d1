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
            let record = self.record_mut(member);
            if let Some(entry) = record.entry.as_mut() {
                entry.reported = entry.reported.and(number, is_abandoned);
                record.reported = entry.reported;
                first.get_or_insert(entry.reported);
            }
        }
        first.unwrap_or_default()
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
