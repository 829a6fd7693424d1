//! What a pool does when it is due: it ends tasks that run for too long, and workers that are idle for too long.
//!
//! A task is asked to stop, and its worker gets signals if it does not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use super::deadlines::{SentTask, Step};
use super::dispatcher::{Asked, Link, Which};
use super::shared::Shared;
use super::supervisor::as_one_of;
use super::terms::Request;
use crate::task::error::TerminationCause;
use crate::task::header::Header;

impl Shared {
    /// Ends a task that a process has begun. Returns whether it ends by that.
    pub(super) fn end_task(self: &Arc<Self>, task: &Header, grace: Duration) -> bool {
        if self.is_forked() {
            return false;
        }
        // Without a thread that sends signals later, this one kills the worker now.
        let grace = if self.start_deadlines().is_ok() { grace } else { Duration::ZERO };
        self.ask_to_end(Which::Task(task), Request { cause: TerminationCause::Asked, grace })
    }

    /// Starts the thread that ends tasks when that is due, unless it runs.
    ///
    /// # Errors
    ///
    /// The system refuses it.
    pub(super) fn start_deadlines(self: &Arc<Self>) -> io::Result<()> {
        let pool = Arc::downgrade(self);
        let act = move |task, step| {
            let Some(pool) = pool.upgrade() else { return false };
            as_one_of(&pool, || pool.is_due(task, step));
            true
        };
        if let Some(thread) = self.deadlines().start(|| format!("{}-deadlines", self.name()), act)? {
            self.add_thread(thread);
        }
        Ok(())
    }

    fn is_due(self: &Arc<Self>, (serial, id): SentTask, step: Step) {
        match step {
            Step::Ask { grace } => {
                let request = Request { cause: TerminationCause::TimedOut, grace };
                self.ask_to_end(Which::Sent { serial, id }, request);
            }
            Step::Terminate => self.signal((serial, id), Signal::TERM),
            Step::Kill => self.signal((serial, id), Signal::KILL),
            Step::Look => {
                let (has_workers, todo) = self.dispatcher.retire_idle();
                self.carry_out(todo);
                if has_workers {
                    self.look_later();
                }
            }
        }
    }

    /// Schedules a look at the idle workers, unless they serve for ever. Without a thread for that, they do.
    pub(super) fn look_later(self: &Arc<Self>) {
        if let Some(time) = self.settings.lifespan.look_each()
            && self.start_deadlines().is_ok()
        {
            self.deadlines().look_in(time);
        }
    }

    /// Sends a signal to the worker of a task that was asked to stop, and has not.
    fn signal(&self, (serial, id): SentTask, signal: Signal) {
        match self.dispatcher.will_signal(serial, id) {
            Some(link) if signal == Signal::KILL => link.kill(),
            Some(link) => link.signal(signal),
            None => {}
        }
    }

    /// Asks a task to stop, and schedules the signals for its worker. Returns whether it ends by that, or is cancelled.
    fn ask_to_end(self: &Arc<Self>, which: Which<'_>, request: Request) -> bool {
        let (will_end, todo) = match self.dispatcher.ask_to_end(which, request.cause, self.start_policy()) {
            Asked::NotBegun => return false,
            Asked::Cancelled { todo } => (true, todo),
            Asked::Over { todo } => (false, todo),
            Asked::Running { link, id, todo } => {
                let task = (link.serial(), id);
                if request.grace.is_zero() {
                    self.signal(task, Signal::KILL);
                } else {
                    self.deadlines().signal_within(task, request.grace);
                }
                (true, todo)
            }
        };
        self.carry_out(todo);
        will_end
    }
}
