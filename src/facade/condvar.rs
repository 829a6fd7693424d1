//! The raw condition variable.

use std::panic::Location;
use std::ptr;
use std::time::{Duration, Instant};

use super::{Ownership, RawMutex, is_inside_lock_api};
use crate::deadlock::context::Context;
use crate::deadlock::door::Limit;
use crate::deadlock::registry;
use crate::deadlock::resource::{HoldMode, Origin, ResourceType, Site, UNKNOWN};
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::quiet::AtomicPtr;
use crate::sync::{RawCondition, Waiter};

/// A condition variable of one word: a pointer to a [`Condition`](crate::Condition)'s queue, which is made by the first wait.
///
/// Waits for a [`RawMutex`] of any kind. All that wait at the same time do so with the same one.
pub struct RawCondvar {
    /// Null until somebody waits. Freed with this.
    queue: AtomicPtr<RawCondition>,
}

impl RawCondvar {
    /// Makes one that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self { queue: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Wakes up to `limit` waiters, those first that have waited for longest. Returns how many.
    #[inline]
    pub fn notify(&self, limit: usize) -> usize {
        // ORDERING: Acquire pairs with the Release in `make_queue`. A waiter that the caller has to see had made the queue before
        // it released the mutex.
        //
        // SAFETY:
        // - null, or a queue that is freed with this.
        unsafe { self.queue.load(Acquire).as_ref() }.map_or(0, |queue| queue.notify(limit))
    }

    /// Unlocks the mutex, waits for a notification, and locks again. Returns whether there was a notification, or `None`, without
    /// having waited, if others wait with another mutex.
    ///
    /// # Safety
    ///
    /// The caller has locked the mutex, and nobody uses what it protects meanwhile on behalf of that acquisition.
    #[track_caller]
    pub unsafe fn wait<O: Ownership, const FAIR: bool>(&self, mutex: &RawMutex<O, FAIR>) -> Option<bool> {
        // SAFETY:
        // - as for this function.
        unsafe { self.wait_within(mutex, Limit::None) }
    }

    /// [`wait`](Self::wait), until `limit` at most.
    ///
    /// # Safety
    ///
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub unsafe fn wait_until<O: Ownership, const FAIR: bool>(
        &self,
        mutex: &RawMutex<O, FAIR>,
        limit: Instant,
    ) -> Option<bool> {
        // SAFETY:
        // - as for this function.
        unsafe { self.wait_within(mutex, Limit::Until(limit)) }
    }

    /// [`wait`](Self::wait), for `timeout` at most; one that is longer than the clock can represent is none.
    ///
    /// # Safety
    ///
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub unsafe fn wait_for<O: Ownership, const FAIR: bool>(
        &self,
        mutex: &RawMutex<O, FAIR>,
        timeout: Duration,
    ) -> Option<bool> {
        // SAFETY:
        // - as for this function.
        unsafe { self.wait_within(mutex, Limit::after(timeout)) }
    }

    /// # Safety
    ///
    /// As for [`wait`](Self::wait).
    #[track_caller]
    unsafe fn wait_within<O: Ownership, const FAIR: bool>(
        &self,
        mutex: &RawMutex<O, FAIR>,
        limit: Limit,
    ) -> Option<bool> {
        let site = Location::caller();
        let me = registry::current();
        let relock_site = if is_inside_lock_api(site.file()) { site_of_hold(me, mutex.key()) } else { None };
        let waiter = Waiter::with_mutex(me, mutex.key());
        // SAFETY:
        // - it is dropped before the waiter, which stays where it is.
        // - a new waiter is not queued.
        let queued = unsafe { self.queue().enqueue_beside(&waiter) }?.named_as(describe);
        let relock = Relock { mutex, site: relock_site.unwrap_or(site) };
        // SAFETY:
        // - it is locked (caller), and locked again when `relock` is dropped.
        unsafe { mutex.unlock() };
        let notified = queued.wait(site, limit);
        drop(relock);
        Some(notified)
    }

    fn queue(&self) -> &RawCondition {
        // ORDERING: as in `notify`.
        //
        // SAFETY:
        // - null, or a queue that is freed with this.
        unsafe { self.queue.load(Acquire).as_ref() }.unwrap_or_else(|| self.make_queue())
    }

    #[cold]
    fn make_queue(&self) -> &RawCondition {
        let new = Box::into_raw(Box::new(RawCondition::of(Origin::at(UNKNOWN, None))));
        // ORDERING: Release publishes the queue; Acquire pairs with that of another thread that was faster.
        let made = match self.queue.compare_exchange(ptr::null_mut(), new, Release, Acquire) {
            Ok(_) => new,
            Err(other) => {
                // SAFETY:
                // - it came from a box a moment ago, and nobody else knows of it.
                drop(unsafe { Box::from_raw(new) });
                other
            }
        };
        // SAFETY:
        // - a queue that is freed with this.
        unsafe { &*made }
    }
}

impl Drop for RawCondvar {
    #[inline]
    fn drop(&mut self) {
        let queue = self.queue.load(Relaxed);
        if !queue.is_null() {
            // SAFETY:
            // - it came from a box in `make_queue`. Nobody waits: a waiter borrows this.
            drop(unsafe { Box::from_raw(queue) });
        }
    }
}

impl Default for RawCondvar {
    fn default() -> Self {
        Self::new()
    }
}

/// Locks a mutex again when it is dropped.
struct Relock<'m, O: Ownership, const FAIR: bool> {
    mutex: &'m RawMutex<O, FAIR>,
    site: Site,
}

impl<O: Ownership, const FAIR: bool> Drop for Relock<'_, O, FAIR> {
    fn drop(&mut self) {
        self.mutex.relock(self.site);
    }
}

/// Returns the line where the context has acquired what has this key. It says more than one inside `lock_api`, whose `Condvar` does not
/// pass on who calls it.
fn site_of_hold(me: &Context, key: usize) -> Option<Site> {
    let mut site = None;
    me.holds.for_each(|hold| {
        if hold.resource.key == key {
            site = Some(hold.site);
        }
    });
    site
}

fn describe() -> ResourceType {
    ResourceType { primitive: "Condvar", data: "", mode: HoldMode::Exclusive, id_of: None }
}
