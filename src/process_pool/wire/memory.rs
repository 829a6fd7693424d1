//! Memory for long messages: it is reserved before it is used, or the task fails.
//!
//! A process whose allocation fails ends, unless it asks first. Buffers ask; the types that a message is decoded to do
//! not. So the decoder asks beforehand, and the memory counts as promised until the message is decoded: no buffer of
//! another worker takes it.
//!
//! One buffer of a long message is kept for the next one, since new pages take several times the time of a copy.

use std::ops::RangeInclusive;

use crate::primitive::quiet::{Mutex, MutexGuard, PoisonError};

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
fn is_there(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes.saturating_add(SPARE)).is_ok()
}

/// Reserves memory in a buffer for exactly this many bytes behind those that are in it. Returns whether there is
/// memory, beside what is promised.
pub(in crate::process_pool) fn reserve(buffer: &mut Vec<u8>, more: usize) -> bool {
    if buffer.len().saturating_add(more) < LONG {
        return buffer.try_reserve_exact(more).is_ok();
    }
    let promised = promised();
    buffer.try_reserve_exact(more).is_ok() && (*promised == 0 || is_there(*promised))
}

/// A buffer that was used, for the next long message: its pages are there.
static LAST: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// The capacities of buffers that are kept.
const KEPT: RangeInclusive<usize> = 2 << 20..=33 << 20;

/// Keeps a buffer that is not needed any more, if it is long.
#[cfg_attr(any(not(target_os = "linux"), bowline_portable), allow(dead_code, reason = "nothing is sent"))]
pub(in crate::process_pool) fn keep(mut buffer: Vec<u8>) {
    if KEPT.contains(&buffer.capacity()) {
        buffer.clear();
        // Not waited for: a thread that is not in this fork may have had it.
        let kept = LAST.try_lock().map(|mut last| last.replace(buffer));
        drop(kept);
    }
}

/// Returns an empty buffer that was kept, if it is long enough for this many bytes, and at most twice as long.
#[cold]
pub(in crate::process_pool) fn take_kept(bytes: usize) -> Option<Vec<u8>> {
    if !KEPT.contains(&bytes) {
        return None;
    }
    let fits = |kept: &mut Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&kept.capacity());
    LAST.try_lock().ok()?.take_if(fits)
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
    fn a_long_buffer_is_kept_for_a_message_that_it_fits() {
        let long = 3 << 20;
        keep(Vec::with_capacity(100));
        keep(Vec::with_capacity(40 << 20));
        assert!(take_kept(100).is_none() && take_kept(40 << 20).is_none());
        keep(vec![1; long]);
        assert!(take_kept(long + 1).is_none() && take_kept(2 << 20).is_some_and(|kept| kept.is_empty()));
        assert!(take_kept(2 << 20).is_none(), "once");
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
