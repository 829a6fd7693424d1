//! The raw read-write lock: one word of state, its owner, and readers that are counted or show themselves.
//!
//! See `README.md` in the folder above for the protocol and its proof.

mod checks;
mod guard;
mod queues;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;
mod unguarded;
mod upgrade;
mod wait;
mod ways;

use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::visible::{Awaited, VisibleRead};
use crate::deadlock::graph::visible_readers::find_visible_read;
use crate::deadlock::holds::{HoldIndex, InlinePlace};
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceFacts, SharedId, TypeOf};
use crate::primitive::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::primitive::{AtomicU64, Ingredient, is_removed, quiet};
use crate::sync::identity::Identity;
use crate::sync::request::Request;

pub(crate) use guard::{RawRwLockGuard, Reading, UpgradablyReading, Writing};
use state::{READERS_PARKED, State, WRITERS_PARKED, change};
use wait::{DrainWait, ReadWait, TurnWait};

/// A lock that several contexts can read at once, or one can write.
pub(crate) struct RawRwLock<I = Origin> {
    state: AtomicU64,
    /// The number of the context that has taken the turn; 0 while it is free, and for the moment between the two writes.
    owner: AtomicU64,
    /// The key of its [`SharedId`]; 0 until it is first locked.
    id: quiet::AtomicUsize,
    identity: I,
}

/// What the turn was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The writer is in.
    Writing,
    /// The writer waits for the readers to leave.
    Pending,
    /// The upgradable reader is in.
    Upgradable,
}

impl RawRwLock {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self::of(Origin::here(name), State::FREE)
    }

    /// Makes a lock with a name and a rank.
    #[track_caller]
    pub(crate) const fn ranked(name: &'static str, rank: u16) -> Self {
        Self::of(Origin::ranked(name, rank), State::FREE_AND_RANKED)
    }

    #[cfg(feature = "serde")]
    pub(crate) fn made_at(site: crate::deadlock::resource::Site) -> Self {
        Self::of(Origin::at(site, None), State::FREE)
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.identity.name()
    }
}

impl<I: Identity> RawRwLock<I> {
    /// Makes a free lock.
    pub(crate) const fn free(identity: I) -> Self {
        Self::of(identity, State::FREE)
    }

    const fn of(identity: I, free: State) -> Self {
        let state = AtomicU64::new(free.0);
        Self { state, owner: AtomicU64::new(0), id: quiet::AtomicUsize::new(0), identity }
    }

    /// Returns the id that its readers list and show.
    #[inline]
    pub(crate) fn id(&self) -> SharedId {
        match SharedId::of_key(self.id.load(Relaxed)) {
            Some(id) => id,
            None => self.make_id(),
        }
    }

    #[cold]
    fn make_id(&self) -> SharedId {
        let new = SharedId::new();
        match self.id.compare_exchange(0, new.key(), Relaxed, Relaxed) {
            Ok(_) => new,
            Err(other) => SharedId::of_key(other).expect("an id, since it is not 0"),
        }
    }

    #[inline]
    fn facts(&self, type_of: TypeOf) -> ResourceFacts {
        self.facts_of(self.id(), type_of)
    }

    #[inline]
    fn facts_of(&self, id: SharedId, type_of: TypeOf) -> ResourceFacts {
        ResourceFacts { key: id.key(), origin: self.identity.origin(), type_of }
    }

    fn load(&self) -> State {
        State(self.state.load(Relaxed))
    }

    fn exchange(&self, old: State, new: State) -> Result<(), State> {
        // ORDERING: Acquire pairs with the Release of whoever was in before: what was done under the lock is seen. The state
        // is changed by read-modify-writes alone, so that each Release is seen through all that follow. SeqCst where a
        // writer begins: it then looks for readers that show themselves.
        let order = if new.is_pending() { SeqCst } else { Acquire };
        self.state.compare_exchange_weak(old.0, new.0, order, Relaxed).map(drop).map_err(State)
    }

    // --- reading ---

