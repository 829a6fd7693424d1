//! Guards that release their lock for a while.

use std::mem::ManuallyDrop;

use super::{Guard, Guarded, RawGuard};
use crate::deadlock::Deadlock;
use crate::deadlock::resource::{Site, TypeOf};

/// A raw guard whose lock can be released for a while, and locked again on behalf of the line that did that.
///
/// # Safety
///
/// - `resume` and `try_resume` return a guard of the raw lock that they are given.
pub(crate) unsafe trait Resume: RawGuard + Sized {
    /// Tells of a hazard if the lock has a rank and the caller holds another one of no lower rank.
    #[track_caller]
    fn check_rank(raw: &Self::Raw, type_of: TypeOf, site: Site);

    /// Locks again. Of a deadlock, another member is the victim.
    fn resume(raw: &Self::Raw, type_of: TypeOf, site: Site) -> Self;

    /// Locks again, or returns why that can never be.
    fn try_resume(raw: &Self::Raw, type_of: TypeOf, site: Site) -> Result<Self, Deadlock>;
}

impl<G: Guarded, R: Resume<Raw = G::Raw>> Guard<G, R> {
    /// Tells of a hazard if the lock has a rank and the thread holds another one of no lower rank, which it would still hold when
    /// it locks again.
    #[track_caller]
    pub(crate) fn check_rank(&self, type_of: TypeOf, site: Site) {
        R::check_rank(self.guarded.raw(), type_of, site);
    }

    /// Releases the lock, runs `meanwhile`, and locks again, also if `meanwhile` panics.
    ///
    /// While the lock is not held nobody reaches the value through this guard: `&mut self` proves that nothing of it is
    /// borrowed, and when this returns or unwinds the lock is held again. (If locking again panics, the process ends: the
    /// guard's owner could go on to use it.)
    pub(crate) fn suspend<O>(&mut self, type_of: TypeOf, site: Site, meanwhile: impl FnOnce() -> O) -> O {
        // SAFETY:
        // - `Suspended` puts another one in its place, before anybody uses this guard.
        let raw_guard = unsafe { ManuallyDrop::take(&mut self.raw_guard) };
        let suspended = Suspended { guard: self, type_of, site };
        // SAFETY:
        // - the raw guard is of this raw lock (`Guard::new`'s contract).
        unsafe { raw_guard.release(suspended.guard.guarded.raw()) };
        meanwhile()
    }

    /// Releases the lock, runs `meanwhile`, and locks again, or returns why that can never be. If `meanwhile` panics, the
    /// lock stays released.
    pub(crate) fn try_suspend<O>(
        self,
        type_of: TypeOf,
        site: Site,
        meanwhile: impl FnOnce() -> O,
    ) -> Result<(Self, O), Deadlock> {
        let guarded = self.release();
        let output = meanwhile();
        let raw_guard = R::try_resume(guarded.raw(), type_of, site)?;
        // SAFETY:
        // - the raw guard is of this raw lock (`Resume`'s contract).
        Ok((unsafe { Self::new(guarded, raw_guard) }, output))
    }
}

/// A guard whose lock is released; locks again when it is dropped.
struct Suspended<'g, G: Guarded, R: Resume<Raw = G::Raw>> {
    guard: &'g mut Guard<G, R>,
    type_of: TypeOf,
    site: Site,
}

impl<G: Guarded, R: Resume<Raw = G::Raw>> Drop for Suspended<'_, G, R> {
    fn drop(&mut self) {
        let abort = Abort;
        let raw_guard = R::resume(self.guard.guarded.raw(), self.type_of, self.site);
        std::mem::forget(abort);
        self.guard.raw_guard = ManuallyDrop::new(raw_guard);
    }
}

/// Ends the process when it is dropped.
struct Abort;

impl Drop for Abort {
    #[cold]
    fn drop(&mut self) {
        crate::deadlock::print_line(format_args!(
            "bowline: panic while a lock is taken again for a guard that is in use, aborting"
        ));
        std::process::abort();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, Location, catch_unwind};

    use crate::sync::condition::Suspend;
    use crate::sync::{Lock, RLock};

    #[test]
    fn a_guard_has_its_lock_again_after_a_panic() {
        let lock = Lock::new(1);
        let mut guard = lock.lock();
        let suspends = || {
            guard.suspend(Location::caller(), || {
                assert!(lock.try_lock().is_some(), "free meanwhile");
                panic!("on purpose");
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(suspends)).is_err());
        assert!(lock.is_locked());
        *guard += 1;
        drop(guard);
        assert_eq!(*lock.try_lock().expect("released once"), 2);
    }

    #[test]
    fn a_guard_that_is_given_away_is_gone_after_a_panic() {
        let lock = Lock::new(1);
        let guard = lock.lock();
        let suspends = || guard.try_suspend(Location::caller(), || panic!("on purpose")).map(drop);
        assert!(catch_unwind(AssertUnwindSafe(suspends)).is_err());
        assert!(!lock.is_locked());
    }

    #[test]
    fn an_rlock_that_is_taken_again_meanwhile_is_held_twice() {
        for lock in [RLock::new(1), RLock::ranked("with a rank", 1, 1)] {
            // As a hook may, which runs on the thread that waits.
            let mut guard = lock.lock();
            let kept = guard.suspend(Location::caller(), || lock.lock());
            assert_eq!((lock.depth(), *guard, *kept), (2, 1, 1));
            drop(kept);
            let (guard, kept) = guard.try_suspend(Location::caller(), || lock.lock()).unwrap();
            assert_eq!((lock.depth(), *guard, *kept), (2, 1, 1));
            drop(guard);
            assert!(lock.is_owned());
            drop(kept);
            assert!(!lock.is_locked());
        }
    }
}
