//! Threads that the operating system's own call started.

use std::ffi::{c_int, c_ulong, c_void};

unsafe extern "C" {
    fn pthread_create(
        thread: *mut c_ulong,
        attributes: *const c_void,
        start: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
    fn pthread_join(thread: c_ulong, result: *mut *mut c_void) -> c_int;
}

/// Runs `body` on a thread that Rust knows nothing of.
pub(crate) fn run<F: FnOnce() + Send + 'static>(body: F) {
    extern "C" fn start<F: FnOnce()>(argument: *mut c_void) -> *mut c_void {
        // SAFETY:
        // - `run` made the argument of a box of this type, for this call alone.
        let body = unsafe { Box::from_raw(argument.cast::<F>()) };
        body();
        std::ptr::null_mut()
    }

    let argument = Box::into_raw(Box::new(body)).cast();
    let mut thread = 0;
    // SAFETY:
    // - `thread` is a place to write to, null attributes are the usual ones, and `start` takes over the argument.
    let rc = unsafe { pthread_create(&raw mut thread, std::ptr::null(), start::<F>, argument) };
    assert_eq!(rc, 0);
    // SAFETY:
    // - the thread was created above and is joined once; its result is not asked for.
    assert_eq!(unsafe { pthread_join(thread, std::ptr::null_mut()) }, 0);
}
