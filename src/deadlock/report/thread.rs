//! A thread of a report or a snapshot: what it waits for, and what it holds.

use std::panic::Location;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use super::access::Access;
use super::activity::Activity;
use super::resource::{Purpose, Resource, Task};
use super::stack::Stack;
use super::suspicion::Suspicion;
use crate::deadlock::graph::span_name::SpanName;

/// A thread of a [`Report`](super::Report) or a snapshot, and what it waits for and holds.
///
/// A task that runs in place, on the thread of its waiter, has an entry of its own: see
/// [`is_in_place`](Self::is_in_place).
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(());
/// let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
/// let thread = &deadlock.report().threads()[0];
/// assert!(thread.waits_for().is_some() && thread.holds().len() == 1);
/// ```
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
    pub(in crate::deadlock) activity: Option<Activity>,
    pub(in crate::deadlock) suspicions: Vec<Suspicion>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) stack: Stack,
    /// The address of its context, which tells it from others in one report or snapshot.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) context: usize,
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

    /// Returns std's id of the thread, if it waits and the id was known when it began to.
    #[must_use]
    pub fn thread_id(&self) -> Option<ThreadId> {
        self.waits_for.as_ref()?.thread_id
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

    /// Returns what the system says that the thread does, if it waits for nothing of this crate's: what it holds others wait
    /// for, and this is what *it* waits for. Known on Linux, in snapshots and long waits, for the first 100 such threads.
    #[must_use]
    pub fn activity(&self) -> Option<Activity> {
        self.activity
    }

    /// Returns what may keep the thread waiting, if it waits for a notification: what it holds, or the task that it runs, that
    /// other threads wait for. The notification may have to come from one of them.
    ///
    /// Known in snapshots, and of the waiter in long waits. A thread that runs a hook of its own long wait at that moment is
    /// left out. A deadlock that is reported is never built on it.
    #[must_use]
    pub fn suspicions(&self) -> &[Suspicion] {
        &self.suspicions
    }

    /// Returns the calls that the thread was in, a line for each from the innermost on, but for those of this crate in which it
    /// waits; empty unless the environment variable
    /// `BOWLINE_BACKTRACE` asks for that (feature `backtrace`, on Linux). For the first 100 threads.
    ///
    /// The names of the calls are looked up here, which takes a second in a large program.
    #[must_use]
    pub fn backtrace(&self) -> Vec<String> {
        self.stack.lines(self.waits_for.is_some())
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
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::named("ledger", 0);
/// let (_guard, line, deadlock) = (lock.lock(), line!(), lock.acquire().unwrap_err());
/// let wait = deadlock.report().threads()[0].waits_for().unwrap();
/// assert_eq!((wait.resource().name(), wait.site().line()), (Some("ledger"), line));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Wait {
    pub(in crate::deadlock) resource: Resource,
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::resource::serialize_site"))]
    pub(in crate::deadlock) site: &'static Location<'static>,
    pub(in crate::deadlock) purpose: Option<Purpose>,
    pub(in crate::deadlock) access: Option<Access>,
    pub(in crate::deadlock) is_next: bool,
    pub(in crate::deadlock) waited: Duration,
    pub(in crate::deadlock) timed: bool,
    pub(in crate::deadlock) queued_in: Option<Arc<str>>,
    pub(in crate::deadlock) process: Option<u32>,
    /// What ends the wait, if any thread may give that.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) signal: Option<&'static str>,
    pub(in crate::deadlock) others: usize,
    pub(in crate::deadlock) joined: Option<JoinedThread>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) thread_id: Option<ThreadId>,
    pub(in crate::deadlock) span: Option<SpanName>,
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

    /// Returns the thread whose end is waited for, if the wait is for a [`JoinHandle`](crate::thread::JoinHandle) and the
    /// thread has begun: of several, one that is part of the deadlock.
    #[must_use]
    pub fn joined(&self) -> Option<&JoinedThread> {
        self.joined.as_ref()
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

    /// Returns how the thread wants to hold a read-write lock; `None` for everything else.
    #[must_use]
    pub fn access(&self) -> Option<Access> {
        self.access
    }

    /// Returns whether this is a writer that only waits for readers to leave: it is next, and new readers wait for it.
    #[must_use]
    pub fn is_next(&self) -> bool {
        self.is_next
    }

    /// Returns the name of the `tracing` span that the thread was in when it began to wait. `None` without the feature
    /// `tracing`.
    #[must_use]
    pub fn span(&self) -> Option<&'static str> {
        self.span.map(|span| span.name)
    }

    /// Returns how long the wait had lasted when this was recorded.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether the wait is for room in a queue.
    pub(in crate::deadlock) fn is_for_room(&self) -> bool {
        self.queued_in.is_some() && !self.resource.is_task() && !self.resource.is_pool_at_rest()
    }

    /// Returns whether the wait has a time-out, and so is part of no deadlock.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.timed
    }
}

