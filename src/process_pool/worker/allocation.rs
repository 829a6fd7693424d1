//! A worker's last word when an allocation fails under a limit of the address space.
//!
//! Rust, C++ and others abort then, and an abort tells nothing of its reason. But the system call that was refused has
//! left ENOMEM in `errno` of the thread, which no successful call changes, and the abort runs a handler on that thread.
//! So the handler can tell, as far as the thread has not handled a refusal before, in the same task.

use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::OnceLock;

use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::process_pool::wire::fate::ALLOCATION_FAILED;

/// The data of the handler.
struct Watched {
    fate: &'static AtomicU32,
    process: libc::pid_t,
    /// The action of the signal before.
    before: libc::sigaction,
}

/// Set before the handler is.
static WATCHED: OnceLock<Watched> = OnceLock::new();

/// Installs a handler that stores [`ALLOCATION_FAILED`] in `fate` when a thread of this process aborts and the last
/// error of the system was that there is no memory. The process dies of that, and of any other abort, as it would have
/// done before.
pub(super) fn install(fate: &'static AtomicU32) {
    let mut before = MaybeUninit::uninit();
    // SAFETY:
    // - no action is set, and `before` is a place to write to.
    if unsafe { libc::sigaction(libc::SIGABRT, std::ptr::null(), before.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY:
    // - the call above succeeded, and has filled it.
    // - `getpid` has no preconditions.
    let watched = unsafe { Watched { fate, process: libc::getpid(), before: before.assume_init() } };
    if WATCHED.set(watched).is_err() {
        return;
    }
    // SAFETY:
    // - zeroes are an action. The handler has the type that `SA_SIGINFO` requires, and calls nothing that a signal
    //   handler must not.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = aborted as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGABRT, &raw const action, null_mut());
    }
}

/// Forgets the failures of earlier tasks on this thread.
pub(super) fn forget_failures() {
    // SAFETY:
    // - this thread's own variable.
    unsafe { *libc::__errno_location() = 0 };
}

/// Handles an abort: calls only async-signal-safe functions, and does not panic.
extern "C" fn aborted(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY:
    // - this thread's own variable.
    let error = unsafe { *libc::__errno_location() };
    let Some(watched) = WATCHED.get() else { return };
    // SAFETY:
    // - the kernel's, valid during the handler. A signal that a thread was sent has the sender's id.
    let is_own = unsafe { (*info).si_code == libc::SI_TKILL && (*info).si_pid() == watched.process };
    if is_own && error == libc::ENOMEM {
        // ORDERING: Relaxed: the parent reads it when it knows of the process's end, which comes after this.
        watched.fate.store(ALLOCATION_FAILED, Relaxed);
    }
    // SAFETY:
    // - an action that was in place before.
    // - `raise` has no preconditions: the signal comes again when this handler has returned.
    unsafe {
        libc::sigaction(signal, &raw const watched.before, null_mut());
        libc::raise(signal);
    }
}
