//! The task that the calling code is part of.

use super::header::Header;
use crate::deadlock::graph::task_id::TaskId;
use crate::deadlock::registry;
use crate::deadlock::resource::HoldMode;

impl TaskId {
    /// Returns the id of the task that calls this; `None` outside of tasks, and in another process. Inside
    /// [`map`](crate::ThreadPoolExecutor::map) a task is one chunk of items.
    ///
    /// The destructor of a closure that is dropped unused is part of whatever task cancels it; outside of tasks, of its own. Callbacks
    /// are part of no task; where they have filled the stack, and go on on another thread, they are part of a task of this crate's.
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
