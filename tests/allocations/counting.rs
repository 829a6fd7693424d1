//! The allocator of this binary: the system's, and it counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::SeqCst};

use bowline::deadlock::lasting_memory;

/// Counts what each thread allocates, what all do, and what of it is not freed; asks before it allocates for a thread that
/// [`set_asking`] told so.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often all threads have allocated.
static COUNT: AtomicUsize = AtomicUsize::new(0);
/// What is allocated and not freed.
static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// How often this thread has allocated.
    static MINE: Cell<usize> = const { Cell::new(0) };
    /// What this thread calls before each allocation.
    static ASKS: Cell<Option<fn()>> = const { Cell::new(None) };
}

// SAFETY:
// - everything is left to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, SeqCst);
        MINE.set(MINE.get() + 1);
        LIVE_BYTES.fetch_add(layout.size().cast_signed(), SeqCst);
        if let Some(ask) = ASKS.take() {
            ask();
            ASKS.set(Some(ask));
        }
        // SAFETY:
        // - as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size().cast_signed(), SeqCst);
        // SAFETY:
        // - as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often the calling thread allocates in `body`, and how often anybody takes memory for good meanwhile.
pub(super) fn allocations_here(body: impl FnOnce()) -> usize {
    let before = mine() + lasting_memory().0;
    body();
    mine() + lasting_memory().0 - before
}

/// How often the calling thread has allocated.
pub(super) fn mine() -> usize {
    MINE.get()
}

/// How often anybody allocates in `body`.
pub(super) fn allocations_anywhere(body: impl FnOnce()) -> usize {
    let count = || COUNT.load(SeqCst) + lasting_memory().0;
    let before = count();
    body();
    count() - before
}

/// The bytes that are allocated and not freed.
pub(super) fn live_bytes() -> isize {
    LIVE_BYTES.load(SeqCst) + lasting_memory().1.cast_signed()
}

/// From now on the calling thread calls this before each allocation, if anything. It neither allocates nor unwinds.
pub(super) fn set_asking(ask: Option<fn()>) {
    ASKS.set(ask);
}
