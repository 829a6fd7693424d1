//! What is initialised once: [`Once`], [`OnceLock`], [`LazyLock`].

// The protocol, and why it is exact, is in the `README.md` beside this file.

mod error;
mod lazy_lock;
mod once_lock;
mod raw;

use std::fmt;
use std::panic::Location;
use std::time::{Duration, Instant};

pub use error::{InitError, Poisoned};
pub use lazy_lock::LazyLock;
pub use once_lock::OnceLock;
pub use raw::Progress;
pub(crate) use raw::{Entered, Intent, RawOnce, Request};

use crate::deadlock::door::Limit;
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::deadlock::{Deadlock, Name};

/// Runs an initialiser once for the whole process, and explains its deadlocks: [`std::sync::Once`] in the
/// [wait-for graph](crate::deadlock).
///
/// Once the initialiser has run, a call costs one load and a comparison. The first call costs two atomic operations and what it
/// tells the thread's own list; no allocation. Callers that come meanwhile park, and all are woken at the end.
///
/// What the initialiser did *happens before* what follows any call that returns. Callers wait for the one that came
/// first, so nobody is overtaken, and nobody waits twice unless an initialiser fails.
///
/// # Poisoning
///
/// If the initialiser panics, or unwinds because it is the victim of a deadlock, the `Once` is poisoned: all that wait
/// for it panic, and so does every later caller, with the line that called that initialiser.
/// [`call_once_force`](Self::call_once_force) calls an initialiser nevertheless; a caller that it overtakes waits for it
/// instead.
///
/// # Deadlocks
///
/// An initialiser that comes back to its own `Once` is a [`Relock`](crate::deadlock::Kind::Relock). Initialisers that
/// need each other, or an initialiser that needs a lock whose owner waits for it, are a
/// [`Cycle`](crate::deadlock::Kind::Cycle). If the initialiser's thread is ended by force, those that ask later are told
/// so: [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// # Examples
///
/// ```
/// use bowline::Once;
///
/// static SETUP: Once = Once::named("setup");
///
/// for _ in 0..2 {
///     SETUP.call_once(|| println!("once"));
/// }
/// assert!(SETUP.is_completed());
/// ```
pub struct Once {
    raw: RawOnce,
}

/// What [`Once::call_once_force`] tells its initialiser.
///
/// # Examples
///
/// ```
/// let setup = bowline::Once::new();
/// setup.call_once_force(|state| assert!(!state.is_poisoned()));
/// ```
#[derive(Debug)]
pub struct OnceState {
    is_poisoned: bool,
}

impl OnceState {
    /// Returns whether an initialiser has panicked before.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.is_poisoned
    }
}

