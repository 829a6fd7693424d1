//! Poison: a lock remembers that somebody panicked while they held it.

use std::sync::{LockResult, PoisonError};

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicBool;

/// Whether a lock is poisoned.
pub(super) struct Poison {
    /// Relaxed at all times: who locks after it was set sees it by way of the lock, and to others it is a hint.
    is_set: AtomicBool,
}

impl Poison {
    pub(super) const fn new() -> Self {
        Self { is_set: AtomicBool::new(false) }
    }

    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.is_set.load(Relaxed)
    }

    pub(super) fn clear(&self) {
        self.is_set.store(false, Relaxed);
    }

    /// Returns what a guard has to know to poison the lock, if need be. Called before the lock is acquired: whether this thread
    /// panics does not change meanwhile, and nothing that may unwind is left to do with the lock held, which the compiler would
    /// keep the guard in memory for.
    #[inline]
    pub(super) fn watch(&self) -> Watch<'_> {
        Watch { poison: self, was_panicking: std::thread::panicking() }
    }

    /// Returns what has been acquired, as an error if the lock is poisoned.
    #[inline]
    pub(super) fn wrap<T>(&self, acquired: T) -> LockResult<T> {
        if self.is_set() { Err(PoisonError::new(acquired)) } else { Ok(acquired) }
    }
}

/// Poisons a lock if it is dropped while the thread panics, unless the thread did when this was made.
///
/// A field of a guard, before the guard of bowline's lock: so the lock is poisoned before it is free.
pub(super) struct IfPanicking<'a>(Watch<'a>);

impl<'a> IfPanicking<'a> {
    /// Returns what it knows, and poisons nothing.
    #[inline]
    pub(super) fn disarm(self) -> Watch<'a> {
        let watch = self.0;
        std::mem::forget(self);
        watch
    }
}

impl Drop for IfPanicking<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.0.was_panicking && std::thread::panicking() {
            self.0.poison.is_set.store(true, Relaxed);
        }
    }
}

/// The poison of a lock, and whether the thread that is to lock panicked already.
#[derive(Clone, Copy)]
pub(super) struct Watch<'a> {
    poison: &'a Poison,
    was_panicking: bool,
}

impl<'a> Watch<'a> {
    /// Returns the lock's poison.
    #[inline]
    pub(super) fn poison(self) -> &'a Poison {
        self.poison
    }

    /// Returns what a guard does at its end.
    #[inline]
    pub(super) fn arm(self) -> IfPanicking<'a> {
        IfPanicking(self)
    }
}
