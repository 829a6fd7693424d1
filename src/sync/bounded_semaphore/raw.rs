//! Permits that have owners: which context holds how many of them.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::ControlFlow;

use crate::deadlock::Deadlock;
use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, SharedId, Site};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, Visit};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{Ingredient, is_removed, quiet};
use crate::sync::permits::Permits;

/// The highest number of permits, so that the sum of any two numbers of them can be represented.
pub(super) const MAX_PERMITS: usize = (u32::MAX >> 1) as usize;

/// A number of permits that are lent, and who has them.
pub(super) struct RawBoundedSemaphore {
    free: Permits<false>,
    /// How many there are, free or not.
    total: u32,
    /// The key of its [`SharedId`]; 0 until a permit is first taken.
    id: quiet::AtomicUsize,
    origin: Origin,
}

/// Proof that permits are held: the context that holds them, and the hold's place in that context's list.
pub(super) struct RawPermits {
    context: &'static Context,
    hold: HoldIndex,
    permits: u32,
    /// Not `Send`: releasing it changes its context's list.
    not_send: PhantomData<*mut ()>,
}

// SAFETY:
// - shared, it gives a number.
unsafe impl Sync for RawPermits {}

impl RawPermits {
    fn new(context: &'static Context, hold: HoldIndex, permits: u32) -> Self {
        Self { context, hold, permits, not_send: PhantomData }
    }

    #[inline]
    pub(super) fn permits(&self) -> usize {
        self.permits as usize
    }
}

/// How many permits are asked for, and by which line.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub(super) permits: u32,
    pub(super) site: Site,
}

fn bounded_semaphore() -> ResourceType {
    ResourceType { primitive: "BoundedSemaphore", data: "", mode: HoldMode::Permit, id_of: None }
}

impl RawBoundedSemaphore {
    /// Makes a semaphore with this many free permits: from 1 to [`MAX_PERMITS`].
    pub(super) const fn new(origin: Origin, permits: usize) -> Self {
        Self { free: Permits::new(permits), total: permits as u32, id: quiet::AtomicUsize::new(0), origin }
    }

    #[inline]
    pub(super) fn total(&self) -> usize {
        self.total as usize
    }

    #[inline]
    pub(super) fn available(&self) -> usize {
        self.free.available()
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// Takes permits if there are enough, and the hold has a place among those that are inline.
    #[inline]
    pub(super) fn try_take_fast(&self, request: Request) -> Option<RawPermits> {
        let me = registry::current();
        let place = me.holds.find()?;
        let taken = self.free.try_take(request.permits as usize);
        taken.then(|| {
            let hold = place.take_permits(self.facts(), request.site, request.permits);
            RawPermits::new(me, hold, request.permits)
        })
    }

    /// Takes permits if there are enough.
    #[inline]
    pub(super) fn try_take(&self, request: Request) -> Option<RawPermits> {
        let me = registry::current();
        let taken = self.free.try_take(request.permits as usize);
        taken.then(|| RawPermits::new(me, self.list(me, request), request.permits))
    }

    /// Lists permits that were taken.
    fn list(&self, me: &'static Context, request: Request) -> HoldIndex {
        me.holds.take_permits(self.facts(), request.site, request.permits)
    }

    /// Takes permits, or panics if that is a deadlock and the policy says so.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn lock_slow(&self, request: Request) -> RawPermits {
        match self.wait(request, Limit::None, Failure::Unwind) {
            Ok(permits) => permits,
            Err(error) => error.deadlock().raise(),
        }
    }

    /// Takes permits, or returns why that can never be.
    #[cold]
    #[inline(never)]
    pub(super) fn acquire_slow(&self, request: Request) -> Result<RawPermits, Deadlock> {
        self.wait(request, Limit::None, Failure::Value).map_err(WaitError::deadlock)
    }

