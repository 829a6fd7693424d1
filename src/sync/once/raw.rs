//! The word of what is initialised once: who initialises it, what has become of that, and whether anybody waits.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;

use super::error::{InitError, Poisoned};
use crate::deadlock::Deadlock;
use crate::deadlock::context::{Context, ContextId};
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::holds::HoldIndex;
use crate::deadlock::registry;
use crate::deadlock::resource::{Origin, ResourceFacts, Site, TypeOf};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, unpark_filter};
use crate::sync::identity::Identity;

/// Nobody has begun an initialisation, or whoever did has given up.
const NEW: u64 = 0;
/// Set while a thread is parked or about to park; the numbers of contexts are even.
const WAITERS: u64 = 1;
/// The initialisation is complete, for good. This is the number of no context: those are larger.
const COMPLETE: u64 = 2;
/// Set once an initialisation has failed for good, beside half the address of the line that began it. The numbers of
/// contexts are below.
const POISONED: u64 = 1 << 63;

const _: () = assert!(align_of::<Location<'_>>() >= 4, "half the address of a line is even");

/// What is initialised once.
pub(crate) struct RawOnce<I = Origin> {
    /// ```text
    ///       state      | WAITERS |
    ///        NEW       |   0, 1  | nobody initialises it; with WAITERS, somebody waits until another one has done so
    ///        id        |   0, 1  | the context `id` initialises it
    ///     COMPLETE     |    0    | it is initialised
    ///  POISONED | line |   0, 1  | the initialisation that began at this line has failed
    /// ```
    ///
    /// The initialiser is the word, as a lock's owner is. Each initialisation ends with a swap, which takes WAITERS
    /// away, and wakes all waiters if it was set.
    word: AtomicU64,
    identity: I,
}

/// What has become of an initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nobody has begun it, or whoever did has given up.
    New,
    /// It has failed for good.
    Poisoned,
    /// It runs.
    InProgress,
    /// It is complete.
    Done,
}

/// A word, taken apart.
enum State {
    New,
    Initialising(ContextId),
    Complete,
    Poisoned(Site),
}

impl State {
    fn of(word: u64) -> Self {
        match word & !WAITERS {
            COMPLETE => Self::Complete,
            poisoned if poisoned & POISONED != 0 => {
                let address = (poisoned & !POISONED) << 1;
                // SAFETY:
                // - `poisoned_at` made the word of a `&'static Location`.
                Self::Poisoned(unsafe { &*std::ptr::with_exposed_provenance(address as usize) })
            }
            number => ContextId::from_word(number).map_or(Self::New, Self::Initialising),
        }
    }
}

/// Returns the word after the initialisation that began at `site` has failed for good.
fn poisoned_at(site: Site) -> u64 {
    POISONED | std::ptr::from_ref(site).expose_provenance() as u64 >> 1
}

/// What a caller wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To initialise; if that fails, the next one may try.
    Initialise,
    /// To initialise, unless that has failed before; if it fails, it has failed for good.
    InitialiseOnce,
    /// To initialise even if that has failed for good; if it fails, it has failed for good.
    InitialiseAnyway,
    /// To wait until somebody has initialised it, or has failed for good.
    Await,
    /// To wait until somebody has initialised it.
    AwaitAnyway,
}

impl Intent {
    fn initialises(self) -> bool {
        matches!(self, Self::Initialise | Self::InitialiseOnce | Self::InitialiseAnyway)
    }

    /// Returns whether it accepts that an initialisation has failed for good.
    fn ends_with_poison(self) -> bool {
        matches!(self, Self::InitialiseOnce | Self::Await)
    }

    /// Returns whether the initialisation that it runs fails for good, if it fails.
    fn poisons(self) -> bool {
        self != Self::Initialise
    }
}

/// Who wants what: the line, the type, and the intent.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) site: Site,
    pub(crate) type_of: TypeOf,
    pub(crate) intent: Intent,
}

