//! The value that is made on first use.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};

use super::error::InitError;
use super::raw::{Entered, Intent, RawOnce, Request};
use crate::deadlock::Name;
use crate::deadlock::resource::{HoldMode, ResourceType};

/// A value that is made on first use, and explains its deadlocks: [`std::sync::LazyLock`] in the
/// [wait-for graph](crate::deadlock).
///
/// Using a value that is there costs one load and a comparison. The first use costs two atomic operations and what it
/// tells the thread's own list; no allocation. Those that come meanwhile park, and all are woken at the end.
///
/// What the initialiser did *happens before* every use of the value. All wait for the first user, so nobody is overtaken.
///
/// # Poisoning
///
/// The initialiser is called once. If it panics, or unwinds because it is the victim of a deadlock, there will be no
/// value: all that wait for it panic, and so does every later user, with the line of the use that called it.
/// [`acquire`](Self::acquire) returns that as an error.
///
/// # Deadlocks
///
/// An initialiser that uses its own value is a [`Relock`](crate::deadlock::Kind::Relock). Initialisers that need each
/// other, or an initialiser that needs a lock whose owner waits for the value, are a
/// [`Cycle`](crate::deadlock::Kind::Cycle): of two threads that use two values which need each other, one is told, and its
/// value is poisoned, which the other one is told in turn. If the initialiser's thread is ended by force, those that ask
/// later are told so: [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// # Examples
///
/// ```
/// use bowline::LazyLock;
/// use std::collections::HashMap;
///
/// static PORTS: LazyLock<HashMap<&str, u16>> = LazyLock::named("ports", || [("http", 80), ("https", 443)].into());
///
/// assert_eq!(PORTS["https"], 443);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    raw: RawOnce,
    /// `Value` once the raw cell is complete. A plain field, and not one that this type drops: then the compiler knows when its
    /// parts are dropped.
    stage: UnsafeCell<Stage<T, F>>,
}

/// What is left of the initialiser.
enum Stage<T, F> {
    /// It has not been called.
    Initialiser(F),
    /// It has made this.
    Value(T),
    /// It has been called, and has not returned.
    Called,
}

// SAFETY:
// - the initialiser is called by the one context that initialises, which may be any thread, and sent to that; nobody
//   shares it.
// - the value is sent from there, and shared afterwards.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}

impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// Makes a value that `f` makes on first use. Reports name it by its type and the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new(f: F) -> Self {
        Self { raw: RawOnce::new(None), stage: UnsafeCell::new(Stage::Initialiser(f)) }
    }

    /// Makes a value that `f` makes on first use, and that reports call `name`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str, f: F) -> Self {
        Self { raw: RawOnce::new(Some(name)), stage: UnsafeCell::new(Stage::Initialiser(f)) }
    }

    /// Makes a value that `f` makes on first use, under a name that is made at run time. What that costs, and how long
    /// the name is kept: [`Name`](crate::Name).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>, f: F) -> Self {
        Self { raw: RawOnce::new(Some(name.into().as_str())), stage: UnsafeCell::new(Stage::Initialiser(f)) }
    }

    /// Returns the value, which is made if it is not there. Waits for an initialiser that is running.
    ///
    /// The same as a use of the value, but that reports name the line of this call.
    ///
    /// # Panics
    ///
    /// If the initialiser has panicked, with the line that called it. If the wait is part of a deadlock and the
    /// [policy](crate::deadlock::Policy) is `Panic`, with the report. If the initialiser panics in this call.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::force(&lazy), &92);
    /// ```
    #[inline]
    #[track_caller]
    pub fn force(this: &Self) -> &T {
        if !this.raw.is_complete() {
            this.make();
        }
        // SAFETY:
        // - it is complete: it was, or has been made.
        unsafe { this.value() }
    }

    /// Returns the value, which is made if it is not there, or returns why there will be none.
    ///
    /// The same wait as that of a use; it costs the same.
    ///
    /// # Errors
    ///
    /// [`InitError::Deadlock`] if the wait is part of a deadlock and was chosen to break it: under every policy but
    /// `Off`. [`InitError::Poisoned`] if the initialiser has panicked.
    ///
    /// # Panics
    ///
    /// If the initialiser panics in this call.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::LazyLock;
    /// use bowline::sync::InitError;
    ///
    /// static SIZE: LazyLock<usize> = LazyLock::new(|| match LazyLock::acquire(&SIZE) {
    ///     Err(InitError::Deadlock(_)) => 1, // not its own value
    ///     _ => unreachable!(),
    /// });
    /// assert_eq!(LazyLock::acquire(&SIZE)?, &1);
    /// # Ok::<(), InitError>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire(this: &Self) -> Result<&T, InitError> {
        if !this.raw.is_complete() {
            this.acquire_made()?;
        }
        // SAFETY:
        // - it is complete: it was, or has been made.
        Ok(unsafe { this.value() })
    }

    /// Returns the value, which is made if it is not there.
    ///
    /// # Panics
    ///
    /// If the initialiser panics, or has panicked.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::LazyLock;
    ///
    /// let mut lazy = LazyLock::new(|| 41);
    /// *LazyLock::force_mut(&mut lazy) += 1;
    /// assert_eq!(*lazy, 42);
    /// ```
    #[inline]
    #[track_caller]
    pub fn force_mut(this: &mut Self) -> &mut T {
        Self::force(this);
        Self::get_mut(this).expect("the value is there")
    }

    /// Makes the value, or waits until somebody has.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn make(&self) {
        self.finish(self.raw.enter(Self::request()));
    }

    /// Makes the value, or waits until somebody has. A deadlock, or poison, is an error.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_made(&self) -> Result<(), InitError> {
        self.finish(self.raw.try_enter(Self::request())?);
        Ok(())
    }

    /// Runs the initialiser, if the caller is to. The value is there afterwards.
    fn finish(&self, entered: Entered<'_>) {
        if let Entered::Begun(initialisation) = entered {
            // SAFETY:
            // - the context of the initialisation alone reaches the stage before it is complete.
            let stage = unsafe { self.stage.get().replace(Stage::Called) };
            let Stage::Initialiser(f) = stage else { unreachable!("the initialiser is called once") };
            let value = f();
            // SAFETY:
            // - as above.
            unsafe { *self.stage.get() = Stage::Value(value) };
            initialisation.complete();
        }
    }

    #[track_caller]
    fn request() -> Request {
        let type_of = || ResourceType {
            primitive: "LazyLock",
            data: std::any::type_name::<T>(),
            mode: HoldMode::Initialising,
            id_of: None,
        };
        Request { site: Location::caller(), type_of, intent: Intent::InitialiseOnce }
    }
}

