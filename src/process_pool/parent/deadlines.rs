//! The clock of a pool: when its tasks run for too long, when signals follow, and when to look at idle workers.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::terms::TimeLimit;
use crate::primitive::quiet::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::primitive::{Thread, spawn_thread};

const STACK_SIZE: usize = 256 << 10;

/// A task that was sent: the serial number of its worker, and its own.
pub(super) type SentTask = (u64, u64);

/// What is due. The order is that of what is due at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    due: BTreeSet<(Instant, SentTask, Step)>,
    /// What is due of each task.
    of: HashMap<SentTask, Vec<(Instant, Step)>>,
    is_running: bool,
    is_over: bool,
}

impl State {
    /// Adds what is due of a task, unless the same is due sooner.
    fn add(&mut self, task: SentTask, at: Instant, step: Step) {
        let steps = self.of.entry(task).or_default();
        if let Some(place) = steps.iter().position(|(_, other)| discriminant(other) == discriminant(&step)) {
            if steps[place].0 <= at {
                return;
            }
            let (before, other) = steps.swap_remove(place);
            self.due.remove(&(before, task, other));
        }
        steps.push((at, step));
        self.due.insert((at, task, step));
    }

    /// Removes what is due first, if that is now. Otherwise returns how long it takes until then; `None`: nothing is due.
    fn pop(&mut self) -> Result<(SentTask, Step), Option<Duration>> {
        let &(at, task, step) = self.due.first().ok_or(None)?;
        let left = at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(Some(left));
        }
        self.due.pop_first();
        if let Some(steps) = self.of.get_mut(&task) {
            steps.retain(|&(_, other)| other != step);
            if steps.is_empty() {
                self.of.remove(&task);
            }
        }
        Ok((task, step))
    }
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
        self.add(task, [(limit.timeout, Step::Ask { grace: limit.grace })]);
    }

    /// Schedules the signals for the worker of a task that was asked to stop now. Nothing is due later than it was before.
    pub(super) fn signal_within(&self, task: SentTask, grace: Duration) {
        self.add(task, [(grace / 2, Step::Terminate), (grace, Step::Kill)]);
    }

    /// Schedules a look at the idle workers, unless one is due sooner.
    pub(super) fn look_in(&self, time: Duration) {
        self.add(NO_TASK, [(time, Step::Look)]);
    }

    fn add<const N: usize>(&self, task: SentTask, steps: [(Duration, Step); N]) {
        let now = Instant::now();
        let mut state = self.lock();
        let first = state.due.first().copied();
        for (after, step) in steps {
            if let Some(at) = now.checked_add(after) {
                state.add(task, at, step);
            }
        }
        let is_first = state.due.first().copied() != first;
        drop(state);
        // The thread sleeps until what was due first.
        if is_first {
            self.changed.notify_all();
        }
    }

    /// Forgets a task that has ended.
    pub(super) fn forget(&self, task: SentTask) {
        let mut state = self.lock();
        for (at, step) in state.of.remove(&task).unwrap_or_default() {
            state.due.remove(&(at, task, step));
        }
    }

    /// The life of the thread.
    fn run(&self, act: impl Fn(SentTask, Step) -> bool) {
        let mut state = self.lock();
        while !state.is_over {
            match state.pop() {
                Ok((task, step)) => {
                    drop(state);
                    if !act(task, step) {
                        return;
                    }
                    state = self.lock();
                }
                Err(Some(left)) => {
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Err(None) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
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
            (state.due.len(), state.of.len())
        };
        assert_eq!(noted(), (1000, 1000));
        (0..50).for_each(|_| deadlines.signal_within((2, 7), Duration::from_secs(7200)));
        (0..50).for_each(|n| deadlines.signal_within((2, 7), Duration::from_secs(3600 - n)));
        assert_eq!(noted(), (1002, 1000), "one of each kind for a task");
        let due = || deadlines.lock().of[&(2, 7)].clone();
        let before = due();
        deadlines.signal_within((2, 7), Duration::from_secs(7200));
        assert_eq!(due(), before, "nothing is due later than before");
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
