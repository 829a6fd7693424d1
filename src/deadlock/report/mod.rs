//! The data of reports: a deadlock or a long wait, explained, and the error that carries it.

mod names_now;
pub(crate) mod render;
pub(super) mod scene;
pub(super) mod snapshot;
mod source;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::graph::resource::{DESERIALIZED, FORMATTED, SERIALIZED, Site};

/// What kind of deadlock a [`Report`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Kind {
    /// A thread asked for a lock that it holds itself and that is not re-entrant, or a task waits for its own result.
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
/// 64 things that it holds; text is rendered only when the report is displayed. The text shows at most 64 threads, 10
/// bystanders, and 16 of the things that each thread holds, beginning with those that another thread waits for, and
/// counts the rest.
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

    /// Prints the report to standard error, in colour if that is a terminal and `NO_COLOR` is not set.
    pub(in crate::deadlock) fn print(&self) {
        render::print(self);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::report(self, render::Style::plain(), f)
    }
}

/// A thread of a [`Report`] or a snapshot, and what it waits for and holds.
///
/// A task that runs in place, on the thread of its waiter, has an entry of its own: see
/// [`is_in_place`](Self::is_in_place).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct StuckThread {
    pub(in crate::deadlock) name: Option<Arc<str>>,
    pub(in crate::deadlock) os_id: u32,
    pub(in crate::deadlock) is_gone: bool,
    pub(in crate::deadlock) is_in_place: bool,
    pub(in crate::deadlock) task: Option<Box<Task>>,
    pub(in crate::deadlock) pool: Option<Arc<str>>,
    pub(in crate::deadlock) waits_for: Option<Wait>,
    pub(in crate::deadlock) holds: Vec<Held>,
    pub(in crate::deadlock) omitted_holds: usize,
}

impl StuckThread {
    /// Returns the thread's name, if it has one: the one that std knows, or, on Linux, one that it was given otherwise
    /// (`pthread_setname_np`) before its first lock. A name that it may have inherited from the thread that started it
    /// does not count.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the operating system's number for the thread, as debuggers show it; 0 where it is not known.
    #[must_use]
    pub fn os_id(&self) -> u32 {
        self.os_id
    }

    /// Returns whether the thread has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Returns the task that it runs, if any.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.task.as_deref()
    }

    /// Returns whether this is a task that runs in place: on the thread of its waiter, which has an entry of its own.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    /// Returns the name of the pool that it is a worker of, if any.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.pool.as_deref()
    }

    /// Returns what the thread waits for, if it waits.
    #[must_use]
    pub fn waits_for(&self) -> Option<&Wait> {
        self.waits_for.as_ref()
    }

    /// Returns what the thread holds. If it holds more than 64 things, these are the ones that a thread in the same
    /// report or snapshot waits for, and as many others as make up 64: see [`omitted_holds`](Self::omitted_holds).
    #[must_use]
    pub fn holds(&self) -> &[Held] {
        &self.holds
    }

    /// Returns how many more things it holds than [`holds`](Self::holds) lists.
    #[must_use]
    pub fn omitted_holds(&self) -> usize {
        self.omitted_holds
    }
}

/// One thread's wait.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Wait {
    pub(in crate::deadlock) resource: Resource,
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_site"))]
    pub(in crate::deadlock) site: &'static Location<'static>,
    pub(in crate::deadlock) purpose: Option<Purpose>,
    pub(in crate::deadlock) waited: Duration,
    pub(in crate::deadlock) timed: bool,
    pub(in crate::deadlock) queued_in: Option<Arc<str>>,
    pub(in crate::deadlock) process: Option<u32>,
    pub(in crate::deadlock) others: usize,
}

impl Wait {
    /// Returns what is waited for; of several things, one that is part of the deadlock.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Returns how many more things the thread waits for at the same time, besides [`resource`](Self::resource).
    #[must_use]
    pub fn others(&self) -> usize {
        self.others
    }

    /// Returns the name of the pool whose workers are waited for: the task is still queued there, or the queue has no
    /// room for it.
    #[must_use]
    pub fn queued_in(&self) -> Option<&str> {
        self.queued_in.as_deref()
    }

    /// Returns the id of the process that runs the awaited task, if it is another process. What that process waits for
    /// is not known here, so the wait is part of no deadlock by itself.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// Returns the line that waits; if there is a [purpose](Self::purpose), the line that made what is waited for.
    #[must_use]
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Returns what the wait is for, if a trait implementation waits rather than a call in the program.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }

    /// Returns how long the wait had lasted when this was recorded.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether the wait has a time-out, and so is part of no deadlock.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.timed
    }
}

/// Something that a thread holds.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Held {
    pub(in crate::deadlock) resource: Resource,
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_site"))]
    pub(in crate::deadlock) site: &'static Location<'static>,
    pub(in crate::deadlock) left_behind: bool,
    pub(in crate::deadlock) purpose: Option<Purpose>,
}

impl Held {
    /// Returns what is held.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Returns the line that acquired it; if there is a [purpose](Self::purpose), the line that made it.
    #[must_use]
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Returns whether it was acquired by a task that ran in place on this thread and has ended. Its guard was
    /// forgotten, or outlives the task: only the thread can release it.
    #[must_use]
    pub fn is_left_behind(&self) -> bool {
        self.left_behind
    }

