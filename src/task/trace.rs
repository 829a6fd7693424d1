//! The view that a `tracing` subscriber has of tasks: the span of their submitter around them, and an event for what
//! went wrong.
//!
//! Without the feature all of this is empty, in the cell too.

#[cfg(feature = "tracing")]
mod on {
    use std::cell::UnsafeCell;

    use crate::deadlock::graph::task_id::TaskId;
    use crate::task::panic::{self, PanicInfo};

    /// The span that was current where the task was submitted, until the task begins.
    pub(crate) struct TaskSpan(UnsafeCell<Option<tracing::Span>>);

    impl TaskSpan {
        /// Returns the current span. This runs a subscriber's code, so it is called before anybody counts on the task.
        pub(crate) fn current() -> Self {
            Self(UnsafeCell::new(Some(tracing::Span::current())))
        }

        /// Returns no span, and runs nothing of the subscriber's.
        pub(crate) fn none() -> Self {
            Self(UnsafeCell::new(None))
        }

        /// Drops the span of a task that will not run. A panic of the subscriber's is contained.
        ///
        /// # Safety
        ///
        /// The caller claimed the task, or nobody uses it any more.
        pub(crate) unsafe fn forget(&self) {
            // SAFETY:
            // - the caller's contract.
            let span = unsafe { &mut *self.0.get() }.take();
            panic::contain(|| drop(span));
        }

        /// Runs a task inside its span.
        ///
        /// # Safety
        ///
        /// The caller claimed the task.
        pub(crate) unsafe fn around<R>(&self, task: impl FnOnce() -> R) -> R {
            // SAFETY:
            // - whoever claimed the task has its span to itself (caller).
            match unsafe { &mut *self.0.get() }.take() {
                Some(span) => span.in_scope(task),
                None => task(),
            }
        }
    }

    /// A task panicked, on this thread or in another process.
    pub(crate) fn task_panicked(task: &str, id: impl FnOnce() -> TaskId, panic: &PanicInfo) {
        let task_id = id().get();
        let location = panic.location().map(tracing::field::display);
        panic::contain(|| {
            tracing::error!(target: "bowline", task, task_id, location, message = panic.message(), "task panicked");
        });
    }

    /// Reports that a pool is broken.
    pub(crate) fn pool_broken(pool: &str, reason: &str) {
        panic::contain(|| tracing::error!(target: "bowline", pool, reason, "executor broken"));
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::deadlock::graph::task_id::TaskId;
    use crate::task::panic::PanicInfo;

    pub(crate) struct TaskSpan;

    impl TaskSpan {
        #[inline]
        pub(crate) fn current() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn none() -> Self {
            Self
        }

        /// Does nothing.
        ///
        /// # Safety
        ///
        /// None: the signature is that with the feature.
        #[inline]
        pub(crate) unsafe fn forget(&self) {}

        /// Runs a task.
        ///
        /// # Safety
        ///
        /// None: the signature is that with the feature.
        #[inline]
        pub(crate) unsafe fn around<R>(&self, task: impl FnOnce() -> R) -> R {
            task()
        }
    }

    #[inline]
    pub(crate) fn task_panicked(_: &str, _: impl FnOnce() -> TaskId, _: &PanicInfo) {}

    #[inline]
    pub(crate) fn pool_broken(_: &str, _: &str) {}
}

#[cfg(not(feature = "tracing"))]
pub(crate) use off::{TaskSpan, pool_broken, task_panicked};
#[cfg(feature = "tracing")]
pub(crate) use on::{TaskSpan, pool_broken, task_panicked};
