//! The end of a thread, as the kernel sees it.
//!
//! Two questions, two mechanisms. *When should this thread's context be given back?* A thread-specific key, armed again
//! in each round of destructors as long as something is held: glibc and musl run them after those of Rust's
//! thread-locals, so a guard kept in a thread-local drops first. *Is that thread gone for good?* A robust mutex
//! which the thread holds for life: the kernel marks it when the thread is really dead, whatever ended it, and no
//! thread number is ever compared (they are reused).

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A mutex that a live thread holds. The kernel marks it when the thread is gone: the lifeline is cut.
pub(crate) struct Lifeline {
    mutex: UnsafeCell<MaybeUninit<libc::pthread_mutex_t>>,
    /// Whether there is a mutex: `false` if the system refused one. Such a lifeline is never cut.
    made: OnceLock<bool>,
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
        Self { mutex: UnsafeCell::new(MaybeUninit::uninit()), made: OnceLock::new(), cut: AtomicBool::new(false) }
    }

    /// Ties the lifeline to the calling thread.
    ///
    /// # Safety
    ///
    /// The lifeline stays at this address for the life of the process, and is not held.
    pub(crate) unsafe fn hold(&'static self) {
        let made = *self.made.get_or_init(|| {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            // SAFETY:
            // - the attributes are initialised by the first call and destroyed by the last.
            // - the mutex is not yet in use: this runs once, before anyone locks it, and it never moves (caller).
            unsafe {
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
                let rc = libc::pthread_mutex_init((*self.mutex.get()).as_mut_ptr(), attributes.as_ptr());
                libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
                rc == 0
            }
        });
        if made {
            // SAFETY:
            // - the mutex is initialised (above) and unheld (caller), so this does not block.
            unsafe { libc::pthread_mutex_lock((*self.mutex.get()).as_mut_ptr()) };
        }
    }

    /// Unties the lifeline from the calling thread. Returns whether another thread may hold it.
    ///
    /// Returns `false` in a process that was forked by this thread: the child cannot release what the parent's thread
    /// held, and it stays held.
    ///
    /// # Safety
    ///
    /// The calling thread holds the lifeline, or held it before a fork made it another thread.
    pub(crate) unsafe fn release(&self) -> bool {
        // SAFETY:
        // - the mutex is initialised: `is_made`. If it is not this thread's, a robust one refuses and changes nothing.
        !self.is_made() || unsafe { libc::pthread_mutex_unlock((*self.mutex.get()).as_mut_ptr()) } == 0
    }

    fn is_made(&self) -> bool {
        self.made.get().is_some_and(|&made| made)
    }

    /// Waits until the lifeline is released, or its thread is gone, and returns whether it is gone. Returns `None` if
    /// the system refused a lifeline: nobody can wait for it.
    ///
    /// Called once, by one thread, for a lifeline that nobody else [asks about](Self::is_cut).
    #[cfg(feature = "process")]
    pub(crate) fn wait(&self) -> Option<bool> {
        // SAFETY:
        // - the mutex is initialised: `is_made`. Nobody unlocks it any more.
        self.is_made()
            .then(|| unsafe { libc::pthread_mutex_lock((*self.mutex.get()).as_mut_ptr()) == libc::EOWNERDEAD })
    }

    /// Resets a lifeline that was cut, so that another thread may hold it.
    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }

    /// Returns whether the thread that held the lifeline is gone: not one instruction of it can run any more.
    ///
    /// Costs a compare-and-swap in user space, no system call. Called by one thread at a time, under the graph's mutex,
    /// for a lifeline that has been held and was not released.
    pub(crate) fn is_cut(&self) -> bool {
        if self.cut.load(Ordering::Relaxed) {
            return true;
        }
        if !self.is_made() {
            return false;
        }
        // SAFETY:
        // - the mutex is initialised: `is_made`.
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

/// Arranges for `end(argument)` to run on this thread once its thread-locals have been destroyed. `end` may arrange for
/// another run, as often as there are rounds of destructors (4 at least).
///
/// Only the latest argument counts. Returns `false` if `end` will not run, since the system has no key left, or no
/// memory for it. [`Lifeline::is_cut`] does not depend on that.
pub(crate) fn run_at_thread_end(end: fn(*const ()), argument: *const ()) -> bool {
    END.get_or_init(|| end);
    // SAFETY:
    // - the key was created and is never deleted.
    key().is_some_and(|key| unsafe { libc::pthread_setspecific(key, argument.cast()) } == 0)
}

static END: OnceLock<fn(*const ())> = OnceLock::new();

fn key() -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY:
        // - `key` is a place to write to, and `destroy` has the type of a destructor.
        let rc = unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) };
        (rc == 0).then_some(key)
    })
}

/// Returns a number that no other copy of this crate in the process has, if the system has a key left for this one:
/// that of the key.
pub(crate) fn copy_number() -> u64 {
    let key = key().map(u64::from).filter(|&key| key < 1 << (super::COPY_BITS - 1));
    key.unwrap_or_else(super::number_by_address)
}

thread_local! {
    /// Whether the destructors of this thread's keys have begun to run.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Returns whether `end` has run on this thread. It may not run again then: this may be the last round of destructors.
pub(crate) fn thread_is_ending() -> bool {
    ENDING.get()
}

extern "C" fn destroy(argument: *mut libc::c_void) {
    ENDING.set(true);
    if let Some(end) = END.get() {
        end(argument.cast());
    }
}
