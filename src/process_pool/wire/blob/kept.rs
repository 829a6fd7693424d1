//! The mappings of blobs that a worker had last: a blob that comes again needs no page faults, which take several times
//! what a look at its bytes takes.

use std::collections::VecDeque;

use memmap2::Mmap;
use rustix::fs::Stat;

use crate::primitive::Ordering::{Relaxed, SeqCst};
use crate::primitive::quiet::{AtomicBool, Mutex};
use crate::process_pool::wire::memory::is_idle;

/// How many bytes are kept, at most.
const MAX_BYTES: usize = 32 << 20;
/// Shorter ones have few faults.
const MIN_BYTES: usize = 64 << 10;

/// What the kernel knows memory by. A mapping keeps the memory, and with that its number. Some kernels count numbers in
/// 32 bits: the time tells those apart that have one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    number: u64,
    changed: (i64, i64),
    bytes: i64,
}

impl Identity {
    #[allow(clippy::useless_conversion, reason = "the types differ between processors")]
    pub(super) fn of(stat: &Stat) -> Self {
        let changed = (i64::from(stat.st_ctime), stat.st_ctime_nsec as i64);
        Self { device: stat.st_dev, number: stat.st_ino, changed, bytes: stat.st_size }
    }
}

/// Whether this process keeps any: it is a worker.
static IS_WORKER: AtomicBool = AtomicBool::new(false);
/// The last is the one that was kept last.
static KEPT: Mutex<VecDeque<(Identity, Mmap)>> = Mutex::new(VecDeque::new());

/// Whether some were kept since all were unmapped.
static HAS_SOME: AtomicBool = AtomicBool::new(false);

/// Returns whether some are kept.
pub(in crate::process_pool) fn has_mappings() -> bool {
    // ORDERING: SeqCst, see `memory::note_idle`.
    HAS_SOME.load(SeqCst)
}

/// Keeps mappings from now on.
pub(in crate::process_pool) fn keep_mappings() {
    IS_WORKER.store(true, Relaxed);
}

/// Unmaps all that are kept. If another thread has their lock, they stay until the next time.
pub(in crate::process_pool) fn forget_mappings() {
    if let Ok(mut kept) = KEPT.try_lock() {
        kept.clear();
        HAS_SOME.store(false, Relaxed);
    }
}

/// Keeps the mapping of a blob that came from the parent, if it is long and not too long, in place of the oldest ones. A
/// worker without a task keeps no more: it may wait for ever.
pub(super) fn keep(identity: Identity, map: Mmap) {
    if !IS_WORKER.load(Relaxed) || !(MIN_BYTES..=MAX_BYTES).contains(&map.len()) {
        return;
    }
    // ORDERING: SeqCst, see `memory::note_idle`.
    HAS_SOME.store(true, SeqCst);
    // Not waited for: a thread that is not in this fork may have had it.
    let Ok(mut kept) = KEPT.try_lock() else { return };
    if is_idle() {
        return;
    }
    // Of a blob that came again while it was here, one will do.
    kept.retain(|(other, _)| *other != identity);
    let mut bytes: usize = map.len() + kept.iter().map(|(_, map)| map.len()).sum::<usize>();
    while bytes > MAX_BYTES
        && let Some((_, oldest)) = kept.pop_front()
    {
        bytes -= oldest.len();
    }
    kept.push_back((identity, map));
}

/// Returns the mapping of this memory, if it was kept.
pub(super) fn take(identity: Identity) -> Option<Mmap> {
    if !IS_WORKER.load(Relaxed) {
        return None;
    }
    let mut kept = KEPT.try_lock().ok()?;
    let at = kept.iter().position(|(other, _)| *other == identity)?;
    kept.remove(at).map(|(_, map)| map)
}
