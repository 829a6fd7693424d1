//! The end of a task: it runs, fails, is completed by hand or cancelled, and its waiters are told.

use std::mem::ManuallyDrop;

use super::chain;
use super::error::TaskError;
use super::runner::Runner;
use super::slot::Slot;
use super::state::{CONTINUATIONS, DETACHED, LASTING, Phase, WAITERS, is_done};
use super::stats::Stats;
use super::task_ref::TaskRef;
use super::when_done::Then;
use crate::deadlock::registry;
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::{Ingredient, is_removed};

/// A runner that has to know when the task that it runs is about to be done.
pub(crate) trait AtEnd {
    /// The result is there. The next thing that anybody hears is that the task is done; no code of the user's runs before
    /// [`run_telling`](TaskRef::run_telling) returns, unless [`busy_again`](Self::busy_again) is called first. May be
    /// called again.
    fn nearly_done(&mut self);

    /// Code of the user's is about to run: the destructor of a result that nobody takes, a callback, or a waker.
    fn busy_again(&mut self);
}

impl AtEnd for () {
    #[inline(always)]
    fn nearly_done(&mut self) {}

    #[inline(always)]
    fn busy_again(&mut self) {}
}

impl TaskRef {
    /// Runs the task that the caller [claimed](Header::claim).
    pub(crate) fn run(&self, stats: &Stats) {
        self.run_telling(stats, &mut ());
    }

    /// Runs the task that the caller [claimed](Header::claim), and tells the caller when it is about to be done.
    #[inline(always)]
    pub(crate) fn run_telling(&self, stats: &Stats, runner: &mut impl AtEnd) {
        debug_assert_eq!(self.phase(), Phase::Running, "claimed");
        // SAFETY:
        // - the vtable is that of this cell, and the caller claimed the task.
        let phase = unsafe { (self.vtable.run)(self.0, stats) };
        if let Some(then) = self.end(phase, runner) {
            then.run();
        }
    }

    /// Ends the task that the caller claimed, with an error and without running it. The closure is dropped before the
    /// task is done.
    pub(crate) fn fail(&self, error: TaskError) {
        let phase = Phase::of_error(&error);
        // The closure's destructor is the user's: all who wait for the task wait for whatever it waits for.
        let me = registry::current();
        self.set_runner(Runner::Context(me.id()));
        let hold = me.holds.take(|| self.facts(), self.site());
        // SAFETY:
        // - the vtable is that of this cell, and the caller claimed the task.
        unsafe { (self.vtable.fail)(self.0, error) };
        me.holds.give(hold);
        self.finish(phase);
    }

    /// Ends the task that the caller claimed, and whose slot is empty, with this result.
    ///
    /// # Safety
    ///
    /// The cell's slot is an `S`.
    pub(crate) unsafe fn put<S: Slot>(&self, given: S::Given) {
        // SAFETY:
        // - the caller's contract.
        if let Some(then) = unsafe { self.put_quietly::<S>(given) } {
            then.run();
        }
    }

    /// Ends the task that the caller claimed, and whose slot is empty, with this result. Returns the continuations,
    /// which the caller has to run.
    ///
    /// # Safety
    ///
    /// The cell's slot is an `S`.
    pub(crate) unsafe fn put_quietly<S: Slot>(&self, given: S::Given) -> Option<Then> {
        let mut given = ManuallyDrop::new(given);
        // SAFETY:
        // - the vtable is that of this cell, the caller claimed the task, and what is given is for the cell's slot
        //   (caller) and not used again.
        let phase = unsafe { (self.vtable.put)(self.0, (&raw mut given).cast()) };
        self.end(phase, &mut ())
    }

    /// Gives up the result. It is dropped here if the task is done, and otherwise as soon as the task is.
    ///
    /// # Safety
    ///
    /// The caller owns the result, and does not take it afterwards.
    pub(crate) unsafe fn detach(&self) {
        // ORDERING: Acquire pairs with the Release in `end`: the result is there to be dropped. Release pairs with the
        // Acquire in `end`: the owner's last look at the slot came before.
        let word = self.state.fetch_or(DETACHED, AcqRel);
        if !is_done(word) {
            return;
        }
        // SAFETY:
        // - a done task's slot is the owner's of its result (caller).
        let empty = || unsafe { (self.vtable.empty)(self.0) };
        if word & LASTING == 0 {
            return empty();
        }
        // The result may hold the future of another task that is done, whose result holds the next.
        chain::run(self.origin(), empty, |_| {
            let task = self.clone();
            // SAFETY:
            // - as above; the result borrows nothing, and can be sent.
            move || unsafe { (task.vtable.empty)(task.0) }
        });
    }

    /// Cancels the task if nobody has claimed it yet; its closure is dropped. Returns whether this call cancelled it.
    pub(crate) fn cancel_pending(&self) -> bool {
        self.home().cancel(self)
    }

    /// [Cancels](Self::cancel_pending) the task, or tells it to stop if it runs. Returns whether this call cancelled it.
    pub(crate) fn cancel(&self) -> bool {
        let cancelled = self.cancel_pending();
        if !cancelled {
            self.ask_to_stop();
        }
        cancelled
    }

    /// Ends the task, wakes its waiters, and runs its continuations.
    fn finish(&self, phase: Phase) {
        if let Some(then) = self.end(phase, &mut ()) {
            then.run();
        }
    }

    /// Ends the task and wakes its waiters. Returns its continuations, if it has any.
    #[inline(always)]
    fn end(&self, phase: Phase, runner: &mut impl AtEnd) -> Option<Then> {
        let mut word = self.state.load(Relaxed);
        loop {
            if word & (DETACHED | CONTINUATIONS) != 0 {
                runner.busy_again();
            }
            if word & DETACHED != 0 && !is_removed(Ingredient::SeenDetachment) {
                // Before the task is done: what the result borrows may go away then.
                // SAFETY:
                // - whoever claimed the task has the slot to itself until it is done.
                unsafe { (self.vtable.empty)(self.0) };
            }
            if word & CONTINUATIONS == 0 {
                runner.nearly_done();
            }
            // ORDERING: Release publishes the result to whoever sees that the task is done; Acquire pairs with the
            // Release in `detach`.
            match self.state.compare_exchange(word, phase.put_in(word), AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            self.wake_all();
        }
        if word & CONTINUATIONS == 0 {
            return None;
        }
        self.take_continuations(phase)
    }

    #[cold]
    fn take_continuations(&self, phase: Phase) -> Option<Then> {
        let continuations = self.continuations.lock().take();
        continuations.map(|continuations| Then { continuations, status: phase.into(), origin: self.origin() })
    }
}
