//! A call that is about to be submitted, with terms of its own.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parent::listener::Listener;
use super::parent::terms::{TaskTerms, TimeLimit};
use super::pool::ProcessPoolExecutor;
use super::wire::callable::Callable;
use super::wire::invocation::Invocation;
use crate::deadlock::Name;
use crate::deadlock::door::Limit;
use crate::deadlock::resource::{Origin, Site};
use crate::task::error::SubmitError;
use crate::task::future::Future;

/// How long a task may take to stop after its time-out, unless it says otherwise.
const GRACE: Duration = Duration::from_secs(1);

/// A call of a function in a worker, with terms of its own: see [`ProcessPoolExecutor::task`].
///
/// # Examples
///
/// ```
/// use bowline::ProcessPoolExecutor;
/// use std::time::Duration;
///
/// fn render(tile: u32) -> Vec<u8> {
///     vec![tile as u8; 256]
/// }
///
/// let pool = ProcessPoolExecutor::new(2)?;
/// let tile = pool
///     .task(render, (7,))
///     .name("tile 7")
///     .timeout(Duration::from_secs(10)) // then it is asked to stop,
///     .grace(Duration::from_secs(2)) // and killed if it does not
///     .retries(1) // in case its worker is lost
///     .submit();
/// assert_eq!(tile.result()?.len(), 256);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task runs when it is submitted"]
pub struct ProcessTask<'p, F, A> {
    pool: &'p ProcessPoolExecutor,
    invocation: Invocation<F, A>,
    name: Option<Name>,
    timeout: Option<Duration>,
    grace: Duration,
    retries: Option<u32>,
    listener: Option<Listener>,
}

impl<'p, F, A> ProcessTask<'p, F, A> {
    pub(super) fn new(pool: &'p ProcessPoolExecutor, f: F, args: A) -> Self {
        let invocation = Invocation::new(f, args);
        Self { pool, invocation, name: None, timeout: None, grace: GRACE, retries: None, listener: None }
    }

    /// Sets the task's name, which errors, reports and `Debug` show. Without a name they show the path of the function.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Ends the task when it has run for so long, as [`terminate`](Future::terminate) does. The time counts from when the task is sent to
    /// a worker that has nothing else to do: not while it is queued, but while its arguments are on their way. If it is
    /// [run again](Self::retries), it has as long again. The default is no limit, and so is a time that the clock can't represent.
    ///
    /// It costs the pool a thread, from the first such task on. The worker gets no other task ahead of the end of this one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long the task may take to stop after its [`timeout`](Self::timeout). The default is a second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how often the task is run again, in another worker, after the worker that ran it has ended by itself. The default is
    /// what the [pool](super::ProcessPoolBuilder::retries) says. The task can ask
    /// [for the how manieth time](super::CurrentTask::attempt) it runs.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Calls `hear` with each value that the task gives to [`CurrentTask::progress`](super::CurrentTask::progress), in order, and
    /// before the task is done: until the call for the last value returns, nobody gets the result. If the task is
    /// [run again](Self::retries), what it says then follows.
    ///
    /// The calls come one at a time, on a thread of the pool that runs callbacks. The values are of the type that `hear` takes; a task
    /// that gives others gets an error. While a thousand values, a megabyte of them, or thirty blobs, are not heard, the task waits before
    /// it gives another one. A panic is contained, as one of a callback is, and the next value is heard. What `hear` owns is dropped
    /// before the task is done, or right after it is cancelled: the receiver of a channel whose sender it has then comes to its end.
    ///
    /// A task that runs on the thread of its submitter ([`CallerRuns`](crate::thread_pool::WhenFull::CallerRuns)) says nothing.
    ///
    /// # Deadlocks
    ///
    /// `hear` takes part in the wait-for graph as what the task waits for: if it waits for the result of the task, that is a deadlock,
    /// and reported. What is not found: `hear` waits for another task of the pool, or for the pool's end, while its own task waits to be
    /// heard and keeps the only worker.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, process_pool};
    ///
    /// fn sum(of: Vec<u64>) -> u64 {
    ///     let (task, mut sum) = (process_pool::current_task(), 0);
    ///     for (done, number) in of.iter().enumerate() {
    ///         sum += number;
    ///         task.map(|task| task.progress(done)).transpose().expect("a number can be sent");
    ///     }
    ///     sum
    /// }
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// let sum = pool.task(sum, (vec![3, 4, 5],)).on_progress(move |done: usize| drop(sender.send(done))).submit();
    /// assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// assert_eq!(sum.result()?, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_progress<P>(self, hear: impl FnMut(P) + Send + 'static) -> Self
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
        P: DeserializeOwned + 'static,
    {
        let listener = Some(Listener::new(hear));
        Self { invocation: self.invocation.listened_to::<P>(), listener, ..self }
    }

    /// [Submits](ProcessPoolExecutor::submit) the task.
    #[track_caller]
    pub fn submit(self) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let (pool, origin, terms, invocation) = self.into_parts(Location::caller());
        pool.shared().call(origin, terms, invocation)
    }

    /// [Submits](ProcessPoolExecutor::try_submit) the task, and never waits for room in the queue.
    ///
    /// # Errors
    ///
    /// The task is refused. The error has the reason, and the function with its arguments.
    #[track_caller]
    pub fn try_submit(self) -> Result<Future<F::Output>, SubmitError<(F, A)>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let (pool, origin, terms, invocation) = self.into_parts(Location::caller());
        pool.shared().try_call(origin, terms, None, invocation)
    }

    /// [Submits](ProcessPoolExecutor::submit_timeout) the task, and waits for room in the queue for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The task is refused. The error has the reason, and the function with its arguments.
    #[track_caller]
    pub fn submit_timeout(self, timeout: Duration) -> Result<Future<F::Output>, SubmitError<(F, A)>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let (pool, origin, terms, invocation) = self.into_parts(Location::caller());
        pool.shared().try_call(origin, terms, Some(Limit::after(timeout)), invocation)
    }

    fn into_parts(self, site: Site) -> (&'p ProcessPoolExecutor, Origin, TaskTerms, Invocation<F, A>) {
        let limit = self.timeout.map(|timeout| TimeLimit { timeout, grace: self.grace });
        let terms = TaskTerms { limit, retries: self.retries, listener: self.listener };
        (self.pool, Origin::at(site, self.name.map(Name::as_str)), terms, self.invocation)
    }
}

impl<F, A> fmt::Debug for ProcessTask<'_, F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTask")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("retries", &self.retries)
            .field("on_progress", &self.listener.is_some())
            .finish_non_exhaustive()
    }
}