/// What a request has led to.
pub(crate) enum Entered<'o, I: Identity = Origin> {
    Complete,
    /// The caller is to initialise it now.
    Begun(Initialisation<'o, I>),
    /// The initialisation that began at this line has failed for good.
    Poisoned(Site),
}

/// An initialisation under way: proof that its context alone initialises. It fails if it is dropped before it is complete.
pub(crate) struct Initialisation<'o, I: Identity = Origin> {
    once: &'o RawOnce<I>,
    context: &'static Context,
    hold: HoldIndex,
    request: Request,
    was_poisoned: bool,
    not_send: PhantomData<*mut ()>,
}

impl<I: Identity> Initialisation<'_, I> {
    /// Returns whether an initialisation had failed for good before.
    pub(crate) fn was_poisoned(&self) -> bool {
        self.was_poisoned
    }

    /// Publishes what was made, and wakes all waiters.
    pub(crate) fn complete(self) {
        self.end(COMPLETE);
        std::mem::forget(self);
    }

    fn end(&self, word: u64) {
        // A model that has failed already is not to be moved any further.
        if cfg!(all(test, loom)) && std::thread::panicking() {
            return;
        }
        self.context.holds.give(self.hold);
        let order = if is_removed(Ingredient::ReleaseOnCompletion) { Relaxed } else { Release };
        // ORDERING: Release pairs with the Acquire of `is_complete` and `advance`: whoever sees how it ended sees what
        // it made, or left behind.
        if self.once.word.swap(word, order) & WAITERS != 0 {
            self.once.wake_all();
        }
    }
}

impl<I: Identity> Drop for Initialisation<'_, I> {
    fn drop(&mut self) {
        self.end(if self.request.intent.poisons() { poisoned_at(self.request.site) } else { NEW });
    }
}

impl RawOnce {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self { word: AtomicU64::new(NEW), identity: Origin::here(name) }
    }

    /// Makes one that is complete.
    #[track_caller]
    pub(crate) const fn complete(name: Option<&'static str>) -> Self {
        Self { word: AtomicU64::new(COMPLETE), identity: Origin::here(name) }
    }

    pub(crate) fn name(&self) -> Option<&'static str> {
        self.identity.name()
    }
}

impl<I: Identity> RawOnce<I> {
    /// Makes one that nobody has begun to initialise.
    pub(crate) const fn of(identity: I) -> Self {
        Self { word: AtomicU64::new(NEW), identity }
    }

    /// Makes one that is complete.
    pub(crate) const fn complete_of(identity: I) -> Self {
        Self { word: AtomicU64::new(COMPLETE), identity }
    }

    #[inline]
    pub(crate) fn is_complete(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `Initialisation::end`: what was made is seen.
        self.word.load(Acquire) == COMPLETE
    }

    /// Makes it new. The caller alone knows of it.
    pub(crate) fn reset(&mut self) {
        self.word.store(NEW, Relaxed);
    }

    /// Returns what has become of it.
    pub(crate) fn progress(&self) -> Progress {
        // ORDERING: as in `is_complete`.
        match State::of(self.word.load(Acquire)) {
            State::New => Progress::New,
            State::Initialising(_) => Progress::InProgress,
            State::Complete => Progress::Done,
            State::Poisoned(_) => Progress::Poisoned,
        }
    }

