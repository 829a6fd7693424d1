//! The read-write lock.

mod guard;
mod raw;
mod read;
mod upgradable;
mod write;

use std::cell::UnsafeCell;
use std::fmt;

pub(crate) use self::raw::{RawRwLock, RawRwLockGuard, Reading, UpgradablyReading, Writing, too_many_readers};
use super::guard::{Guard, Guarded};
use super::request::Request;
#[cfg(feature = "serde")]
use crate::deadlock::Deadlock;
use crate::deadlock::Name;
#[cfg(feature = "serde")]
use crate::deadlock::resource::{DESERIALIZED, SERIALIZED};
use crate::deadlock::resource::{FORMATTED, HoldMode, ResourceType};
pub use guard::{
    ArcRwLockReadGuard, ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, MappedRwLockReadGuard,
    MappedRwLockWriteGuard, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard, UpgradeError,
};

/// A lock that many can read at once or one can write, and that explains its deadlocks.
///
/// # Cost
///
/// Reading costs one atomic read-modify-write, of a cache line of the thread's own, while the lock is read and not written:
/// readers do not slow each other down, however many there are. After a write, the next reads (256, and 64 for each of the threads
/// that were alive at one time, at most) are counted in the lock itself, which costs two read-modify-writes of a line that all readers
/// share. Writing costs two of the same. The first write after so many reads also looks at one line for each of these threads, to see
/// which of them still read: some nanoseconds each. No allocation, no registration, no system call. (BRAVO: Dice and Kogan, USENIX
/// ATC 2019.) Where more than one in some hundred accesses is a write, or what is done under the lock is short, a
/// [`Lock`](crate::Lock) costs less.
///
/// # Order
///
/// What happened before a writer's release *happens before* what follows the next acquisition, and what happened before a
/// reader's release *happens before* what follows the next writer's acquisition.
///
/// A writer that waits goes ahead of all readers that come after it, so it waits for those that read already, and no
/// longer. Readers that wait get in together when the writer has left, unless the next writer is faster: nothing bounds how
/// many writers overtake a reader, and a thread that writes all the time starves it. Writers, and upgradable readers, overtake
/// each other as the owners of a [`Lock`](crate::Lock) do. [`read_recursive`](Self::read_recursive) overtakes writers
/// that wait; many such reads starve a writer.
///
/// A lock is never poisoned: if a writer panics, it is released as it is.
///
/// # Deadlocks
///
/// *One thread against itself* is [`Relock`](crate::deadlock::Kind::Relock): writing while it reads or writes already,
/// reading while it writes, upgrading while it also reads by another guard. *Reading twice* is fine until a writer comes in
/// between: the second read waits for that writer, which waits for the first read, a
/// [`Cycle`](crate::deadlock::Kind::Cycle). Use [`read_recursive`](Self::read_recursive) where a thread may read already.
/// A writer waits for *all* readers, so it is part of a deadlock as soon as one of them is. A lock whose guard was leaked by
/// a thread that has ended is [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// # Hazards
///
/// A thread that reads already and asks to read again, by a form that waits without a limit, breaks the contract above, whether a
/// writer comes or not. It is told at once, as a [`Hazard`](crate::deadlock::Hazard): by default in builds with debug
/// assertions, on standard error, once for each pair of lines. The same goes for one who reads plainly and asks to read upgradably.
/// No hazard is [`read_recursive`](Self::read_recursive), nor what does not wait or has a limit, nor `Debug` or serde, nor any plain read
/// by the upgradable reader: while it has its guard, no writer can be next.
///
/// ```
/// use bowline::RwLock;
/// use bowline::deadlock::{self, HazardPolicy};
/// use std::panic::catch_unwind;
///
/// fn sum(prices: &RwLock<Vec<u32>>) -> u32 {
///     prices.read().iter().sum() // the caller reads as well: `read_recursive` is meant
/// }
///
/// deadlock::set_hazard_policy(HazardPolicy::Panic);
/// let prices = RwLock::new(vec![1, 2]);
/// let guard = prices.read();
/// assert!(catch_unwind(|| sum(&prices)).is_err());
/// ```
///
/// Under [`HazardPolicy::Panic`](crate::deadlock::HazardPolicy::Panic) that is a panic of whichever form waits without a limit,
/// `acquire_read` as well: an error is only for what is a deadlock. So is the hazard of a [rank](Self::ranked). The
/// `acquire_upgrade` of a guard then drops the guard.
///
/// While hazards are not looked for, as by default in release builds, this costs one load and a branch for each read.
///
/// # Panics
///
/// A read, in whichever form, panics if 2<sup>23</sup> guards read the lock already, and so does a downgrade of an upgradable guard:
/// guards are leaked in a loop.
///
/// # Examples
///
/// ```
/// use bowline::RwLock;
///
/// let ports = RwLock::named("ports", vec![80, 443]);
/// {
///     let (one, other) = (ports.read(), ports.read_recursive()); // both at once
///     assert_eq!(one.len() + other.len(), 4);
/// }
/// ports.write().push(8080);
/// assert_eq!(ports.read().len(), 3);
/// ```
///
/// A guard that is a temporary lives to the end of the statement it is in:
///
/// ```
/// use bowline::{RwLock, deadlock::Kind};
/// use std::collections::HashMap;
///
/// let users = RwLock::new(HashMap::new());
/// match users.read().get("ada") {
///     Some(&id) => id,
///     None => {
///         // The match still reads.
///         assert_eq!(users.acquire_write().unwrap_err().report().kind(), Kind::Relock);
///         0
///     }
/// };
/// users.write().insert("ada", 1);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    data: UnsafeCell<T>,
}

