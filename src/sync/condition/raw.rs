//! A condition without its lock: who waits, and who is notified.

use crate::deadlock::context::Context;
use crate::deadlock::door::{self, Failure, Limit, Terms, WaitError};
use crate::deadlock::graph::Graph;
use crate::deadlock::resource::{HoldMode, Origin, ResourceFacts, ResourceType, Site, TypeOf};
use crate::deadlock::waitable::{Blocker, Need, Park, Provider, RETRY, Visit};
use crate::primitive::Ordering::Relaxed;
use crate::primitive::{AtomicU64, Ingredient, Mutex, is_removed, unpark_one};

use super::queue::{Queue, Waiter};

/// How many waiters are taken out of the queue at once, before they are woken with its mutex free.
const AT_ONCE: usize = 16;

/// The waiters of a condition, and how they are notified. It knows no lock.
pub(crate) struct RawCondition {
    queue: Mutex<Queue>,
    /// The length of the queue, written with its mutex held.
    waiting: AtomicU64,
    origin: Origin,
}

impl RawCondition {
    #[track_caller]
    pub(crate) const fn new(name: Option<&'static str>) -> Self {
        Self::of(Origin::here(name))
    }

    pub(crate) const fn of(origin: Origin) -> Self {
        Self { queue: Mutex::new(Queue::new()), waiting: AtomicU64::new(0), origin }
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.origin.name()
    }

    /// Returns how many threads wait at this moment.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Adds a waiter to the queue, from where a notification takes it out, whether it sleeps already or not.
    ///
    /// # Safety
    ///
    /// - The waiter does not move, nor end, before the returned value is dropped, which happens.
    /// - It was not queued before.
    pub(crate) unsafe fn enqueue<'w>(&'w self, waiter: &'w Waiter) -> Queued<'w> {
        // SAFETY:
        // - as for this function.
        unsafe { self.enqueue_if(waiter, |_| true) }.expect("it is allowed")
    }

    /// [`enqueue`](Self::enqueue), unless others wait with another mutex.
    ///
    /// # Safety
    ///
    /// As for [`enqueue`](Self::enqueue).
    pub(crate) unsafe fn enqueue_beside<'w>(&'w self, waiter: &'w Waiter) -> Option<Queued<'w>> {
        // SAFETY:
        // - as for this function.
        unsafe { self.enqueue_if(waiter, |queue| queue.has_same_mutex(waiter)) }
    }

    unsafe fn enqueue_if<'w>(&'w self, waiter: &'w Waiter, may: impl FnOnce(&Queue) -> bool) -> Option<Queued<'w>> {
        let mut queue = self.queue.lock();
        if !may(&queue) {
            return None;
        }
        // SAFETY:
        // - `Queued` takes it out when it is dropped (caller).
        // - a new waiter is not queued (caller).
        unsafe { queue.push(waiter) };
        // ORDERING: Relaxed: whoever has to see it takes the waiter's lock after the waiter has released that.
        self.waiting.store(queue.len(), Relaxed);
        Some(Queued { condition: self, waiter, type_of: describe })
    }

    /// Wakes up to `limit` waiters, those first that have waited for longest, and none that begins to wait meanwhile.
    /// Returns how many.
    pub(crate) fn notify(&self, limit: usize) -> usize {
        // ORDERING: Relaxed is enough. A waiter has counted itself before it released its lock. A notifier that took that
        // lock since then, whether it still holds it or not, reads that number or a later one: none at all only if the
        // waiter has left the queue.
        if self.waiting.load(Relaxed) == 0 {
            return 0;
        }
        let (mut woken, mut end) = (0, None);
        loop {
            let (mut batch, mut taken) = ([None; AT_ONCE], 0);
            let mut queue = self.queue.lock();
            let end = *end.get_or_insert(queue.begun());
            while taken < AT_ONCE.min(limit - woken)
                && let Some(context) = queue.notify_first(end)
            {
                batch[taken] = Some(context);
                taken += 1;
            }
            self.waiting.store(queue.len(), Relaxed);
            drop(queue);
            batch.into_iter().flatten().for_each(wake);
            woken += taken;
            if taken < AT_ONCE {
                return woken;
            }
        }
    }

    fn facts(&self, type_of: TypeOf) -> ResourceFacts {
        ResourceFacts { key: std::ptr::from_ref(self).addr(), origin: self.origin, type_of }
    }
}

fn describe() -> ResourceType {
    // It protects nothing, and nobody holds it.
    ResourceType { primitive: "Condition", data: "", mode: HoldMode::Exclusive, id_of: None }
}

/// Wakes the thread of a context that was notified, if it sleeps.
fn wake(context: &'static Context) {
    // SAFETY:
    // - the key is the address of a context, which are ours and never freed. If that context waits for something else by
    //   now it is woken once for nothing: no other context parks here.
    // - the callback does nothing.
    unsafe { unpark_one(context.address(), |_| RETRY) };
}