    /// Reads, if no writer is in or waits, and the hold has a place among those that are inline.
    #[inline]
    pub(crate) fn try_read_fast<const RANKED_TOO: bool>(&self, request: Request) -> Option<RawRwLockGuard<Reading>> {
        let me = registry::current();
        if !I::HAS_OWNERS {
            let state = self.load();
            let new = state.with_quiet_reader::<RANKED_TOO>(false)?;
            // ORDERING: as in `exchange`.
            self.state.compare_exchange(state.0, new.0, Acquire, Relaxed).ok()?;
            return Some(RawRwLockGuard::unlisted(me));
        }
        let place = if I::HAS_GUARDS { me.holds.find()? } else { me.holds.find_ahead()? };
        let id = self.id();
        let state = self.load();
        match me.visible.entry(place.slot()) {
            Some(entry) if state.lets_shown_readers_in::<RANKED_TOO>() => {
                entry.show(id);
                // ORDERING: SeqCst, see `VisibleRead::show`; Acquire, as in `exchange`.
                let state = State(self.state.load(SeqCst));
                if !state.lets_shown_readers_in::<RANKED_TOO>() && !is_removed(Ingredient::LookAfterShowing) {
                    self.take_back(entry);
                    return None;
                }
            }
            _ => {
                // ORDERING: as in `exchange`.
                self.state
                    .compare_exchange(state.0, state.with_quiet_reader::<RANKED_TOO>(true)?.0, Acquire, Relaxed)
                    .ok()?;
            }
        }
        Some(RawRwLockGuard::new(me, place.take(self.facts_of(id, request.type_of), request.site)))
    }

    /// Takes back a read that was shown, and that a writer keeps out.
    #[cold]
    fn take_back(&self, entry: VisibleRead<'_>) {
        if entry.take_back() == Awaited::Yes {
            self.wake_pending();
        }
    }

    /// Reads, if no writer keeps readers out.
    pub(crate) fn try_read<const RANKED_TOO: bool>(
        &self,
        request: Request,
        recursive: bool,
    ) -> Option<RawRwLockGuard<Reading>> {
        let me = registry::current();
        self.refuse_too_many();
        self.count_in::<RANKED_TOO>(recursive).then(|| self.list(me, request))
    }

    /// Panics if there are as many counted readers as are let in.
    #[inline]
    fn refuse_too_many(&self) {
        if self.load().is_full() {
            too_many_readers();
        }
    }

