//! The lock words of the mutexes, which differ in how they are unlocked alone.

/// Writes a lock word: its name, whether reports call it fair, and the function that unlocks it.
macro_rules! raw_mutex {
    ($(#[$about:meta])* $name:ident, fair: $fair:literal, unlock: $unlock:ident) => {
        $(#[$about])*
        pub struct $name(bowline::facade::RawMutex<$crate::ownership::Ownership, { $fair }>);

        // SAFETY:
        // - `bowline`'s lock word admits one owner at a time.
        unsafe impl lock_api::RawMutex for $name {
            const INIT: Self = Self(bowline::facade::RawMutex::INIT);

            type Guard = $crate::ownership::Marker;

            #[inline]
            #[track_caller]
            fn lock(&self) -> $crate::ownership::Marker {
                self.0.lock();
                $crate::ownership::Marker::new()
            }

            #[inline]
            #[track_caller]
            fn try_lock(&self) -> Option<$crate::ownership::Marker> {
                self.0.try_lock().then($crate::ownership::Marker::new)
            }

            #[inline]
            unsafe fn unlock(&self, _: $crate::ownership::Marker) {
                // SAFETY:
                // - it is locked (caller).
                unsafe { self.0.$unlock() };
            }

            #[inline]
            fn is_locked(&self) -> bool {
                self.0.is_locked()
            }
        }

        // SAFETY:
        // - as for `RawMutex`.
        unsafe impl lock_api::RawMutexFair for $name {
            #[inline]
            unsafe fn unlock_fair(&self, _: $crate::ownership::Marker) {
                // SAFETY:
                // - it is locked (caller).
                unsafe { self.0.unlock_fair() };
            }

            #[inline]
            #[track_caller]
            unsafe fn bump(&self, _: &mut $crate::ownership::Marker) {
                // SAFETY:
                // - it is locked (caller).
                unsafe { self.0.bump() };
            }
        }

        // SAFETY:
        // - as for `RawMutex`.
        unsafe impl lock_api::RawMutexTimed for $name {
            type Duration = std::time::Duration;
            type Instant = std::time::Instant;

            #[inline]
            #[track_caller]
            fn try_lock_until(&self, timeout: std::time::Instant) -> Option<$crate::ownership::Marker> {
                self.0.try_lock_until(timeout).then($crate::ownership::Marker::new)
            }

            #[inline]
            #[track_caller]
            fn try_lock_for(&self, timeout: std::time::Duration) -> Option<$crate::ownership::Marker> {
                self.0.try_lock_for(timeout).then($crate::ownership::Marker::new)
            }
        }
    };
}
pub(crate) use raw_mutex;
