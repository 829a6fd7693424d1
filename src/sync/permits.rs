//! Permits that are free, and the queue of those who wait for some.

use crate::deadlock::context::Context;
use crate::deadlock::waitable::HANDED_OVER;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, unpark_filter};

/// Set while a thread is parked or about to park.
const WAITERS: u64 = 1;
/// Set while the first in the queue lacks permits: what is free is for the queue alone.
const QUEUE: u64 = 1 << 1;
/// One free permit. The rest of the word counts them.
const PERMIT: u64 = 1 << 2;

/// The highest number of free permits.
pub(super) const MAX_PERMITS: usize = usize::MAX >> 3;

/// A number of free permits, and the queue of those who wait for some.
///
/// Permits that become free are handed over: the thread that frees them takes them for each waiter that it wakes, in the
/// order of the queue. So a waiter that is woken has what it asked for, and one that times out at the same moment either
/// was woken, or has taken nothing.
///
/// `IN_ORDER`: who fits is served in the order of the queue alone; the first that lacks permits stops the others, and
/// those who come. Otherwise each request that fits is served.
pub(super) struct Permits<const IN_ORDER: bool> {
    /// ```text
    /// free | QUEUE | WAITERS |
    ///  n   |   0   |    0    | nobody is parked
    ///  n   |   0   |    1    | threads are parked or about to park; whoever comes may take what is free
    ///  n   |   1   |    1    | `IN_ORDER`: threads are parked, the first of which lacks permits; whoever comes queues
    /// ```
    ///
    /// Both bits are cleared, and QUEUE is set, under the queue's lock alone.
    word: AtomicU64,
}

/// Returns how many permits are free.
fn free(word: u64) -> usize {
    (word / PERMIT) as usize
}

impl<const IN_ORDER: bool> Permits<IN_ORDER> {
    pub(super) const fn new(permits: usize) -> Self {
        Self { word: AtomicU64::new(permits as u64 * PERMIT) }
    }

    /// Returns how many permits are free.
    pub(super) fn available(&self) -> usize {
        free(self.word.load(Relaxed))
    }

    /// Returns the address that waiters park on.
    pub(super) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Returns whether a request that comes now gets its permits.
    fn fits(word: u64, permits: usize) -> bool {
        free(word) >= permits && word & QUEUE == 0
    }

    /// Takes permits if there are enough and nobody is to be served before.
    #[inline]
    pub(super) fn try_take(&self, permits: usize) -> bool {
        self.take_if(permits, Self::fits)
    }

    fn take_if(&self, permits: usize, fits: impl Fn(u64, usize) -> bool) -> bool {
        let mut word = self.word.load(Relaxed);
        while fits(word, permits) {
            // ORDERING: Acquire pairs with the Release in `add`, and with each before it: the word changes by
            // read-modify-writes alone.
            match self.word.compare_exchange_weak(word, word - permits as u64 * PERMIT, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Adds free permits and serves the queue. Returns `false`, and adds none, if there would be more than `max`.
    #[inline]
    pub(super) fn add(&self, permits: usize, max: usize) -> bool {
        let mut word = self.word.load(Relaxed);
        loop {
            if max - free(word).min(max) < permits {
                return false;
            }
            // ORDERING: Release pairs with the Acquire in `take_if`.
            match self.word.compare_exchange_weak(word, word + permits as u64 * PERMIT, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            self.serve();
        }
        true
    }

    /// Hands the free permits over to those in the queue.
    #[cold]
    fn serve(&self) {
        let serve = |wanted| {
            if self.take_if(wanted, |word, wanted| free(word) >= wanted) {
                FilterOp::Unpark
            } else if IN_ORDER || self.available() == 0 {
                FilterOp::Stop
            } else {
                FilterOp::Skip
            }
        };
        // SAFETY:
        // - the key is the address of these permits.
        // - the closures only touch the word and the waiters' contexts: a park token is the address of a context
        //   (`door::park_on`), and contexts are never freed.
        unsafe {
            unpark_filter(
                self.key(),
                |token| serve(Context::at(token.0).wanted()),
                |result| {
                    // ORDERING: Relaxed: the queue's lock orders this with every announcement's check.
                    if !result.have_more_threads {
                        self.word.fetch_and(!(WAITERS | QUEUE), Relaxed);
                    } else if IN_ORDER {
                        self.word.fetch_or(QUEUE, Relaxed);
                    }
                    HANDED_OVER
                },
            );
        }
    }

    /// Takes permits for a waiter that is not in the queue, as [`try_take`](Self::try_take) does.
    ///
    /// It may have been the first of the queue a moment ago, and others fit now that it has left.
    pub(super) fn take_waiting(&self, permits: usize) -> bool {
        let word = self.word.load(Relaxed);
        if IN_ORDER && word & QUEUE != 0 && free(word) != 0 && !is_removed(Ingredient::ServedOnLeaving) {
            self.serve();
        }
        self.try_take(permits)
    }

    /// Returns whether others are queueing.
    pub(super) fn has_queue(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }

    /// Announces that `me` is about to park for this many permits. `false`: it gets them now.
    pub(super) fn announce(&self, me: &'static Context, permits: usize) -> bool {
        me.set_wanted(permits);
        let word = self.word.load(Relaxed);
        if Self::fits(word, permits) {
            return false;
        }
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look of the thread that serves.
        word & WAITERS != 0 || self.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed).is_ok()
    }

    /// Returns whether a waiter that has announced itself may park. Called under the queue's lock.
    pub(super) fn is_announced(&self, permits: usize) -> bool {
        let word = self.word.load(Relaxed);
        word & WAITERS != 0 && !Self::fits(word, permits) || is_removed(Ingredient::ValidatedAnnouncement)
    }

    /// Takes the announcements back after the last waiter has left the queue. Called under the queue's lock.
    pub(super) fn left_queue(&self, last: bool) {
        if last {
            self.word.fetch_and(!(WAITERS | QUEUE), Relaxed);
        }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.has_queue()
    }
}
