//! What a timer waits for: its time, or to be cancelled.

use std::any::type_name;
use std::sync::Arc;

use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms};
use crate::deadlock::graph::Graph;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, TypeOf};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{AtomicU64, FilterOp, Ingredient, is_removed, new_atomic, unpark_filter};

/// What has become of a timer.
///
/// ```text
/// state      may become        by whom
/// WAITING    CANCELLED, FIRED  a caller of `cancel`; the timer's thread, when the time has come
/// CANCELLED  –
/// FIRED      –
///
/// bit        set by                              read by
/// WAITERS    the timer's thread, about to park   whoever cancels, which wakes it
/// ```
///
/// The word publishes nothing: what a timer's function did is seen by whoever joins its thread.
pub(super) struct Fuse {
    word: AtomicU64,
    origin: Origin,
    type_of: TypeOf,
}

const WAITERS: u64 = 1 << 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum State {
    Waiting = 0,
    Cancelled = 1,
    Fired = 2,
}

impl State {
    fn of(word: u64) -> Self {
        match word & !WAITERS {
            0 => Self::Waiting,
            1 => Self::Cancelled,
            _ => Self::Fired,
        }
    }
}

impl Fuse {
    /// Returns the fuse of a timer whose function is of type `F`.
    pub(super) fn new<F>(origin: Origin) -> Arc<Self> {
        let type_of =
            || ResourceType { primitive: "Timer", data: type_name::<F>(), mode: HoldMode::Exclusive, id_of: None };
        Arc::new(Self { word: new_atomic(State::Waiting as u64), origin, type_of })
    }

    pub(super) fn state(&self) -> State {
        State::of(self.word.load(Relaxed))
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// Waits until the timer's time has come. Returns `false` if it was cancelled before.
    pub(super) fn burn(&self, until: Limit) -> bool {
        let terms = Terms { site: self.origin.made_at(), limit: until, failure: Failure::Never, relock: false };
        door::wait(registry::current(), &FuseWait(self), terms).is_err() && self.settle(State::Fired)
    }

    /// Cancels the timer. Returns whether it is cancelled.
    pub(super) fn cancel(&self) -> bool {
        self.settle(State::Cancelled) || self.state() == State::Cancelled
    }

    /// Moves on to `state`, unless it is settled already.
    fn settle(&self, state: State) -> bool {
        let mut word = self.word.load(Relaxed);
        while State::of(word) == State::Waiting {
            // ORDERING: Relaxed: see the type.
            match self.word.compare_exchange_weak(word, word | state as u64, Relaxed, Relaxed) {
                Ok(_) if word & WAITERS != 0 => {
                    self.wake();
                    return true;
                }
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    fn wake(&self) {
        // SAFETY:
        // - the key is this fuse's own address, and the caller has a reference to it.
        // - the closures neither unwind nor park nor unpark.
        unsafe { unpark_filter(self.key(), |_| FilterOp::Unpark, |_| RETRY) };
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// The wait of a timer's thread.
struct FuseWait<'f>(&'f Fuse);

impl Blocker for FuseWait<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        ResourceFacts { key: self.0.key(), origin: self.0.origin, type_of: self.0.type_of }
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(Provider::External);
    }

    fn is_sleep(&self) -> bool {
        true
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }
}

impl Park for FuseWait<'_> {
    fn key(&self) -> usize {
        self.0.key()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.0.state() == State::Cancelled
    }

    /// Spinning does not pay: a timer is made to wait.
    fn has_queue(&self) -> bool {
        true
    }

    fn announce(&self) -> bool {
        let mut word = self.0.word.load(Relaxed);
        while word == State::Waiting as u64 {
            // ORDERING: Relaxed: it publishes nothing; the queue's lock orders it with the look at the queue in `wake`.
            match self.0.word.compare_exchange_weak(word, word | WAITERS, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        State::of(word) == State::Waiting
    }

    fn is_announced(&self) -> bool {
        self.0.state() == State::Waiting || is_removed(Ingredient::ValidatedAnnouncement)
    }
}
