//! A shared library with a copy of the crate in it, for `tests/copies.rs`: its locks are the same type, its threads others.

use bowline::{Lock, RLock};

/// Returns whether this copy gets a lock that the program made.
///
/// # Safety
///
/// The pointer is to a lock of the same crate, built in the same way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_tries_rlock(lock: *const RLock<u32>) -> bool {
    // SAFETY:
    // - it is one (caller).
    unsafe { &*lock }.try_lock().is_some()
}

/// Locks, and returns whether that was a deadlock.
///
/// # Safety
///
/// The pointer is to a lock of the same crate, built in the same way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_acquires(lock: *const Lock<u32>) -> bool {
    // SAFETY:
    // - it is one (caller).
    unsafe { &*lock }.acquire().is_err()
}
