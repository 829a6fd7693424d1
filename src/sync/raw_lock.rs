//! The lock word: ownership, waiters, and nothing else.

use std::cell::Cell;
use std::panic::Location;
use std::time::{Duration, Instant};

use crate::deadlock::Deadlock;
use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{self, Failure, Limit, Outcome, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceFacts, ResourceType, Site, TypeOf};
use crate::deadlock::waitable::{Blocker, HANDED_OVER, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, unpark_filter, unpark_one};

/// Somebody is parked or about to park. The rest of the word is the owner's number, which is even, or zero.
const WAITERS: u64 = 1;

/// An exclusive lock whose word is its owner's number.
pub(crate) struct RawLock {
    /// ```text
    /// owner | WAITERS |
    ///   0   |    0    | free
    ///   id  |    0    | held by the context `id`; nobody else is parked
    ///   0   |    1    | free; somebody is parked and about to be woken, or was about to park and will not
    ///   id  |    1    | held by the context `id`; others are parked or about to park
    /// ```
    ///
    /// The owner is the word: there is no moment at which the lock is held and the owner unknown. Releasing
    /// subtracts the owner and leaves WAITERS as it is, so that WAITERS is cleared only under the queue's lock, and
    /// only when the queue is empty: *somebody is parked* implies WAITERS at all times.
    word: AtomicU64,
    origin: Origin,
}

/// Proof that a lock is held: by whom, and where that is listed. Unlocking uses these and never "the current thread".
pub(crate) struct RawGuard {
    context: &'static Context,
    hold: HoldIndex,
    not_send: std::marker::PhantomData<*mut ()>,
}

// SAFETY:
// - a shared raw guard gives access to nothing.
unsafe impl Sync for RawGuard {}

impl RawGuard {
    pub(super) fn new(context: &'static Context, hold: HoldIndex) -> Self {
        Self { context, hold, not_send: std::marker::PhantomData }
    }

    pub(super) fn context(&self) -> &'static Context {
        self.context
    }

    pub(super) fn hold(&self) -> HoldIndex {
        self.hold
    }
}

/// Which line asks for the lock of what.
#[derive(Clone, Copy)]
struct Request {
    site: Site,
    type_of: TypeOf,
}

impl Request {
    #[inline]
    #[track_caller]
    fn new(type_of: TypeOf) -> Self {
        Self { site: Location::caller(), type_of }
    }
}

