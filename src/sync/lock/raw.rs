//! The lock word: ownership, waiters, and nothing else.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::deadlock::Deadlock;
use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::hazard;
use crate::deadlock::holds::{HoldIndex, InlinePlace};
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceFacts, Site, TypeOf};
use crate::deadlock::waitable::{Blocker, HANDED_OVER, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, unpark_filter, unpark_one};
use crate::sync::guard::{Exclusive, RawGuard, Resume};
use crate::sync::identity::{Identity, UNKNOWN_OWNER};
use crate::sync::request::Request;

/// Set while a thread is parked or about to park.
const WAITERS: u64 = 1;
/// Set for good if the lock has a rank. Then the word of a free lock is not 0, so that the fast paths leave the lock to those
/// that look at ranks, and nobody else does.
const RANKED: u64 = 1 << 63;
/// The rest of the word: the owner's number, or zero.
const OWNER: u64 = !(WAITERS | RANKED);

/// An exclusive lock whose word is its owner's number.
pub(crate) struct RawLock<I = Origin> {
    /// ```text
    /// owner | WAITERS |
    ///   0   |    0    | free
    ///   id  |    0    | held by the context `id`; nobody is parked
    ///   0   |    1    | free; a thread is parked and about to be woken, or was about to park and will not
    ///   id  |    1    | held by the context `id`; threads are parked or about to park
    /// ```
    ///
    /// The owner is the word: there is no moment at which the lock is held and the owner unknown. Releasing
    /// subtracts the owner and leaves WAITERS as it is, so that WAITERS is cleared only under the queue's lock, and
    /// only when the queue is empty: *a thread is parked* implies WAITERS at all times.
    ///
    /// The highest bit, RANKED, is the same at all times.
    word: AtomicU64,
    identity: I,
}

/// Proof that a [`RawLock`] is held: the context that holds it, and the hold's place in that context's list. Unlocking uses
/// these and never the current thread.
pub(crate) struct RawLockGuard {
    context: &'static Context,
    hold: HoldIndex,
    not_send: std::marker::PhantomData<*mut ()>,
}

// SAFETY:
// - a shared raw guard gives access to nothing.
unsafe impl Sync for RawLockGuard {}

impl RawLockGuard {
    pub(crate) fn new(context: &'static Context, hold: HoldIndex) -> Self {
        Self { context, hold, not_send: std::marker::PhantomData }
    }

    pub(in crate::sync) fn context(&self) -> &'static Context {
        self.context
    }

    pub(in crate::sync) fn hold(&self) -> HoldIndex {
        self.hold
    }
}

impl RawLock {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self { word: AtomicU64::new(0), identity: Origin::here(name) }
    }

    /// Makes a lock with a name and a rank.
    #[track_caller]
    pub(crate) const fn ranked(name: &'static str, rank: u16) -> Self {
        Self { word: AtomicU64::new(RANKED), identity: Origin::ranked(name, rank) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn made_at(site: Site) -> Self {
        Self { word: AtomicU64::new(0), identity: Origin::at(site, None) }
    }
}

impl RawLock {
    pub(in crate::sync) fn name(&self) -> Option<&'static str> {
        self.identity.name()
    }
}

impl<I: Identity> RawLock<I> {
    /// Makes a free lock.
    pub(crate) const fn of(identity: I) -> Self {
        Self { word: AtomicU64::new(0), identity }
    }

