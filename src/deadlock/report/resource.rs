//! What is waited for or held, in a report or a snapshot.

use std::panic::Location;

use crate::deadlock::graph::resource::{
    DESERIALIZED, FORMATTED, HoldMode, ResourceFacts, ResourceType, SERIALIZED, Site, UNKNOWN,
};
use crate::deadlock::graph::task_id::{ReportedId, TaskId};

/// What a lock's implementation of a trait acquires it for. Such an acquisition has no line in the program: the lock
/// may be formatted or serialized far from any mention of it.
///
/// # Examples
///
/// ```
/// use bowline::Lock;
/// use bowline::deadlock::report::Purpose;
/// use std::sync::LazyLock;
///
/// struct Account;
///
/// // Wants the lock that it is in, while that is held to format it.
/// impl std::fmt::Debug for Account {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         let deadlock = ACCOUNT.acquire().map(drop).unwrap_err();
///         let held = &deadlock.report().threads()[0].holds()[0];
///         assert_eq!(held.purpose(), Some(Purpose::Debug));
///         f.write_str("an account")
///     }
/// }
///
/// static ACCOUNT: LazyLock<Lock<Account>> = LazyLock::new(|| Lock::new(Account));
/// assert!(format!("{:?}", *ACCOUNT).contains("an account"));
/// ```
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
///
/// # Examples
///
/// ```
/// let pool = bowline::ThreadPoolExecutor::new(1);
/// let lock = std::sync::Arc::new(bowline::Lock::new(()));
/// let audit = pool.submit_named("audit", move || (lock.lock_arc(), lock.acquire_arc().unwrap_err()).1);
/// assert_eq!(audit.result().unwrap().report().threads()[0].task().unwrap().name(), Some("audit"));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Task {
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub(in crate::deadlock) resource: Resource,
}

impl Task {
    /// Returns the id of the task, which is that of its [`Future`](crate::Future::id).
    ///
    /// `None` if a thread that does not wait runs it, and no wait in the same report or snapshot is for it.
    #[must_use]
    pub fn id(&self) -> Option<TaskId> {
        self.resource.task_id()
    }

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

/// What kind of thing a resource is, as far as texts differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::deadlock) enum Nature {
    /// A lock, or anything else that is held or waited for.
    Lock,
    /// A task, or its future.
    Task,
    /// A thread whose end is waited for.
    Thread,
    /// What is initialised by whoever holds it.
    Once,
    /// A semaphore whose permits are held.
    Permits,
    /// A pool, whose end is waited for, or room in its queue.
    Pool,
    /// The tasks of a pool, which are all waited for.
    PoolAtRest,
}

impl Nature {
    pub(in crate::deadlock) fn of(described: &ResourceType) -> Self {
        match described {
            described if described.is_thread() => Self::Thread,
            ResourceType { mode: HoldMode::Running, .. } | ResourceType { primitive: "Future", .. } => Self::Task,
            ResourceType { mode: HoldMode::Initialising, .. } => Self::Once,
            ResourceType { primitive: "ThreadPoolExecutor", mode: HoldMode::Exclusive, .. } => Self::PoolAtRest,
            // A pool's workers are counted as permits are.
            ResourceType { primitive, .. } if primitive.ends_with("PoolExecutor") => Self::Pool,
            ResourceType { mode: HoldMode::Permit, .. } => Self::Permits,
            _ => Self::Lock,
        }
    }
}

/// A lock, a future, a queue or the end of a thread in a report or snapshot: a copy, so that the resource itself may be gone by now.
///
/// # Examples
///
/// ```
/// let lock = bowline::Lock::new(0_u8);
/// let (_guard, deadlock) = (lock.lock(), lock.acquire().unwrap_err());
/// let resource = deadlock.report().threads()[0].holds()[0].resource();
/// assert_eq!((resource.primitive(), resource.data_type()), ("Lock", "u8"));
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Resource {
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) key: usize,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(in crate::deadlock) nature: Nature,
    pub(in crate::deadlock) name: Option<&'static str>,
    pub(in crate::deadlock) rank: Option<u16>,
    /// Of a task.
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_id"))]
    pub(in crate::deadlock) id: Option<ReportedId>,
    pub(in crate::deadlock) primitive: &'static str,
    pub(in crate::deadlock) data_type: &'static str,
    #[cfg_attr(feature = "serde", serde(serialize_with = "serialize_site"))]
    pub(in crate::deadlock) made_at: &'static Location<'static>,
}