    /// Returns what it was acquired for, if a trait implementation acquired it rather than a call in the program.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }
}

/// What a lock's implementation of a trait acquires it for. Such an acquisition has no line in the program: the lock
/// may be formatted or serialized far from any mention of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Purpose {
    /// The lock is formatted with `{:?}`.
    Debug,
    /// The lock is serialized.
    Serialize,
}

impl Purpose {
    /// Returns the line to show for an acquisition, and what it was for; `made_at` is the line that made the lock.
    pub(in crate::deadlock) fn of(site: Site, made_at: Site) -> (Site, Option<Self>) {
        if site == FORMATTED {
            (made_at, Some(Self::Debug))
        } else if site == SERIALIZED {
            (made_at, Some(Self::Serialize))
        } else {
            (site, None)
        }
    }
}

/// A task in a report or snapshot: a copy, so that the task itself may be over by now.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Task {
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub(in crate::deadlock) resource: Resource,
}

impl Task {
    /// Returns the name that it was given when it was submitted, if any.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.resource.name
    }

    /// Returns the full path of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.resource.data_type
    }

    /// Returns the line that submitted it.
    #[must_use]
    pub fn submitted_at(&self) -> &'static Location<'static> {
        self.resource.made_at
    }
}

/// A lock, a future or a queue in a report or snapshot: a copy, so that the resource itself may be gone by now.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Resource {
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) key: usize,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) is_task: bool,
    pub(in crate::deadlock) name: Option<&'static str>,
    pub(in crate::deadlock) primitive: &'static str,
    pub(in crate::deadlock) data_type: &'static str,
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_site"))]
    pub(in crate::deadlock) made_at: &'static Location<'static>,
}

impl Resource {
    /// Returns the name given with `named`, if any.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Returns the primitive: `Lock`, `RLock`, `Future` (of a task), `Promise`.
    #[must_use]
    pub fn primitive(&self) -> &'static str {
        self.primitive
    }

    /// Returns the full path of the type that is protected or awaited.
    #[must_use]
    pub fn data_type(&self) -> &'static str {
        self.data_type
    }

    /// Returns the line that made it. No line of the program makes a lock that was
    /// [deserialized](Self::is_deserialized): for such a lock this is a line of this crate, and `null` where the report
    /// is serialized.
    #[must_use]
    pub fn made_at(&self) -> &'static Location<'static> {
        self.made_at
    }

    /// Returns whether it is a lock that was made by deserializing.
    #[must_use]
    pub fn is_deserialized(&self) -> bool {
        self.made_at == DESERIALIZED
    }

    /// Returns whether it is a pool, which protects no data.
    pub(in crate::deadlock) fn is_pool(&self) -> bool {
        self.data_type.is_empty()
    }

    /// Returns whether two values of one report or snapshot mean the same resource.
    ///
    /// If a lock is replaced in place although its guard was forgotten, the old lock and the new one are told apart by
    /// the line that made them, by name and by primitive; if all of these are the same, they count as one.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    pub(in crate::deadlock) fn identity(&self) -> Identity {
        if self.is_task {
            return Identity { key: self.key, made_at: None, name: None, primitive: "" };
        }
        Identity { key: self.key, made_at: Some(self.made_at), name: self.name, primitive: self.primitive }
    }
}

/// What tells the resources of one report or snapshot apart. The address alone does not: a guard can be forgotten, its
/// lock dropped, and another one made in its place. A task's does, since the hold of its run cannot be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::deadlock) struct Identity {
    key: usize,
    made_at: Option<&'static Location<'static>>,
    name: Option<&'static str>,
    primitive: &'static str,
}

/// The error of a wait that ended because it was part of a deadlock, as [`Lock::acquire`](crate::Lock::acquire) returns
/// it.
///
/// It is cheap to clone: clones share the report. [`Display`](fmt::Display) and [`Debug`] both show the report, so that
/// it can be read where an error is unwrapped, or returned from `main`.
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

/// A wait that has lasted longer than expected, though it is no deadlock: see [`warn_after`](super::warn_after).
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LongWait {
    pub(in crate::deadlock) waiter: StuckThread,
    pub(in crate::deadlock) owner: Option<StuckThread>,
}

impl LongWait {
    /// Returns the thread that waits.
    #[must_use]
    pub fn waiter(&self) -> &StuckThread {
        &self.waiter
    }

    /// Returns the thread that holds what is waited for, if there was one when this was recorded. It may be running.
    #[must_use]
    pub fn owner(&self) -> Option<&StuckThread> {
        self.owner.as_ref()
    }
}

impl fmt::Display for LongWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::long_wait(self, render::Style::plain(), f)
    }
}

#[cfg(feature = "serde")]
pub(in crate::deadlock) fn serialize_site<S: serde::Serializer>(
    site: &&'static Location<'static>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct;
    if *site == DESERIALIZED {
        return serializer.serialize_none();
    }
    let mut fields = serializer.serialize_struct("Location", 3)?;
    fields.serialize_field("file", site.file())?;
    fields.serialize_field("line", &site.line())?;
    fields.serialize_field("column", &site.column())?;
    fields.end()
}
