//! Memory for long messages: it is reserved before it is used, or the task fails.
//!
//! A process whose allocation fails ends, unless it asks first. Buffers ask; the types that a message is decoded to do
//! not. So the decoder asks beforehand, and the memory counts as promised until the message is decoded: no buffer of
//! another worker takes it.
//!
//! One buffer of a long message is kept for the next one, since new pages take several times the time of a copy.

use std::ops::RangeInclusive;

use crate::primitive::Ordering::{Relaxed, SeqCst};
use crate::primitive::quiet::{AtomicBool, Mutex, MutexGuard, PoisonError};

/// For shorter messages nothing is reserved.
const LONG: usize = 1 << 20;
/// How much is left for everything else.
const SPARE: usize = 1 << 20;

/// How many bytes are promised to threads that decode.
static PROMISED: Mutex<usize> = Mutex::new(0);

fn promised() -> MutexGuard<'static, usize> {
    PROMISED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether there is memory for this many bytes.
pub(super) fn is_there(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes.saturating_add(SPARE)).is_ok()
}

/// Reserves memory in a buffer for exactly this many bytes behind those that are in it. Returns whether there is
/// memory, beside what is promised.
pub(in crate::process_pool) fn reserve(buffer: &mut Vec<u8>, more: usize) -> bool {
    if buffer.len().saturating_add(more) < LONG {
        return buffer.try_reserve_exact(more).is_ok();
    }
    let promised = promised();
    let is_reserved = buffer.try_reserve_exact(more).is_ok() && (*promised == 0 || is_there(*promised));
    drop(promised);
    ask_for_large_pages(buffer, buffer.capacity());
    is_reserved
}

/// Asks the system to give a buffer that is longer than those that are kept large pages, where it has none yet: a
/// fraction of the faults. Systems may have none.
pub(in crate::process_pool) fn ask_for_large_pages(buffer: &[u8], capacity: usize) {
    #[cfg(all(target_os = "linux", not(bowline_portable), not(miri)))]
    if capacity > *KEPT[1].end() {
        use rustix::mm::{Advice, madvise};

        // To the ends of the first and the last page: memory of which a part had another advice would be copied to grow.
        let page = rustix::param::page_size();
        let before = buffer.as_ptr().addr() % page;
        let first = buffer.as_ptr().wrapping_sub(before).cast_mut().cast();
        // SAFETY:
        // - the advice does not change what is in memory, whoever's it is.
        let _ = unsafe { madvise(first, (before + capacity).next_multiple_of(page), Advice::LinuxHugepage) };
    }
    let _ = (buffer, capacity);
}

/// Buffers that were used, for the next long messages: their pages are there. One of each size.
static LAST: [Mutex<Option<Vec<u8>>>; 2] = [Mutex::new(None), Mutex::new(None)];

/// The capacities of buffers that are kept, of each size.
const KEPT: [RangeInclusive<usize>; 2] = [MIN_KEPT..=2 << 20, (2 << 20) + 1..=33 << 20];
const MIN_KEPT: usize = 32 << 10;

/// Whether some were kept since all were freed.
static HAS_KEPT: AtomicBool = AtomicBool::new(false);
/// Whether buffers are kept at all.
static KEEPS: AtomicBool = AtomicBool::new(true);

/// Whether this process is a worker without a task: it frees what was kept, and then waits without a limit.
static IS_IDLE: AtomicBool = AtomicBool::new(false);

/// Notes whether this process is a worker that waits for a task. While it is one, nothing more is kept: what other
/// threads free then is freed at once.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nobody serves"))]
pub(in crate::process_pool) fn note_idle(is_idle: bool) {
    // ORDERING: SeqCst, as the look at `is_idle`: of a thread that keeps something and the one that notes this, one sees
    // what the other has stored.
    IS_IDLE.store(is_idle, SeqCst);
}

/// Returns whether this process is a worker that waits for a task. Who is about to keep something asks after it has
/// stored that something may be kept, under the lock by which that is freed.
pub(super) fn is_idle() -> bool {
    // ORDERING: SeqCst, see `note_idle`.
    IS_IDLE.load(SeqCst)
}

