//! The cell that is written once.

use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use super::raw::{Entered, Initialisation, Intent, RawOnce, Request};
use crate::deadlock::door::Limit;
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::deadlock::{Deadlock, Name};

/// A cell that is written once, by whoever comes first, and explains its deadlocks: [`std::sync::OnceLock`] in the
/// [wait-for graph](crate::deadlock).
///
/// Reading a value that is there costs one load and a comparison. The first call costs two atomic operations and what it
/// tells the thread's own list; no allocation. Callers that come meanwhile park, and all are woken at the end.
///
/// What the initialiser did *happens before* what follows any call that returns the value. Callers wait for the one that
/// came first, so nobody is overtaken while an initialiser runs; if it fails, whichever caller is first runs its own.
///
/// A cell is never poisoned: if an initialiser panics, or unwinds because it is the victim of a deadlock, the cell is as
/// it was, and the next caller, one of those that wait if there are any, runs its own initialiser.
///
/// # Deadlocks
///
/// An initialiser that asks for its own cell is a [`Relock`](crate::deadlock::Kind::Relock) ([`get`](Self::get) gives it
/// `None`). Initialisers that need each other's cells, or an initialiser that needs a lock whose owner waits for the cell,
/// are a [`Cycle`](crate::deadlock::Kind::Cycle). If the initialiser's thread is ended by force, those that ask later
/// are told so: [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// A function of yours that initialises on behalf of its callers should be `#[track_caller]`: reports then name the
/// callers' lines.
///
/// # Examples
///
/// ```
/// use bowline::OnceLock;
///
/// static CONFIG: OnceLock<String> = OnceLock::named("config");
///
/// fn config() -> &'static str {
///     CONFIG.get_or_init(|| "from a file".to_owned())
/// }
///
/// assert_eq!(CONFIG.get(), None);
/// assert_eq!(config(), "from a file");
/// assert_eq!(CONFIG.set("other".to_owned()), Err("other".to_owned()));
/// ```
pub struct OnceLock<T> {
    raw: RawOnce,
    /// `Some` once the raw cell is complete. A plain field, and not one that this type drops: then the compiler knows when the
    /// value is dropped, and a cell may outlive what its value borrows, as std's may.
    value: UnsafeCell<Option<T>>,
}

// SAFETY:
// - the value is written by the one context that initialises, which may be any thread, and sent with that; afterwards
//   it is shared.
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}

impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Makes an empty cell. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self { raw: RawOnce::new(None), value: UnsafeCell::new(None) }
    }

    /// Makes an empty cell that reports call `name`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        Self { raw: RawOnce::new(Some(name)), value: UnsafeCell::new(None) }
    }

    /// Makes an empty cell under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>) -> Self {
        Self { raw: RawOnce::new(Some(name.into().as_str())), value: UnsafeCell::new(None) }
    }

    #[track_caller]
    fn complete(name: Option<&'static str>, value: T) -> Self {
        Self { raw: RawOnce::complete(name), value: UnsafeCell::new(Some(value)) }
    }

    /// Returns the value, if it is there. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// assert_eq!(*cell.get_or_init(|| if cell.get().is_none() { 1 } else { 2 }), 1);
    /// assert_eq!(cell.get(), Some(&1));
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        // SAFETY:
        // - it is complete.
        self.raw.is_complete().then(|| unsafe { self.value() })
    }

    /// Returns the value, if it is there: `&mut self` proves that nobody initialises it.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Writes the value, unless there is one. Waits for an initialiser that is running.
    ///
    /// # Errors
    ///
    /// `value`, if there was one.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`.
    ///
    /// # Deadlocks
    ///
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// assert_eq!(cell.set(1), Ok(()));
    /// assert_eq!(cell.set(2), Err(2));
    /// ```
    #[inline]
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initialiser is called once"));
        value.map_or(Ok(()), Err)
    }

    /// Returns the value, which `f` makes if there is none. Waits for an initialiser that is running.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the [policy](crate::deadlock::Policy) is `Panic`, with the report. If `f`
    /// panics: the cell is empty then.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// assert_eq!(cell.get_or_init(|| 1), &1);
    /// assert_eq!(cell.get_or_init(|| unreachable!()), &1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        if !self.raw.is_complete() {
            let Ok(()) = self.make(|| Ok::<_, Infallible>(f()));
        }
        // SAFETY:
        // - it is complete: it was, or has been made.
        unsafe { self.value() }
    }

    /// Returns the value, which `f` makes if there is none, or the error of `f`. Waits for an initialiser that is running.
    ///
    /// # Errors
    ///
    /// That of `f`: the cell is empty then, and the next caller runs its own initialiser.
    ///
    /// # Panics
    ///
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// # Deadlocks
    ///
    /// As [`get_or_init`](Self::get_or_init).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// assert!(cell.get_or_try_init(|| "four".parse::<u8>()).is_err());
    /// assert_eq!(cell.get_or_try_init(|| "4".parse::<u8>()), Ok(&4));
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_or_try_init<F: FnOnce() -> Result<T, E>, E>(&self, f: F) -> Result<&T, E> {
        if !self.raw.is_complete() {
            self.make(f)?;
        }
        // SAFETY:
        // - it is complete: it was, or has been made.
        Ok(unsafe { self.value() })
    }

    /// Returns the value, which `f` makes if there is none, or returns why there will be none.
    ///
    /// The same wait as [`get_or_init`](Self::get_or_init); it costs the same.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if this wait is part of a deadlock and was chosen to break it: under every policy but `Off`.
    ///
    /// # Panics
    ///
    /// If `f` panics.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{OnceLock, deadlock::Kind};
    ///
    /// let cell = OnceLock::new();
    /// let value = cell.acquire_or_init(|| {
    ///     let deadlock = cell.acquire_or_init(|| 1).unwrap_err();
    ///     assert_eq!(deadlock.report().kind(), Kind::Relock);
    ///     2
    /// });
    /// assert_eq!(value?, &2);
    /// # Ok::<(), bowline::deadlock::Deadlock>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_or_init<F: FnOnce() -> T>(&self, f: F) -> Result<&T, Deadlock> {
        self.acquire_or_try_init(|| Ok(f()))
    }

    /// Returns the value, which `f` makes if there is none, or returns the error of `f` or a deadlock.
    ///
    /// # Errors
    ///
    /// That of `f`. A [`Deadlock`], converted, if this wait is part of one and was chosen to break it: under every policy
    /// but `Off`.
    ///
    /// # Panics
    ///
    /// If `f` panics.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::OnceLock;
    ///
    /// fn port(cell: &OnceLock<u16>, text: &str) -> Result<u16, Box<dyn std::error::Error>> {
    ///     cell.acquire_or_try_init(|| Ok(text.parse()?)).copied()
    /// }
    ///
    /// let cell = OnceLock::new();
    /// assert!(port(&cell, "eighty").is_err());
    /// assert_eq!(port(&cell, "80")?, 80);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_or_try_init<F: FnOnce() -> Result<T, E>, E: From<Deadlock>>(&self, f: F) -> Result<&T, E> {
        if !self.raw.is_complete() {
            self.acquire_made(f)?;
        }
        // SAFETY:
        // - it is complete: it was, or has been made.
        Ok(unsafe { self.value() })
    }

    /// Returns the value, which `f` makes if there is none.
    ///
    /// # Panics
    ///
    /// If `f` panics: the cell is empty then.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = bowline::OnceLock::new();
    /// *cell.get_mut_or_init(|| 41) += 1;
    /// assert_eq!(cell.get(), Some(&42));
    /// ```
    #[track_caller]
    pub fn get_mut_or_init<F: FnOnce() -> T>(&mut self, f: F) -> &mut T {
        self.get_or_init(f);
        self.get_mut().expect("the value has just been made")
    }

    /// Consumes the cell and returns the value, if there was one.
    #[inline]
    #[must_use]
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out, if there is one: the cell is empty then.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut cell = bowline::OnceLock::from(1);
    /// assert_eq!((cell.take(), cell.take()), (Some(1), None));
    /// assert_eq!(cell.get_or_init(|| 2), &2);
    /// ```
    pub fn take(&mut self) -> Option<T> {
        if self.raw.is_complete() {
            self.raw.reset();
        }
        self.value.get_mut().take()
    }

    /// Waits until somebody has written the value, and returns it.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the policy is `Panic`.
    ///
    /// # Deadlocks
    ///
    /// While an initialiser runs, as [`get_or_init`](Self::get_or_init). While none does, it is not known who will write
    /// the value, so the wait is part of no deadlock; it is in [snapshots](crate::deadlock::snapshot).
    ///
    /// # Examples
    ///
    /// ```
    /// let cell = bowline::OnceLock::new();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| cell.set(42));
    ///     assert_eq!(cell.wait(), &42);
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(&self) -> &T {
        if !self.raw.is_complete() {
            self.await_value();
        }
        // SAFETY:
        // - it is complete: it was, or the wait has ended.
        unsafe { self.value() }
    }

    /// Waits as [`wait`](Self::wait) does; a deadlock comes back as a value.
    ///
    /// # Errors
    ///
    /// As [`acquire_or_init`](Self::acquire_or_init).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait), as the error.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Result<&T, Deadlock> {
        if !self.raw.is_complete() {
            self.acquire_value()?;
        }
        // SAFETY:
        // - it is complete: it was, or the wait has ended.
        Ok(unsafe { self.value() })
    }

    /// Waits until somebody has written the value, for at most `timeout`.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait), if `timeout` is longer than the clock can represent: that is no time-out.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cell = bowline::OnceLock::<u8>::new();
    /// assert_eq!(cell.wait_for(Duration::from_millis(1)), None);
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait_for(&self, timeout: Duration) -> Option<&T> {
        if !self.raw.is_complete() {
            self.await_within(Limit::after(timeout))?;
        }
        self.get()
    }

    /// Waits until somebody has written the value, at most until `deadline`. See [`wait_for`](Self::wait_for).
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself.
    #[inline]
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> Option<&T> {
        if !self.raw.is_complete() {
            self.await_within(Limit::Until(deadline))?;
        }
        self.get()
    }

    /// Makes the value, or waits until somebody has.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn make<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        self.finish(self.raw.enter(Self::request(Intent::Initialise)), f)
    }

    /// Makes the value, or waits until somebody has. A deadlock is an error.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_made<E: From<Deadlock>>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        self.finish(self.raw.acquire(Self::request(Intent::Initialise))?, f)
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn await_value(&self) {
        self.raw.enter(Self::request(Intent::Await));
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_value(&self) -> Result<(), Deadlock> {
        self.raw.acquire(Self::request(Intent::Await)).map(drop)
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn await_within(&self, limit: Limit) -> Option<()> {
        self.raw.enter_within(Self::request(Intent::Await), limit).map(drop)
    }

    #[track_caller]
    fn request(intent: Intent) -> Request {
        let type_of = || ResourceType {
            primitive: "OnceLock",
            data: std::any::type_name::<T>(),
            mode: HoldMode::Initialising,
            id_of: None,
        };
        Request { site: Location::caller(), type_of, intent }
    }

    /// Runs the initialiser, if the caller is to. The value is there afterwards, unless that fails.
    fn finish<E>(&self, entered: Entered<'_>, f: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        if let Entered::Begun(initialisation) = entered {
            self.write(initialisation, f()?);
        }
        Ok(())
    }

    /// Writes the value. The initialisation is of this cell.
    fn write(&self, initialisation: Initialisation<'_>, value: T) {
        // SAFETY:
        // - the context of the initialisation alone reaches the value before it is complete.
        unsafe { *self.value.get() = Some(value) };
        initialisation.complete();
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// The cell is complete, as far as the calling thread has seen.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY:
        // - after the cell is complete nobody writes the value but through `&mut self`.
        let value = unsafe { &*self.value.get() };
        // SAFETY:
        // - it was written before the cell was complete.
        unsafe { value.as_ref().unwrap_unchecked() }
    }
}

