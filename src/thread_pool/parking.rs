//! Who sleeps beside the queue: submitters that wait for room, and those who wait for the workers to end.

use super::core::Core;
use super::word::SUBMITTERS;
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{FilterOp, UnparkToken, unpark_filter, unpark_one};

/// Look again.
const WAKE: UnparkToken = crate::deadlock::waitable::RETRY;

impl Core {
    /// Where submitters park.
    pub(super) fn room_key(&self) -> usize {
        std::ptr::from_ref(&self.max_workers).addr()
    }

    /// Where those park who wait for the workers to end.
    pub(super) fn join_key(&self) -> usize {
        std::ptr::from_ref(&*self.state).addr()
    }

    /// Announces a waiter that is about to park, if `still` holds of the word.
    pub(super) fn announce(&self, flag: u64, still: impl Fn(u64) -> bool) -> bool {
        let mut word = self.state.load(Relaxed);
        while still(word) && word & flag == 0 {
            match self.state.compare_exchange_weak(word, word | flag, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        still(word)
    }

    pub(super) fn clear(&self, flag: u64) {
        self.state.fetch_and(!flag, Relaxed);
    }

    pub(super) fn is_announced(&self, flag: u64) -> bool {
        self.state.load(Relaxed) & flag != 0
    }

    /// Wakes one submitter, if one is parked: there is room, or room that it did not use.
    #[cold]
    pub(super) fn wake_submitter(&self) {
        // SAFETY:
        // - the key is an address inside this pool.
        // - the callback only touches the word.
        unsafe {
            unpark_one(self.room_key(), |result| {
                if !result.have_more_threads {
                    self.clear(SUBMITTERS);
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
                    self.clear(SUBMITTERS);
                    WAKE
                },
            );
        }
    }

    #[cold]
    pub(super) fn wake_joiners(&self) {
        // SAFETY:
        // - as above.
        unsafe { unpark_filter(self.join_key(), |_| FilterOp::Unpark, |_| WAKE) };
    }
}
