//! Forks: whether this process was forked off the one that made a pool, and whether a fork may have copied a
//! descriptor.

use crate::primitive::Ordering::SeqCst;
use crate::primitive::quiet::{AtomicU32, Once};

/// How many forks lead from the process that loaded this code to this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// How many forks this process has begun, and how many of these are made.
static BEGUN: AtomicU32 = AtomicU32::new(0);
static MADE: AtomicU32 = AtomicU32::new(0);
// ORDERING: SeqCst on all of these: two of them are read together, while another thread may be about to fork. They are
// read once for each pool, each worker and each submit, and a SeqCst load costs no more than another.

/// Counts forks from now on. (It does not see a bare `clone`.)
fn count() {
    extern "C" fn begins() {
        BEGUN.fetch_add(1, SeqCst);
    }
    extern "C" fn made() {
        MADE.fetch_add(1, SeqCst);
    }
    extern "C" fn is_one() {
        MADE.store(BEGUN.load(SeqCst), SeqCst);
        GENERATION.fetch_add(1, SeqCst);
    }
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        // SAFETY:
        // - the functions are there for the life of the process, and do only what may be done around a fork.
        unsafe { libc::pthread_atfork(Some(begins), Some(made), Some(is_one)) };
    });
}

/// This process, among those that are forked off each other.
#[derive(Clone, Copy, Debug)]
pub(in crate::process_pool) struct Generation(u32);

impl Generation {
    /// Returns the generation of this process.
    pub(in crate::process_pool) fn now() -> Self {
        count();
        Self(GENERATION.load(SeqCst))
    }

    /// Returns whether this process was forked off that one since.
    pub(in crate::process_pool) fn is_past(self) -> bool {
        GENERATION.load(SeqCst) != self.0
    }
}

/// A time in which a descriptor is open that no fork should copy.
#[derive(Debug)]
pub(in crate::process_pool) struct Window {
    begun: u32,
    was_quiet: bool,
}

impl Window {
    /// Begins such a time: called before there is a descriptor.
    pub(in crate::process_pool) fn open() -> Self {
        count();
        let begun = BEGUN.load(SeqCst);
        Self { begun, was_quiet: MADE.load(SeqCst) == begun }
    }

    /// Returns whether a fork may have the descriptor, which is closed by now.
    ///
    /// A fork that has it copied the table of descriptors before the descriptor was closed here, and was counted before
    /// that.
    pub(in crate::process_pool) fn saw_a_fork(&self) -> bool {
        !self.was_quiet || BEGUN.load(SeqCst) != self.begun
    }
}
