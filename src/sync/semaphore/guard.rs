//! The guards of a [`Semaphore`].

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::Semaphore;

/// Permits of a [`Semaphore`]; gives them back when dropped.
///
/// May be sent to another thread, which then gives the permits back.
///
/// # Examples
///
/// ```
/// let semaphore = bowline::Semaphore::new(3);
/// let two = semaphore.acquire_many(2);
/// assert_eq!(two.permits(), 2);
/// drop(two);
/// assert_eq!(semaphore.available_permits(), 3);
/// ```
#[must_use = "if unused the permits are given back at once"]
#[clippy::has_significant_drop]
pub struct SemaphoreGuard<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// Permits of a [`Semaphore`] in an [`Arc`], without a borrow; gives them back when dropped. Made by
/// [`Semaphore::acquire_arc`].
#[must_use = "if unused the permits are given back at once"]
#[clippy::has_significant_drop]
pub struct ArcSemaphoreGuard {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

macro_rules! permits {
    ($Guard:ident $(<$a:lifetime>)?, $Semaphore:ty) => {
        impl $(<$a>)? $Guard $(<$a>)? {
            #[inline]
            pub(super) fn new(semaphore: $Semaphore, permits: usize) -> Self {
                Self { semaphore, permits }
            }

            /// Returns how many permits these are.
            #[inline]
            #[must_use]
            pub fn permits(&self) -> usize {
                self.permits
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
                self.semaphore.give_back(self.permits);
            }
        }

        impl $(<$a>)? fmt::Debug for $Guard $(<$a>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($Guard)).field("permits", &self.permits).finish()
            }
        }
    };
}

permits!(SemaphoreGuard<'a>, &'a Semaphore);
permits!(ArcSemaphoreGuard, Arc<Semaphore>);

impl SemaphoreGuard<'_> {
    /// Takes the permits out of circulation: they are not given back. Another thread may add them by
    /// [`Semaphore::release`].
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = bowline::Semaphore::new(3);
    /// semaphore.acquire().forget();
    /// assert_eq!(semaphore.available_permits(), 2);
    /// ```
    #[inline]
    pub fn forget(self) {
        let _kept = ManuallyDrop::new(self);
    }
}

impl ArcSemaphoreGuard {
    /// Takes the permits out of circulation: they are not given back. Another thread may add them by
    /// [`Semaphore::release`].
    #[inline]
    pub fn forget(mut self) {
        // The semaphore is given back, no permit.
        self.permits = 0;
    }
}
