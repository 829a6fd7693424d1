//! The three waits of a read-write lock: for the turn, for a writer to leave, for the readers to leave.

use std::cell::Cell;

use super::state::{READERS_PARKED, State, UNLISTED, WRITERS_PARKED};
use super::{RawRwLock, Turn};
use crate::deadlock::context::Context;
use crate::deadlock::graph::Graph;
use crate::deadlock::graph::visible::VisibleRead;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::resource::ResourceFacts;
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::primitive::Ordering::Relaxed;
use crate::sync::identity::Identity;
use crate::sync::request::Request;

impl<I: Identity> RawRwLock<I> {
    /// Visits the context that has the turn, if it is taken in a way that `blocks`.
    fn visit_owner(&self, blocks: impl FnOnce(State) -> bool, visit: &mut Visit<'_>) {
        let owner = if blocks(self.load()) { self.owner() } else { None };
        _ = visit(owner.map_or(Provider::External, Provider::Context));
    }

    /// Sets `parked`, while `blocks` holds. Returns whether it does.
    fn announce(&self, parked: u64, blocks: impl Fn(State) -> bool) -> bool {
        let state = self.load();
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look at the queue.
        blocks(state)
            && (state.has(parked) || self.state.compare_exchange(state.0, state.0 | parked, Relaxed, Relaxed).is_ok())
    }
}

/// The wait of a writer or an upgradable reader for the turn.
pub(super) struct TurnWait<'a, I> {
    lock: &'a RawRwLock<I>,
    request: Request,
    upgradable: bool,
    /// What the turn was taken for, once it is.
    turn: Cell<Option<Turn>>,
    /// Where the hold was listed, if it is held.
    hold: Cell<HoldIndex>,
}

impl<'a, I: Identity> TurnWait<'a, I> {
    pub(super) fn new(lock: &'a RawRwLock<I>, request: Request, upgradable: bool) -> Self {
        Self { lock, request, upgradable, turn: Cell::new(None), hold: Cell::new(HoldIndex::NONE) }
    }

    pub(super) fn turn(&self) -> Option<Turn> {
        self.turn.get()
    }

    pub(super) fn hold(&self) -> HoldIndex {
        self.hold.get()
    }

    /// Takes the turn, and lists the hold unless there are readers to wait for.
    pub(super) fn take(&self, me: &'static Context) -> bool {
        let turn = self.lock.take_turn::<true>(me, self.upgradable);
        self.turn.set(turn);
        if turn.is_some_and(|turn| turn != Turn::Pending) {
            self.hold.set(self.lock.list_hold(me, self.request));
        }
        turn.is_some()
    }
}

impl<I: Identity> Blocker for TurnWait<'_, I> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.lock.facts(self.request.type_of)
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        self.lock.visit_owner(State::is_turn_taken::<true>, visit);
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }

    fn is_chained(&self) -> bool {
        true
    }
}

impl<I: Identity> Park for TurnWait<'_, I> {
    fn key(&self) -> usize {
        self.lock.turn_key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        self.take(me)
    }

    fn has_queue(&self) -> bool {
        self.lock.load().has(WRITERS_PARKED)
    }

    fn announce(&self) -> bool {
        self.lock.announce(WRITERS_PARKED, State::is_turn_taken::<true>)
    }

    fn is_announced(&self) -> bool {
        let state = self.lock.load();
        state.has(WRITERS_PARKED) && state.is_turn_taken::<true>()
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.lock.state.fetch_and(!WRITERS_PARKED, Relaxed);
        }
    }
}

/// The wait of a reader for a writer, one that is in or one that is next.
pub(super) struct ReadWait<'a, I> {
    lock: &'a RawRwLock<I>,
    request: Request,
    recursive: bool,
    hold: Cell<HoldIndex>,
}

impl<'a, I: Identity> ReadWait<'a, I> {
    pub(super) fn new(lock: &'a RawRwLock<I>, request: Request, recursive: bool) -> Self {
        Self { lock, request, recursive, hold: Cell::new(HoldIndex::NONE) }
    }

    pub(super) fn hold(&self) -> HoldIndex {
        self.hold.get()
    }

    fn is_blocked(&self, state: State) -> bool {
        state.blocks_readers::<true>(self.recursive)
    }
}

impl<I: Identity> Blocker for ReadWait<'_, I> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.lock.facts(self.request.type_of)
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        self.lock.visit_owner(|state| self.is_blocked(state), visit);
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }

    fn is_chained(&self) -> bool {
        true
    }
}

impl<I: Identity> Park for ReadWait<'_, I> {
    fn key(&self) -> usize {
        self.lock.readers_key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        let granted = self.lock.count_in::<true>(self.recursive);
        if granted {
            self.hold.set(self.lock.list_hold(me, self.request));
        }
        granted
    }

    fn announce(&self) -> bool {
        self.lock.announce(READERS_PARKED, |state| self.is_blocked(state))
    }

    fn is_announced(&self) -> bool {
        let state = self.lock.load();
        state.has(READERS_PARKED) && self.is_blocked(state)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.lock.state.fetch_and(!READERS_PARKED, Relaxed);
        }
    }
}

/// The pending writer's wait for the readers to leave.
pub(super) struct DrainWait<'a, I> {
    lock: &'a RawRwLock<I>,
    request: Request,
    /// The reader whose end this waits for, if nobody is counted any more. The others come after it.
    awaited: Cell<Option<VisibleRead<'static>>>,
    hold: Cell<HoldIndex>,
}

impl<'a, I: Identity> DrainWait<'a, I> {
    pub(super) fn new(lock: &'a RawRwLock<I>, request: Request) -> Self {
        Self { lock, request, awaited: Cell::new(None), hold: Cell::new(HoldIndex::NONE) }
    }

    pub(super) fn hold(&self) -> HoldIndex {
        self.hold.get()
    }
}

impl<I: Identity> Blocker for DrainWait<'_, I> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.lock.facts(self.request.type_of)
    }

    fn need(&self) -> Need {
        Need::All
    }

    /// The readers that run are left out: they can leave, and it takes all of them.
    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>) {
        if !I::HAS_OWNERS || self.lock.load().has(UNLISTED) {
            _ = visit(Provider::External);
            return;
        }
        graph.holders(self.lock.id(), |reader| visit(Provider::Context(reader.id())));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl<I: Identity> Park for DrainWait<'_, I> {
    fn key(&self) -> usize {
        self.lock.pending_key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        let granted = self.lock.enter::<true>();
        if granted {
            self.hold.set(self.lock.list_hold(me, self.request));
        }
        granted
    }

    fn announce(&self) -> bool {
        self.awaited.set(None);
        let state = self.lock.load();
        if state.readers() != 0 {
            // PENDING is set: the last counted reader wakes the pending writer.
            return true;
        }
        let shown = if state.is_biased() { self.lock.find_visible_read() } else { None };
        self.awaited.set(shown);
        shown.is_some_and(|read| read.await_end(self.lock.id()))
    }

    fn is_announced(&self) -> bool {
        match self.awaited.get() {
            Some(read) => read.is_awaited(self.lock.id()),
            None => self.lock.load().readers() != 0,
        }
    }

    fn may_miss_wake_up(&self) -> bool {
        self.awaited.get().is_some()
    }
}