// SAFETY:
// - the value is sent to writers and shared by readers.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// SAFETY:
// - both are fields; no method moves the value out of a shared lock.
// - the value is reached through guards, and otherwise through `&mut self` or `self` alone, while none borrows the lock;
//   it is in an `UnsafeCell`.
unsafe impl<T: ?Sized> Guarded for RwLock<T> {
    type Raw = RawRwLock;
    type Value = T;

    #[inline]
    fn raw(&self) -> &RawRwLock {
        &self.raw
    }

    #[inline]
    fn value(&self) -> *mut T {
        self.data.get()
    }
}

impl<T> RwLock<T> {
    /// Makes a free lock. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(value: T) -> Self {
        Self { raw: RawRwLock::new(None), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock that reports call `name`.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::RwLock;
    ///
    /// static ROUTES: RwLock<Vec<&str>> = RwLock::named("routes", Vec::new());
    ///
    /// let _guard = ROUTES.read();
    /// let deadlock = ROUTES.acquire_write().unwrap_err();
    /// assert!(deadlock.to_string().contains("routes"));
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, value: T) -> Self {
        Self { raw: RawRwLock::new(Some(name)), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock with a name and a rank. A thread may wait for it only while all locks that it holds have lower ranks,
    /// or none: otherwise that is a [hazard](crate::deadlock::Hazard), told by [policy](crate::deadlock::HazardPolicy).
    ///
    /// See [`Lock::ranked`](crate::Lock::ranked). Reading counts as writing does: readers wait for writers. Ranks are checked
    /// again when an upgradable reader becomes the writer.
    ///
    /// A rank costs a few nanoseconds at each acquisition and release; locks without one pay nothing. What is acquired by
    /// `try_` or with a time-out is not checked, and counts as held from then on.
    ///
    /// # Panics
    ///
    /// Where addresses have 32 bits: if the name is longer than 65,535 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{Lock, RwLock};
    ///
    /// static ROUTES: RwLock<Vec<&str>> = RwLock::ranked("routes", 1, Vec::new());
    /// static CACHE: Lock<Option<usize>> = Lock::ranked("cache", 2, None);
    ///
    /// let routes = ROUTES.read();
    /// *CACHE.lock() = Some(routes.len());
    /// ```
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn ranked(name: &'static str, rank: u16, value: T) -> Self {
        Self { raw: RawRwLock::ranked(name, rank), data: UnsafeCell::new(value) }
    }

    /// Makes a free lock under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, value: T) -> Self {
        Self { raw: RawRwLock::new(Some(name.into().as_str())), data: UnsafeCell::new(value) }
    }

    /// Consumes the lock and returns the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(vec![1]);
    /// lock.write().push(2);
    /// assert_eq!(lock.into_inner(), [1, 2]);
    /// ```
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    fn describe(mode: HoldMode) -> ResourceType {
        ResourceType { mode, ..ResourceType::exclusive::<T>("RwLock") }
    }

    /// Returns the request of the calling line to read.
    #[inline]
    #[track_caller]
    fn reading() -> Request {
        Request::new(|| Self::describe(HoldMode::Read))
    }

    /// Returns the request of the calling line to read upgradably.
    #[inline]
    #[track_caller]
    fn upgradably_reading() -> Request {
        Request::new(|| Self::describe(HoldMode::UpgradableRead))
    }

    /// Returns the request of the calling line to write.
    #[inline]
    #[track_caller]
    fn writing() -> Request {
        Request::new(|| Self::describe(HoldMode::Write))
    }

    /// Reads on behalf of a `Debug`, if nobody writes. Recursively: what is being formatted may be read already.
    pub(crate) fn try_read_to_format(&self) -> Option<RwLockReadGuard<'_, T>> {
        let raw_guard = self.raw.try_read::<true>(Request { site: FORMATTED, ..Self::reading() }, true)?;
        // SAFETY:
        // - the raw guard is of this lock.
        Some(RwLockReadGuard::of(unsafe { Guard::new(self, raw_guard) }))
    }

