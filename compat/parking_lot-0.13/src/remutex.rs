//! The mutex that its owner can lock again.

use std::num::NonZeroUsize;

use crate::mutex::RawMutex;

/// Tells threads apart: by the address of a thread-local.
pub struct RawThreadId;

// SAFETY:
// - two threads that live at the same time have thread-locals at different addresses.
unsafe impl lock_api::GetThreadId for RawThreadId {
    const INIT: Self = Self;

    #[inline]
    fn nonzero_thread_id(&self) -> NonZeroUsize {
        thread_local!(static HERE: u8 = const { 0 });
        HERE.with(|here| NonZeroUsize::new(std::ptr::from_ref(here).addr()).expect("a reference is not null"))
    }
}

/// A mutual exclusion lock that its owner can lock again. Reports call it a `Mutex`.
pub type ReentrantMutex<T> = lock_api::ReentrantMutex<RawMutex, RawThreadId, T>;

/// The guard of a [`ReentrantMutex`].
pub type ReentrantMutexGuard<'a, T> = lock_api::ReentrantMutexGuard<'a, RawMutex, RawThreadId, T>;

/// The guard of a part of what a [`ReentrantMutex`] protects.
pub type MappedReentrantMutexGuard<'a, T> = lock_api::MappedReentrantMutexGuard<'a, RawMutex, RawThreadId, T>;
