//! Detection of a thread that runs the destructors of its thread-locals, from which nothing may unwind.

/// Returns whether the calling thread runs a destructor of a thread-local, or of a thread-specific key. A panic that
/// leaves one ends the process.
///
/// With glibc this searches the callers for the function that runs destructors: some microseconds, at the rare moment
/// when a deadlock looks for a victim. Elsewhere, and where there are no unwind tables, only the last destructors are
/// recognised.
#[cold]
pub(crate) fn runs_destructors() -> bool {
    super::thread_is_ending() || platform::calls_destructors()
}

#[cfg(all(target_os = "linux", target_env = "gnu", not(bowline_portable), not(all(test, loom))))]
mod platform {
    use std::ffi::{c_int, c_void};
    use std::ptr::null_mut;

    // The functions that std's own backtraces and panics use.
    unsafe extern "C" {
        fn _Unwind_Backtrace(visit: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
        fn _Unwind_GetIP(frame: *mut c_void) -> usize;
        fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
    }

    /// The answer of [`visit`] that continues the walk.
    const GO_ON: c_int = 0;
    /// An answer that ends the walk, as any but [`GO_ON`] does.
    const STOP: c_int = 5;

    struct Search {
        function: *mut c_void,
        is_found: bool,
    }

    pub(super) fn calls_destructors() -> bool {
        // SAFETY:
        // - the name is a string that ends with a zero.
        let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__call_tls_dtors".as_ptr()) };
        let mut search = Search { function, is_found: false };
        if !function.is_null() {
            // SAFETY:
            // - `visit` takes what is passed here, which outlives the walk, and does not unwind.
            unsafe { _Unwind_Backtrace(visit, (&raw mut search).cast()) };
        }
        search.is_found
    }

    extern "C" fn visit(frame: *mut c_void, search: *mut c_void) -> c_int {
        // SAFETY:
        // - the frame is the one that the walk is at.
        let after_call = unsafe { _Unwind_GetIP(frame) };
        let in_call = std::ptr::with_exposed_provenance_mut(after_call.saturating_sub(1));
        // SAFETY:
        // - any address may be asked for.
        let function = if after_call == 0 { null_mut() } else { unsafe { _Unwind_FindEnclosingFunction(in_call) } };
        // SAFETY:
        // - `calls_destructors` passed it, and waits for the walk.
        let search = unsafe { &mut *search.cast::<Search>() };
        search.is_found = function == search.function;
        if search.is_found { STOP } else { GO_ON }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", not(bowline_portable), not(all(test, loom)))))]
mod platform {
    pub(super) fn calls_destructors() -> bool {
        false
    }
}
