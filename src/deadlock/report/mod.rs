//! The data of reports: a deadlock, a long wait or a hazard, explained, and the error that carries a deadlock.

mod access;
mod activity;
mod author;
mod awaited;
mod cause;
mod dot;
pub(super) mod dump;
mod excerpt;
mod hazard;
mod long_wait;
mod names_now;
pub(crate) mod render;
mod resource;
pub(super) mod scene;
pub(super) mod signature;
pub(super) mod snapshot;
mod source;
pub(super) mod stack;
mod suspicion;
mod syntax;
mod thread;

use std::fmt;
use std::sync::Arc;

pub use access::Access;
pub use activity::Activity;
pub use hazard::{Hazard, HazardKind};
pub use long_wait::LongWait;
use resource::Identity;
pub(in crate::deadlock) use resource::Nature;
#[cfg(feature = "serde")]
use resource::serialize_site;
pub use resource::{Purpose, Resource, Task};
pub use suspicion::Suspicion;
pub use thread::{Held, JoinedThread, StuckThread, Wait};

/// What kind of deadlock a [`Report`] is about.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(());
/// let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
/// assert_eq!(deadlock.report().kind(), bowline::deadlock::Kind::Relock);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Kind {
    /// A thread asked for a lock that it holds itself and that is not re-entrant, or an initialiser for what it is to make; or
    /// a task waits for its own result, or for the end of the pool that it runs in.
    Relock,
    /// Threads or tasks wait for each other.
    Cycle,
    /// A thread or task waits for the workers of a pool, all of which wait for it in turn.
    Starvation,
    /// A thread waits for something that a thread that has ended still holds.
    Abandoned,
}

/// A proved deadlock: which threads wait for what, which hold it, and from which lines.
///
/// [`Display`](fmt::Display) renders it for people; the first line is stable and can be searched for, for example
/// `deadlock: 2 threads wait for each other`. Making a report copies a few words for each thread and for each of up to
/// 64 things that it holds; text is rendered only when the report is displayed.
///
/// The text is laid out for 100 columns, or for the width in a format specification, as in `{report:80}`. It shows at most 12
/// threads in full and names the others, 10 bystanders, and 16 of the things that each thread holds, beginning with those
/// that another thread waits for. A circle of threads that all do the same is told once. What is waited for has a letter;
/// a legend says what it is.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(());
/// let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
/// let report = deadlock.report();
/// assert_eq!((report.threads().len(), report.bystanders().len()), (1, 0));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    pub(in crate::deadlock) kind: Kind,
    pub(in crate::deadlock) threads: Vec<StuckThread>,
    pub(in crate::deadlock) bystanders: Vec<StuckThread>,
}

impl Report {
    /// Returns the kind of deadlock.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the threads and tasks that make up the deadlock; the first is the one that reports it. In a
    /// [`Kind::Cycle`] of locks, each waits for what the next one holds, and the last for what the first holds. In a
    /// [`Kind::Abandoned`], the second is the thread that has ended.
    #[must_use]
    pub fn threads(&self) -> &[StuckThread] {
        &self.threads
    }

    /// Returns the threads that are stuck behind the deadlock without being part of it. They go on once it is broken.
    #[must_use]
    pub fn bystanders(&self) -> &[StuckThread] {
        &self.bystanders
    }

    /// Prints the report to standard error. Of a deadlock at lines that were printed before, this is one line.
    pub(in crate::deadlock) fn print(&self) {
        render::print(self);
    }

    /// Prints the whole report to standard error.
    pub(in crate::deadlock) fn print_whole(&self) {
        render::print_whole(self);
    }

    /// Prints the first line of the report to standard error.
    pub(in crate::deadlock) fn print_headline(&self) {
        crate::deadlock::print_line(format_args!("{}", render::headline(self)));
    }

    /// Returns the first line of the text.
    #[cfg(feature = "tracing")]
    pub(in crate::deadlock) fn headline(&self) -> String {
        render::headline(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::report(self, render::Style::plain(), f)
    }
}

/// The error of a wait that ended because it was part of a deadlock, as [`Lock::acquire`](crate::Lock::acquire) returns
/// it.
///
/// It is cheap to clone: clones share the report. [`Display`](fmt::Display) and [`Debug`] both show the report, so that
/// it can be read where an error is unwrapped, or returned from `main`.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(());
/// let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
/// assert!(deadlock.to_string().starts_with("deadlock: "));
/// assert_eq!(deadlock.to_string(), deadlock.report().to_string());
/// ```
#[derive(Clone)]
pub struct Deadlock(Arc<Report>);

impl Deadlock {
    pub(in crate::deadlock) fn new(report: Report) -> Self {
        Self(Arc::new(report))
    }

    /// Returns the report: who waits for whom.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.0
    }

    /// Panics with the report as the message.
    #[cold]
    #[track_caller]
    pub(crate) fn raise(&self) -> ! {
        panic!("{self}")
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl fmt::Debug for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Deadlock {}
