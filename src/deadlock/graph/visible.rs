//! The reads that contexts show: one entry for each, in a table of the context's own, in place of a number that all
//! readers of a lock would write.
//!
//! This is the table of visible readers of BRAVO (Dice and Kogan, *BRAVO: Biased Locking for Reader-Writer Locks*, USENIX
//! ATC 2019), split up by context, so that an entry is in a cache line which no other thread writes. The protocol is in
//! the README of the lock that uses it.

use super::holds::HoldIndex;
use super::resource::SharedId;
use crate::primitive::Ordering::{Relaxed, Release, SeqCst};
use crate::primitive::{AtomicU64, Ingredient, fence_in_models, is_removed, new_atomic, overwrite, quiet};

/// How many reads a context can show at once: those whose holds are in the first slots. A model has one, since each look
/// at another is one more step to explore.
const ENTRIES: usize = if cfg!(all(test, loom)) { 1 } else { 8 };

/// In an entry: a writer waits for the end of this read. (An id leaves this bit free.)
const AWAITED: u64 = 2;

/// The reads that one context shows. An entry belongs to the hold in the slot of the same number.
#[repr(align(64))]
pub(crate) struct VisibleReads([AtomicU64; ENTRIES]);

impl VisibleReads {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| new_atomic(0)))
    }

    /// Returns the entry of the hold in this slot, if it has one.
    #[inline]
    pub(crate) fn entry(&self, slot: usize) -> Option<VisibleRead<'_>> {
        self.0.get(slot).map(VisibleRead)
    }

    /// Returns an entry that shows a read of this lock. For a writer.
    pub(super) fn find(&self, id: SharedId) -> Option<VisibleRead<'_>> {
        self.0.iter().map(VisibleRead).find(|entry| entry.shows(id))
    }

    /// Returns the entry of a hold, if it has one.
    #[inline]
    pub(crate) fn of_hold(&self, hold: HoldIndex) -> Option<VisibleRead<'_>> {
        hold.slot_below(ENTRIES).map(|slot| VisibleRead(&self.0[slot]))
    }
}

/// Whether a writer waits for the end of a read that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// None that is known of.
    No,
    Yes,
}

/// One entry: 0, or the id of the lock that its context reads, and [`AWAITED`].
#[derive(Clone, Copy)]
pub(crate) struct VisibleRead<'c>(&'c AtomicU64);

impl VisibleRead<'_> {
    /// Shows a read. What the caller loads afterwards, with `SeqCst`, is loaded after everybody can see this.
    #[inline]
    pub(crate) fn show(self, id: SharedId) {
        // ORDERING: SeqCst, as the load of the lock's state that follows, and the writer's read-modify-write of that state
        // and its load of this entry: one of the two sees the other.
        self.0.swap(id.key() as u64, SeqCst);
        fence_in_models();
    }

    /// Ends the read that is shown here, if there is one. Returns whether a writer is known to wait for that; it may begin
    /// to at this moment. For its own thread.
    #[inline]
    pub(crate) fn hide(self) -> Option<Awaited> {
        self.hide_if(|shown| shown != 0)
    }

    /// [`hide`](Self::hide), if it is a read of this lock.
    #[inline]
    pub(crate) fn hide_of(self, id: SharedId) -> Option<Awaited> {
        self.hide_if(|shown| shown & !AWAITED == id.key() as u64)
    }

    #[inline]
    fn hide_if(self, is_it: impl FnOnce(u64) -> bool) -> Option<Awaited> {
        // Two accesses, where one read-modify-write would miss no writer and cost more than all the rest: a writer that
        // is overlooked looks again by itself (`Park::may_miss_wake_up`).
        let shown = self.0.load(Relaxed);
        if !is_it(shown) {
            return None;
        }
        // ORDERING: Release pairs with the SeqCst load in `shows`: a writer that no longer sees the read sees what
        // happened before its end.
        overwrite(self.0, 0, if is_removed(Ingredient::ReleaseOnUnlock) { Relaxed } else { Release });
        Some(if shown & AWAITED == 0 { Awaited::No } else { Awaited::Yes })
    }

    /// Takes back a read that was shown a moment ago, and did not begin. Returns whether a writer waits for that.
    #[cold]
    pub(crate) fn take_back(self) -> Awaited {
        // ORDERING: Relaxed: nothing was done in the meantime.
        if self.0.swap(0, Relaxed) & AWAITED == 0 { Awaited::No } else { Awaited::Yes }
    }

    /// Ends the read of this lock that is shown here, if there still is one. Returns whether a writer waits for that. For any thread.
    #[cold]
    pub(crate) fn end(self, id: SharedId) -> Option<Awaited> {
        let id = id.key() as u64;
        [(id, Awaited::No), (id | AWAITED, Awaited::Yes)].into_iter().find_map(|(shown, awaited)| {
            // ORDERING: Release as in `hide`; SeqCst: the reader, who sees that its read has ended, sees the mark that was set before.
            self.0.compare_exchange(shown, 0, SeqCst, Relaxed).ok().map(|_| awaited)
        })
    }

    /// Returns whether a read of this lock is shown here. For a writer.
    pub(crate) fn shows(self, id: SharedId) -> bool {
        // ORDERING: see `show` and `hide`.
        self.0.load(SeqCst) & !AWAITED == id.key() as u64
    }

    /// Returns whether a read of this lock is shown here, and its reader was asked to wake the writer.
    pub(crate) fn is_awaited(self, id: SharedId) -> bool {
        self.0.load(Relaxed) == id.key() as u64 | AWAITED
    }

    /// Asks the reader to wake the writer at the end of this read. Returns `false` if the read has ended.
    pub(crate) fn await_end(self, id: SharedId) -> bool {
        let id = id.key() as u64;
        match self.0.compare_exchange(id, id | AWAITED, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(now) => now == id | AWAITED,
        }
    }
}

/// How many counted reads without a write there are before readers show themselves: so many, and more for each context, that
/// the end of that, when a writer looks at each context once, costs little in comparison.
const FIRST_QUIET_READS: u64 = 256;
const QUIET_READS_A_CONTEXT: u64 = 64;
const MAX_QUIET_READS: u64 = 1 << 24;

static QUIET_READS: quiet::AtomicU64 = quiet::AtomicU64::new(FIRST_QUIET_READS);

/// Adds one to the contexts that a writer looks at. Called under the graph's mutex.
pub(super) fn count_context() {
    QUIET_READS.store(MAX_QUIET_READS.min(QUIET_READS.load(Relaxed) + QUIET_READS_A_CONTEXT), Relaxed);
}

/// Returns how many counted reads without a write there have to be before readers show themselves.
#[inline]
pub(crate) fn quiet_reads() -> u64 {
    // A model has few, whatever other models have made.
    if cfg!(all(test, loom)) { 1 } else { QUIET_READS.load(Relaxed) }
}

/// What a context knows of those that were made before it.
pub(super) struct MadeBefore(pub(super) quiet::AtomicU64);

impl MadeBefore {
    pub(super) const fn new() -> Self {
        Self(quiet::AtomicU64::new(0))
    }
}