    /// Counts one more reader, unless a writer keeps it out.
    fn count_in<const RANKED_TOO: bool>(&self, recursive: bool) -> bool {
        let mut state = self.load();
        loop {
            if state.blocks_readers::<RANKED_TOO>(recursive) {
                return false;
            }
            match self.exchange(state, state.with_reader(I::HAS_OWNERS)) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Reads once that is possible.
    #[cold]
    #[inline(never)]
    pub(crate) fn read_slow(
        &self,
        request: Request,
        recursive: bool,
        limit: Limit,
        failure: Failure,
    ) -> Result<RawRwLockGuard<Reading>, WaitError> {
        let me = registry::current();
        if !recursive && let Some(guard) = self.try_read_fast::<true>(request) {
            return Ok(guard);
        }
        // A read that is taken again for a guard in use was counted before, and must not unwind.
        if failure.may_unwind(request.site) {
            self.refuse_too_many();
        }
        // The fast path takes only what it can list inline, and gives up when it is disturbed.
        if self.count_in::<true>(recursive) {
            return Ok(self.list(me, request));
        }
        let waiter = ReadWait::new(self, request, recursive);
        let relock = self.owner() == Some(me.id());
        door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        Ok(RawRwLockGuard::new(me, waiter.hold()))
    }

    /// Stops reading.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn stop_reading(&self, guard: RawRwLockGuard<Reading>) {
        Self::unlist(&guard);
        match guard.context.visible.of_hold(guard.hold).and_then(VisibleRead::hide) {
            Some(Awaited::No) => {}
            Some(Awaited::Yes) => self.wake_pending(),
            None => self.count_out(),
        }
    }

    /// Ends the read of a reader who was counted.
    #[inline]
    pub(crate) fn count_out(&self) {
        let was = self.change(change::READER_LEAVES);
        if was.is_pending() && was.readers() == 1 {
            self.wake_pending();
        }
    }

    /// Changes the state in one step, as one who was in and leaves, and returns what it was.
    #[inline]
    fn change(&self, change: u64) -> State {
        // ORDERING: Release pairs with the Acquire in `exchange`.
        let order = if is_removed(Ingredient::ReleaseOnUnlock) { Relaxed } else { Release };
        State(self.state.fetch_add(change, order))
    }

    // --- the turn ---

    /// Takes the turn for a writer or an upgradable reader, unless it is taken.
    fn take_turn<const RANKED_TOO: bool>(&self, me: &'static Context, upgradable: bool) -> Option<Turn> {
        let mut state = self.load();
        loop {
            if state.is_turn_taken::<RANKED_TOO>() {
                return None;
            }
            let (turn, new) = match upgradable {
                true => (Turn::Upgradable, state.with_upgradable()),
                false if state.is_free::<true>() => (Turn::Writing, state.with_writer()),
                false => (Turn::Pending, state.with_pending()),
            };
            match self.exchange(state, new) {
                Ok(()) => {
                    self.set_owner(me);
                    return Some(turn);
                }
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn set_owner(&self, me: &'static Context) {
        if I::HAS_OWNERS {
            // ORDERING: Relaxed, see `owner`.
            self.owner.store(me.id().get(), Relaxed);
        }
    }

    /// Gives up the turn in one step, and wakes those who wait for it, or for a writer to leave.
    #[inline]
    fn give_turn(&self, change: u64) {
        if I::HAS_OWNERS {
            self.owner.store(0, Relaxed);
        }
        let was = self.change(change);
        if was.has(READERS_PARKED | WRITERS_PARKED) {
            self.wake_after_turn(was);
        }
    }

    #[cold]
    fn wake_after_turn(&self, was: State) {
        if was.has(READERS_PARKED) {
            self.wake_readers();
        }
        if was.has(WRITERS_PARKED) {
            self.wake_one_writer();
        }
    }

    /// Returns the context that has the turn, if there is one. It is current only if it is the caller, or a registered
    /// waiter seen by a judge.
    pub(crate) fn owner(&self) -> Option<ContextId> {
        // ORDERING: Relaxed is enough for both readers. The word is written by whoever has the turn, as the first thing in
        // it and the last, so that the turn orders the writes. A thread reads its own number back only if its own last
        // write put it there. A judge that reads the number of a registered context sees all that this context did before
        // it registered, under the graph's mutex: so it still has the turn.
        ContextId::from_word(self.owner.load(Relaxed))
    }

    // --- writing ---

    /// Writes, if the lock has no rank and is free, nobody shows that he reads, and the hold has a place among those that are inline.
    #[inline]
    pub(crate) fn try_write_fast(&self, request: Request) -> Option<RawRwLockGuard<Writing>> {
        let me = registry::current();
        let find = || if I::HAS_GUARDS { me.holds.find() } else { me.holds.find_ahead() };
        let place = if I::HAS_OWNERS { Some(find()?) } else { None };
        let state = self.load();
        if !state.is_free::<false>() {
            return None;
        }
        // ORDERING: as in `exchange`.
        self.state.compare_exchange(state.0, state.with_writer().0, Acquire, Relaxed).ok()?;
        self.set_owner(me);
        let list = |place: InlinePlace<'_>| place.take(self.facts(request.type_of), request.site);
        Some(RawRwLockGuard::new(me, place.map_or(HoldIndex::NONE, list)))
    }

    /// Writes, if nobody reads or writes.
    pub(crate) fn try_write(&self, request: Request) -> Option<RawRwLockGuard<Writing>> {
        let me = registry::current();
        if self.is_known_to_be_read() {
            return None;
        }
        match self.take_turn::<true>(me, false)? {
            Turn::Pending if !self.enter::<true>() => {
                self.give_turn(change::PENDING_ENDS);
                None
            }
            _ => Some(self.list(me, request)),
        }
    }

    /// Returns whether a reader is in, as far as can be seen without keeping new ones out: who gives up at once does not
    /// disturb them.
    fn is_known_to_be_read(&self) -> bool {
        let state = self.load();
        state.readers() != 0 || state.is_biased() && find_visible_read(self.id()).is_some()
    }

    /// Writes once that is possible.
    #[cold]
    #[inline(never)]
    pub(crate) fn write_slow(
        &self,
        request: Request,
        limit: Limit,
        failure: Failure,
    ) -> Result<RawRwLockGuard<Writing>, WaitError> {
        let me = registry::current();
        let waiter = TurnWait::new(self, request, false);
        if !waiter.take(me) {
            let relock = self.owner() == Some(me.id());
            door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        }
        if waiter.turn() == Some(Turn::Writing) {
            return Ok(RawRwLockGuard::new(me, waiter.hold()));
        }
        self.drain(me, request, limit, failure).inspect_err(|_| self.give_turn(change::PENDING_ENDS))
    }

    /// Waits, as the pending writer, for the readers to leave. If that fails, it is pending still.
    fn drain(
        &self,
        me: &'static Context,
        request: Request,
        limit: Limit,
        failure: Failure,
    ) -> Result<RawRwLockGuard<Writing>, WaitError> {
        if self.enter::<true>() {
            return Ok(self.list(me, request));
        }
        self.drain_slow(me, request, limit, failure)
    }

    fn drain_slow(
        &self,
        me: &'static Context,
        request: Request,
        limit: Limit,
        failure: Failure,
    ) -> Result<RawRwLockGuard<Writing>, WaitError> {
        let waiter = DrainWait::new(self, request);
        let relock = me.holds.has_share(self.id());
        door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        Ok(RawRwLockGuard::new(me, waiter.hold()))
    }

    /// Lets the pending writer in, if nobody reads any more. The pending writer alone calls this.
    fn enter<const RANKED_TOO: bool>(&self) -> bool {
        let mut state = self.load();
        loop {
            if state.has_readers::<RANKED_TOO>() || state.is_biased() && self.find_visible_read().is_some() {
                return false;
            }
            // ORDERING: as in `exchange`. Whoever showed a read was seen to have stopped.
            match self.state.compare_exchange(state.0, state.with_writer().0, Acquire, Relaxed) {
                Ok(_) => return true,
                // A reader that is recursive, or one who left.
                Err(now) => state = State(now),
            }
        }
    }

    fn find_visible_read(&self) -> Option<VisibleRead<'static>> {
        if is_removed(Ingredient::LookForShown) { None } else { find_visible_read(self.id()) }
    }

    /// Stops writing.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn stop_writing(&self, guard: RawRwLockGuard<Writing>) {
        Self::unlist(&guard);
        self.give_turn(change::WRITER_LEAVES);
    }

    /// Becomes a reader.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    pub(crate) unsafe fn downgrade(&self, guard: RawRwLockGuard<Writing>, request: Request) -> RawRwLockGuard<Reading> {
        Self::unlist(&guard);
        let reading = self.list(guard.context, request);
        self.give_turn(change::WRITER_READS);
        reading
    }

    /// Becomes the upgradable reader.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    pub(crate) unsafe fn downgrade_to_upgradable(
        &self,
        guard: RawRwLockGuard<Writing>,
        request: Request,
    ) -> RawRwLockGuard<UpgradablyReading> {
        Self::unlist(&guard);
        let reading = self.list(guard.context, request);
        if self.change(change::WRITER_IS_UPGRADABLE).has(READERS_PARKED) {
            self.wake_readers();
        }
        reading
    }