/// Keeps no buffers from now on: the memory of this process is watched.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nobody watches it"))]
pub(in crate::process_pool) fn keep_none() {
    KEEPS.store(false, Relaxed);
}

/// Returns whether buffers are kept.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn has_kept() -> bool {
    // ORDERING: SeqCst, see `note_idle`.
    HAS_KEPT.load(SeqCst)
}

/// Returns where a buffer of this capacity is kept.
fn place(capacity: usize) -> Option<&'static Mutex<Option<Vec<u8>>>> {
    let size = KEPT.iter().position(|kept| kept.contains(&capacity))?;
    Some(&LAST[size])
}

/// Keeps a buffer that is not needed any more, if it is long.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn keep(buffer: Vec<u8>) {
    if buffer.capacity() >= MIN_KEPT {
        keep_long(buffer);
    }
}

#[cold]
fn keep_long(mut buffer: Vec<u8>) {
    if KEEPS.load(Relaxed)
        && let Some(place) = place(buffer.capacity())
    {
        // ORDERING: SeqCst, see `note_idle`.
        HAS_KEPT.store(true, SeqCst);
        buffer.clear();
        // Not waited for: a thread that is not in this fork may have had it.
        let freed = match place.try_lock() {
            Ok(mut last) if !is_idle() => last.replace(buffer),
            _ => Some(buffer),
        };
        drop(freed);
    }
}

/// Returns an empty buffer that was kept, if it is long enough for this many bytes, and at most twice as long.
#[cold]
pub(in crate::process_pool) fn take_kept(bytes: usize) -> Option<Vec<u8>> {
    let fits = |kept: &mut Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&kept.capacity());
    let take = |bytes| place(bytes)?.try_lock().ok()?.take_if(fits);
    take(bytes).or_else(|| take(bytes.saturating_mul(2)))
}

/// Frees the buffers that are kept. If another thread has the lock of one, that one stays until the next time.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn forget_kept() {
    HAS_KEPT.store(false, Relaxed);
    for place in &LAST {
        match place.try_lock().map(|mut last| last.take()) {
            Ok(kept) => drop(kept),
            Err(_) => HAS_KEPT.store(true, Relaxed),
        }
    }
}

/// Memory to decode a message with, until this is dropped.
pub(in crate::process_pool) struct Reserved {
    bytes: usize,
}

impl Reserved {
    /// Reserves memory for what a message of this many bytes is decoded to, as far as that can be known: twice as much,
    /// which a vector takes that grows to that length. `None` if there is not enough.
    pub(in crate::process_pool) fn to_decode(bytes: usize) -> Option<Self> {
        if bytes < LONG {
            return Some(Self { bytes: 0 });
        }
        let (mut promised, bytes) = (promised(), bytes.saturating_mul(2));
        let all = promised.saturating_add(bytes);
        is_there(all).then(|| {
            *promised = all;
            Self { bytes }
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            *promised() -= self.bytes;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_buffer_is_kept_for_a_message_that_it_fits_and_not_by_a_worker_without_a_task() {
        let long = 3 << 20;
        keep(Vec::with_capacity(100));
        keep(Vec::with_capacity(40 << 20));
        assert!(take_kept(100).is_none() && take_kept(40 << 20).is_none());
        keep(vec![1; long]);
        assert!(take_kept(long + 1).is_none() && take_kept(2 << 20).is_some_and(|kept| kept.is_empty()));
        assert!(take_kept(2 << 20).is_none(), "once");
        // Nobody would free it.
        note_idle(true);
        keep(vec![1; long]);
        note_idle(false);
        assert!(take_kept(long).is_none(), "a worker waits for a task");
    }

    #[test]
    fn more_than_a_process_can_have_is_not_promised_and_short_messages_are() {
        assert!(Reserved::to_decode(usize::MAX / 4).is_none() && Reserved::to_decode(usize::MAX).is_none());
        let reserved =
            [0, LONG - 1, LONG, 3 * LONG].map(|bytes| Reserved::to_decode(bytes).expect("some memory").bytes);
        assert_eq!(reserved, [0, 0, 2 * LONG, 6 * LONG]);
        assert!(!reserve(&mut Vec::new(), usize::MAX / 2) && reserve(&mut Vec::new(), 2 * LONG));
    }
}
