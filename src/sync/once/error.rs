//! The errors of a wait for an initialisation.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::deadlock::Deadlock;
use crate::deadlock::render::printable;
use crate::deadlock::resource::{Origin, Site};

/// The error of a wait for an initialisation: the wait was part of a deadlock, or an initialiser has panicked.
///
/// # Examples
///
/// ```
/// use bowline::LazyLock;
/// use bowline::sync::InitError;
///
/// static PORT: LazyLock<u16> = LazyLock::new(|| "eighty".parse().unwrap());
///
/// # std::panic::set_hook(Box::new(|_| ()));
/// std::panic::catch_unwind(|| *PORT).unwrap_err();
/// match LazyLock::acquire(&PORT) {
///     Err(InitError::Poisoned(poisoned)) => println!("{poisoned}"),
///     Err(InitError::Deadlock(deadlock)) => println!("{deadlock}"),
///     Ok(port) => println!("{port}"),
///     Err(_) => unreachable!(),
/// }
/// # assert!(matches!(LazyLock::acquire(&PORT), Err(InitError::Poisoned(_))));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum InitError {
    /// The wait was part of a deadlock and was chosen to break it.
    Deadlock(Deadlock),
    /// An initialiser has panicked before, and none is called again.
    Poisoned(Poisoned),
}

impl From<Deadlock> for InitError {
    fn from(deadlock: Deadlock) -> Self {
        Self::Deadlock(deadlock)
    }
}

impl From<Poisoned> for InitError {
    fn from(poisoned: Poisoned) -> Self {
        Self::Poisoned(poisoned)
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(deadlock) => fmt::Display::fmt(deadlock, f),
            Self::Poisoned(poisoned) => fmt::Display::fmt(poisoned, f),
        }
    }
}

/// Written for the reader of an `unwrap`'s message.
impl fmt::Debug for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(deadlock) => fmt::Debug::fmt(deadlock, f),
            Self::Poisoned(poisoned) => fmt::Debug::fmt(poisoned, f),
        }
    }
}

impl Error for InitError {}

/// The error of a [`Once`](crate::Once) or a [`LazyLock`](crate::LazyLock) whose initialiser has panicked: it is never
/// called again, and there will be no value.
///
/// # Examples
///
/// ```
/// use bowline::Once;
/// use bowline::sync::InitError;
///
/// let setup = Once::named("setup");
/// # std::panic::set_hook(Box::new(|_| ()));
/// let (line, failure) = (line!(), std::panic::catch_unwind(|| setup.call_once(|| panic!("no config"))));
/// assert!(failure.is_err());
/// let Err(InitError::Poisoned(poisoned)) = setup.acquire_once(|| ()) else { unreachable!() };
/// assert_eq!((poisoned.name(), poisoned.failed_at().line()), (Some("setup"), line));
/// assert!(poisoned.to_string().starts_with("Once 'setup' is poisoned: its initialiser, called at "));
/// ```
#[derive(Clone)]
pub struct Poisoned {
    primitive: &'static str,
    origin: Origin,
    failed_at: Site,
}

impl Poisoned {
    pub(super) fn new(primitive: &'static str, origin: Origin, failed_at: Site) -> Self {
        Self { primitive, origin, failed_at }
    }

    /// Returns the name given with `named`, if any.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// Returns the line that made what is poisoned.
    #[must_use]
    pub fn made_at(&self) -> &'static Location<'static> {
        self.origin.made_at()
    }

    /// Returns the line that called the initialiser which panicked: that of the first use, for a
    /// [`LazyLock`](crate::LazyLock).
    #[must_use]
    pub fn failed_at(&self) -> &'static Location<'static> {
        self.failed_at
    }

    /// Panics with the error as the message.
    #[cold]
    #[track_caller]
    pub(super) fn raise(&self) -> ! {
        panic!("{self}")
    }
}

impl fmt::Display for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primitive, failed_at, .. } = self;
        match self.name() {
            Some(name) => write!(f, "{primitive} '{}'", printable(name))?,
            None => write!(f, "{primitive} made at {}", self.made_at())?,
        }
        write!(f, " is poisoned: its initialiser, called at {failed_at}, panicked")
    }
}

/// Written for the reader of an `unwrap`'s message.
impl fmt::Debug for Poisoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poisoned({self})")
    }
}

impl Error for Poisoned {}
