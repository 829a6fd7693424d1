//! The end of a thread, as the kernel sees it.
//!
//! Two questions, two mechanisms. *When should this thread's context be given back?* A thread-specific key whose
//! destructor re-arms itself until the last round: glibc and musl run such destructors after those of Rust's
//! thread-locals, so a guard kept in a thread-local drops first. *Is that thread gone for good?* A robust mutex
//! which the thread holds for life: the kernel marks it when the thread is really dead, whatever ended it, and no
//! thread number is ever compared (they are reused).

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};

/// What a live thread holds and the kernel cuts when the thread is gone.
pub(crate) struct Lifeline {
    mutex: UnsafeCell<MaybeUninit<libc::pthread_mutex_t>>,
    made: Once,
    cut: AtomicBool,
}

// SAFETY:
// - the mutex is initialised once, through `made`, and only used through pthread calls, which are thread-safe.
unsafe impl Sync for Lifeline {}
// SAFETY:
// - a lifeline is only moved before it is first held: it lives in a context, which is never freed or moved.
unsafe impl Send for Lifeline {}

impl Lifeline {
    pub(crate) const fn new() -> Self {
        Self { mutex: UnsafeCell::new(MaybeUninit::uninit()), made: Once::new(), cut: AtomicBool::new(false) }
    }

    /// Ties the lifeline to the calling thread.
    ///
    /// # Safety
    ///
    /// The lifeline stays at this address for the life of the process, and is not held.
    pub(crate) unsafe fn hold(&'static self) {
        self.made.call_once(|| {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            // SAFETY:
            // - the attributes are initialised by the first call and destroyed by the last.
            // - the mutex is not yet in use: this runs once, before anyone locks it, and it never moves (caller).
            let rc = unsafe {
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
                let rc = libc::pthread_mutex_init((*self.mutex.get()).as_mut_ptr(), attributes.as_ptr());
                libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
                rc
            };
            assert_eq!(rc, 0, "pthread_mutex_init refused a robust mutex");
        });
        // SAFETY:
        // - the mutex is initialised (above) and unheld (caller), so this does not block.
        unsafe { libc::pthread_mutex_lock((*self.mutex.get()).as_mut_ptr()) };
    }

    /// Unties the lifeline from the calling thread, so that another may hold it.
    ///
    /// # Safety
    ///
    /// The calling thread holds the lifeline.
    pub(crate) unsafe fn release(&self) {
        // SAFETY:
        // - the mutex is initialised and held by this thread (caller).
        unsafe { libc::pthread_mutex_unlock((*self.mutex.get()).as_mut_ptr()) };
    }

    /// Whether the thread that held the lifeline is gone: not one instruction of it can run any more.
    ///
    /// A compare-and-swap in user space, no system call. Called by one thread at a time, under the graph's mutex,
    /// for a lifeline that has been held and was not released.
    pub(crate) fn is_cut(&self) -> bool {
        if self.cut.load(Ordering::Relaxed) {
            return true;
        }
        if !self.made.is_completed() {
            return false;
        }
        // SAFETY:
        // - the mutex is initialised: `made` is completed.
        match unsafe { libc::pthread_mutex_trylock((*self.mutex.get()).as_mut_ptr()) } {
            libc::EOWNERDEAD => {
                self.cut.store(true, Ordering::Relaxed);
                // SAFETY:
                // - EOWNERDEAD made this thread the owner: it may mark the state consistent and unlock.
                unsafe {
                    libc::pthread_mutex_consistent((*self.mutex.get()).as_mut_ptr());
                    libc::pthread_mutex_unlock((*self.mutex.get()).as_mut_ptr());
                }
                true
            }
            0 => {
                // Nobody holds it: its thread released it a moment ago and its context is being given back.
                // SAFETY:
                // - the call above made this thread the owner.
                unsafe { libc::pthread_mutex_unlock((*self.mutex.get()).as_mut_ptr()) };
                false
            }
            _ => false,
        }
    }
}

/// Arranges for `end(argument)` to run on this thread once its thread-locals have been destroyed.
///
/// Only the latest argument counts. Where the system has no key left, `end` never runs: the context is not reused,
/// and nothing else is lost, since [`Lifeline::is_cut`] does not depend on it.
pub(crate) fn run_at_thread_end(end: fn(*const ()), argument: *const ()) {
    if let Some(key) = key(end) {
        // SAFETY:
        // - the key was created and is never deleted.
        unsafe { libc::pthread_setspecific(key, argument.cast()) };
    }
}

static END: OnceLock<fn(*const ())> = OnceLock::new();

fn key(end: fn(*const ())) -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    END.get_or_init(|| end);
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY:
        // - `key` is a place to write to, and `destroy` has the type of a destructor.
        let rc = unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) };
        (rc == 0).then_some(key)
    })
}

/// Rounds of destructors that every implementation runs (`PTHREAD_DESTRUCTOR_ITERATIONS` is at least 4).
const ROUNDS: u32 = 4;

thread_local! {
    /// The round of destructors that is to come, or has begun; past the last one our part is over.
    static ROUND: Cell<u32> = const { Cell::new(1) };
}

/// Whether this thread's last call of `end` has been made, so that no other will be.
pub(crate) fn thread_is_ending() -> bool {
    ROUND.get() > ROUNDS
}

extern "C" fn destroy(argument: *mut libc::c_void) {
    let Some(&end) = END.get() else { return };
    ROUND.set(ROUND.get() + 1);
    if thread_is_ending() {
        end(argument.cast());
    } else {
        run_at_thread_end(end, argument.cast());
    }
}