    /// Reads on behalf of a `Serialize`. Recursively: what is being serialized may be read already.
    #[cfg(feature = "serde")]
    pub(crate) fn acquire_read_to_serialize(&self) -> Result<RwLockReadGuard<'_, T>, Deadlock> {
        let raw_guard = self.raw.acquire_read(Request { site: SERIALIZED, ..Self::reading() }, true)?;
        // SAFETY:
        // - the raw guard is of this lock.
        Ok(RwLockReadGuard::of(unsafe { Guard::new(self, raw_guard) }))
    }

    /// Returns whether anybody reads or writes at this moment. The answer may be out of date when it is returned.
    ///
    /// While readers do not slow each other down, this looks at one cache line for each thread that there was at one
    /// time, and for each task that ran in the place of its waiter at one time.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = bowline::RwLock::new(());
    /// let guard = lock.read();
    /// assert!(lock.is_locked() && !lock.is_write_locked());
    /// drop(guard);
    /// assert!(!lock.is_locked());
    /// ```
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.raw.is_locked()
    }

    /// Returns whether somebody writes at this moment. The answer may be out of date when it is returned.
    #[must_use]
    pub fn is_write_locked(&self) -> bool {
        self.raw.is_write_locked()
    }

    /// Returns the value without locking: `&mut self` proves that no guard exists.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lock = bowline::RwLock::new(40);
    /// *lock.get_mut() += 2;
    /// assert_eq!(lock.into_inner(), 42);
    /// ```
    #[inline]
    pub const fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

// As with `Lock`: a panic releases the lock and leaves the value as it is.
impl<T: ?Sized> std::panic::RefUnwindSafe for RwLock<T> {}
impl<T: ?Sized> std::panic::UnwindSafe for RwLock<T> {}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

/// Shows the value, or that it is written; never waits.
///
/// # Examples
///
/// ```
/// let lock = bowline::RwLock::new(42);
/// assert_eq!(format!("{lock:?}"), "RwLock { data: 42 }");
/// let _guard = lock.write();
/// assert_eq!(format!("{lock:?}"), "RwLock { data: <locked> }");
/// ```
impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RwLock");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        match self.try_read_to_format() {
            Some(guard) => out.field("data", &&*guard),
            None => out.field("data", &format_args!("<locked>")),
        };
        out.finish()
    }
}

/// Reads the lock while it serializes the value. A deadlock is an error of the serializer.
///
/// # Examples
///
/// ```
/// let lock = bowline::RwLock::new([40, 2]);
/// assert_eq!(serde_json::to_string(&lock)?, "[40,2]");
/// let _guard = lock.write();
/// assert!(serde_json::to_string(&lock).unwrap_err().to_string().contains("deadlock: "));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[cfg(feature = "serde")]
impl<T: ?Sized + serde::Serialize> serde::Serialize for RwLock<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.acquire_read_to_serialize().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for RwLock<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        Ok(Self { raw: RawRwLock::made_at(DESERIALIZED), data: UnsafeCell::new(value) })
    }
}