    // --- reading upgradably ---

    /// Reads upgradably, if nobody writes or waits to, and nobody else reads upgradably.
    #[inline]
    pub(crate) fn try_upgradable_read<const RANKED_TOO: bool>(
        &self,
        request: Request,
    ) -> Option<RawRwLockGuard<UpgradablyReading>> {
        let me = registry::current();
        self.take_turn::<RANKED_TOO>(me, true)?;
        Some(self.list(me, request))
    }

    /// Reads upgradably once that is possible.
    #[cold]
    #[inline(never)]
    pub(crate) fn upgradable_read_slow(
        &self,
        request: Request,
        limit: Limit,
        failure: Failure,
    ) -> Result<RawRwLockGuard<UpgradablyReading>, WaitError> {
        let me = registry::current();
        let waiter = TurnWait::new(self, request, true);
        if !waiter.take(me) {
            let relock = self.owner() == Some(me.id());
            door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        }
        Ok(RawRwLockGuard::new(me, waiter.hold()))
    }

    /// Stops reading upgradably.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn stop_upgradable(&self, guard: RawRwLockGuard<UpgradablyReading>) {
        Self::unlist(&guard);
        self.give_turn(change::UPGRADABLE_LEAVES);
    }

    /// Becomes a plain reader.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    pub(crate) unsafe fn downgrade_upgradable(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
    ) -> RawRwLockGuard<Reading> {
        if self.load().is_full() {
            // SAFETY:
            // - the guard is of this lock (caller).
            unsafe { self.stop_upgradable(guard) };
            too_many_readers();
        }
        self.downgrade_upgradable_anyway(guard, request)
    }

    /// [`downgrade_upgradable`](Self::downgrade_upgradable), however many read.
    pub(crate) fn downgrade_upgradable_anyway(
        &self,
        guard: RawRwLockGuard<UpgradablyReading>,
        request: Request,
    ) -> RawRwLockGuard<Reading> {
        Self::unlist(&guard);
        let reading = self.list(guard.context, request);
        self.give_turn(change::UPGRADABLE_READS);
        reading
    }

    // --- lists ---

    #[inline]
    fn list<M>(&self, context: &'static Context, request: Request) -> RawRwLockGuard<M> {
        RawRwLockGuard::new(context, self.list_hold(context, request))
    }

    #[inline]
    fn list_hold(&self, context: &'static Context, request: Request) -> HoldIndex {
        let list = || context.holds.take(|| self.facts(request.type_of), request.site);
        if I::HAS_OWNERS { list() } else { HoldIndex::NONE }
    }

    #[inline]
    fn unlist<M>(guard: &RawRwLockGuard<M>) {
        if I::HAS_OWNERS {
            guard.context.holds.give(guard.hold);
        }
    }

    /// Returns whether anybody reads or writes.
    pub(crate) fn is_locked(&self) -> bool {
        let state = self.load();
        state.is_written() || state.is_upgradable() || self.is_known_to_be_read()
    }

    /// Returns whether somebody writes.
    pub(crate) fn is_write_locked(&self) -> bool {
        self.load().is_written()
    }
}

#[cold]
pub(crate) fn too_many_readers() -> ! {
    panic!("an RwLock is read 2^23 times at once: a guard is leaked in a loop")
}