    /// Takes permits if that is possible before the limit.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(super) fn try_take_limited(&self, request: Request, limit: Limit) -> Option<RawPermits> {
        match self.wait(request, limit, Failure::Unwind) {
            Ok(permits) => Some(permits),
            Err(WaitError::TimedOut) => None,
            // The time-out was longer than the clock can represent.
            Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
        }
    }

    fn wait(&self, request: Request, limit: Limit, failure: Failure) -> Result<RawPermits, WaitError> {
        let me = registry::current();
        // The fast path takes only what it can list inline.
        if let Some(permits) = self.try_take(request) {
            return Ok(permits);
        }
        // What the others hold is too few: there is nothing to wait for.
        let relock = me.holds.permits_of(self.id()) + u64::from(request.permits) > u64::from(self.total);
        let waiter = PermitWait { semaphore: self, me, request, hold: Cell::new(HoldIndex::NONE) };
        door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        Ok(RawPermits::new(me, waiter.hold.get(), request.permits))
    }

    /// Gives permits back.
    ///
    /// # Safety
    ///
    /// - They are of this semaphore.
    #[inline]
    pub(super) unsafe fn give_back(&self, permits: RawPermits) {
        permits.context.holds.give(permits.hold);
        let fits = self.free.add(permits.permits as usize, MAX_PERMITS);
        debug_assert!(fits, "no more permits are given back than there are");
    }

    /// Returns the id under which its permits are listed.
    #[inline]
    fn id(&self) -> SharedId {
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
    fn facts(&self) -> ResourceFacts {
        ResourceFacts { key: self.id().key(), origin: self.origin, type_of: bounded_semaphore }
    }

    #[cfg(all(test, loom))]
    pub(super) fn has_waiters(&self) -> bool {
        self.free.has_waiters()
    }
}

/// One thread's wait for permits.
struct PermitWait<'a> {
    semaphore: &'a RawBoundedSemaphore,
    me: &'static Context,
    request: Request,
    /// Where the permits were listed, once granted.
    hold: Cell<HoldIndex>,
}

impl PermitWait<'_> {
    fn permits(&self) -> usize {
        self.request.permits as usize
    }
}

impl Blocker for PermitWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.semaphore.facts()
    }

    fn need(&self) -> Need {
        Need::AtLeast(self.request.permits)
    }

    /// Each permit is a provider: of those that a waiter or an ended thread holds, its holder; all others are free, or with
    /// threads that run.
    fn providers(&self, graph: &Graph, visit: &mut Visit<'_>) {
        let id = self.semaphore.id();
        let mut held = 0;
        graph.shares(id, |_, permits| {
            held += permits;
            ControlFlow::Continue(())
        });
        let rest = self.semaphore.total.saturating_sub(held);
        let rest = if is_removed(Ingredient::FreePermits) { 0 } else { rest };
        if rest != 0 && visit(Provider::Permits { holder: None, count: rest }).is_break() {
            return;
        }
        graph.shares(id, |holder, count| visit(Provider::Permits { holder: Some(holder.id()), count }));
    }

    /// Permits are handed over to a waiter that has not listed them yet, and no wait counts what is not listed as held. So a
    /// waiter that is named as a provider is named for others.
    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for PermitWait<'_> {
    fn key(&self) -> usize {
        self.semaphore.free.key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        let granted = self.semaphore.free.take_waiting(self.permits());
        if granted {
            self.accept(me);
        }
        granted
    }

    fn accept(&self, me: &'static Context) {
        self.hold.set(self.semaphore.list(me, self.request));
    }

    fn has_queue(&self) -> bool {
        self.semaphore.free.has_queue()
    }

    fn announce(&self) -> bool {
        self.semaphore.free.announce(self.me, self.permits())
    }

    fn is_announced(&self) -> bool {
        self.semaphore.free.is_announced(self.permits())
    }

    fn left_queue(&self, last: bool) {
        self.semaphore.free.left_queue(last);
    }
}