    /// Returns what `Debug` shows in the place of a value.
    pub(crate) fn placeholder(&self) -> &'static str {
        match State::of(self.word.load(Relaxed)) {
            State::New => "<uninit>",
            State::Initialising(_) => "<initialising>",
            State::Complete => "<complete>",
            State::Poisoned(_) => "<poisoned>",
        }
    }

    /// Waits until the request has led to something. A deadlock, or a poisoned cell, is a panic.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) fn enter(&self, request: Request) -> Entered<'_, I> {
        match self.wait(request, Limit::None, Failure::Unwind) {
            Ok(Entered::Poisoned(failed_at)) => self.poisoned(request, failed_at).raise(),
            Ok(entered) => entered,
            Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
            Err(WaitError::TimedOut) => unreachable!("a wait without a limit does not time out"),
        }
    }

    /// Waits until the request has led to something. A deadlock, or a poisoned cell, is an error.
    #[cold]
    #[inline(never)]
    pub(crate) fn try_enter(&self, request: Request) -> Result<Entered<'_, I>, InitError> {
        match self.wait(request, Limit::None, Failure::Value) {
            Ok(Entered::Poisoned(failed_at)) => Err(self.poisoned(request, failed_at).into()),
            Ok(entered) => Ok(entered),
            Err(WaitError::Deadlock(deadlock)) => Err(deadlock.into()),
            Err(WaitError::TimedOut) => unreachable!("a wait without a limit does not time out"),
        }
    }

    /// Waits until the request has led to something. A deadlock is an error.
    ///
    /// # Panics
    ///
    /// If the intent ends with poison.
    #[cold]
    #[inline(never)]
    pub(crate) fn acquire(&self, request: Request) -> Result<Entered<'_, I>, Deadlock> {
        match self.try_enter(request) {
            Ok(entered) => Ok(entered),
            Err(InitError::Deadlock(deadlock)) => Err(deadlock),
            Err(InitError::Poisoned(_)) => unreachable!("the caller goes on in spite of it"),
        }
    }

    /// Waits until the request has led to something, at most until the limit. Returns `None` if that came first.
    #[cold]
    #[inline(never)]
    #[track_caller]
    pub(crate) fn enter_within(&self, request: Request, limit: Limit) -> Option<Entered<'_, I>> {
        match self.wait(request, limit, Failure::Unwind) {
            Ok(Entered::Poisoned(failed_at)) => self.poisoned(request, failed_at).raise(),
            Ok(entered) => Some(entered),
            Err(WaitError::TimedOut) => None,
            // The limit was later than the clock can represent.
            Err(WaitError::Deadlock(deadlock)) => deadlock.raise(),
        }
    }

    /// Waits until the request has led to something, if that is before the limit and is no deadlock.
    pub(crate) fn wait(&self, request: Request, limit: Limit, failure: Failure) -> Result<Entered<'_, I>, WaitError> {
        let me = registry::current();
        if let Some(entered) = self.advance(me, request) {
            return Ok(entered);
        }
        let relock = self.initialiser() == Some(me.id());
        let waiter = OnceWait { once: self, request, entered: Cell::new(None) };
        door::wait(me, &waiter, Terms { site: request.site, limit, failure, relock })?;
        Ok(waiter.entered.take().expect("the door grants the wait, or fails"))
    }

    /// Does what the request is about, if that needs no wait.
    fn advance(&self, me: &'static Context, request: Request) -> Option<Entered<'_, I>> {
        let intent = request.intent;
        // ORDERING: Acquire, here and below, pairs with the Release in `Initialisation::end`.
        let mut word = self.word.load(Acquire);
        loop {
            let was_poisoned = match State::of(word) {
                State::Complete => return Some(Entered::Complete),
                State::Initialising(_) => return None,
                State::Poisoned(failed_at) if intent.ends_with_poison() => return Some(Entered::Poisoned(failed_at)),
                State::Poisoned(_) => true,
                State::New => false,
            };
            if !intent.initialises() {
                return None;
            }
            match self.word.compare_exchange_weak(word, word & WAITERS | me.id().get(), Acquire, Acquire) {
                Ok(_) => return Some(Entered::Begun(self.begun(me, request, was_poisoned))),
                Err(now) => word = now,
            }
        }
    }

    /// Lists the initialisation that `me` has just begun.
    fn begun(&self, me: &'static Context, request: Request, was_poisoned: bool) -> Initialisation<'_, I> {
        let hold = me.holds.take(|| self.facts(request.type_of), request.site);
        Initialisation { once: self, context: me, hold, request, was_poisoned, not_send: PhantomData }
    }

    /// Returns the context that initialises it, if one does. It is current only if it is the caller, or a registered
    /// waiter seen by the judge.
    fn initialiser(&self) -> Option<ContextId> {
        // ORDERING: Relaxed is enough, as for a lock's owner (`RawLock::owner`): a context that is registered has begun
        // and ended all of its initialisations before it took the graph's mutex to register.
        match State::of(self.word.load(Relaxed)) {
            State::Initialising(context) => Some(context),
            State::New | State::Complete | State::Poisoned(_) => None,
        }
    }

    #[cold]
    fn wake_all(&self) {
        // SAFETY:
        // - the key is this cell's own address.
        // - the closures neither unwind nor park nor unpark.
        unsafe {
            let mut is_first = true;
            let next = |_| match std::mem::take(&mut is_first) || !is_removed(Ingredient::WakeAll) {
                true => FilterOp::Unpark,
                false => FilterOp::Stop,
            };
            unpark_filter(self.key(), next, |_| RETRY);
        }
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn facts(&self, type_of: TypeOf) -> ResourceFacts {
        ResourceFacts { key: self.key(), origin: self.identity.origin(), type_of }
    }

    fn poisoned(&self, request: Request, failed_at: Site) -> Poisoned {
        Poisoned::new((request.type_of)().primitive, self.identity.origin(), failed_at)
    }
}

#[cfg(all(test, loom))]
impl RawOnce {
    pub(crate) fn has_waiters(&self) -> bool {
        self.word.load(Relaxed) & WAITERS != 0
    }
}

/// One thread's wait for one initialisation.
struct OnceWait<'o, I: Identity> {
    once: &'o RawOnce<I>,
    request: Request,
    /// What the request has led to, once granted.
    entered: Cell<Option<Entered<'o, I>>>,
}

impl<I: Identity> OnceWait<'_, I> {
    /// Returns whether there is something to wait for: an initialisation that runs, or one that another is to begin.
    fn waits_at(&self, word: u64) -> bool {
        let intent = self.request.intent;
        match State::of(word) {
            State::Initialising(_) => true,
            State::New => !intent.initialises(),
            State::Poisoned(_) => !intent.initialises() && !intent.ends_with_poison(),
            State::Complete => false,
        }
    }
}

