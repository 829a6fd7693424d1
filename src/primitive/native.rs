//! The real thing: std's atomics and mutex, parking_lot_core's queue.

use std::cell::Cell;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use parking_lot_core::{
    FilterOp, ParkResult, ParkToken, SpinWait, UnparkToken, park, unpark_filter, unpark_one,
};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// std's mutex without poisoning: what runs under ours never panics, or aborts.
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process-wide value: a `static`, or one value for each execution of a model.
macro_rules! global {
    ($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;) => {
        $(#[$meta])*
        static $name: $type = $value;
    };
}
pub(crate) use global;

thread_local! {
    // Const-initialised and without a destructor: a plain load, usable in destructors of other thread-locals and
    // before and after `main`.
    static CURRENT: Cell<*const ()> = const { Cell::new(std::ptr::null()) };
}

/// The pointer that this thread stored last, null on a new thread.
#[inline]
pub(crate) fn current_context() -> *const () {
    CURRENT.get()
}

/// Stores this thread's pointer.
#[inline]
pub(crate) fn set_current_context(context: *const ()) {
    CURRENT.set(context);
}

/// The operating system's number for this thread, 0 where it has none that a person could use.
pub(crate) fn os_thread_id() -> u32 {
    #[cfg(target_os = "linux")]
    {
        // SAFETY:
        // - `gettid` has no preconditions.
        let id = unsafe { libc::gettid() };
        id.cast_unsigned()
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

/// The time.
pub(crate) fn now() -> Instant {
    Instant::now()
}
