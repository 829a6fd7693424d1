//! The task that a worker runs, as its code sees it.

use std::fmt;

use super::worker::running::{Running, running};

/// The task that this worker process runs: see [`current_task`].
#[derive(Clone, Copy)]
pub struct CurrentTask(Running);

/// Returns the task that this process runs, on whichever of its threads this is called. `None` in a process that is no worker, and
/// between tasks.
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

    /// Returns for the how manieth time the task runs: 1, or more if a worker was lost that ran it, and it has
    /// [`retries`](super::ProcessTask::retries).
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
