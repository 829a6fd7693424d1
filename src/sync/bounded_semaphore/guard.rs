//! The guards of a [`BoundedSemaphore`].

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::BoundedSemaphore;
use super::raw::RawPermits;

/// Permits of a [`BoundedSemaphore`], held by the thread that took them; gives them back when dropped.
///
/// Stays on its thread (it is not `Send`). Guards may be dropped in any order. One that is forgotten leaves its permits
/// held; once its thread has ended, a thread that waits for more than the others can give back gets
/// [`Abandoned`](crate::deadlock::Kind::Abandoned).
///
/// ```compile_fail
/// let slots = bowline::BoundedSemaphore::new(2);
/// let permit = slots.lock();
/// std::thread::scope(|s| {
///     s.spawn(move || drop(permit)); // only its owner gives it back
/// });
/// ```
///
/// # Examples
///
/// ```
/// let slots = bowline::BoundedSemaphore::new(3);
/// let two = slots.lock_many(2);
/// assert_eq!((two.permits(), two.semaphore().available_permits()), (2, 1));
/// ```
#[must_use = "if unused the permits are given back at once"]
#[clippy::has_significant_drop]
pub struct BoundedSemaphoreGuard<'a> {
    semaphore: &'a BoundedSemaphore,
    /// Taken out when they are given back.
    held: ManuallyDrop<RawPermits>,
}

/// Permits of a [`BoundedSemaphore`] in an [`Arc`], without a borrow: made by [`BoundedSemaphore::lock_arc`].
///
/// Stays on its thread, too.
#[must_use = "if unused the permits are given back at once"]
#[clippy::has_significant_drop]
pub struct ArcBoundedSemaphoreGuard {
    semaphore: Arc<BoundedSemaphore>,
    /// Taken out when they are given back.
    held: ManuallyDrop<RawPermits>,
}

macro_rules! guard {
    ($Guard:ident $(<$a:lifetime>)?, $Semaphore:ty) => {
        impl $(<$a>)? $Guard $(<$a>)? {
            /// Makes a guard.
            ///
            /// # Safety
            ///
            /// - The permits are of this semaphore.
            #[inline]
            pub(super) unsafe fn new(semaphore: $Semaphore, held: RawPermits) -> Self {
                Self { semaphore, held: ManuallyDrop::new(held) }
            }

            /// Returns how many permits these are.
            #[inline]
            #[must_use]
            pub fn permits(&self) -> usize {
                self.held.permits()
            }

            /// Returns the semaphore.
            #[inline]
            #[must_use]
            pub fn semaphore(&self) -> &$Semaphore {
                &self.semaphore
            }
        }

        impl $(<$a>)? Drop for $Guard $(<$a>)? {
            #[inline]
            fn drop(&mut self) {
                // SAFETY:
                // - taken once: this is the drop.
                let held = unsafe { ManuallyDrop::take(&mut self.held) };
                // SAFETY:
                // - the permits are of this semaphore (`new`'s contract).
                unsafe { self.semaphore.raw.give_back(held) };
            }
        }

        impl $(<$a>)? fmt::Debug for $Guard $(<$a>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Guard)).field("permits", &self.permits()).finish()
            }
        }
    };
}

guard!(BoundedSemaphoreGuard<'a>, &'a BoundedSemaphore);
guard!(ArcBoundedSemaphoreGuard, Arc<BoundedSemaphore>);