    /// Locks, or panics if that is a deadlock and the policy says so.
    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self, type_of: TypeOf) -> RawLockGuard {
        let request = Request::new(type_of);
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => guard,
            None => self.lock_slow(request),
        }
    }

    /// Locks, or returns why that can never be.
    #[inline]
    #[track_caller]
    pub(crate) fn acquire(&self, type_of: TypeOf) -> Result<RawLockGuard, Deadlock> {
        let request = Request::new(type_of);
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => Ok(guard),
            None => self.acquire_slow(request),
        }
    }

    /// Locks if that is possible before `limit`.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_until(&self, type_of: TypeOf, limit: Instant) -> Option<RawLockGuard> {
        let request = Request::new(type_of);
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::Until(limit)),
        }
    }

    /// Locks if that is possible within `timeout`. A time-out that is longer than the clock can represent is none.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_for(&self, type_of: TypeOf, timeout: Duration) -> Option<RawLockGuard> {
        let request = Request::new(type_of);
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::after(timeout)),
        }
    }

    /// Takes the lock if it has no rank, is free and no thread queues, and the hold has a place among those that are inline.
    #[inline]
    pub(crate) fn try_lock_fast(&self, me: &'static Context, request: Request) -> Option<RawLockGuard> {
        let find = || if I::HAS_GUARDS { me.holds.find() } else { me.holds.find_ahead() };
        let place = if I::HAS_OWNERS { Some(find()?) } else { None };
        // ORDERING: Acquire pairs with the Release in `release` and `release_fair`: what was done under the lock is seen.
        self.word.compare_exchange(0, Self::number(me), Acquire, Relaxed).ok()?;
        let list = |place: InlinePlace<'_>| place.take(self.facts(request.type_of), request.site);
        Some(RawLockGuard::new(me, place.map_or(HoldIndex::NONE, list)))
    }

    /// Takes the lock if it is free, whether threads queue or not.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock(&self, type_of: TypeOf) -> Option<RawLockGuard> {
        let request = Request::new(type_of);
        let context = registry::current();
        self.take(context).then(|| self.list(context, request))
    }

    /// [`try_lock`](Self::try_lock), for a request that no line of the user's program made.
    pub(crate) fn try_lock_at(&self, type_of: TypeOf, site: Site) -> Option<RawLockGuard> {
        let context = registry::current();
        self.take(context).then(|| self.list(context, Request { site, type_of }))
    }

    /// [`acquire`](Self::acquire), for a request that no line of the user's
    /// program made.
    #[cfg(feature = "serde")]
    #[track_caller]
    pub(crate) fn acquire_at(&self, type_of: TypeOf, site: Site) -> Result<RawLockGuard, Deadlock> {
        let request = Request { site, type_of };
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => Ok(guard),
            None => self.acquire_slow(request),
        }
    }

    /// Locks again on behalf of a wait, at `site`, that released the lock. It cannot fail: of a deadlock, another member is
    /// the victim.
    pub(crate) fn resume(&self, type_of: TypeOf, site: Site) -> RawLockGuard {
        let request = Request { site, type_of };
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => guard,
            None => self.resume_slow(request),
        }
    }

    /// Locks again on behalf of a wait, at `site`, that released the lock, or returns why that can never be. Its rank was checked
    /// before it was released.
    pub(in crate::sync) fn try_resume(&self, type_of: TypeOf, site: Site) -> Result<RawLockGuard, Deadlock> {
        let request = Request { site, type_of };
        match self.try_lock_fast(registry::current(), request) {
            Some(guard) => Ok(guard),
            None => self.acquire_ranked(request),
        }
    }

    /// Returns what stands in the word while `me` holds the lock.
    #[inline]
    fn number(me: &'static Context) -> u64 {
        if I::HAS_OWNERS { me.id().get() } else { UNKNOWN_OWNER }
    }

    fn take(&self, me: &'static Context) -> bool {
        let mut word = self.word.load(Relaxed);
        while word & !WAITERS == 0 {
            // ORDERING: as in `try_lock_fast`.
            match self.word.compare_exchange_weak(word, word | Self::number(me), Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        word & RANKED != 0 && self.take_ranked(me)
    }

    /// [`take`](Self::take), for a lock with a rank.
    #[cold]
    fn take_ranked(&self, me: &'static Context) -> bool {
        let mut word = self.word.load(Relaxed);
        while word & OWNER == 0 {
            // ORDERING: as in `try_lock_fast`.
            match self.word.compare_exchange_weak(word, word | Self::number(me), Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    fn list(&self, context: &'static Context, request: Request) -> RawLockGuard {
        let list = || context.holds.take(|| self.facts(request.type_of), request.site);
        RawLockGuard::new(context, if I::HAS_OWNERS { list() } else { HoldIndex::NONE })
    }

    /// Unlocks.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self, guard: RawLockGuard) {
        if I::HAS_OWNERS {
            guard.context.holds.give(guard.hold);
        }
        self.release(Self::number(guard.context));
    }

    /// Unlocks, without a look at any list of holds. `owner` stands in the word.
    #[inline]
    pub(crate) fn release(&self, owner: u64) {
        // ORDERING: Release pairs with the Acquire of the next owner.
        let order = if is_removed(Ingredient::ReleaseOnUnlock) { Relaxed } else { Release };
        // Compared with what is subtracted, and not masked: one instruction fewer, since the difference sets a flag. (A lock
        // with a rank always takes the cold path.)
        if self.word.fetch_sub(owner, order) != owner {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
        // Relaxed: if a thread was parked at the release, WAITERS was set then, and is until the queue is empty.
        if self.identity.is_ranked() && self.word.load(Relaxed) & WAITERS == 0 {
            return;
        }
        // SAFETY:
        // - the key is this lock's own address.
        // - the callback only touches the word.
        unsafe {
            unpark_one(self.key(), |result| {
                if !result.have_more_threads {
                    // ORDERING: Relaxed: the queue's lock orders this with every announcement's check.
                    self.word.fetch_and(!WAITERS, Relaxed);
                }
                RETRY
            });
        }
    }

    /// Unlocks and hands the lock over to the thread that has been parked for longest, if there is one.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock_fair(&self, guard: RawLockGuard) {
        if I::HAS_OWNERS {
            guard.context.holds.give(guard.hold);
        }
        self.release_fair(Self::number(guard.context));
    }

    /// [`release`](Self::release), to the thread that has been parked for longest, if there is one.
    #[inline]
    pub(crate) fn release_fair(&self, owner: u64) {
        // ORDERING: Release pairs with the Acquire of the next owner.
        if self.word.compare_exchange(owner, 0, Release, Relaxed).is_err() {
            self.hand_over(owner);
        }
    }

    #[cold]
    fn hand_over(&self, owner: u64) {
        let ranked = if self.identity.is_ranked() { RANKED } else { 0 };
        // ORDERING: as in `release_fair`.
        if ranked != 0 && self.word.compare_exchange(RANKED | owner, RANKED, Release, Relaxed).is_ok() {
            return;
        }
        let heir = Cell::new(0);
        // SAFETY:
        // - the key is this lock's own address.
        // - the closures only touch the word, a cell on this stack, and the heir's number: a park token is the address
        //   of a context (`door::park_on`), and contexts are never freed.
        unsafe {
            unpark_filter(
                self.key(),
                |token| {
                    if heir.get() != 0 {
                        return FilterOp::Stop;
                    }
                    heir.set(Self::number(Context::at(token.0)));
                    FilterOp::Unpark
                },
                |result| {
                    let waiters = if result.have_more_threads { WAITERS } else { 0 };
                    // ORDERING: Release pairs with the Acquire of the next owner. An heir synchronises through the
                    // unpark itself. The owner alone changes the word while it is held, but for WAITERS, and that
                    // only goes up outside the queue's lock: a waiter that announces itself now finds that its
                    // announcement does not stand when it validates, or that it does.
                    self.word.store(ranked | heir.get() | waiters, Release);
                    HANDED_OVER
                },
            );
        }
    }

    /// Returns whether a thread is parked, or about to park.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }

    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.word.load(Relaxed) & OWNER != 0
    }

    /// Returns whether this context is the owner. Always `false` if the lock has a rank: see [`owner`](Self::owner).
    #[inline]
    pub(in crate::sync) fn is_unranked_and_owned_by(&self, me: &'static Context) -> bool {
        // ORDERING: Relaxed, as in `owner`.
        self.word.load(Relaxed) & !WAITERS == me.id().get()
    }

    /// Returns the owner, if there is one. It is current only if it is the caller, or a registered waiter seen by the judge.
    #[inline]
    pub(crate) fn owner(&self) -> Option<ContextId> {
        // ORDERING: Relaxed is enough for both readers. A thread reads its own number back only if its own last write
        // put it there. The judge reads it under the graph's mutex: an owner that is registered released everything
        // that it released before it took that mutex to register, so the word is current by coherence.
        ContextId::from_word(self.word.load(Relaxed) & OWNER).filter(|_| I::HAS_OWNERS)
    }

    /// Returns the key of its holds and waits.
    #[inline]
    pub(crate) fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[inline]
    fn facts(&self, type_of: TypeOf) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.identity.origin(), type_of }
    }

    /// Returns where the owner's hold of this lock is listed. Only the owner's own thread calls this.
    #[cold]
    pub(in crate::sync) fn hold_of(&self, owner: &'static Context) -> HoldIndex {
        owner.holds.index_of(self.key()).expect("whoever holds a lock has listed that")
    }

    /// Tells of a hazard if the lock has a rank and the caller, who waits without a limit, holds one of no lower rank.
    #[track_caller]
    pub(in crate::sync) fn check_rank(&self, request: Request) {
        if self.identity.is_ranked() {
            hazard::check_rank(registry::current(), self.facts(request.type_of), request.site);
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slow(&self, request: Request) -> RawLockGuard {
        self.check_rank(request);
        self.lock_ranked(request)
    }

    /// Locks as one whose rank is checked.
    #[track_caller]
    pub(in crate::sync) fn lock_ranked(&self, request: Request) -> RawLockGuard {
        match self.wait(request, Limit::None, Failure::Unwind) {
            Ok(guard) => guard,
            Err(error) => error.deadlock().raise(),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn acquire_slow(&self, request: Request) -> Result<RawLockGuard, Deadlock> {
        self.check_rank(request);
        self.acquire_ranked(request)
    }

    /// Locks as one whose rank is checked, or returns why that can never be.
    pub(in crate::sync) fn acquire_ranked(&self, request: Request) -> Result<RawLockGuard, Deadlock> {
        self.wait(request, Limit::None, Failure::Value).map_err(WaitError::deadlock)
    }

    #[cold]
    #[inline(never)]
    fn resume_slow(&self, request: Request) -> RawLockGuard {
        loop {
            if let Ok(guard) = self.wait(request, Limit::None, Failure::Never) {
                return guard;
            }
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(in crate::sync) fn try_lock_limited(&self, request: Request, limit: Limit) -> Option<RawLockGuard> {
        match self.wait(request, limit, Failure::Unwind) {
            Ok(guard) => Some(guard),
            Err(WaitError::TimedOut) => None,
            // The time-out was longer than the clock can represent.
            Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
        }
    }

    /// Locks, if that is possible before the limit and is no deadlock. Ranks are not checked.
    pub(crate) fn wait(&self, request: Request, limit: Limit, failure: Failure) -> Result<RawLockGuard, WaitError> {
        let me = registry::current();
        // The list grows before the lock is taken: what allocates may want it.
        me.holds.reserve();
        // It may be free: the fast path takes only what it can list inline.
        if self.take(me) {
            return Ok(self.list(me, request));
        }
        let relock = self.owner() == Some(me.id());
        let waiter = LockWait { lock: self, request, hold: Cell::new(HoldIndex::NONE) };
        door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        Ok(RawLockGuard::new(me, waiter.hold.get()))
    }
}

/// One thread's wait for one lock.
struct LockWait<'a, I> {
    lock: &'a RawLock<I>,
    request: Request,
    /// Where the hold was listed, once granted.
    hold: Cell<HoldIndex>,
}

impl<I: Identity> Blocker for LockWait<'_, I> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.lock.facts(self.request.type_of)
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(self.lock.owner().map_or(Provider::External, Provider::Context));
    }

    fn is_chained(&self) -> bool {
        true
    }
}

impl<I: Identity> Park for LockWait<'_, I> {
    fn key(&self) -> usize {
        self.lock.key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        let granted = self.lock.take(me);
        if granted {
            self.accept(me);
        }
        granted
    }

    fn accept(&self, me: &'static Context) {
        self.hold.set(self.lock.list(me, self.request).hold);
    }

    fn has_queue(&self) -> bool {
        self.lock.word.load(Relaxed) & WAITERS != 0
    }

    fn announce(&self) -> bool {
        let word = self.lock.word.load(Relaxed);
        if word & OWNER == 0 {
            return false;
        }
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the owner's look at the queue.
        word & WAITERS != 0 || self.lock.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed).is_ok()
    }

    fn is_announced(&self) -> bool {
        let word = self.lock.word.load(Relaxed);
        word & WAITERS != 0 && word & OWNER != 0 || is_removed(Ingredient::ValidatedAnnouncement)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.lock.word.fetch_and(!WAITERS, Relaxed);
        }
    }
}

// SAFETY:
// - the word admits one owner at a time; an owner gets one guard, and the word names it until that is released.
unsafe impl RawGuard for RawLockGuard {
    type Raw = RawLock;
    type Access = Exclusive;

    #[inline]
    unsafe fn release(self, raw: &RawLock) {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        unsafe { raw.unlock(self) };
    }

    #[inline]
    unsafe fn release_fair(self, raw: &RawLock) {
        // SAFETY:
        // - the raw guard is of this lock (caller).
        unsafe { raw.unlock_fair(self) };
    }
}

// SAFETY:
// - each is given by this raw lock.
unsafe impl Resume for RawLockGuard {
    fn resume(raw: &RawLock, type_of: TypeOf, site: Site) -> Self {
        raw.resume(type_of, site)
    }

    fn try_resume(raw: &RawLock, type_of: TypeOf, site: Site) -> Result<Self, Deadlock> {
        raw.try_resume(type_of, site)
    }

    #[track_caller]
    fn check_rank(raw: &RawLock, type_of: TypeOf, site: Site) {
        raw.check_rank(Request { site, type_of });
    }
}
