//! A worker's last word when an allocation fails under a limit of the address space.
//!
//! Rust, C++ and others abort then, and an abort tells nothing of its reason. But it runs a handler on the thread, which
//! finds one of two traces. The system call that was refused has left ENOMEM in `errno`, which no successful call
//! changes; the thread may have handled a refusal before, in the same task, and abort for another reason. Or Rust's
//! `handle_alloc_error` is among the callers: std prints their stack, if `RUST_BACKTRACE` asks for it, and changes `errno`
//! meanwhile. Callers are looked for on the stack of one thread, the main one: where other stacks end is not known.

use std::alloc::{Layout, handle_alloc_error};
use std::mem::{MaybeUninit, align_of, size_of};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::OnceLock;

use super::overflow;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::quiet::AtomicU32;
use crate::process_pool::wire::fate::ALLOCATION_FAILED;

/// The maximum of bytes of a stack that are looked at.
const MAX_STACK: usize = 1 << 20;
/// Where in `handle_alloc_error` its only call returns to, at most: it does nothing else.
const MAX_CALL: usize = 64;

/// The data of the handler.
struct Watched {
    fate: &'static AtomicU32,
    process: libc::pid_t,
    /// The main thread's stack.
    stack: Range<usize>,
    /// The action of the signal before.
    before: libc::sigaction,
}

/// Set before the handler is.
static WATCHED: OnceLock<Watched> = OnceLock::new();

/// Installs a handler that stores [`ALLOCATION_FAILED`] in `fate` when a thread of this process aborts because an
/// allocation failed, as far as that can be told. The calling thread is the main one. The process dies of that, and of any other abort, as it would have
/// done before.
pub(super) fn install(fate: &'static AtomicU32) {
    let mut before = MaybeUninit::uninit();
    // SAFETY:
    // - no action is set, and `before` is a place to write to.
    if unsafe { libc::sigaction(libc::SIGABRT, std::ptr::null(), before.as_mut_ptr()) } != 0 {
        return;
    }
    let stack = overflow::stack().unwrap_or_default();
    // SAFETY:
    // - the call above succeeded, and has filled it.
    // - `getpid` has no preconditions.
    let watched = unsafe { Watched { fate, process: libc::getpid(), stack, before: before.assume_init() } };
    if WATCHED.set(watched).is_err() {
        return;
    }
    // SAFETY:
    // - zeroes are an action. The handler has the type that `SA_SIGINFO` requires, and calls nothing that a signal
    //   handler must not. It runs on the stack of the thread that aborts, and looks at that.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = aborted as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
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
    if is_own && (error == libc::ENOMEM || is_called_by_alloc_error(&watched.stack)) {
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

/// Returns whether `handle_alloc_error` is among the callers of this, if this runs on that stack.
#[inline(never)]
fn is_called_by_alloc_error(stack: &Range<usize>) -> bool {
    let function = handle_alloc_error as fn(Layout) -> ! as usize;
    let here = (&raw const function).addr().next_multiple_of(align_of::<usize>());
    if !stack.contains(&here) {
        return false;
    }
    let end = stack.end.min(here + MAX_STACK);
    (here..end - (size_of::<usize>() - 1)).step_by(size_of::<usize>()).any(|place| {
        // SAFETY:
        // - inside of the calling thread's stack, above the end of its use: mapped, and aligned. Any bytes are a number.
        let word = unsafe { std::ptr::with_exposed_provenance::<usize>(place).read_volatile() };
        (function + 1..=function + MAX_CALL).contains(&word)
    })
}
