//! A shared library with a copy of the crate in it, for `tests/sync/copies.rs` and `tests/process_pool/copies.rs`: its locks are the
//! same type, its threads and its processes others.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bowline::{Lock, ProcessPoolExecutor, RLock};

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

/// Returns the sum of the squares of the numbers below this one, from a worker that is this test of this program.
///
/// # Panics
///
/// There is no such worker.
///
/// # Safety
///
/// The first two are pointers to C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn copy_sums_squares(program: *const c_char, test: *const c_char, below: u64) -> u64 {
    // SAFETY:
    // - these are C strings (caller).
    let [program, test] = [program, test].map(|text| OsStr::from_bytes(unsafe { CStr::from_ptr(text) }.to_bytes()));
    let builder = ProcessPoolExecutor::builder().max_workers(1).worker_exe(Path::new(program));
    let arguments = ["--exact".as_ref(), test, "--test-threads=1".as_ref(), "--quiet".as_ref()];
    let pool = builder.worker_args(arguments).build().expect("a pool");
    (0..below).map(|n| pool.submit(|n: u64| n * n, (n,)).result().expect("a worker")).sum()
}

/// Becomes a worker of this copy, if this process was started as one.
#[unsafe(no_mangle)]
pub extern "C" fn copy_serves() {
    ProcessPoolExecutor::init();
}