/// A thread whose end is waited for.
///
/// # Examples
///
/// ```
/// use bowline::{Lock, thread};
///
/// let ledger = Lock::named("ledger", ());
/// let guard = ledger.lock();
/// let (tell, told) = std::sync::mpsc::channel();
/// thread::scope(|s| {
///     let clerk = thread::Builder::new().name("clerk".into());
///     clerk.spawn_scoped(s, || tell.send(ledger.acquire().unwrap_err()).unwrap()).unwrap();
/// }); // waits for the clerk, who waits for the guard
/// let deadlock = told.recv().unwrap();
/// let waits: Vec<_> = deadlock.report().threads().iter().filter_map(|thread| thread.waits_for()).collect();
/// assert!(waits.iter().any(|wait| wait.joined().is_some_and(|thread| thread.name() == Some("clerk"))));
/// # drop(guard);
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct JoinedThread {
    pub(in crate::deadlock) name: Option<Arc<str>>,
    pub(in crate::deadlock) os_id: u32,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) context: usize,
}

impl JoinedThread {
    /// Returns the thread's name, if it has one: see [`StuckThread::name`].
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the operating system's number for the thread; 0 where it is not known.
    #[must_use]
    pub fn os_id(&self) -> u32 {
        self.os_id
    }

    /// Returns whether this is the thread of an entry in the same report or snapshot.
    pub(in crate::deadlock) fn is(&self, thread: &StuckThread) -> bool {
        self.context == thread.context
    }
}

/// Something that a thread holds, or initialises.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::named("ledger", 0);
/// let (_guard, line, deadlock) = (lock.lock(), line!(), lock.acquire().unwrap_err());
/// let held = &deadlock.report().threads()[0].holds()[0];
/// assert_eq!((held.resource().name(), held.site().line()), (Some("ledger"), line));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Held {
    pub(in crate::deadlock) resource: Resource,
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::resource::serialize_site"))]
    pub(in crate::deadlock) site: &'static Location<'static>,
    pub(in crate::deadlock) left_behind: bool,
    pub(in crate::deadlock) purpose: Option<Purpose>,
    pub(in crate::deadlock) access: Option<Access>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_one"))]
    pub(in crate::deadlock) permits: u32,
}

#[cfg(feature = "serde")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_one(permits: &u32) -> bool {
    *permits == 1
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

    /// Returns how a read-write lock is held; `None` for everything else.
    #[must_use]
    pub fn access(&self) -> Option<Access> {
        self.access
    }

    /// Returns whether the thread runs its initialiser: it is a [`Once`](crate::Once), [`OnceLock`](crate::OnceLock) or
    /// [`LazyLock`](crate::LazyLock), and [`site`](Self::site) is the line that called the initialiser.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// cell.get_or_init(|| {
    ///     let deadlock = cell.acquire().unwrap_err();
    ///     assert!(deadlock.report().threads()[0].holds()[0].is_initialisation());
    /// });
    /// ```
    #[must_use]
    pub fn is_initialisation(&self) -> bool {
        self.resource.is_once()
    }

    /// Returns what it was acquired for, if a trait implementation acquired it rather than a call in the program.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }

    /// Returns how many permits are held, if it is a semaphore; 1 if it is not.
    #[must_use]
    pub fn permits(&self) -> usize {
        self.permits as usize
    }
}
