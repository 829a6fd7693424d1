//! A hazard: what one thread does that breaks the contract of a lock.

use std::panic::Location;
use std::sync::Arc;

use super::names_now::NamesNow;
use super::resource::{Purpose, Resource, Task};
use super::thread::Held;
use crate::deadlock::detector;
use crate::deadlock::graph::context::Context;
use crate::deadlock::graph::holds::Hold;
use crate::deadlock::graph::resource::{HoldMode, ResourceFacts, Site};

/// What a thread does that breaks the contract of a lock.
///
/// # Examples
///
/// ```
/// use bowline::deadlock::{self, HazardKind, HazardPolicy};
///
/// deadlock::set_hazard_policy(HazardPolicy::Warn);
/// let hook = deadlock::on_hazard(|hazard| assert_eq!(hazard.kind(), HazardKind::RepeatedRead));
/// let lock = bowline::RwLock::new(());
/// let both = (lock.read(), lock.read());
/// # drop((both, hook));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum HazardKind {
    /// It asks to read a lock that it reads already. A writer that comes in between waits for the first read, and the second
    /// read waits for that writer.
    RepeatedRead,
    /// It asks for a lock of one rank while it holds a lock of the same or a higher rank. Another thread that takes the two
    /// in the order of their ranks waits for it, and it waits for that thread.
    Rank,
}

/// A fact about one thread that breaks the contract of a lock, although nobody hangs: with another thread at the wrong moment
/// it would be a deadlock.
///
/// It is no prediction: no other thread is looked at. [`Display`](std::fmt::Display) renders it for people, as it does a
/// [`Report`](super::Report); the first line is stable, for example `hazard: thread 'main' reads a lock that it reads
/// already`.
///
/// # Examples
///
/// ```
/// use bowline::Lock;
/// use bowline::deadlock::{self, Hazard, HazardPolicy};
/// use std::sync::{Arc, Mutex};
///
/// deadlock::set_hazard_policy(HazardPolicy::Warn);
/// let told: Arc<Mutex<Option<Hazard>>> = Arc::default();
/// let theirs = Arc::clone(&told);
/// let hook = deadlock::on_hazard(move |hazard| *theirs.lock().unwrap() = Some(hazard.clone()));
///
/// let (accounts, journal) = (Lock::ranked("accounts", 2, 0), Lock::ranked("journal", 3, 0));
/// let entry = journal.lock();
/// let balance = accounts.lock(); // the wrong way round
///
/// let hazard = told.lock().unwrap().take().unwrap();
/// assert_eq!((hazard.held().resource().rank(), hazard.wanted().rank()), (Some(3), Some(2)));
/// assert!(hazard.to_string().contains("takes a lock of rank 2 while it holds one of rank 3"));
/// # drop((entry, balance, hook));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Hazard {
    pub(in crate::deadlock) kind: HazardKind,
    pub(in crate::deadlock) thread_name: Option<Arc<str>>,
    pub(in crate::deadlock) os_id: u32,
    pub(in crate::deadlock) is_in_place: bool,
    pub(in crate::deadlock) task: Option<Box<Task>>,
    pub(in crate::deadlock) wanted: Resource,
    /// How it is wanted.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) mode: HoldMode,
    /// Whether the thread holds it already: it upgrades, or will lock again after a wait.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) is_again: bool,
    #[cfg_attr(feature = "serde", serde(serialize_with = "super::resource::serialize_site"))]
    pub(in crate::deadlock) site: Site,
    pub(in crate::deadlock) purpose: Option<Purpose>,
    pub(in crate::deadlock) held: Held,
}

impl Hazard {
    /// Makes the hazard of the calling thread, which has this context.
    pub(in crate::deadlock) fn of(
        kind: HazardKind,
        me: &'static Context,
        held: Hold,
        wanted: ResourceFacts,
        site: Site,
    ) -> Self {
        let (name, os_id, is_in_place) = detector::with(|graph| {
            let record = graph.record(me);
            (record.name.clone(), record.os_id, record.nested)
        });
        let (mut task, mut is_again) = (None, false);
        me.holds.for_each(|hold| {
            is_again |= hold.resource.key == wanted.key;
            if task.is_none() && (hold.resource.type_of)().mode == HoldMode::Running {
                // SAFETY:
                // - the calling thread runs the task.
                task = Some(Box::new(Task::of(hold, unsafe { hold.resource.task_id() })));
            }
        });
        let mode = (wanted.type_of)().mode;
        let wanted = Resource::from(wanted);
        let (site, purpose) = Purpose::of(site, wanted.made_at);
        Self {
            kind,
            thread_name: NamesNow::default().shown(name, os_id, false),
            os_id,
            is_in_place,
            task,
            wanted,
            mode,
            is_again,
            site,
            purpose,
            held: Held::of(held, false),
        }
    }

    /// Returns what the thread does.
    #[must_use]
    pub fn kind(&self) -> HazardKind {
        self.kind
    }

    /// Returns the name of the thread, if it has one: see [`StuckThread::name`](super::StuckThread::name).
    #[must_use]
    pub fn thread_name(&self) -> Option<&str> {
        self.thread_name.as_deref()
    }

    /// Returns the operating system's number for the thread, as debuggers show it; 0 where it is not known.
    #[must_use]
    pub fn os_id(&self) -> u32 {
        self.os_id
    }

    /// Returns the task that the thread runs, if any.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.task.as_deref()
    }

    /// Returns the lock that the thread asks for.
    #[must_use]
    pub fn wanted(&self) -> &Resource {
        &self.wanted
    }

    /// Returns the line that asks for it; if there is a [purpose](Self::purpose), the line that made the lock.
    #[must_use]
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Returns what it is asked for, if a trait implementation asks rather than a call in the program.
    #[must_use]
    pub fn purpose(&self) -> Option<Purpose> {
        self.purpose
    }

    /// Returns what the thread holds that it should not hold now. Of several locks this is one of those with the highest
    /// rank.
    #[must_use]
    pub fn held(&self) -> &Held {
        &self.held
    }
}