impl Once {
    /// Makes one whose initialiser has not run. Reports name it by the line of this call.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn new() -> Self {
        Self { raw: RawOnce::new(None) }
    }

    /// Makes one that reports call `name`.
    #[inline]
    #[must_use]
    #[track_caller]
    pub const fn named(name: &'static str) -> Self {
        Self { raw: RawOnce::new(Some(name)) }
    }

    /// Makes one under a name that is made at run time. What that costs, and how long the name is kept:
    /// [`Name`](crate::Name).
    #[must_use]
    #[track_caller]
    pub fn with_name(name: impl Into<Name>) -> Self {
        Self { raw: RawOnce::new(Some(name.into().as_str())) }
    }

    /// Runs `f` if no initialiser has run, and waits for one that is running.
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked, with the line that called it. If the wait is part of a deadlock and the
    /// [policy](crate::deadlock::Policy) is `Panic`, with the report. If `f` panics.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned`: by policy a panic, an abort, or a printed report and a wait for ever.
    ///
    /// # Examples
    ///
    /// ```
    /// let (setup, mut runs) = (bowline::Once::new(), 0);
    /// setup.call_once(|| runs += 1);
    /// setup.call_once(|| runs += 1);
    /// assert_eq!(runs, 1);
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.raw.is_complete() {
            self.make(Intent::InitialiseOnce, |_| f());
        }
    }

    /// Runs `f` as [`call_once`](Self::call_once) does, even if an initialiser has panicked.
    ///
    /// # Panics
    ///
    /// As [`call_once`](Self::call_once), but not because an initialiser has panicked.
    ///
    /// # Deadlocks
    ///
    /// As [`call_once`](Self::call_once).
    ///
    /// # Examples
    ///
    /// ```
    /// let setup = bowline::Once::new();
    /// # std::panic::set_hook(Box::new(|_| ()));
    /// assert!(std::panic::catch_unwind(|| setup.call_once(|| panic!("not yet"))).is_err());
    /// setup.call_once_force(|state| assert!(state.is_poisoned()));
    /// setup.call_once(|| unreachable!("it has run"));
    /// ```
    #[inline]
    #[track_caller]
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.raw.is_complete() {
            self.make(Intent::InitialiseAnyway, f);
        }
    }

    /// Runs `f` as [`call_once`](Self::call_once) does; a deadlock comes back as a value, and so does a poisoned
    /// `Once`.
    ///
    /// # Errors
    ///
    /// [`InitError::Deadlock`] if the wait is part of a deadlock and was chosen to break it, under every policy but
    /// `Off`. [`InitError::Poisoned`] if an initialiser has panicked.
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
    /// use bowline::{Once, deadlock::Kind, sync::InitError};
    ///
    /// let setup = Once::new();
    /// setup.acquire_once(|| {
    ///     let Err(InitError::Deadlock(deadlock)) = setup.acquire_once(|| ()) else { unreachable!() };
    ///     assert_eq!(deadlock.report().kind(), Kind::Relock);
    /// })?;
    /// assert!(setup.is_completed());
    /// # Ok::<(), InitError>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn acquire_once<F: FnOnce()>(&self, f: F) -> Result<(), InitError> {
        if !self.raw.is_complete() {
            return self.acquire_made(|_| f());
        }
        Ok(())
    }

    /// Runs `f` as [`call_once_force`](Self::call_once_force) does; a deadlock comes back as a value.
    ///
    /// # Errors
    ///
    /// [`Deadlock`] if the wait is part of a deadlock and was chosen to break it, under every policy but `Off`.
    ///
    /// # Panics
    ///
    /// If `f` panics.
    ///
    /// # Deadlocks
    ///
    /// `Relock`, `Cycle` and `Abandoned` come as the error.
    #[inline]
    #[track_caller]
    pub fn acquire_once_force<F: FnOnce(&OnceState)>(&self, f: F) -> Result<(), Deadlock> {
        if !self.raw.is_complete() {
            finish(self.raw.acquire(request(Intent::InitialiseAnyway))?, f);
        }
        Ok(())
    }

    /// Returns whether an initialiser has run. What it did is visible then.
    ///
    /// # Examples
    ///
    /// ```
    /// let setup = bowline::Once::new();
    /// setup.call_once(|| assert!(!setup.is_completed()));
    /// assert!(setup.is_completed());
    /// ```
    #[inline]
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.raw.is_complete()
    }

    /// Waits until an initialiser has run, and runs none.
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked, with the line that called it. If the wait is part of a deadlock and the policy is
    /// `Panic`, with the report.
    ///
    /// # Deadlocks
    ///
    /// While an initialiser runs, as [`call_once`](Self::call_once). While none does, it is not known who will call
    /// one, so the wait is part of no deadlock; it is in [snapshots](crate::deadlock::snapshot).
    ///
    /// # Examples
    ///
    /// ```
    /// let setup = bowline::Once::new();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| setup.call_once(|| ()));
    ///     setup.wait();
    /// });
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        if !self.raw.is_complete() {
            self.make(Intent::Await, |_| ());
        }
    }

    /// Waits until an initialiser has run, even if one has panicked. Runs none.
    ///
    /// # Panics
    ///
    /// If the wait is part of a deadlock and the policy is `Panic`, with the report.
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait).
    #[inline]
    #[track_caller]
    pub fn wait_force(&self) {
        if !self.raw.is_complete() {
            self.make(Intent::AwaitAnyway, |_| ());
        }
    }

    /// Waits as [`wait`](Self::wait) does; a deadlock comes back as a value, and so does a poisoned `Once`.
    ///
    /// # Errors
    ///
    /// As [`acquire_once`](Self::acquire_once).
    ///
    /// # Deadlocks
    ///
    /// As [`wait`](Self::wait), as the error.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) -> Result<(), InitError> {
        if !self.raw.is_complete() {
            self.raw.try_enter(request(Intent::Await))?;
        }
        Ok(())
    }

    /// Waits until an initialiser has run, for at most `timeout`. Returns whether one has.
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked. As [`wait`](Self::wait), if `timeout` is longer than the clock can represent:
    /// that is no time-out.
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
    /// let setup = bowline::Once::new();
    /// assert!(!setup.wait_for(Duration::from_millis(1)));
    /// ```
    #[inline]
    #[track_caller]
    pub fn wait_for(&self, timeout: Duration) -> bool {
        self.raw.is_complete() || self.raw.enter_within(request(Intent::Await), Limit::after(timeout)).is_some()
    }

    /// Waits until an initialiser has run, at most until `deadline`. See [`wait_for`](Self::wait_for).
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked.
    ///
    /// # Deadlocks
    ///
    /// None: the wait ends by itself.
    #[inline]
    #[track_caller]
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.raw.is_complete() || self.raw.enter_within(request(Intent::Await), Limit::Until(deadline)).is_some()
    }
}

impl Once {
    /// Runs the initialiser, or waits until one has run.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn make(&self, intent: Intent, f: impl FnOnce(&OnceState)) {
        finish(self.raw.enter(request(intent)), f);
    }

    /// Runs the initialiser, or waits until one has run. A deadlock, or poison, is an error.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_made(&self, f: impl FnOnce(&OnceState)) -> Result<(), InitError> {
        finish(self.raw.try_enter(request(Intent::InitialiseOnce))?, f);
        Ok(())
    }
}

#[track_caller]
fn request(intent: Intent) -> Request {
    let type_of = || ResourceType { primitive: "Once", data: "", mode: HoldMode::Initialising, id_of: None };
    Request { site: Location::caller(), type_of, intent }
}

/// Runs the initialiser, if the caller is to.
fn finish(entered: Entered<'_>, f: impl FnOnce(&OnceState)) {
    if let Entered::Begun(initialisation) = entered {
        f(&OnceState { is_poisoned: initialisation.was_poisoned() });
        initialisation.complete();
    }
}

// A panic in an initialiser poisons, and changes nothing else.
impl std::panic::RefUnwindSafe for Once {}
impl std::panic::UnwindSafe for Once {}

impl Default for Once {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

/// Shows whether an initialiser has run; never waits.
///
/// # Examples
///
/// ```
/// let setup = bowline::Once::named("setup");
/// assert_eq!(format!("{setup:?}"), r#"Once { name: "setup", state: <uninit> }"#);
/// ```
impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Once");
        if let Some(name) = self.raw.name() {
            out.field("name", &name);
        }
        out.field("state", &format_args!("{}", self.raw.placeholder())).finish()
    }
}