/// A waiter in the queue; leaves it when dropped.
pub(crate) struct Queued<'w> {
    condition: &'w RawCondition,
    waiter: &'w Waiter,
    type_of: TypeOf,
}

impl Queued<'_> {
    /// Lets reports name the type that `type_of` says: one that wraps a condition.
    pub(crate) fn named_as(mut self, type_of: TypeOf) -> Self {
        self.type_of = type_of;
        self
    }

    /// Waits for a notification, until `limit`. Returns whether there was one.
    pub(crate) fn wait(self, site: Site, limit: Limit) -> bool {
        let terms = Terms { site, limit, failure: Failure::Never, relock: false };
        loop {
            match door::wait(self.waiter.context(), &self, terms) {
                Ok(()) => return true,
                Err(WaitError::TimedOut) => return !self.leave(),
                // It cannot fail.
                Err(WaitError::Deadlock(_)) => {}
            }
        }
    }

    /// Leaves the queue. Returns `false` if a notification came first.
    fn leave(&self) -> bool {
        let mut queue = self.condition.queue.lock();
        let left = queue.remove(self.waiter);
        self.condition.waiting.store(queue.len(), Relaxed);
        left
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        // A model that has failed already is not to be moved any further.
        let has_failed = cfg!(all(test, loom)) && std::thread::panicking();
        if !has_failed && !self.waiter.is_notified() {
            self.leave();
        }
    }
}

impl Blocker for Queued<'_> {
    fn facts(&self, _: usize) -> ResourceFacts {
        self.condition.facts(self.type_of)
    }

    fn need(&self) -> Need {
        Need::One
    }

    fn providers(&self, _: &Graph, visit: &mut Visit<'_>) {
        _ = visit(Provider::External);
    }

    fn signal(&self) -> Option<&'static str> {
        Some("a notification")
    }

    fn may_be_handed_over(&self) -> bool {
        false
    }

    fn is_chained(&self) -> bool {
        true
    }
}

/// A waiter parks under the address of its own context, so that a notification wakes the waiters that it has taken out
/// of the queue and no others.
impl Park for Queued<'_> {
    fn key(&self) -> usize {
        self.waiter.context().address()
    }

    fn try_grant(&self, _: &'static Context) -> bool {
        self.waiter.is_notified()
    }

    /// Returns `true`: a notification takes longer than a spin, as a rule.
    fn has_queue(&self) -> bool {
        true
    }

    fn announce(&self) -> bool {
        self.waiter.may_sleep()
    }

    fn is_announced(&self) -> bool {
        self.waiter.may_sleep() || is_removed(Ingredient::ValidatedNotice)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::deadlock::registry;

    #[test]
    fn whoever_begins_to_wait_after_a_notification_is_not_woken_by_it() {
        let condition = RawCondition::new(None);
        let waiters: [_; 2] = std::array::from_fn(|_| Waiter::new(registry::current()));
        // SAFETY:
        // - each is dropped at the end, before the waiters, which stay where they are.
        // - the waiters are new.
        let _queued = waiters.each_ref().map(|waiter| unsafe { condition.enqueue(waiter) });
        // As many had begun when the notification did.
        let mut queue = condition.queue.lock();
        assert_eq!([1; 2].map(|end| queue.notify_first(end).is_some()), [true, false]);
        drop(queue);
        assert_eq!(waiters.each_ref().map(Waiter::is_notified), [true, false]);
    }

    #[test]
    fn waiters_leave_from_any_place_and_the_others_keep_their_order() {
        let condition = RawCondition::new(None);
        let waiters: [_; 5] = std::array::from_fn(|_| Waiter::new(registry::current()));
        // SAFETY:
        // - each is dropped below, before the waiters, which stay where they are.
        // - the waiters are new.
        let mut queued = waiters.each_ref().map(|waiter| Some(unsafe { condition.enqueue(waiter) }));
        let notified = || waiters.each_ref().map(Waiter::is_notified);
        assert_eq!(condition.waiting(), 5);
        // The one in the middle, as a panic takes it out.
        queued[2] = None;
        assert_eq!((condition.waiting(), condition.notify(1)), (4, 1));
        assert_eq!(notified(), [true, false, false, false, false]);
        // The last, then the first.
        queued[4] = None;
        queued[1] = None;
        assert_eq!((condition.waiting(), condition.notify(0), condition.notify(7)), (1, 0, 1));
        assert_eq!(notified(), [true, false, false, true, false]);
        assert_eq!((condition.waiting(), condition.notify(7)), (0, 0));
        // Those that were notified have left already.
        assert_eq!(
            queued.each_ref().map(|queued| queued.as_ref().is_none_or(Queued::leave)),
            [false, true, true, false, true]
        );
    }
}