impl RawLock {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self { word: AtomicU64::new(0), origin: Origin::here(name) }
    }

    #[cfg(feature = "serde")]
    pub(crate) fn made_at(site: Site) -> Self {
        Self { word: AtomicU64::new(0), origin: Origin::at(site, None) }
    }

    /// Locks, or panics when that is a deadlock and the policy says so.
    #[inline]
    #[track_caller]
    pub(crate) fn lock(&self, type_of: TypeOf) -> RawGuard {
        let request = Request::new(type_of);
        match self.try_lock_fast(request) {
            Some(guard) => guard,
            None => self.lock_slow(request),
        }
    }

    /// Locks, or says why that can never be.
    #[inline]
    #[track_caller]
    pub(crate) fn acquire(&self, type_of: TypeOf) -> Result<RawGuard, Deadlock> {
        let request = Request::new(type_of);
        match self.try_lock_fast(request) {
            Some(guard) => Ok(guard),
            None => self.acquire_slow(request),
        }
    }

    /// Locks if that is possible before `limit`.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_until(&self, type_of: TypeOf, limit: Instant) -> Option<RawGuard> {
        let request = Request::new(type_of);
        match self.try_lock_fast(request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::Until(limit)),
        }
    }

    /// Locks if that is possible within `timeout`. A time-out past what the clock can tell is none.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock_for(&self, type_of: TypeOf, timeout: Duration) -> Option<RawGuard> {
        let request = Request::new(type_of);
        match self.try_lock_fast(request) {
            Some(guard) => Some(guard),
            None => self.try_lock_limited(request, Limit::after(timeout)),
        }
    }

    /// Takes the lock if it is free and nobody queues.
    #[inline]
    fn try_lock_fast(&self, request: Request) -> Option<RawGuard> {
        let context = registry::current();
        let place = context.holds.find();
        // ORDERING: Acquire pairs with the Release in `unlock` and `unlock_fair`: what was done under the lock is seen.
        self.word.compare_exchange(0, context.id().get(), Acquire, Relaxed).ok()?;
        let hold = context.holds.take(place, &self.facts(request.type_of), request.site);
        Some(RawGuard::new(context, hold))
    }

    /// Takes the lock if it is free, queue or no queue.
    #[inline]
    #[track_caller]
    pub(crate) fn try_lock(&self, type_of: TypeOf) -> Option<RawGuard> {
        let request = Request::new(type_of);
        let context = registry::current();
        self.take(context).then(|| self.list(context, request))
    }

    /// [`try_lock`](Self::try_lock), for what is no line of the user's.
    pub(crate) fn try_lock_at(&self, type_of: TypeOf, site: Site) -> Option<RawGuard> {
        let context = registry::current();
        self.take(context).then(|| self.list(context, Request { site, type_of }))
    }

    /// [`acquire`](Self::acquire), for what is no line of the user's.
    #[cfg(feature = "serde")]
    pub(crate) fn acquire_at(&self, type_of: TypeOf, site: Site) -> Result<RawGuard, Deadlock> {
        let request = Request { site, type_of };
        match self.try_lock_fast(request) {
            Some(guard) => Ok(guard),
            None => self.acquire_slow(request),
        }
    }

    fn take(&self, me: &'static Context) -> bool {
        let mut word = self.word.load(Relaxed);
        while word & !WAITERS == 0 {
            // ORDERING: as in `try_lock_fast`.
            match self.word.compare_exchange_weak(word, word | me.id().get(), Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    fn list(&self, context: &'static Context, request: Request) -> RawGuard {
        let hold = context.holds.take(context.holds.find(), &self.facts(request.type_of), request.site);
        RawGuard::new(context, hold)
    }

    /// Unlocks.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock(&self, guard: RawGuard) {
        guard.context.holds.give(guard.hold);
        // ORDERING: Release pairs with the Acquire of the next owner.
        let order = if is_removed(Ingredient::ReleaseOnUnlock) { Relaxed } else { Release };
        let me = guard.context.id().get();
        // Compared with what is subtracted, and not masked: one instruction fewer, since the difference sets a flag.
        if self.word.fetch_sub(me, order) != me {
            self.wake_one();
        }
    }

    #[cold]
    fn wake_one(&self) {
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

    /// Unlocks and hands the lock over to the one who has been parked for longest, if there is one.
    ///
    /// # Safety
    ///
    /// The guard is of this lock.
    #[inline]
    pub(crate) unsafe fn unlock_fair(&self, guard: RawGuard) {
        guard.context.holds.give(guard.hold);
        // ORDERING: Release pairs with the Acquire of the next owner.
        if self.word.compare_exchange(guard.context.id().get(), 0, Release, Relaxed).is_err() {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&self) {
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
                    heir.set(Context::at(token.0).id().get());
                    FilterOp::Unpark
                },
                |result| {
                    let waiters = if result.have_more_threads { WAITERS } else { 0 };
                    // ORDERING: Release pairs with the Acquire of the next owner. An heir synchronises through the
                    // unpark itself. The owner alone changes the word while it is held, but for WAITERS, and that
                    // only goes up outside the queue's lock: a waiter that announces itself now finds that its
                    // announcement does not stand when it validates, or that it does.
                    self.word.store(heir.get() | waiters, Release);
                    HANDED_OVER
                },
            );
        }
    }

    #[cfg(all(test, loom))]
    pub(crate) fn has_waiters(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }

    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.word.load(Relaxed) & !WAITERS != 0
    }

    /// The owner, if there is one. Current only if it is the caller, or a registered waiter seen by the judge.
    #[inline]
    pub(super) fn owner(&self) -> Option<ContextId> {
        // ORDERING: Relaxed is enough for both readers. A thread reads its own number back only if its own last write
        // put it there. The judge reads it under the graph's mutex: an owner that is registered released everything
        // that it released before it took that mutex to register, so the word is current by coherence.
        ContextId::from_word(self.word.load(Relaxed) & !WAITERS)
    }

    #[inline]
    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    #[inline]
    fn facts(&self, type_of: TypeOf) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.origin, type_of }
    }

    /// Where the owner's hold of this lock is listed. The owner's own thread alone calls this.
    #[cold]
    pub(super) fn hold_of(&self, owner: &'static Context) -> HoldIndex {
        owner.holds.index_of(self.key()).expect("whoever holds a lock has listed that")
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn lock_slow(&self, request: Request) -> RawGuard {
        match self.wait(request, Limit::None, Failure::Unwind) {
            Ok(guard) => guard,
            Err(Ended::Deadlock(deadlock)) => deadlock.raise(),
            Err(Ended::TimedOut) => unreachable!("a wait without a limit does not time out"),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slow(&self, request: Request) -> Result<RawGuard, Deadlock> {
        match self.wait(request, Limit::None, Failure::Value) {
            Ok(guard) => Ok(guard),
            Err(Ended::Deadlock(deadlock)) => Err(deadlock),
            Err(Ended::TimedOut) => unreachable!("a wait without a limit does not time out"),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_lock_limited(&self, request: Request, limit: Limit) -> Option<RawGuard> {
        match self.wait(request, limit, Failure::Unwind) {
            Ok(guard) => Some(guard),
            Err(Ended::TimedOut) => None,
            // The time-out was past what the clock can tell.
            Err(Ended::Deadlock(deadlock)) => deadlock.raise(),
        }
    }

    fn wait(&self, request: Request, limit: Limit, failure: Failure) -> Result<RawGuard, Ended> {
        let me = registry::current();
        let relock = self.owner() == Some(me.id());
        let waiter = LockWait { lock: self, request, hold: Cell::new(0) };
        match door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock }) {
            Outcome::Granted => Ok(RawGuard::new(me, waiter.hold.get())),
            Outcome::TimedOut => Err(Ended::TimedOut),
            Outcome::Deadlock(deadlock) => Err(Ended::Deadlock(deadlock)),
        }
    }
}

enum Ended {
    TimedOut,
    Deadlock(Deadlock),
}

/// One thread's wait for one lock.
struct LockWait<'a> {
    lock: &'a RawLock,
    request: Request,
    /// Where the hold was listed, once granted.
    hold: Cell<HoldIndex>,
}

impl Blocker for LockWait<'_> {
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

impl Park for LockWait<'_> {
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
        if word & !WAITERS == 0 {
            return false;
        }
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the owner's look at the queue.
        word & WAITERS != 0 || self.lock.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed).is_ok()
    }

    fn is_announced(&self) -> bool {
        let word = self.lock.word.load(Relaxed);
        word & WAITERS != 0 && word & !WAITERS != 0 || is_removed(Ingredient::ValidatedAnnouncement)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.lock.word.fetch_and(!WAITERS, Relaxed);
        }
    }
}

// SAFETY:
// - the word admits one owner at a time, and only an owner makes a guard.
unsafe impl lock_api::RawMutex for RawLock {
    const INIT: Self = Self::new(None);

    type Guard = RawGuard;

    #[track_caller]
    fn lock(&self) -> RawGuard {
        self.lock(untyped)
    }

    #[track_caller]
    fn try_lock(&self) -> Option<RawGuard> {
        self.try_lock(untyped)
    }

    #[inline]
    unsafe fn unlock(&self, guard: RawGuard) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { self.unlock(guard) };
    }

    fn is_locked(&self) -> bool {
        self.is_locked()
    }
}

// SAFETY:
// - a lock that is handed over has one owner throughout.
unsafe impl lock_api::RawMutexFair for RawLock {
    #[inline]
    unsafe fn unlock_fair(&self, guard: RawGuard) {
        // SAFETY:
        // - the guard is of this lock (caller).
        unsafe { self.unlock_fair(guard) };
    }
}

/// What lock_api's own constructors and methods would lock: the public types never go that way.
fn untyped() -> ResourceType {
    ResourceType::exclusive::<()>("Lock")
}
