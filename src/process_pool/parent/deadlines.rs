//! When tasks that run are to end: the time limits of a pool's tasks, and the signals that follow.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::terms::TimeLimit;
use crate::primitive::quiet::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::primitive::{Thread, spawn_thread};

const STACK_SIZE: usize = 256 << 10;

/// A task that was sent: the serial number of its worker, and its own.
pub(super) type SentTask = (u64, u64);

/// What is due. The order is that of what is due at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// The task has run for as long as it may: it is asked to stop, and has this long.
    Ask { grace: Duration },
    /// Its worker gets SIGTERM.
    Terminate,
    /// Its worker gets SIGKILL.
    Kill,
    /// No task's: workers that have nothing to run are looked at.
    Look,
}

/// Stands for no task.
const NO_TASK: SentTask = (u64::MAX, 0);

#[derive(Default)]
struct State {
    due: BTreeMap<(Instant, SentTask, Step), ()>,
    /// When each task that has a limit is asked to stop.
    limits: HashMap<SentTask, (Instant, Duration)>,
    /// When the workers of tasks that were asked to stop get signals.
    signals: HashMap<(SentTask, Step), Instant>,
    is_running: bool,
    is_over: bool,
    /// A look at the workers is due.
    will_look: bool,
}

/// What is due in a pool, and the thread that does it, which runs from the first task with a limit on.
#[derive(Default)]
pub(super) struct Deadlines {
    state: Mutex<State>,
    changed: Condvar,
}

impl Deadlines {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, which calls `act` with what is due until that returns `false`, unless it runs. Returns it, if it was started.
    ///
    /// # Errors
    ///
    /// The system refuses it.
    pub(super) fn start(
        self: &Arc<Self>,
        name: impl FnOnce() -> String,
        act: impl Fn(SentTask, Step) -> bool + Send + 'static,
    ) -> io::Result<Option<Thread>> {
        let mut state = self.lock();
        if state.is_running || state.is_over {
            return Ok(None);
        }
        let deadlines = Arc::clone(self);
        let thread = spawn_thread(name(), STACK_SIZE, move || deadlines.run(act))?;
        state.is_running = true;
        Ok(Some(thread))
    }

    /// Ends the thread: no task runs any more.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// Notes that a task begins now that has a limit. A time that the clock can't represent is none.
    pub(super) fn limit(&self, task: SentTask, limit: TimeLimit) {
        let Some(at) = Instant::now().checked_add(limit.timeout) else { return };
        let mut state = self.lock();
        state.limits.insert(task, (at, limit.grace));
        state.due.insert((at, task, Step::Ask { grace: limit.grace }), ());
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets the limit of a task that has ended, and the signals.
    pub(super) fn forget(&self, task: SentTask) {
        let mut state = self.lock();
        for step in [Step::Terminate, Step::Kill] {
            if let Some(at) = state.signals.remove(&(task, step)) {
                state.due.remove(&(at, task, step));
            }
        }
        if let Some((at, grace)) = state.limits.remove(&task) {
            state.due.remove(&(at, task, Step::Ask { grace }));
        }
    }

    /// Has signals sent to the worker of a task that was asked to stop now, unless it stops before.
    pub(super) fn signal_within(&self, task: SentTask, grace: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        for (step, after) in [(Step::Terminate, grace / 2), (Step::Kill, grace)] {
            // The end of a grace that the clock can't represent does not come.
            let Some(at) = now.checked_add(after) else { continue };
            let before = state.signals.get(&(task, step)).copied();
            // A grace can only be shortened.
            if before.is_none_or(|before| at < before) {
                before.map(|before| state.due.remove(&(before, task, step)));
                state.signals.insert((task, step), at);
                state.due.insert((at, task, step), ());
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Has a look at the workers that have nothing to run after this time, unless one is due already.
    pub(super) fn look_in(&self, time: Duration) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.will_look, true) {
            state.due.insert((Instant::now() + time, NO_TASK, Step::Look), ());
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The life of the thread.
    fn run(&self, act: impl Fn(SentTask, Step) -> bool) {
        let mut state = self.lock();
        while !state.is_over {
            let Some((&(at, task, step), ())) = state.due.first_key_value() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.due.pop_first();
            match step {
                Step::Ask { .. } => _ = state.limits.remove(&task),
                Step::Look => state.will_look = false,
                Step::Terminate | Step::Kill => _ = state.signals.remove(&(task, step)),
            }
            drop(state);
            if !act(task, step) {
                return;
            }
            state = self.lock();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_has_ended_leaves_no_limit_behind() {
        let deadlines = Deadlines::default();
        let limit = |seconds| TimeLimit { timeout: Duration::from_secs(seconds), grace: Duration::ZERO };
        for id in 0..1000 {
            deadlines.limit((1, id), limit(3600 + id % 3));
            deadlines.limit((2, id), limit(3600));
            deadlines.forget((1, id));
        }
        let noted = || {
            let state = deadlines.lock();
            (state.due.len(), state.limits.len())
        };
        assert_eq!(noted(), (1000, 1000));
        (0..50).for_each(|_| deadlines.signal_within((2, 7), Duration::from_secs(7200)));
        (0..50).for_each(|n| deadlines.signal_within((2, 7), Duration::from_secs(3600 - n)));
        assert_eq!(noted(), (1002, 1000), "one of each kind for a task");
        (0..1000).for_each(|id| deadlines.forget((2, id)));
        deadlines.limit((3, 0), limit(u64::MAX));
        deadlines.forget((3, 0));
        assert_eq!(noted(), (0, 0));
    }

    #[test]
    fn what_is_due_comes_in_its_order_and_until_nobody_wants_it() {
        let deadlines = Arc::new(Deadlines::default());
        deadlines.signal_within((1, 1), Duration::from_millis(20));
        deadlines.limit((1, 2), TimeLimit { timeout: Duration::ZERO, grace: Duration::from_secs(1) });
        let (tell, told) = std::sync::mpsc::channel();
        let act = move |task, step| tell.send((task, step)).is_ok() && step != Step::Kill;
        let thread = deadlines.start(|| "due".to_owned(), act).unwrap().unwrap();
        crate::primitive::join_thread(thread);
        let asked = Step::Ask { grace: Duration::from_secs(1) };
        let due: Vec<_> = told.iter().collect();
        assert_eq!(due, [((1, 2), asked), ((1, 1), Step::Terminate), ((1, 1), Step::Kill)]);
    }
}
