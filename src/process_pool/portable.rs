//! Process pools where the system lacks what they are made of: whatever names one compiles, and none can be made.
//!
//! The interface is the same files as on Linux; what they build on is here, and a pool's core is a type without values.

mod builder;
mod error;
mod lost;
mod map;
mod pool;
mod start_error;

pub use builder::ProcessPoolBuilder;
pub use error::ProcessPoolError;
pub use lost::{WorkerExit, WorkerLost};
pub use pool::ProcessPoolExecutor;
pub use start_error::{StartError, StartFailure};
pub use wire::callable::Callable;
pub use wire::codec::{CodecError, Json};

mod wire {
    pub(super) mod callable;
    pub(super) mod codec;
    pub(super) mod room;

    pub(super) mod call {
        use serde::Serialize;
        use serde::de::DeserializeOwned;

        use crate::process_pool::wire::callable::Callable;
        use crate::process_pool::wire::codec::CodecError;
        use crate::task::error::TaskError;
        use crate::thread_pool::Initialized;

        /// A call that would be encoded.
        pub(in crate::process_pool) enum Call {}

        impl Call {
            pub(in crate::process_pool) fn of_initializer<F, A>(_: F, _: A, _: usize) -> Result<Self, TaskError>
            where
                F: Callable<A>,
                F::Output: Initialized,
                A: Serialize + DeserializeOwned,
            {
                Err(TaskError::Encode(CodecError::new("there is nobody to send it to")))
            }
        }
    }
}

mod parent {
    pub(super) mod core {
        use std::sync::Arc;

        use serde::Serialize;
        use serde::de::DeserializeOwned;

        use crate::deadlock::resource::Origin;
        use crate::process_pool::wire::callable::Callable;
        use crate::task::future::Future;
        use crate::task::map::Results;

        /// What a pool's handles would share.
        pub(in crate::process_pool) enum Core {}

        /// How much there would be of everything.
        pub(in crate::process_pool) struct Counts {
            pub(in crate::process_pool) queued: usize,
            pub(in crate::process_pool) workers: usize,
            pub(in crate::process_pool) active: usize,
            pub(in crate::process_pool) completed: u64,
        }

        impl Core {
            pub(in crate::process_pool) fn name(&self) -> &Arc<str> {
                match *self {}
            }

            pub(in crate::process_pool) fn max_workers(&self) -> usize {
                match *self {}
            }

            pub(in crate::process_pool) fn is_closed(&self) -> bool {
                match *self {}
            }

            pub(in crate::process_pool) fn counts(&self) -> Counts {
                match *self {}
            }

            pub(in crate::process_pool) fn pids(&self) -> Vec<u32> {
                match *self {}
            }

            pub(in crate::process_pool) fn call<F, A>(self: &Arc<Self>, _: Origin, _: F, _: A) -> Future<F::Output>
            where
                F: Callable<A>,
                F::Output: Serialize + DeserializeOwned + Send + 'static,
                A: Serialize + DeserializeOwned,
            {
                match **self {}
            }

            pub(in crate::process_pool) fn call_chunk<F, I>(
                self: &Arc<Self>,
                _: Origin,
                _: F,
                _: Vec<I>,
            ) -> Future<Results<F::Output>>
            where
                F: Callable<(I,)>,
                F::Output: Serialize + DeserializeOwned + Send + 'static,
                I: Serialize + DeserializeOwned,
            {
                match **self {}
            }
        }
    }

    pub(super) mod setup {
        use std::sync::Arc;

        use crate::deadlock::resource::Site;
        use crate::process_pool::builder::ProcessPoolBuilder;
        use crate::process_pool::error::ProcessPoolError;
        use crate::process_pool::parent::core::Core;

        /// Says that there are no pools here.
        pub(in crate::process_pool) fn core(_: ProcessPoolBuilder, _: Site) -> Result<Arc<Core>, ProcessPoolError> {
            Err(ProcessPoolError::Unsupported)
        }
    }

    pub(super) mod shutdown {
        use std::sync::Arc;

        use crate::deadlock::resource::Site;
        use crate::process_pool::parent::core::Core;
        use crate::thread_pool::{ShutdownOptions, ShutdownReport};

        pub(in crate::process_pool) fn shutdown(core: &Arc<Core>, _: ShutdownOptions, _: Site) -> ShutdownReport {
            match **core {}
        }

        pub(in crate::process_pool) fn kill(core: &Arc<Core>, _: Site) -> ShutdownReport {
            match **core {}
        }

        pub(in crate::process_pool) fn terminate(core: &Arc<Core>, _: Site) -> ShutdownReport {
            match **core {}
        }

        pub(in crate::process_pool) fn drop_pool(core: &Arc<Core>) {
            match **core {}
        }
    }
}

mod worker {
    pub(super) mod entry {
        /// No process is a worker here.
        pub(in crate::process_pool) fn become_worker() {}
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
