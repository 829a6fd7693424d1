//! What is initialised once.

use std::fmt;

use bowline::facade::{Progress, RawOnce};

/// What has become of a [`Once`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum OnceState {
    /// No initialiser has run.
    New,
    /// An initialiser has panicked.
    Poisoned,
    /// An initialiser runs.
    InProgress,
    /// An initialiser has run.
    Done,
}

impl OnceState {
    /// Returns whether an initialiser has panicked.
    #[inline]
    pub const fn is_poisoned(self) -> bool {
        matches!(self, Self::Poisoned)
    }

    /// [`is_poisoned`](Self::is_poisoned), by its old name.
    #[inline]
    pub const fn poisoned(self) -> bool {
        self.is_poisoned()
    }

    /// Returns whether an initialiser has run.
    #[inline]
    pub const fn is_completed(self) -> bool {
        matches!(self, Self::Done)
    }

    /// [`is_completed`](Self::is_completed), by its old name.
    #[inline]
    pub const fn done(self) -> bool {
        self.is_completed()
    }
}

/// Runs an initialiser once. It has the size of a word.
///
/// An initialiser that calls the `Once` that it runs for is a deadlock, and told of as one.
pub struct Once(RawOnce);

impl Once {
    /// Makes one for which no initialiser has run.
    #[inline]
    pub const fn new() -> Self {
        Self(RawOnce::new())
    }

    /// Makes one that needs no initialiser.
    #[inline]
    pub const fn new_completed() -> Self {
        Self(RawOnce::new_completed())
    }

    /// Returns what has become of it.
    #[inline]
    pub fn state(&self) -> OnceState {
        match self.0.progress() {
            Progress::New => OnceState::New,
            Progress::Poisoned => OnceState::Poisoned,
            Progress::InProgress => OnceState::InProgress,
            Progress::Done => OnceState::Done,
        }
    }

    /// Returns whether an initialiser has run.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.0.is_complete()
    }

    /// Waits until an initialiser has run, and runs none.
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked.
    #[inline]
    #[track_caller]
    pub fn wait(&self) {
        if !self.0.wait(false) {
            panic!("Once instance has previously been poisoned");
        }
    }

    /// [`wait`](Self::wait), also after an initialiser has panicked.
    #[inline]
    #[track_caller]
    pub fn wait_force(&self) {
        self.0.wait(true);
    }

    /// Runs the initialiser, unless one has run; waits for one that runs.
    ///
    /// # Panics
    ///
    /// If an initialiser has panicked.
    #[inline]
    #[track_caller]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.0.call(false, |_| f()) {
            panic!("Once instance has previously been poisoned");
        }
    }

    /// Runs the initialiser, unless one has run to its end, and tells it whether one has panicked.
    #[inline]
    #[track_caller]
    pub fn call_once_force<F: FnOnce(OnceState)>(&self, f: F) {
        self.0.call(true, |was_poisoned| f(if was_poisoned { OnceState::Poisoned } else { OnceState::New }));
    }
}

impl Default for Once {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("state", &self.state()).finish()
    }
}
