//! What a raw read-write lock gives to those who acquire it.

use std::marker::PhantomData;

use super::RawRwLock;
use crate::deadlock::context::Context;
use crate::deadlock::holds::HoldIndex;
use crate::sync::guard::{Exclusive, RawGuard, Shared};

/// Proof that a [`RawRwLock`] is held in the way that `M` says: the context that holds it, and the hold's place in that
/// context's list.
pub(crate) struct RawRwLockGuard<M> {
    pub(super) context: &'static Context,
    pub(super) hold: HoldIndex,
    /// Not `Send`: releasing it changes its context's list.
    mode: PhantomData<(M, *mut ())>,
}

/// Held for reading.
pub(crate) enum Reading {}
/// Held for reading, by one who may become the writer.
pub(crate) enum UpgradablyReading {}
/// Held for writing.
pub(crate) enum Writing {}

// SAFETY:
// - a shared raw guard gives access to nothing.
unsafe impl<M> Sync for RawRwLockGuard<M> {}

impl<M> RawRwLockGuard<M> {
    #[inline]
    pub(crate) fn new(context: &'static Context, hold: HoldIndex) -> Self {
        Self { context, hold, mode: PhantomData }
    }

    /// Returns a guard of an acquisition that nobody lists.
    #[inline]
    pub(crate) fn unlisted(context: &'static Context) -> Self {
        Self::new(context, HoldIndex::NONE)
    }
}

// SAFETY:
// - readers are counted or shown until this is released, and a writer enters when neither is left.
unsafe impl RawGuard for RawRwLockGuard<Reading> {
    type Raw = RawRwLock;
    type Access = Shared;

    #[inline]
    unsafe fn release(self, raw: &RawRwLock) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { raw.stop_reading(self) };
    }

    #[inline]
    unsafe fn release_fair(self, raw: &RawRwLock) {
        // SAFETY:
        // - as above. Nothing is to be handed over: a writer that waits is next.
        unsafe { self.release(raw) };
    }
}

// SAFETY:
// - the turn is taken until this is released, and no writer begins without it.
unsafe impl RawGuard for RawRwLockGuard<UpgradablyReading> {
    type Raw = RawRwLock;
    type Access = Shared;

    #[inline]
    unsafe fn release(self, raw: &RawRwLock) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { raw.stop_upgradable(self) };
    }

    #[inline]
    unsafe fn release_fair(self, raw: &RawRwLock) {
        // SAFETY:
        // - as above.
        unsafe { self.release(raw) };
    }
}

// SAFETY:
// - a writer is alone: it has the turn, and entered when nobody read; nobody begins to read until it has left.
unsafe impl RawGuard for RawRwLockGuard<Writing> {
    type Raw = RawRwLock;
    type Access = Exclusive;

    #[inline]
    unsafe fn release(self, raw: &RawRwLock) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { raw.stop_writing(self) };
    }

    #[inline]
    unsafe fn release_fair(self, raw: &RawRwLock) {
        // SAFETY:
        // - as above.
        unsafe { self.release(raw) };
    }
}
