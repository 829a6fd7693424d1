//! The ways to submit a call to a process pool.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::map::ProcessCalls;
use super::parent::terms::TaskTerms;
use super::pool::ProcessPoolExecutor;
use super::task::ProcessTask;
use super::wire::callable::Callable;
use super::wire::invocation::Invocation;
use crate::deadlock::Name;
use crate::deadlock::resource::Origin;
use crate::task::error::SubmitError;
use crate::task::future::Future;
use crate::task::map::Map;

impl ProcessPoolExecutor {
    /// Calls `f` with `args`, a tuple, in a worker, and returns the future of its result.
    ///
    /// Encodes the arguments, and sends them at once if a worker is idle; never waits for a worker, unless the queue has a
    /// [limit](super::ProcessPoolBuilder::queue_capacity) and is full. If no worker is
    /// idle and there may be more, starts one in the background. Costs a few allocations, one of them as long as the
    /// encoded arguments, and one system call if the task is sent at once.
    ///
    /// `f` is a function item, or a closure that captures nothing and names the types of its parameters. For anything
    /// else the compiler says that data have to be arguments.
    ///
    /// In addition to the errors of every future, its error is:
    ///
    /// - [`WorkerLost`](crate::TaskError::WorkerLost): the worker ended in the middle of the task.
    /// - [`Terminated`](crate::TaskError::Terminated): the task was [terminated](Future::terminate), or its
    ///   [time-out](ProcessTask::timeout) had passed.
    /// - [`Panicked`](crate::TaskError::Panicked): the task panicked, or the code that encodes or decodes its data did.
    /// - [`Encode`](crate::TaskError::Encode): the arguments or the result can't be encoded, or are longer than
    ///   [`max_message_size`](super::ProcessPoolBuilder::max_message_size), or have more than 253
    ///   [blobs](crate::Blob); or the function is in another shared library than this one.
    /// - [`Decode`](crate::TaskError::Decode): the arguments or the result can't be decoded where they arrive.
    /// - [`Rejected`](crate::TaskError::Rejected): the pool was shut down or killed, its initializer failed, or there
    ///   is no worker and none can be started. (In this case the pool tries again for tasks that come later.)
    ///
    /// An error that is known at once (arguments that can't be encoded, a pool that takes no more tasks) gives a future
    /// that is done already.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// fn repeat(word: String, times: usize) -> String {
    ///     word.repeat(times)
    /// }
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// assert_eq!(pool.submit(repeat, ("ho".to_owned(), 3)).result()?, "hohoho");
    /// assert_ne!(pool.submit(std::process::id, ()).result()?, std::process::id());
    ///
    /// let oops = pool.submit(|rope: Vec<u8>| rope[0], (vec![],)).result().unwrap_err();
    /// let TaskError::Panicked(panic) = oops else { panic!("{oops}") };
    /// assert!(panic.message().contains("out of bounds") && panic.process().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn submit<F, A>(&self, f: F, args: A) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.shared().call(Origin::at(Location::caller(), None), TaskTerms::default(), Invocation::new(f, args))
    }

    /// [Submits](Self::submit) a call under a name, which errors, reports and `Debug` show. Without a name they show
    /// the path of the function.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let future = pool.submit_named("thumbnail", || -> u8 { std::process::abort() }, ());
    /// let error = future.result().unwrap_err();
    /// assert!(error.to_string().contains("of task 'thumbnail'"));
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn submit_named<F, A>(&self, name: impl Into<Name>, f: F, args: A) -> Future<F::Output>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.task(f, args).name(name).submit()
    }

    /// Submits a call, and never waits for room in the [queue](super::ProcessPoolBuilder::queue_capacity).
    ///
    /// # Errors
    ///
    /// The call is refused: the queue is full ([`QueueFull`](crate::task::Rejected::QueueFull)), the pool was shut down, killed or is
    /// broken, or this process is a fork. The error has the reason, and the function with its arguments. Arguments that can't be encoded are
    /// no such error, but one of the future.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::task::Rejected;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(1).build()?;
    /// let nap = |seconds| std::thread::sleep(Duration::from_secs(seconds));
    /// let refused = (0..3).find_map(|_| pool.try_submit(nap, (60,)).err()).expect("one runs, and one is queued");
    /// assert!(matches!(refused.reason(), Rejected::QueueFull));
    /// let (_nap, (seconds,)) = refused.into_task();
    /// assert_eq!(seconds, 60);
    /// # pool.kill();
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn try_submit<F, A>(&self, f: F, args: A) -> Result<Future<F::Output>, SubmitError<(F, A)>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.task(f, args).try_submit().map_err(|refused| refused.map(ProcessTask::into_call))
    }

    /// Submits a call, and waits for room for at most `timeout` if the [queue](super::ProcessPoolBuilder::queue_capacity) is full.
    ///
    /// # Errors
    ///
    /// The call is refused, as [`try_submit`](Self::try_submit) says; after the time-out the reason is
    /// [`Timeout`](crate::task::Rejected::Timeout).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    /// use bowline::task::Rejected;
    /// use std::time::Duration;
    ///
    /// let pool = ProcessPoolExecutor::builder().max_workers(1).queue_capacity(1).build()?;
    /// let nap = |seconds| std::thread::sleep(Duration::from_secs(seconds));
    /// let submit = || pool.submit_timeout(nap, (60,), Duration::from_millis(10));
    /// let refused = (0..3).find_map(|_| submit().err()).expect("one runs, and one is queued");
    /// assert!(matches!(refused.reason(), Rejected::Timeout));
    /// # pool.kill();
    /// # Ok::<(), bowline::process_pool::ProcessPoolError>(())
    /// ```
    #[track_caller]
    pub fn submit_timeout<F, A>(
        &self,
        f: F,
        args: A,
        timeout: Duration,
    ) -> Result<Future<F::Output>, SubmitError<(F, A)>>
    where
        F: Callable<A>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
        A: Serialize + DeserializeOwned,
    {
        self.task(f, args).submit_timeout(timeout).map_err(|refused| refused.map(ProcessTask::into_call))
    }

    /// Returns a call of `f` with `args`, which is yet to be [submitted](ProcessTask::submit): with its own time-out, name, number of
    /// retries, and callback for its progress.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, TaskError};
    /// use std::time::Duration;
    ///
    /// fn hang() {
    ///     loop {
    ///         std::thread::park();
    ///     }
    /// }
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let hangs = pool.task(hang, ()).timeout(Duration::from_millis(10)).grace(Duration::ZERO).submit();
    /// let next = pool.submit(|n: u32| n + 1, (1,));
    /// assert!(matches!(hangs.result(), Err(TaskError::Terminated(_))));
    /// assert_eq!(next.result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn task<F, A>(&self, f: F, args: A) -> ProcessTask<'_, F, A> {
        ProcessTask::new(self, f, args)
    }

    /// Calls `f` with each item in the workers, and yields the results in the order of the items, as
    /// [`ThreadPoolExecutor::map`](crate::ThreadPoolExecutor::map) does.
    ///
    /// A chunk of items is one task, and one message each way: a crash, or a value that can't be encoded, costs the
    /// items of one chunk, a panic only its own item. When the map is dropped or times out, the chunks that no worker
    /// has begun are cancelled; a chunk that was begun runs to its end.
    ///
    /// It is lazy, as its counterpart is: without [`buffer_size`](Map::buffer_size), 16 chunks for each worker are
    /// encoded ahead.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::ProcessPoolExecutor;
    ///
    /// let pool = ProcessPoolExecutor::new(2)?;
    /// let squares: Result<Vec<u64>, _> = pool.map(|n: u64| n * n, 0..1000).chunk_size(100).collect();
    /// assert_eq!(squares?[999], 999 * 999);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn map<I, F>(&self, f: F, items: I) -> Map<I::IntoIter, F, F::Output, Self>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Callable<(I::Item,)>,
        F::Output: Serialize + DeserializeOwned + Send + 'static,
    {
        Map::new(ProcessCalls::new(Arc::clone(self.shared()), f), items.into_iter(), Location::caller())
    }
}
