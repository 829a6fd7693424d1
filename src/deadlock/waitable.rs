//! What a primitive implements to be waited for. It joins the graph by answering one question: who can end this wait
//! ([`Blocker`])? If its waiters sleep at the door, it also says how ([`Park`]).

use super::detector;
use super::graph::context::Context;
use crate::primitive::UnparkToken;

pub(crate) use super::graph::blocker::{Blocker, Need, Provider, Visit};

/// The unpark token of a plain wake-up: try again.
pub(crate) const RETRY: UnparkToken = UnparkToken(0);
/// The unpark token of a hand-over: the resource is yours already.
pub(crate) const HANDED_OVER: UnparkToken = UnparkToken(1);

/// Re-checks the waits that park on this key, after a change of something that could have ended them.
pub(crate) fn recheck_waits_at(key: usize) {
    detector::with(|graph| graph.recheck_waits_at(key));
}

/// How a thread sleeps at the [door](super::door::wait) until its wait is over.
pub(crate) trait Park: Blocker {
    /// Returns the address to park on.
    fn key(&self) -> usize;

    /// Takes the resource for `me` and lists the hold, if it can. Returns whether it did.
    fn try_grant(&self, me: &'static Context) -> bool;

    /// Lists the hold of a resource that was handed over to `me`. A resource that is never handed over lists nothing.
    fn accept(&self, me: &'static Context) {
        let _ = me;
    }

    /// Returns whether others are queueing, so that spinning would be barging; or whether it does not pay for another
    /// reason.
    fn has_queue(&self) -> bool {
        false
    }

    /// Announces a waiter that is about to park. `false`: the resource changed, try again.
    fn announce(&self) -> bool;

    /// Returns whether the announcement stands, so that the thread that frees the resource will wake the queue. Called
    /// under the queue's lock.
    fn is_announced(&self) -> bool;

    /// Returns whether the wake-up that the [announcement](Self::announce) asks for may be missed. Such a waiter looks
    /// again by itself, after a pause that doubles up to 20 ms.
    fn may_miss_wake_up(&self) -> bool {
        false
    }

    /// Takes the announcement back, where it does not stand for good, after a parked waiter left the queue at its
    /// time-out; `last` if nobody else is queueing. Called under the queue's lock.
    fn left_queue(&self, last: bool) {
        let _ = last;
    }
}
