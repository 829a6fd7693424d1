//! Calls of the system that are replaced in this binary: each does what it did, unless a test says otherwise.
//!
//! A test that says so for the whole process runs alone.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

/// How many more threads the process may start.
pub(super) static THREADS: AtomicI64 = AtomicI64::new(i64::MAX);
/// How many more processes it may start.
pub(super) static PROCESSES: AtomicI64 = AtomicI64::new(i64::MAX);
/// How often it was refused one of these.
pub(super) static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Whether the process may have mutexes of the system, which tell of a thread's end.
pub(super) static LIFELINES: AtomicBool = AtomicBool::new(true);
/// How often threads have given up their turn.
pub(super) static YIELDS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The calling thread starts no other; it does this instead.
    pub(super) static REFUSAL: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Set for a process that is to start no thread at all.
pub(super) const NO_THREADS: &CStr = c"NO_THREADS_FOR_WORKERS";

fn is_refused(left: &AtomicI64) -> bool {
    let is_refused = left.fetch_sub(1, SeqCst) <= 0;
    REFUSED.fetch_add(is_refused.into(), SeqCst);
    is_refused
}

/// The system's function of this name.
///
/// # Safety
///
/// It has the type `F`, a function pointer.
unsafe fn system<F: Copy>(name: &CStr) -> F {
    // SAFETY:
    // - the name ends with a NUL.
    let function = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    assert!(!function.is_null() && size_of::<F>() == size_of_val(&function));
    // SAFETY:
    // - as the caller promises.
    unsafe { std::mem::transmute_copy(&function) }
}

/// Refuses whom a test says so.
// SAFETY:
// - has the signature of the function that it replaces, and does what that may do.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    run: *mut c_void,
    argument: *mut c_void,
) -> c_int {
    if let Some(mut refusal) = REFUSAL.take() {
        REFUSED.fetch_add(1, SeqCst);
        refusal();
        REFUSAL.set(Some(refusal));
        return libc::EAGAIN;
    }
    type Create = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, *mut c_void) -> c_int;
    // SAFETY:
    // - the name ends with a NUL, and nobody changes the environment meanwhile: a worker does so before it starts a thread.
    if is_refused(&THREADS) || !unsafe { libc::getenv(NO_THREADS.as_ptr()) }.is_null() {
        return libc::EAGAIN;
    }
    // SAFETY:
    // - the system's function has this signature, and is called as the caller promises.
    unsafe { system::<Create>(c"pthread_create")(thread, attributes, run, argument) }
}

/// Refuses whom a test says so: what the standard library starts processes with.
// SAFETY:
// - has the signature of the function that it replaces, and does what that may do.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_spawnp(
    pid: *mut libc::pid_t,
    file: *const c_char,
    actions: *const c_void,
    attributes: *const c_void,
    arguments: *const *mut c_char,
    environment: *const *mut c_char,
) -> c_int {
    type Spawn = unsafe extern "C" fn(
        *mut libc::pid_t,
        *const c_char,
        *const c_void,
        *const c_void,
        *const *mut c_char,
        *const *mut c_char,
    ) -> c_int;
    if is_refused(&PROCESSES) {
        return libc::EAGAIN;
    }
    // SAFETY:
    // - the system's function has this signature, and is called as the caller promises.
    unsafe { system::<Spawn>(c"posix_spawnp")(pid, file, actions, attributes, arguments, environment) }
}

/// Refuses if a test says so: a mutex of the system is made for nothing else here.
// SAFETY:
// - has the signature of the function that it replaces, and does what that may do.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_mutex_init(mutex: *mut c_void, attributes: *const c_void) -> c_int {
    type Init = unsafe extern "C" fn(*mut c_void, *const c_void) -> c_int;
    if !LIFELINES.load(SeqCst) {
        REFUSED.fetch_add(1, SeqCst);
        return libc::ENOTSUP;
    }
    // SAFETY:
    // - the system's function has this signature, and is called as the caller promises.
    unsafe { system::<Init>(c"pthread_mutex_init")(mutex, attributes) }
}

/// Counts.
// SAFETY:
// - has the signature of the function that it replaces, and does what that may do.
#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    type Yield = unsafe extern "C" fn() -> c_int;
    YIELDS.fetch_add(1, Relaxed);
    // SAFETY:
    // - the system's function has this signature, and may be called at any time.
    unsafe { system::<Yield>(c"sched_yield")() }
}
