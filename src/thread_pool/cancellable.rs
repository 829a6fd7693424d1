//! Tasks that can be asked to stop while they run.

use std::panic::Location;
use std::sync::Arc;

use super::ThreadPoolExecutor;
use super::cancel_token::CancelToken;
use super::map::{Map, ThreadCalls};
use super::pool::Pool;
use super::submit::Task;
use crate::deadlock::Name;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::Site;
use crate::task::cell::TaskOf;
use crate::task::future::Future;

impl ThreadPoolExecutor {
    /// [Submits](Self::submit) a task that can be asked to stop while it runs.
    ///
    /// The task gets a [`CancelToken`], which it looks at, waits for, or passes on.
    /// [`cancel`](crate::Future::cancel) of the future cancels the task if it has not begun; while it runs, `cancel` sets the token
    /// and returns `false`, since the task may still end as it likes: what it returns is its result. The `cancel` of a
    /// [shared](crate::Future::shared) future does the same.
    ///
    /// Dropping the future asks nobody to stop, as it cancels no task. A task that its submitter runs itself
    /// ([`CallerRuns`](super::WhenFull::CallerRuns)) is done when this returns: nobody can ask it to stop, nor can its scope.
    ///
    /// Costs what `submit` costs, and three or four allocations.
    ///
    /// # Deadlocks
    ///
    /// Those of [`submit`](Self::submit).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(1);
    /// let sum = pool.submit_cancellable(|token| (0..).take_while(|_| !token.is_cancelled()).take(1000).sum::<u64>());
    /// assert_eq!(sum.result().unwrap(), 499_500); // nobody cancelled it
    /// ```
    #[track_caller]
    pub fn submit_cancellable<F, T>(&self, task: F) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Cancellable::new(task, None, Location::caller()).submit(self.pool()) }
    }

    /// [Submits](Self::submit_cancellable) a task that can be asked to stop, under a name.
    #[track_caller]
    pub fn submit_cancellable_named<F, T>(&self, name: impl Into<Name>, task: F) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY:
        // - the task and its result borrow nothing.
        unsafe { Cancellable::new(task, Some(name.into().as_str()), Location::caller()).submit(self.pool()) }
    }

    /// As [`map`](Self::map), with a token for all calls, by which those that run are asked to stop when the iteration ends early: the
    /// iterator is dropped, its time is over, or a wait of it is part of a deadlock. Those that have not begun are cancelled, as they
    /// are by `map`. If no call runs then, the token is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ThreadPoolExecutor;
    ///
    /// let pool = ThreadPoolExecutor::new(4);
    /// let factors = pool.map_cancellable(
    ///     |token, first: u64| (first..first + 1000).take_while(|_| !token.is_cancelled()).find(|n| 1_000_003 * 7919 % n == 0),
    ///     (2..).step_by(1000),
    /// );
    /// let mut found = factors.filter_map(|result| result.unwrap());
    /// assert_eq!(found.next(), Some(7919));
    /// drop(found); // whoever still searches is asked to stop
    /// ```
    #[track_caller]
    pub fn map_cancellable<I, F, R>(&self, f: F, items: I) -> Map<I::IntoIter, impl Fn(I::Item) -> R + use<I, F, R>, R>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(&CancelToken, I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        let token = CancelToken::new();
        let calls = {
            let token = token.clone();
            move |item| f(&token, item)
        };
        let calls = ThreadCalls::new(Arc::clone(self.pool()), calls).stopped_by(token);
        Map::new(calls, items.into_iter(), Location::caller())
    }
}

/// A closure that takes a token, on its way into the queue.
pub(super) struct Cancellable<F, D = TaskOf<F>> {
    task: Task<F, D>,
    token: CancelToken,
}

impl<F> Cancellable<F> {
    #[track_caller]
    pub(super) fn new(task: F, name: Option<&'static str>, site: Site) -> Self {
        Self { task: Task::new(task, name, site), token: CancelToken::new() }
    }

    /// Marks the task as one whose closure or result borrows.
    pub(super) fn borrowing(self) -> Self {
        Self { task: self.task.borrowing(), ..self }
    }

    /// [Queues](Task::submit) the task, whose future can ask it to stop.
    ///
    /// # Safety
    ///
    /// As that of [`Task::submit`].
    pub(super) unsafe fn submit<T: Send>(self, pool: &Arc<Pool>) -> Future<T>
    where
        F: FnOnce(&CancelToken) -> T + Send,
    {
        let Self { task, token } = self;
        let stop = token.as_stop();
        // SAFETY:
        // - the caller's contract.
        let future = unsafe { task.map(|task| move || task(&token)).submit(pool, Limit::None) };
        // Nobody else has the future yet, so that nobody has asked for a stop.
        future.task().stop_by(stop);
        future
    }
}