impl<T, F> LazyLock<T, F> {
    /// Returns the value, if it is there. Neither makes it nor waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::LazyLock;
    ///
    /// let lazy = LazyLock::new(|| 92);
    /// assert_eq!(LazyLock::get(&lazy), None);
    /// assert_eq!((*lazy, LazyLock::get(&lazy)), (92, Some(&92)));
    /// ```
    #[inline]
    #[must_use]
    pub fn get(this: &Self) -> Option<&T> {
        // SAFETY:
        // - it is complete.
        this.raw.is_complete().then(|| unsafe { this.value() })
    }

    /// Returns the value, if it is there: `&mut` proves that nobody makes it.
    #[inline]
    #[must_use]
    pub fn get_mut(this: &mut Self) -> Option<&mut T> {
        match this.stage.get_mut() {
            Stage::Value(value) => Some(value),
            Stage::Initialiser(_) | Stage::Called => None,
        }
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// It is complete, as far as the calling thread has seen.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY:
        // - once it is complete nobody writes the stage but through `&mut self`.
        match unsafe { &*self.stage.get() } {
            Stage::Value(value) => value,
            // SAFETY:
            // - the value was written before it was complete.
            Stage::Initialiser(_) | Stage::Called => unsafe { std::hint::unreachable_unchecked() },
        }
    }
}

/// Makes the value, if it is not there: see [`force`](LazyLock::force).
impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    #[track_caller]
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

/// Makes the value, if it is not there: see [`force_mut`](LazyLock::force_mut).
impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    #[inline]
    #[track_caller]
    fn deref_mut(&mut self) -> &mut T {
        Self::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    #[track_caller]
    fn default() -> Self {
        Self::new(T::default)
    }
}

/// Shows the value, or that it is not there; never makes it, and never waits.
///
/// # Examples
///
/// ```
/// let lazy = bowline::LazyLock::new(|| 42);
/// assert_eq!(format!("{lazy:?}"), "LazyLock { data: <uninit> }");
/// assert_eq!(*lazy, 42);
/// assert_eq!(format!("{lazy:?}"), "LazyLock { data: 42 }");
/// ```
impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("LazyLock");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        match Self::get(self) {
            Some(value) => out.field("data", value),
            None => out.field("data", &format_args!("{}", self.raw.placeholder())),
        };
        out.finish()
    }
}
