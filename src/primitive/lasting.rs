//! Memory that lasts as long as the process, from the system and not from the program's allocator: that may lock, and what it locks
//! may ask for such memory.

use std::alloc::{GlobalAlloc, Layout, System, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static PIECES: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Returns how many pieces of memory were taken, and how many bytes they have.
pub(crate) fn taken() -> (usize, usize) {
    (PIECES.load(Relaxed), BYTES.load(Relaxed))
}

/// Moves a value to where it stays.
pub(crate) fn keep<T>(value: T) -> &'static T {
    let [value] = keep_all([value]) else { unreachable!("as many as were given") };
    value
}

/// Moves values to where they stay, side by side.
pub(crate) fn keep_all<T>(values: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> &'static [T] {
    let mut values = values.into_iter();
    let len = values.len();
    let layout = Layout::array::<T>(len).expect("it fits into memory");
    assert!(layout.size() > 0, "there is something to keep");
    // SAFETY:
    // - the layout's size is not 0.
    let start = unsafe { System.alloc(layout) }.cast::<T>();
    let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
    PIECES.fetch_add(1, Relaxed);
    BYTES.fetch_add(layout.size(), Relaxed);
    for at in 0..len {
        let value = values.next().expect("its length is exact");
        // SAFETY:
        // - within the allocation, and nobody else knows of it.
        unsafe { start.add(at).write(value) };
    }
    // SAFETY:
    // - so many values were written, side by side, and are never freed.
    unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
}

/// Ends values that were [kept](keep_all): a model is over, and all that it made.
///
/// # Safety
///
/// - They came from [`keep`] or [`keep_all`], all that were kept together.
/// - Nobody uses them any more.
#[cfg(test)]
pub(crate) unsafe fn end_all<T>(values: &'static [T]) {
    let (start, layout) = (values.as_ptr().cast_mut(), Layout::for_value(values));
    for at in 0..values.len() {
        // SAFETY:
        // - within the allocation; nobody uses it any more (caller).
        unsafe { start.add(at).drop_in_place() };
    }
    // SAFETY:
    // - it was allocated by `keep_all` with this layout (caller).
    unsafe { System.dealloc(start.cast(), layout) };
}
