//! The waiters of a condition, in the order in which they began to wait.

use std::cell::Cell;
use std::ptr::NonNull;

use crate::deadlock::context::Context;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::primitive::{AtomicU64, Ingredient, is_removed, new_atomic};

/// One thread that waits: on that thread's stack.
///
/// The queue points to it while it is [queued](Self::is_queued). All but `context`, `mutex` and `notified` is reached with the
/// queue's mutex held.
pub(crate) struct Waiter {
    context: &'static Context,
    /// The address of the mutex that it waits with, if the condition minds.
    mutex: usize,
    /// 1 once a notification has taken it out of the queue: the last that a notifier does with it.
    notified: AtomicU64,
    is_queued: Cell<bool>,
    /// How many waits the condition had seen before this one.
    number: Cell<u64>,
    previous: Cell<Option<NonNull<Waiter>>>,
    next: Cell<Option<NonNull<Waiter>>>,
}

impl Waiter {
    pub(crate) fn new(context: &'static Context) -> Self {
        Self::with_mutex(context, 0)
    }

    pub(crate) fn with_mutex(context: &'static Context, mutex: usize) -> Self {
        Self {
            context,
            mutex,
            notified: new_atomic(0),
            is_queued: Cell::new(false),
            number: Cell::new(0),
            previous: Cell::new(None),
            next: Cell::new(None),
        }
    }

    /// Returns the context that waits.
    pub(super) fn context(&self) -> &'static Context {
        self.context
    }

    /// Returns whether a notification has taken it out of the queue.
    pub(super) fn is_notified(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `take`: what happened before the notification is seen. No notifier
        // touches this any more.
        self.notified.load(Acquire) != 0
    }

    /// [`is_notified`](Self::is_notified), where nothing follows from it but whether to sleep.
    pub(super) fn may_sleep(&self) -> bool {
        // ORDERING: Relaxed: under the lock of the parking queue, which the notifier takes after it has set this.
        self.notified.load(Relaxed) == 0
    }
}

/// The waiters of one condition: a list through the waiters themselves.
pub(super) struct Queue {
    first: Option<NonNull<Waiter>>,
    last: Option<NonNull<Waiter>>,
    len: u64,
    /// How many waits have begun.
    begun: u64,
}

// SAFETY:
// - the waiters that it points to are reached through it, with its mutex held; what else reaches them is made for
//   sharing.
unsafe impl Send for Queue {}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { first: None, last: None, len: 0, begun: 0 }
    }

    /// Returns how many waiters there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns how many waits have begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Returns whether all that are queued wait with the same mutex as this waiter.
    pub(super) fn has_same_mutex(&self, waiter: &Waiter) -> bool {
        // SAFETY:
        // - it is queued, and so where it was (`push`'s contract).
        self.first.is_none_or(|first| unsafe { first.as_ref() }.mutex == waiter.mutex)
    }

    /// Adds a waiter behind all others.
    ///
    /// # Safety
    ///
    /// - The waiter stays where it is until it is queued no longer.
    /// - It is not queued.
    pub(super) unsafe fn push(&mut self, waiter: &Waiter) {
        let node = NonNull::from(waiter);
        waiter.number.set(self.begun);
        waiter.previous.set(self.last);
        waiter.next.set(None);
        waiter.is_queued.set(true);
        match self.last {
            // SAFETY:
            // - it is queued, and so where it was (`push`'s contract).
            Some(last) => unsafe { last.as_ref() }.next.set(Some(node)),
            None => self.first = Some(node),
        }
        self.last = Some(node);
        self.len += 1;
        self.begun += 1;
    }

    /// Takes the first waiter out and notifies it, if it began to wait before `end`. Returns its context.
    pub(super) fn notify_first(&mut self, end: u64) -> Option<&'static Context> {
        // SAFETY:
        // - it is queued, and so where it was (`push`'s contract).
        let first = unsafe { self.first?.as_ref() };
        if first.number.get() >= end {
            return None;
        }
        self.unlink(first);
        let context = first.context;
        // ORDERING: Release pairs with the Acquire in `is_notified`. From here on the waiter may be gone.
        first.notified.store(1, Release);
        Some(context)
    }

    /// Takes a waiter out. Returns `false` if it was notified before.
    pub(super) fn remove(&mut self, waiter: &Waiter) -> bool {
        let is_queued = waiter.is_queued.get() || is_removed(Ingredient::OneOfNoticeAndTimeout);
        if waiter.is_queued.get() {
            self.unlink(waiter);
        }
        is_queued
    }

    fn unlink(&mut self, waiter: &Waiter) {
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        match previous {
            // SAFETY:
            // - the neighbours of a queued waiter are queued, and so where they were (`push`'s contract).
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.first = next,
        }
        match next {
            // SAFETY:
            // - as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.last = previous,
        }
        waiter.is_queued.set(false);
        self.len -= 1;
    }
}
