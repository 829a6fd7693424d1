//! How often the interesting things happened, over all scripts: a test that never meets them checks nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bowline::deadlock::Report;
use bowline::deadlock::report::StuckThread;

use super::answer::Answer;
use super::model::{Moment, Wait, Want};
use super::script::{Intent, Sort, THREADS, Way};
use crate::support::deadlocks::wanted;

/// All that has to happen.
const ALL: [&str; 44] = [
    "relocks",
    "cycles of two",
    "longer cycles",
    "deadlocks that are more than a ring",
    "deadlocks of three kinds of waits",
    "reports with bystanders",
    "deadlocks through permits",
    "deadlocks through an initialiser",
    "deadlocks through a join",
    "deadlocks through a lock that is taken again for a condition",
    "relocks of permits",
    "relocks of an initialiser",
    "threads that join themselves",
    "waits to read that failed",
    "waits to write that failed",
    "upgrades that failed",
    "waits for several permits that failed",
    "waits for a OnceLock that failed",
    "waits for a Once that failed",
    "waits for a LazyLock that failed",
    "waits for somebody else's initialiser, without one, that failed",
    "joins that failed",
    "waits for a lock after a notification that failed",
    "waits that failed in an initialiser",
    "upgrades",
    "permits, several at once, after a wait",
    "initialisers after another one failed",
    "poisoned cells",
    "joins",
    "notifications",
    "waits on a condition that timed out",
    "passes of a barrier",
    "broken barriers",
    "waits that timed out",
    "waits with a limit that were granted",
    "moments at which it was not known who is next",
    "waits behind a thread that waits for an Event",
    "waits behind a thread that waits for a Semaphore",
    "waits behind a thread that waits for a Barrier",
    "waits behind a thread that waits for a Promise",
    "waits behind a thread that waits on a Condition",
    "waits behind a thread that waits for a cell that nobody initialises",
    "waits behind somebody who waits with a limit",
    "joins of a thread that waits for a signal",
];

