//! The threads that sleep beside the queue: submitters that wait for room, and joiners that wait for the workers to
//! end.

use super::occupancy::Sleepers;
use super::pool::Pool;
use crate::primitive::{FilterOp, UnparkToken, unpark_filter, unpark_one};

/// The token that tells a sleeper to look again.
const WAKE: UnparkToken = crate::deadlock::waitable::RETRY;

impl Pool {
    /// Returns the key that submitters park on.
    pub(super) fn room_key(&self) -> usize {
        std::ptr::from_ref(&self.max_workers).addr()
    }

    /// Returns the key that threads park on that wait for the end of the workers.
    pub(super) fn join_key(&self) -> usize {
        self.occupancy.address()
    }

    /// Wakes one submitter, if one is parked: there is room, or room that the caller did not use.
    #[cold]
    pub(super) fn wake_submitter(&self) {
        // SAFETY:
        // - the key is an address inside this pool.
        // - the callback only touches the word.
        unsafe {
            unpark_one(self.room_key(), |result| {
                if !result.have_more_threads {
                    self.occupancy.clear(Sleepers::Submitters);
                }
                WAKE
            });
        }
    }

    #[cold]
    pub(super) fn wake_submitters(&self) {
        // SAFETY:
        // - as above.
        unsafe {
            unpark_filter(
                self.room_key(),
                |_| FilterOp::Unpark,
                |_| {
                    self.occupancy.clear(Sleepers::Submitters);
                    WAKE
                },
            );
        }
    }

    /// Wakes all who are parked on a key of joiners.
    #[cold]
    pub(super) fn wake_joiners(&self, key: usize) {
        // SAFETY:
        // - as above.
        unsafe { unpark_filter(key, |_| FilterOp::Unpark, |_| WAKE) };
    }
}
