//! Process pools where the system lacks what they are made of: whatever names one compiles, and none can be made.
//!
//! The interface is the same files as on Linux; what they build on is here, and a pool's core is a type without values.

mod builder;
mod callable;
mod codec;
mod error;
mod lost;
mod map;
mod pool;
mod room;
pub(in crate::executor) mod spin;
mod start_error;

pub use builder::ProcessPoolBuilder;
pub use callable::Callable;
pub use codec::{CodecError, Json};
pub use error::ProcessPoolError;
pub use lost::{WorkerExit, WorkerLost};
pub use pool::ProcessPoolExecutor;
pub use start_error::{StartError, StartFailure};

mod core {
    use std::sync::Arc;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::callable::Callable;
    use crate::deadlock::resource::Origin;
    use crate::executor::future::Future;
    use crate::executor::map::Results;

    /// What a pool's handles would share.
    pub(super) enum Core {}

    /// How much there would be of everything.
    pub(super) struct Counts {
        pub(super) queued: usize,
        pub(super) workers: usize,
        pub(super) active: usize,
        pub(super) completed: u64,
    }

    impl Core {
        pub(super) fn name(&self) -> &Arc<str> {
            match *self {}
        }

        pub(super) fn max_workers(&self) -> usize {
            match *self {}
        }

        pub(super) fn is_closed(&self) -> bool {
            match *self {}
        }

        pub(super) fn counts(&self) -> Counts {
            match *self {}
        }

        pub(super) fn pids(&self) -> Vec<u32> {
            match *self {}
        }

        pub(super) fn call<F, A>(self: &Arc<Self>, _: Origin, _: F, _: A) -> Future<F::Output>
        where
            F: Callable<A>,
            F::Output: Serialize + DeserializeOwned + Send + 'static,
            A: Serialize + DeserializeOwned,
        {
            match **self {}
        }

        pub(super) fn call_chunk<F, I>(self: &Arc<Self>, _: Origin, _: F, _: Vec<I>) -> Future<Results<F::Output>>
        where
            F: Callable<(I,)>,
            F::Output: Serialize + DeserializeOwned + Send + 'static,
            I: Serialize + DeserializeOwned,
        {
            match **self {}
        }
    }
}

mod setup {
    use std::sync::Arc;

    use super::builder::ProcessPoolBuilder;
    use super::core::Core;
    use super::error::ProcessPoolError;
    use crate::deadlock::resource::Site;

    /// Says that there are no pools here.
    pub(super) fn core(_: ProcessPoolBuilder, _: Site) -> Result<Arc<Core>, ProcessPoolError> {
        Err(ProcessPoolError::Unsupported)
    }
}

mod call {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::callable::Callable;
    use super::codec::CodecError;
    use crate::executor::error::TaskError;
    use crate::executor::thread_pool::Initialized;

    /// A call that would be encoded.
    pub(super) enum Call {}

    impl Call {
        pub(super) fn of_initializer<F, A>(_: F, _: A, _: usize) -> Result<Self, TaskError>
        where
            F: Callable<A>,
            F::Output: Initialized,
            A: Serialize + DeserializeOwned,
        {
            Err(TaskError::Encode(CodecError::new("there is nobody to send it to")))
        }
    }
}

mod entry {
    /// No process is a worker here.
    pub(super) fn become_worker() {}
}

mod shutdown {
    use std::sync::Arc;

    use super::core::Core;
    use crate::deadlock::resource::Site;
    use crate::executor::thread_pool::{ShutdownOptions, ShutdownReport};

    pub(super) fn shutdown(core: &Arc<Core>, _: ShutdownOptions, _: Site) -> ShutdownReport {
        match **core {}
    }

    pub(super) fn kill(core: &Arc<Core>, _: Site) -> ShutdownReport {
        match **core {}
    }

    pub(super) fn terminate(core: &Arc<Core>, _: Site) -> ShutdownReport {
        match **core {}
    }

    pub(super) fn drop_pool(core: &Arc<Core>) {
        match **core {}
    }
}

mod signal {
    /// No worker is ended by one here.
    pub(super) const ABORT: i32 = 0;

    /// None is known here.
    pub(super) fn name(_: i32) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcessPoolError, ProcessPoolExecutor};

    #[test]
    fn a_pool_that_cannot_be_says_so_when_it_is_made() {
        ProcessPoolExecutor::init();
        let builder = ProcessPoolExecutor::builder().name("none").initializer(|n: u8| drop(n), (1,)).retries(1);
        for made in [ProcessPoolExecutor::new(2), builder.build()] {
            let error = made.unwrap_err();
            assert!(matches!(error, ProcessPoolError::Unsupported), "{error}");
            assert!(error.to_string().contains("no process pools on this system"), "{error}");
        }
    }
}
