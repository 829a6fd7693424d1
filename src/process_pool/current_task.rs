//! The task that a worker runs, as its code sees it.

use std::fmt;

use serde::Serialize;

use super::worker::running::{Running, running};
use crate::task::error::CodecError;

/// The task that this worker process runs: see [`current_task`].
#[derive(Clone, Copy)]
pub struct CurrentTask(Running);

/// Returns the task that this process runs, on whichever of its threads this is called. `None` in a process that is no worker, in an
/// initializer, and between tasks.
///
/// A thread that outlives its task gets the next one here. The value that it got while its own task ran stays that task's.
///
/// # Examples
///
/// ```
/// use bowline::{ProcessPoolExecutor, process_pool};
/// use std::time::Duration;
///
/// fn count() -> u64 {
///     let task = process_pool::current_task().expect("it runs in a worker");
///     let mut counted = 0;
///     while !task.should_stop() {
///         counted += 1;
///     }
///     counted
/// }
///
/// let pool = ProcessPoolExecutor::new(1)?;
/// let counted = pool.task(count, ()).timeout(Duration::from_millis(10)).submit();
/// assert!(counted.result()? > 0); // it has stopped by itself, and has its result
/// assert!(process_pool::current_task().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn current_task() -> Option<CurrentTask> {
    running().map(CurrentTask)
}

impl CurrentTask {
    /// Returns whether the task is to stop: it has run for as long as its [`timeout`](super::ProcessTask::timeout) allows, or somebody
    /// [terminates](crate::Future::terminate) it. If it returns in time it has its result; otherwise its process is killed. Costs
    /// one load. When the task has ended, the answer means nothing.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        self.0.should_stop()
    }

    /// Sends a value to the [`on_progress`](super::ProcessTask::on_progress) callback of the task's submitter. Does nothing if there is
    /// none, or if the task has ended: a thread that outlives the task, and has kept this value, says nothing to the next one's.
    ///
    /// Costs a system call, and waits while 1024 values before this one, a megabyte of them, or some thirty blobs, have not reached the
    /// callback. A task that [is to stop](Self::should_stop) does not wait: then a value for which there is no room is dropped. Any thread
    /// of the task may call this; the callback gets the values in the order in which they are sent.
    ///
    /// # Errors
    ///
    /// The value is not of the type that the callback takes, can't be encoded, or is longer than
    /// [`max_message_size`](super::ProcessPoolBuilder::max_message_size); or the system goes on refusing to send its blobs for a second.
    /// Nothing is sent then, and the task goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, process_pool};
    ///
    /// fn copy(files: Vec<String>) -> usize {
    ///     for file in &files {
    ///         if let Some(task) = process_pool::current_task() {
    ///             let _ = task.progress(file.clone());
    ///         }
    ///     }
    ///     files.len()
    /// }
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// let files = vec!["hawser".to_owned(), "painter".to_owned()];
    /// let copies = pool.task(copy, (files,)).on_progress(|file: String| println!("copying {file}")).submit();
    /// assert_eq!(copies.result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress<P: Serialize + 'static>(&self, value: P) -> Result<(), CodecError> {
        self.0.progress(&value)
    }

    /// Returns the number of this attempt to run the task, from 1. It grows by one each time a worker is lost that runs the task, which has
    /// [`retries`](super::ProcessTask::retries).
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::{ProcessPoolExecutor, process_pool};
    ///
    /// fn crash_once() -> u32 {
    ///     let attempt = process_pool::current_task().expect("it runs in a worker").attempt();
    ///     if attempt == 1 { std::process::abort() } else { attempt }
    /// }
    ///
    /// let pool = ProcessPoolExecutor::new(1)?;
    /// assert_eq!(pool.task(crash_once, ()).retries(1).submit().result()?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt()
    }
}

impl fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentTask")
            .field("attempt", &self.attempt())
            .field("should_stop", &self.should_stop())
            .finish_non_exhaustive()
    }
}
