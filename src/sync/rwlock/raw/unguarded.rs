//! What releases and questions without a guard need: see `README.md` of `facade`.

use super::state::{READERS_PARKED, State, UNLISTED, WRITERS_PARKED, change};
use super::{RawRwLock, RawRwLockGuard};
use crate::deadlock::context::Context;
use crate::deadlock::graph::visible::Awaited;
use crate::deadlock::graph::visible_readers::find_visible_read;
use crate::deadlock::holds::HoldIndex;
use crate::primitive::Ordering::{Relaxed, Release};
use crate::primitive::{Ingredient, is_removed};
use crate::sync::identity::Identity;
use crate::sync::request::Request;

impl<I: Identity> RawRwLock<I> {
    /// Ends the calling thread's read that was listed here, of a lock whose reads others may end.
    #[inline]
    pub(crate) fn end_listed_read(&self, context: &'static Context, hold: HoldIndex) {
        context.holds.give(hold);
        match context.visible.of_hold(hold).and_then(|entry| entry.hide_of(self.id())) {
            Some(Awaited::No) => {}
            Some(Awaited::Yes) => self.wake_pending(),
            // Somebody may have ended it already, in the place of another one.
            None if self.load().has(UNLISTED) => self.end_any_read(),
            None => self.count_out(),
        }
    }

    /// Ends one of the reads, of which nobody knows whose it is. From now on nobody relies on what contexts list of this lock.
    #[cold]
    pub(crate) fn end_any_read(&self) {
        let mark = if is_removed(Ingredient::UnlistedMark) { 0 } else { UNLISTED };
        let mut state = State(self.state.fetch_or(mark, Relaxed));
        loop {
            if state.readers() > 0 {
                let left = state.0.wrapping_add(change::READER_LEAVES);
                // ORDERING: as in `change`.
                match self.state.compare_exchange_weak(state.0, left, Release, Relaxed) {
                    Ok(_) if state.is_pending() && state.readers() == 1 => return self.wake_pending(),
                    Ok(_) => return,
                    Err(now) => state = State(now),
                }
                continue;
            }
            // Without one, nobody reads, and there is nothing to end.
            let Some(shown) = find_visible_read(self.id()) else { return };
            match shown.end(self.id()) {
                Some(Awaited::No) => return,
                Some(Awaited::Yes) => return self.wake_pending(),
                None => state = self.load(),
            }
        }
    }

    /// Makes the calling context the one that has the turn, and lists that.
    #[cold]
    pub(crate) fn take_turn_over<M>(&self, me: &'static Context, request: Request) -> RawRwLockGuard<M> {
        self.set_owner(me);
        self.list(me, request)
    }

    /// Returns whether there are as many counted readers as are let in.
    pub(crate) fn is_full(&self) -> bool {
        self.load().is_full()
    }

    /// Returns whether what contexts list of its reads may be wrong.
    pub(crate) fn is_unlisted(&self) -> bool {
        self.load().has(UNLISTED)
    }

    /// Returns whether a thread waits, parked or about to park.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        let state = self.load();
        state.is_pending() || state.has(READERS_PARKED | WRITERS_PARKED)
    }
}
