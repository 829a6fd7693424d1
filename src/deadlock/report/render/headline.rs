//! The first line of a report: what happened. It is stable.

use super::names::Names;
use crate::deadlock::report::{Kind, Report, StuckThread};

/// How a first line goes on, or ends.
const PHRASES: [&str; 9] = [
    " waits for itself",
    " waits for its own end",
    ", which was ended by force",
    " waits for an initialisation that it runs itself",
    " waits for a lock it holds itself",
    " for each other",
    " waits for a pool that it works for",
    " for workers that all wait",
    ", which has ended",
];

/// A text with a report in it.
pub(crate) struct ReportIn<'t> {
    pub(crate) before: &'t str,
    /// The report's first line.
    pub(crate) headline: &'t str,
    /// What follows after the report.
    pub(crate) after: &'t str,
}

impl<'t> ReportIn<'t> {
    /// Returns the first report in a text.
    pub(crate) fn text(text: &'t str) -> Option<Self> {
        text.match_indices("deadlock: ").find_map(|(at, _)| {
            let (before, report) = text.split_at(at);
            let (headline, rest) = report.split_once("\n\n")?;
            let is_headline = !headline.contains('\n') && PHRASES.iter().any(|phrase| headline.ends_with(phrase));
            let (_, help) = rest.split_once("\nhelp: ").filter(|_| is_headline)?;
            // The advice goes on in lines with an indent.
            let mut ends = help.match_indices('\n').map(|(at, _)| at);
            let end = ends.find(|&at| !help[at + 1..].starts_with("      "));
            Some(Self { before, headline, after: end.map_or("", |at| &help[at..]) })
        })
    }
}

impl Names<'_> {
    /// Returns the first line of a report.
    pub(super) fn headline(&self, report: &Report) -> String {
        let count = report.threads.len();
        let thread =
            |at: usize| report.threads.get(at).map_or("a thread".to_owned(), |thread| self.thread_in_headline(thread));
        let for_task =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_task());
        let for_once =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_once());
        let for_pool =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_pool());
        let for_thread =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.is_thread());
        let for_permits =
            report.threads.first().and_then(StuckThread::waits_for).is_some_and(|wait| wait.resource.has_permits());
        let tasks = if !report.threads.is_empty() && report.threads.iter().all(|thread| thread.task.is_some()) {
            "task"
        } else {
            "thread"
        };
        let tasks = if count == 1 { format!("1 {tasks} waits") } else { format!("{count} {tasks}s wait") };
        match report.kind {
            Kind::Relock if for_task => format!("deadlock: {} waits for itself", thread(0)),
            Kind::Relock if for_thread => format!("deadlock: {} waits for its own end", thread(0)),
            Kind::Relock if for_pool => {
                format!("deadlock: {} waits for a pool that it works for", thread(0))
            }
            Kind::Relock if for_once => {
                format!("deadlock: {} waits for an initialisation that it runs itself", thread(0))
            }
            Kind::Relock if for_permits => format!("deadlock: {} waits for permits it holds itself", thread(0)),
            Kind::Relock => format!("deadlock: {} waits for a lock it holds itself", thread(0)),
            Kind::Cycle => format!("deadlock: {tasks} for each other"),
            Kind::Starvation => format!("deadlock: {tasks} for workers that all wait"),
            Kind::Abandoned if for_thread => {
                format!("deadlock: {} waits for the end of {}, which was ended by force", thread(0), thread(1))
            }
            Kind::Abandoned => {
                let what = match (for_task, for_once, for_permits) {
                    (true, _, _) => "task run",
                    (_, true, _) => "value initialised",
                    (_, _, true) => "permit held",
                    (false, false, false) => "lock held",
                };
                format!("deadlock: {} waits for a {what} by {}, which has ended", thread(0), thread(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlock::report::render::tests::cycle;

    #[test]
    fn a_report_is_found_in_a_text_with_what_is_around_it() {
        let report = cycle(3, None);
        for (before, after) in
            [("", ""), ("possible deadlock: see below\n", "\n\nrequest 17"), ("failed: ", "\nin main")]
        {
            let text = format!("{before}{report}{after}");
            let found = ReportIn::text(&text).unwrap();
            assert_eq!(
                (found.before, found.headline, found.after),
                (before, "deadlock: 3 threads wait for each other", after)
            );
        }
        for text in
            ["", "deadlock: no", "deadlock: none here\n\nno\nhelp: none", "deadlock: 3 threads wait for each other"]
        {
            assert!(ReportIn::text(text).is_none(), "{text}");
        }
    }
}
