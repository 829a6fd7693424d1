//! What is run when a task is done: listed before, run by whoever ends it.

use std::sync::Arc;
use std::task::Waker;

use super::chain;
use super::continuation::{Continuation, Continuations, Key};
use super::state::{CONTINUATIONS, is_done};
use super::status::Status;
use super::task_ref::TaskRef;
use crate::deadlock::resource::Origin;
use crate::primitive::Ordering::{Acquire, Relaxed};

impl TaskRef {
    /// Has `continuation` run when the task is done; gives it back if that is so already.
    pub(crate) fn when_done(&self, continuation: Continuation) -> Result<(), Continuation> {
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return Err(continuation);
        }
        // Whoever ends the task sees the flag, and takes the list after this.
        list.get_or_insert_default().push(continuation);
        Ok(())
    }

    /// Has `callback` run when the task is done: here and now, if it is done already.
    pub(crate) fn call_when_done(&self, callback: Box<dyn FnOnce(Status) + Send>) {
        if let Err(continuation) = self.when_done(Continuation::Callback(callback)) {
            let status = Status::from(self.phase());
            chain::run(self.origin, move || continuation.run(status), |run| run);
        }
    }

    /// Has an owner of the result polled again when the task is done: `false` if it is done already. Each has one waker.
    pub(crate) fn wake_when_done(&self, owner: u64, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return false;
        }
        let replaced = list.get_or_insert_default().put(Key::Owner(owner), Continuation::Waker(owner, waker));
        // The user's code, with no lock held.
        drop(list);
        drop(replaced);
        true
    }

    /// Takes an owner's waker off the list.
    pub(crate) fn forget_waker(&self, owner: u64) {
        self.forget(Key::Owner(owner));
    }

    /// Takes a wait for several futures off the list.
    pub(crate) fn forget_notice<W>(&self, set: &Arc<W>) {
        self.forget(Key::of_watcher(set));
    }

    fn forget(&self, key: Key) {
        let word = self.state.load(Relaxed);
        if is_done(word) || word & CONTINUATIONS == 0 {
            return;
        }
        let mut list = self.continuations.lock();
        let forgotten = list.as_mut().and_then(|all| all.remove(key));
        // The user's code, with no lock held.
        drop(list);
        // A waker may be the last that has a task of some executor, and that task the last that has another future.
        if let Some(forgotten) = forgotten {
            chain::run(self.origin, move || drop(forgotten), |run| run);
        }
    }

    /// Registers the waker of an owner that is to be polled again when another owner has settled the result. Returns `false` if
    /// nobody is settling it. [`forget_waker_of_settling`](Self::forget_waker_of_settling) unregisters the waker.
    pub(crate) fn wake_when_settled(&self, owner: u64, waker: &Waker) -> bool {
        self.settling().is_some_and(|event| event.wake_when_done(owner, waker))
    }

    /// Unregisters an owner's waker from those that wait until the result is settled.
    pub(crate) fn forget_waker_of_settling(&self, owner: u64) {
        if let Some(event) = self.settling() {
            event.forget_waker(owner);
        }
    }
}

/// What is to be run of a task that is done.
pub(crate) struct Then {
    pub(crate) continuations: Box<Continuations>,
    pub(crate) status: Status,
    /// Of the task.
    pub(crate) origin: Origin,
}

impl Then {
    /// Whether nothing of the user's is left to be run.
    pub(crate) fn is_empty(&self) -> bool {
        self.continuations.iter().next().is_none()
    }

    /// Tells the waits for several futures: at once, for they must not wait for the user's code that was there first.
    pub(crate) fn tell_waits(&mut self) {
        let status = self.status;
        self.continuations.take_notices().into_iter().for_each(|notice| notice.run(status));
    }

    /// Tells the waits for several futures, then wakes whoever awaits the result, then runs the callbacks, in order.
    pub(crate) fn run(mut self) {
        self.tell_waits();
        if self.is_empty() {
            return;
        }
        let run = move || {
            let is_waker = |continuation: &Continuation| matches!(continuation, Continuation::Waker(..));
            let (wakers, callbacks): (Vec<_>, Vec<_>) = self.continuations.in_order().partition(is_waker);
            wakers.into_iter().chain(callbacks).for_each(|continuation| continuation.run(self.status));
        };
        chain::run(self.origin, run, |run| run);
    }
}