#[derive(Default)]
pub(super) struct Tally(RefCell<BTreeMap<&'static str, u32>>);

impl Tally {
    /// Says what happened, and panics if anything never did.
    pub(super) fn check(&self) {
        let counts = self.0.borrow();
        let count = |what| counts.get(what).copied().unwrap_or(0);
        ALL.iter().for_each(|what| eprintln!("{}: {what}", count(what)));
        let missing: Vec<_> = ALL.iter().filter(|what| count(what) == 0).collect();
        assert!(missing.is_empty(), "none: {missing:?}");
    }

    pub(super) fn count(&self, what: &'static str) {
        debug_assert!(ALL.contains(&what), "{what}");
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    /// Counts an answer. `before`: the moment at which it was waited for; `has_waited`: whether others acted meanwhile.
    pub(super) fn count_answer(
        &self,
        before: &Moment,
        thread: usize,
        has_waited: bool,
        answer: &Answer,
        report: Option<&Report>,
    ) {
        let Some(wait) = before.waiting[thread] else { return };
        let sort = (wait.want != Want::Join).then(|| before.sort(wait.thing));
        let is_barrier = matches!(sort, Some(Sort::Barrier(_)));
        match (answer, wait.want) {
            (Answer::Granted, Want::Upgrade(_)) => self.count("upgrades"),
            (Answer::Granted, Want::Permits(2..)) if has_waited => self.count("permits, several at once, after a wait"),
            (Answer::Granted, Want::Join) => self.count("joins"),
            (Answer::Granted, Want::Notified { .. } | Want::Relock { .. }) => self.count("notifications"),
            (Answer::Refused, Want::Notified { .. } | Want::Relock { .. }) => {
                self.count("waits on a condition that timed out");
            }
            (Answer::Granted, Want::Signal(_)) if is_barrier => self.count("passes of a barrier"),
            (Answer::Refused, Want::Signal(_)) if is_barrier => self.count("broken barriers"),
            (Answer::Poisoned, _) => self.count("poisoned cells"),
            (Answer::Begun, _) if has_waited => self.count("initialisers after another one failed"),
            _ => {}
        }
        match answer {
            Answer::Granted if wait.way == Way::Timed => self.count("waits with a limit that were granted"),
            Answer::Refused if wait.way == Way::Timed => self.count("waits that timed out"),
            _ => {}
        }
        if let Some(report) = report {
            self.count_report(before, thread, report);
            self.count_failure(before, thread, wait, sort);
        }
    }

    fn count_report(&self, before: &Moment, thread: usize, report: &Report) {
        let primitive = wanted(&report.threads()[0]).primitive();
        match (report.threads().len(), primitive) {
            (1, "BoundedSemaphore") => self.count("relocks of permits"),
            (1, "OnceLock" | "Once" | "LazyLock") => self.count("relocks of an initialiser"),
            (1, "JoinHandle") => self.count("threads that join themselves"),
            (1, _) => self.count("relocks"),
            (2, _) => self.count("cycles of two"),
            _ => self.count("longer cycles"),
        }
        if report.threads().len() > 1 {
            let kinds: BTreeSet<_> = report.threads().iter().map(|told| wanted(told).primitive()).collect();
            if kinds.contains("BoundedSemaphore") {
                self.count("deadlocks through permits");
            }
            if ["OnceLock", "Once", "LazyLock"].iter().any(|kind| kinds.contains(kind)) {
                self.count("deadlocks through an initialiser");
            }
            if kinds.contains("JoinHandle") {
                self.count("deadlocks through a join");
            }
            if kinds.len() > 2 {
                self.count("deadlocks of three kinds of waits");
            }
        }
        let was_notified = |told: &StuckThread| {
            let member = THREADS.iter().position(|&name| Some(name) == told.name());
            let wait = member.and_then(|member| before.waiting[member]);
            wait.is_some_and(|wait| matches!(wait.want, Want::Relock { .. } | Want::Notified { .. }))
        };
        if report.threads().iter().any(was_notified) {
            self.count("deadlocks through a lock that is taken again for a condition");
        }
        if !report.bystanders().is_empty() {
            self.count("reports with bystanders");
        }
        if before.is_forked(thread) {
            self.count("deadlocks that are more than a ring");
        }
    }

    fn count_failure(&self, before: &Moment, thread: usize, wait: Wait, sort: Option<Sort>) {
        if !before.initialises[thread].is_empty() {
            self.count("waits that failed in an initialiser");
        }
        match wait.want {
            Want::Read(_) => self.count("waits to read that failed"),
            Want::Write => self.count("waits to write that failed"),
            Want::Upgrade(_) => self.count("upgrades that failed"),
            Want::Permits(2..) => self.count("waits for several permits that failed"),
            Want::Join => self.count("joins that failed"),
            Want::Relock { .. } | Want::Notified { .. } => {
                self.count("waits for a lock after a notification that failed")
            }
            Want::Cell(Intent::Await | Intent::AwaitAnyway) => {
                self.count("waits for somebody else's initialiser, without one, that failed");
            }
            Want::Cell(_) => match sort {
                Some(Sort::OnceLock) => self.count("waits for a OnceLock that failed"),
                Some(Sort::Once) => self.count("waits for a Once that failed"),
                _ => self.count("waits for a LazyLock that failed"),
            },
            _ => {}
        }
    }

    /// Counts who waits behind somebody who is not stuck, when nothing more happens.
    pub(super) fn count_rest(&self, moment: &Moment) {
        for (thread, thing) in moment.signals_wanted() {
            if !moment.is_in_the_way(thread) {
                continue;
            }
            self.count(match moment.sort(thing) {
                Sort::Event => "waits behind a thread that waits for an Event",
                Sort::Loose(_) => "waits behind a thread that waits for a Semaphore",
                Sort::Barrier(_) => "waits behind a thread that waits for a Barrier",
                Sort::Promise => "waits behind a thread that waits for a Promise",
                Sort::Condition => "waits behind a thread that waits on a Condition",
                _ => "waits behind a thread that waits for a cell that nobody initialises",
            });
            if moment.is_joined(thread) {
                self.count("joins of a thread that waits for a signal");
            }
        }
        for (thread, wait) in moment.waiting.iter().enumerate() {
            if wait.is_some_and(|wait| wait.way == Way::Timed) && moment.is_in_the_way(thread) {
                self.count("waits behind somebody who waits with a limit");
            }
        }
    }
}
