//! The task that the calling code is part of.

use super::header::Header;
use crate::deadlock::graph::task_id::TaskId;
use crate::deadlock::registry;
use crate::deadlock::resource::HoldMode;

impl TaskId {
    /// Returns the id of the task that the calling code is part of. If a task runs another one in place, that is the inner one. A
    /// chunk of a [`map`](crate::ThreadPoolExecutor::map) is one task. `None` outside of tasks, and in worker processes.
    ///
    /// Two rare cases. A closure that is cancelled is dropped as part of the task that cancels it; if no task does, as part of its
    /// own. A callback is part of no task, but a long chain of callbacks may go on on another thread, where this returns the id
    /// of an internal task.
    ///
    /// The same as [`Future::id`](crate::Future::id) of the task's future, so that a task can put it into its own log or
    /// `tracing` span.
    ///
    /// # Examples
    ///
    /// ```
    /// use bowline::task::TaskId;
    ///
    /// let pool = bowline::ThreadPoolExecutor::new(1);
    /// let future = pool.submit(TaskId::current);
    /// let id = future.id();
    /// assert_eq!(future.result().unwrap(), Some(id));
    /// assert_eq!(TaskId::current(), None);
    /// ```
    #[must_use]
    pub fn current() -> Option<Self> {
        let mut run = None;
        registry::current().holds.for_each(|hold| {
            if run.is_none() && (hold.resource.type_of)().mode == HoldMode::Running {
                run = Some(hold.resource.key);
            }
        });
        // SAFETY:
        // - the calling context runs a task with this key: its runner has a reference, and gives the hold back first. The
        //   address is exposed (`Header::facts`).
        run.map(|key| unsafe { &*std::ptr::with_exposed_provenance::<Header>(key) }.id())
    }
}