impl Resource {
    /// Returns the name given with `named`, `with_name` or `ranked`, if any.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Returns the rank given with [`ranked`](crate::Lock::ranked), if any.
    #[must_use]
    pub fn rank(&self) -> Option<u16> {
        self.rank
    }

    /// Returns the id, if it is a task or a promise: that of its [`Future`](crate::Future::id). See [`Task::id`] for the
    /// task that a thread runs.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let same = pool.clone();
    /// let outer = pool.submit(move || {
    ///     let inner = same.submit(|| 42); // queued behind the task that waits for it
    ///     let deadlock = bowline::wait([&inner], bowline::ReturnWhen::FirstCompleted, None).deadlock.unwrap();
    ///     let awaited = deadlock.report().threads()[0].waits_for().unwrap().resource().task_id();
    ///     (awaited, inner.id())
    /// });
    /// let (awaited, inner) = outer.result().unwrap();
    /// assert_eq!(awaited, Some(inner));
    /// ```
    #[must_use]
    pub fn task_id(&self) -> Option<TaskId> {
        self.id.map(|reported| reported.id)
    }

    /// Returns the primitive: `Lock`, `RLock`, `RwLock`, `Condition`, `Once`, `OnceLock`, `LazyLock`, `Future` (of a task),
    /// `Promise`, `ThreadPoolExecutor`, `JoinHandle` (of a thread whose end is waited for), `Timer`.
    #[must_use]
    pub fn primitive(&self) -> &'static str {
        self.primitive
    }

    /// Returns the full path of the type that is protected or awaited; empty if there is none.
    #[must_use]
    pub fn data_type(&self) -> &'static str {
        self.data_type
    }

    /// Returns the line that made it: of a task, that submitted it; of a thread, that spawned it. No line of the program makes a lock that was
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

    /// Returns whether it is a lock of another library's interface, which stores neither its type nor the line that made it. For such
    /// a lock, [`made_at`](Self::made_at) is a line of this crate, and `null` where the report is serialized.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.made_at == UNKNOWN
    }

    pub(in crate::deadlock) fn is_pool(&self) -> bool {
        matches!(self.nature, Nature::Pool | Nature::PoolAtRest)
    }

    /// Returns whether it stands for all tasks of a pool.
    pub(in crate::deadlock) fn is_pool_at_rest(&self) -> bool {
        self.nature == Nature::PoolAtRest
    }

    pub(in crate::deadlock) fn is_task(&self) -> bool {
        self.nature == Nature::Task
    }

    pub(in crate::deadlock) fn is_thread(&self) -> bool {
        self.nature == Nature::Thread
    }

    pub(in crate::deadlock) fn is_once(&self) -> bool {
        self.nature == Nature::Once
    }

    /// Returns whether it is a semaphore whose permits are held.
    pub(in crate::deadlock) fn has_permits(&self) -> bool {
        self.nature == Nature::Permits
    }

    /// Returns whether it is a lock: who acquires it has a guard.
    pub(in crate::deadlock) fn is_lock(&self) -> bool {
        matches!(self.primitive, "FairMutex" | "Lock" | "Mutex" | "RLock" | "ReentrantMutex" | "RwLock")
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
        if self.is_task() {
            return Identity { key: self.key, made_at: None, name: None, primitive: "" };
        }
        Identity { key: self.key, made_at: Some(self.made_at), name: self.name, primitive: self.primitive }
    }
}

impl Resource {
    pub(super) fn of(facts: ResourceFacts, id: Option<ReportedId>) -> Self {
        Self { id, ..Self::from(facts) }
    }
}

impl From<ResourceFacts> for Resource {
    fn from(facts: ResourceFacts) -> Self {
        let described = (facts.type_of)();
        Self {
            key: facts.key,
            nature: Nature::of(&described),
            name: facts.origin.name(),
            rank: facts.origin.rank(),
            id: None,
            primitive: described.primitive,
            data_type: described.data,
            made_at: facts.origin.made_at(),
        }
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

#[cfg(feature = "serde")]
fn serialize_id<S: serde::Serializer>(id: &Option<ReportedId>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&id.map(|reported| reported.id), serializer)
}

#[cfg(feature = "serde")]
pub(in crate::deadlock) fn serialize_site<S: serde::Serializer>(
    site: &&'static Location<'static>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeStruct;
    if [DESERIALIZED, UNKNOWN].contains(site) {
        return serializer.serialize_none();
    }
    let mut fields = serializer.serialize_struct("Location", 3)?;
    fields.serialize_field("file", site.file())?;
    fields.serialize_field("line", &site.line())?;
    fields.serialize_field("column", &site.column())?;
    fields.end()
}
