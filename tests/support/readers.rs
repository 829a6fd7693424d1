//! Read-write locks whose readers show themselves: each in a place of its own, in place of a count that all of them write.

use bowline::RwLock;

/// So many reads without a write are enough for all that follow to show themselves, in a process of some thousand threads.
const READS: usize = if cfg!(miri) { 1 << 10 } else { 1 << 16 };

/// Lets the readers of a lock show themselves, until the next write.
pub(crate) fn let_readers_show_themselves<T: ?Sized>(lock: &RwLock<T>) {
    (0..READS).for_each(|_| drop(lock.read()));
}

/// Makes two locks and passes each on: one whose readers are counted, and one whose readers show themselves.
pub(crate) fn counted_and_shown<T>(value: impl Fn() -> T, check: impl Fn(RwLock<T>)) {
    check(RwLock::named("counted", value()));
    let lock = RwLock::named("shown", value());
    let_readers_show_themselves(&lock);
    check(lock);
}
