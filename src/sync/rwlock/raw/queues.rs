//! The three queues of a read-write lock: where each kind of waiter parks, and how it is woken.

use super::RawRwLock;
use super::state::{READERS_PARKED, WRITERS_PARKED};
use crate::deadlock::waitable::RETRY;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{FilterOp, unpark_filter, unpark_one};
use crate::sync::identity::Identity;

impl<I: Identity> RawRwLock<I> {
    /// Returns the address that those park on who wait for the turn.
    pub(super) fn turn_key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Returns the address that those park on who wait to read.
    pub(super) fn readers_key(&self) -> usize {
        self.turn_key() + 1
    }

    /// Returns the address that the pending writer parks on.
    pub(super) fn pending_key(&self) -> usize {
        self.turn_key() + 2
    }

    #[cold]
    pub(super) fn wake_pending(&self) {
        // SAFETY:
        // - the key is an address of this lock's own.
        // - the callback does nothing.
        unsafe { unpark_one(self.pending_key(), |_| RETRY) };
    }

    #[cold]
    pub(super) fn wake_readers(&self) {
        // SAFETY:
        // - the key is an address of this lock's own.
        // - the closures only touch the state.
        unsafe {
            unpark_filter(
                self.readers_key(),
                |_| FilterOp::Unpark,
                |_| {
                    // ORDERING: Relaxed: the queue's lock orders this with every announcement's check.
                    self.state.fetch_and(!READERS_PARKED, Relaxed);
                    RETRY
                },
            );
        }
    }

    #[cold]
    pub(super) fn wake_one_writer(&self) {
        // SAFETY:
        // - the key is an address of this lock's own.
        // - the callback only touches the state.
        unsafe {
            unpark_one(self.turn_key(), |result| {
                if !result.have_more_threads {
                    // ORDERING: as in `wake_readers`.
                    self.state.fetch_and(!WRITERS_PARKED, Relaxed);
                }
                RETRY
            });
        }
    }
}