impl<I: Identity> Blocker for OnceWait<'_, I> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.once.facts(self.request.type_of)
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        let is_known = self.request.intent.initialises() || !is_removed(Ingredient::AwaitedInitialiser);
        let initialiser = self.once.initialiser().filter(|_| is_known);
        _ = visit(initialiser.map_or(Provider::External, Provider::Context));
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }

    fn is_chained(&self) -> bool {
        true
    }
}

impl<I: Identity> Park for OnceWait<'_, I> {
    fn key(&self) -> usize {
        self.once.key()
    }

    fn try_grant(&self, me: &'static Context) -> bool {
        let entered = self.once.advance(me, self.request);
        let is_granted = entered.is_some();
        self.entered.set(entered);
        is_granted
    }

    fn has_queue(&self) -> bool {
        self.once.word.load(Relaxed) & WAITERS != 0
    }

    fn announce(&self) -> bool {
        let word = self.once.word.load(Relaxed);
        // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the initialiser's look at the queue.
        self.waits_at(word)
            && (word & WAITERS != 0 || self.once.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed).is_ok())
    }

    fn is_announced(&self) -> bool {
        let word = self.once.word.load(Relaxed);
        word & WAITERS != 0 && self.waits_at(word) || is_removed(Ingredient::ValidatedAnnouncement)
    }

    fn left_queue(&self, last: bool) {
        if last {
            self.once.word.fetch_and(!WAITERS, Relaxed);
        }
    }
}