#[cfg(all(test, loom))]
impl<T> OnceLock<T> {
    pub(crate) fn has_waiters(&self) -> bool {
        self.raw.has_waiters()
    }
}

impl<T> Default for OnceLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a cell with this value.
impl<T> From<T> for OnceLock<T> {
    #[track_caller]
    fn from(value: T) -> Self {
        Self::complete(None, value)
    }
}

/// Clones the value that is there at this moment, into a cell of the same name; never waits.
impl<T: Clone> Clone for OnceLock<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let name = self.raw.name();
        match self.get() {
            Some(value) => Self::complete(name, value.clone()),
            None => Self { raw: RawOnce::new(name), value: UnsafeCell::new(None) },
        }
    }
}

/// Compares the values that are there at this moment; never waits.
impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

/// Shows the value, or that it is not there; never waits.
///
/// # Examples
///
/// ```
/// let cell = bowline::OnceLock::new();
/// assert_eq!(format!("{cell:?}"), "OnceLock { data: <uninit> }");
/// cell.get_or_init(|| assert_eq!(format!("{cell:?}"), "OnceLock { data: <initialising> }"));
/// assert_eq!(format!("{cell:?}"), "OnceLock { data: () }");
/// ```
impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("OnceLock");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        match self.get() {
            Some(value) => out.field("data", value),
            None => out.field("data", &format_args!("{}", self.raw.placeholder())),
        };
        out.finish()
    }
}
