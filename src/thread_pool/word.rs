//! The one word of a pool: how much is queued, and who there is to run it.

/// One task that was admitted and that nobody claimed yet, queued or about to be.
pub(super) const QUEUED: u64 = 1;
/// One worker that looks into the queue, or sleeps there, or is being started.
pub(super) const IDLE: u64 = 1 << 32;
/// One worker, or one that is being started.
pub(super) const WORKER: u64 = 1 << 46;
/// Takes no more tasks.
pub(super) const CLOSED: u64 = 1 << 60;
/// Runs no more tasks: those in the queue fail.
pub(super) const BROKEN: u64 = 1 << 61;
/// A submitter is parked, or about to park, until there is room in the queue.
pub(super) const SUBMITTERS: u64 = 1 << 62;
/// Somebody is parked, or about to park, until there are no workers.
pub(super) const JOINERS: u64 = 1 << 63;

/// So many workers can be counted.
pub(super) const MOST_WORKERS: usize = (1 << 14) - 1;

#[inline]
pub(super) fn queued(word: u64) -> u64 {
    word & (IDLE - 1)
}

#[inline]
pub(super) fn idle(word: u64) -> u64 {
    word / IDLE % (WORKER / IDLE)
}

#[inline]
pub(super) fn workers(word: u64) -> u64 {
    word / WORKER % (CLOSED / WORKER)
}
