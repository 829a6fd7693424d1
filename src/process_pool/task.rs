//! A call that is about to be submitted, with its own options.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parent::listener::Listener;
use super::parent::terms::{Refused, TaskTerms, TimeLimit};
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

/// A call of a function in a worker, with its own options: see [`ProcessPoolExecutor::task`].
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
    /// But for the limit.
    terms: TaskTerms,
}

impl<'p, F, A> ProcessTask<'p, F, A> {
    pub(super) fn new(pool: &'p ProcessPoolExecutor, f: F, args: A) -> Self {
        let invocation = Invocation::new(f, args);
        Self { pool, invocation, name: None, timeout: None, grace: GRACE, terms: TaskTerms::default() }
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
    /// The error is [`TaskError::Terminated`](crate::TaskError::Terminated), and not `Timeout`, which is about a wait. A task that
    /// returns, and whose result is sent, before its worker is killed has its result.
    ///
    /// It costs the pool a thread, from the first such task on: if the system refuses that one, the task fails with
    /// [`Rejected::NoThread`](crate::task::Rejected::NoThread). The worker gets no other task ahead of the end of this one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long the task may take to stop after its [`timeout`](Self::timeout): it is asked to
    /// ([`should_stop`](super::CurrentTask::should_stop)), gets SIGTERM after half of this time, and SIGKILL at its end. Zero is SIGKILL at once.
    /// The default is a second.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how often the task is run again, in another worker, after the worker that ran it was lost. The default is
    /// what the [pool](super::ProcessPoolBuilder::retries) says, which also has the details. The task can ask
    /// [which attempt](super::CurrentTask::attempt) it is.
    pub fn retries(mut self, retries: u32) -> Self {
        self.terms.retries = Some(retries);
        self
    }

    /// Calls `callback` with each value that the task gives to [`CurrentTask::progress`](super::CurrentTask::progress), in order, and
    /// before the task is done: until the call for the last value returns, nobody gets the result. If the task is
    /// [run again](Self::retries), the values of the next attempt follow.
    ///
    /// The calls come one at a time, on a thread of the pool that runs callbacks. The values are of exactly the type that `callback` takes
    /// (`progress(1)` is an `i32`): for one of another type `progress` returns an error to the task. A value that can't be decoded is
    /// left out, and a line on standard error says so, once for the task. While 1024 values, a megabyte of them, or some thirty blobs, are not delivered, the
    /// task waits before it sends another one; that time counts towards its [`timeout`](Self::timeout). A panic is contained, as one of a
    /// callback is, and the next value is delivered. What `callback` owns is dropped before the task is done, or right after it is
    /// cancelled: the receiver of a channel whose sender it has then comes to its end.
    ///
    /// A task that runs on the thread of its submitter ([`CallerRuns`](crate::thread_pool::WhenFull::CallerRuns)) says nothing.
    ///
    /// # Deadlocks
    ///
    /// `callback` takes part in the wait-for graph as what the task waits for: if it waits for the result of the task, that is a deadlock,
    /// and reported. What is not found: `callback` waits for another task of the pool, or for the pool's end, while its own task waits until
    /// it may send, and keeps the only worker.
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
    pub fn on_progress<P>(self, callback: impl FnMut(P) + Send + 'static) -> Self
    where
        F: Callable<A>,
        F::Output: Serialize,
        A: Serialize + DeserializeOwned,
        P: DeserializeOwned + 'static,
    {
        let terms = TaskTerms { listener: Some(Listener::new(callback)), ..self.terms };
        Self { invocation: self.invocation.listened_to::<P>(), terms, ..self }
    }

    /// [Submits](ProcessPoolExecutor::submit) the task.
    #[track_caller]
    pub fn submit(self) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let (origin, terms) = (self.origin(Location::caller()), TaskTerms { limit: self.limit(), ..self.terms });
        self.pool.shared().call(origin, terms, self.invocation)
    }

    /// [Submits](ProcessPoolExecutor::try_submit) the task, and never waits for room in the queue.
    ///
    /// # Errors
    ///
    /// The task is refused, as [`ProcessPoolExecutor::try_submit`] says. The error has the reason, and the task, to be submitted
    /// again.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::task::Rejected;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(1).build()?;
    /// let mut task = pool.task(|n: u32| n + 1, (1,)).timeout(Duration::from_secs(10));
    /// let next = loop {
    ///     match task.try_submit() {
    ///         Ok(next) => break next,
    ///         Err(refused) if matches!(refused.reason(), Rejected::QueueFull) => task = refused.into_task(),
    ///         Err(refused) => panic!("{refused}"),
    ///     }
    ///     std::thread::yield_now(); // or something useful
    /// };
    /// assert_eq!(next.result().unwrap(), 2);
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[expect(clippy::result_large_err, reason = "the task as it was given, with all its options")]
    #[track_caller]
    pub fn try_submit(self) -> Result<Future<F::Output>, SubmitError<Self>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.submit_before(None, Location::caller())
    }

    /// [Submits](ProcessPoolExecutor::submit_timeout) the task, and waits for room in the queue for at most `timeout`.
    ///
    /// # Errors
    ///
    /// The task is refused, as [`ProcessPoolExecutor::submit_timeout`] says. The error has the reason, and the task, to be
    /// submitted again.
    #[expect(clippy::result_large_err, reason = "the task as it was given, with all its options")]
    #[track_caller]
    pub fn submit_timeout(self, timeout: Duration) -> Result<Future<F::Output>, SubmitError<Self>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.submit_before(Some(Limit::after(timeout)), Location::caller())
    }

    #[expect(clippy::result_large_err, reason = "the task as it was given, with all its options")]
    fn submit_before(self, limit: Option<Limit>, site: Site) -> Result<Future<F::Output>, SubmitError<Self>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        let (origin, terms) = (self.origin(site), TaskTerms { limit: self.limit(), ..self.terms });
        let submitted = self.pool.shared().try_call(origin, terms, limit, self.invocation);
        submitted.map_err(|Refused { reason, terms, invocation }| {
            SubmitError::new(reason, Self { invocation, terms, ..self })
        })
    }

    fn origin(&self, site: Site) -> Origin {
        Origin::at(site, self.name.map(Name::as_str))
    }

    fn limit(&self) -> Option<TimeLimit> {
        self.timeout.map(|timeout| TimeLimit { timeout, grace: self.grace })
    }

    pub(super) fn into_call(self) -> (F, A) {
        (self.invocation.f, self.invocation.args)
    }
}

impl<F, A> fmt::Debug for ProcessTask<'_, F, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTask")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("grace", &self.grace)
            .field("retries", &self.terms.retries)
            .field("on_progress", &self.terms.listener.is_some())
            .finish_non_exhaustive()
    }
}
