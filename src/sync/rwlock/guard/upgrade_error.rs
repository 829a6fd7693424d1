//! An upgrade that is part of a deadlock.

use std::fmt;

use crate::deadlock::Deadlock;

/// An upgrade that is part of a deadlock and was chosen to break it. The guard is still held.
///
/// # Examples
///
/// ```
/// use bowline::RwLock;
/// use bowline::sync::RwLockUpgradableReadGuard;
///
/// let lock = RwLock::new(1);
/// let (reader, guard) = (lock.read(), lock.upgradable_read());
/// let error = RwLockUpgradableReadGuard::acquire_upgrade(guard).unwrap_err(); // this thread reads
/// println!("{error}");
/// let guard = error.into_guard();
/// drop(reader);
/// *RwLockUpgradableReadGuard::acquire_upgrade(guard).unwrap() += 1;
/// assert_eq!(*lock.read(), 2);
/// ```
pub struct UpgradeError<G> {
    guard: G,
    deadlock: Deadlock,
}

impl<G> UpgradeError<G> {
    pub(super) fn new(guard: G, deadlock: Deadlock) -> Self {
        Self { guard, deadlock }
    }

    /// Returns the deadlock.
    pub fn deadlock(&self) -> &Deadlock {
        &self.deadlock
    }

    /// Returns the guard, which still reads upgradably.
    pub fn into_guard(self) -> G {
        self.guard
    }

    /// Returns the deadlock, and stops reading.
    pub fn into_deadlock(self) -> Deadlock {
        self.deadlock
    }
}

impl<G> fmt::Debug for UpgradeError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeError").field("deadlock", &self.deadlock).finish_non_exhaustive()
    }
}

impl<G> fmt::Display for UpgradeError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.deadlock, f)
    }
}

impl<G> std::error::Error for UpgradeError<G> {}
