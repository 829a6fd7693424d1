//! The continuations of a task: listed before it is done, run by the thread that ends it.

use std::sync::Arc;
use std::task::Waker;

use super::chain;
use super::continuation::{Continuation, Continuations, Key, Stop};
use super::panic;
use super::state::{CONTINUATIONS, is_done};
use super::status::Status;
use super::task_ref::TaskRef;
use crate::deadlock::resource::Origin;
use crate::primitive::Ordering::{Acquire, Relaxed};

impl TaskRef {
    /// Lists `continuation` to run when the task is done; gives it back if the task is done already.
    pub(crate) fn when_done(&self, continuation: Continuation) -> Result<(), Continuation> {
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return Err(continuation);
        }
        // The thread that ends the task sees the flag, and takes the list after this.
        list.get_or_insert_default().push(continuation);
        Ok(())
    }

    /// Runs `callback` when the task is done, and returns the callback's number; runs it here and now, and returns
    /// `None`, if the task is done already.
    pub(crate) fn call_when_done(&self, callback: Box<dyn FnOnce(Status) + Send>) -> Option<u64> {
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if !is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return Some(list.get_or_insert_default().push_callback(callback));
        }
        drop(list);
        let status = Status::from(self.phase());
        let call = move || _ = panic::contain(|| callback(status));
        chain::run(self.origin, call, |call| call);
        None
    }

    /// Removes the callback with this number, which is dropped here. Returns whether it will not run.
    pub(crate) fn forget_callback(&self, number: u64) -> bool {
        self.forget(Key::Callback(number))
    }

    /// Registers the waker of an owner of the result, in place of that owner's earlier one, to be woken when the task
    /// is done. Returns `false` if it is done already.
    pub(crate) fn wake_when_done(&self, owner: u64, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut list = self.continuations.lock();
        // ORDERING: Acquire pairs with the Release in `end`.
        if is_done(self.state.fetch_or(CONTINUATIONS, Acquire)) {
            return false;
        }
        let replaced = list.get_or_insert_default().put(Key::Owner(owner), Continuation::Waker(owner, waker));
        // Dropped with no lock held: this is the user's code.
        drop(list);
        drop(replaced);
        true
    }

    /// Unregisters an owner's waker.
    pub(crate) fn forget_waker(&self, owner: u64) {
        self.forget(Key::Owner(owner));
    }

    /// Unregisters a wait for several futures.
    pub(crate) fn forget_notice<W>(&self, set: &Arc<W>) {
        self.forget(Key::of_watcher(set));
    }

    /// Removes a continuation from the list, and drops it. Returns `false` if it was not there: whoever ends the task has
    /// the list then, or is about to take it.
    fn forget(&self, key: Key) -> bool {
        let word = self.state.load(Relaxed);
        if is_done(word) || word & CONTINUATIONS == 0 {
            return false;
        }
        let mut list = self.continuations.lock();
        let forgotten = list.as_mut().and_then(|all| all.remove(key));
        // Dropped with no lock held: this is the user's code.
        drop(list);
        let Some(forgotten) = forgotten else { return false };
        // A waker may have the last reference to a task of some executor, and that task the last one to another future.
        let end = move || _ = panic::contain(|| drop(forgotten));
        chain::run(self.origin, end, |end| end);
        true
    }

    /// Makes `stop` what is told if the task is to stop while it runs. Whoever asks for that has the task from the caller.
    pub(crate) fn stop_by(&self, stop: Arc<dyn Stop>) {
        // It is done already, or refused: nobody has to stop.
        drop(self.when_done(Continuation::Stop(stop)));
    }

    /// Tells the task to stop, if it runs and listens.
    #[cold]
    pub(crate) fn ask_to_stop(&self) {
        let word = self.state.load(Relaxed);
        if is_done(word) || word & CONTINUATIONS == 0 {
            return;
        }
        let stop = self.continuations.lock().as_mut().and_then(|all| all.stop());
        // With no lock held: it wakes whoever waits for that.
        if let Some(stop) = stop {
            stop.stop();
        }
    }

    /// Registers the waker of an owner that is to be polled again when another owner has settled the result. Returns
    /// `false` if nobody is settling it. [`forget_waker_of_settling`](Self::forget_waker_of_settling) unregisters the
    /// waker.
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

/// The continuations of a task that is done, to be run.
pub(crate) struct Then {
    pub(crate) continuations: Box<Continuations>,
    pub(crate) status: Status,
    /// The origin of the task.
    pub(crate) origin: Origin,
}

impl Then {
    /// Returns whether nothing of the user's is left to be run.
    pub(crate) fn is_empty(&self) -> bool {
        self.continuations.iter().next().is_none()
    }

    /// Notifies the waits for several futures, at once: they must not wait for the user's code that was listed before
    /// them.
    pub(crate) fn notify_waits(&mut self) {
        let status = self.status;
        self.continuations.take_notices().into_iter().for_each(|notice| notice.run(status));
    }

    /// Notifies the waits for several futures, then wakes the wakers, then runs the callbacks, in order.
    pub(crate) fn run(mut self) {
        self.notify_waits();
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
