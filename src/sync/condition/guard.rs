//! The guards that a condition can release for the length of a wait.

use std::error::Error;

use crate::deadlock::Deadlock;
#[cfg(doc)]
use crate::sync::{ArcLockGuard, LockGuard, RLockGuard};

/// A guard that a [`Condition`](super::Condition) can release for the length of a wait: [`LockGuard`], [`ArcLockGuard`],
/// [`RLockGuard`].
///
/// A mapped guard is none. It points to a part of the value, and that part may be gone when the lock is held again: the
/// element of a vector, or what is in an enum.
///
/// ```compile_fail
/// use bowline::sync::LockGuard;
/// use bowline::{Condition, Lock};
///
/// let (pair, changed) = (Lock::new((Some(1), 2)), Condition::new());
/// let mut part = LockGuard::map(pair.lock(), |pair| pair.0.as_mut().unwrap());
/// changed.wait(&mut part); // another thread may replace it by `None`
/// ```
///
/// Sealed: this crate's guards alone can be released and taken again without a moment at which safe code could reach the
/// value.
#[diagnostic::on_unimplemented(
    message = "a `Condition` waits with the guard of a `Lock` or of an `RLock`, not with `{Self}`",
    note = "of an `RwLock`, keep what the condition is about in a `Lock` beside it"
)]
pub trait ConditionGuard: suspend::Suspend + for<'g> GuardAccess<'g> {
    /// Why no guard came back: [`Deadlock`]; of an `RLock`, [`RLockWaitError`](super::RLockWaitError).
    type Error: Error + From<Deadlock>;

    /// Panics if the calling thread has other guards of the same lock, which then could not be released.
    #[doc(hidden)]
    #[track_caller]
    fn assert_alone(&self) {}

    /// Returns the guard, or an error if the calling thread has other guards of the same lock.
    #[doc(hidden)]
    fn alone(self) -> Result<Self, Self::Error> {
        Ok(self)
    }
}

/// What a [`ConditionGuard`] gives to the predicate of a wait.
///
/// (A trait of its own, and its second parameter, let that be borrowed from the guard for `'g` without a limit from below to
/// what the guard itself borrows.)
pub trait GuardAccess<'g, Borrow = &'g Self> {
    /// `&mut T`; of an `RLock`, `&T`.
    type Value;

    /// Returns what the predicate is given.
    #[doc(hidden)]
    fn access(&'g mut self) -> Self::Value;
}

pub(in crate::sync) mod suspend {
    use crate::deadlock::Deadlock;
    use crate::deadlock::resource::Site;

    /// A guard whose lock can be released for a while.
    pub trait Suspend: Sized {
        /// Tells of a hazard if locking again would be one.
        #[track_caller]
        fn check_rank(&self, site: Site);

        /// Releases the lock, runs `meanwhile`, and locks again.
        fn suspend<O>(&mut self, site: Site, meanwhile: impl FnOnce() -> O) -> O;

        /// Releases the lock, runs `meanwhile`, and locks again, or returns why that can never be.
        fn try_suspend<O>(self, site: Site, meanwhile: impl FnOnce() -> O) -> Result<(Self, O), Deadlock>;
    }
}
