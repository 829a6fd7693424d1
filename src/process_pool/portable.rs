//! A pool of processes that run tasks: the [`ProcessPoolExecutor`], its [builder](ProcessPoolBuilder), and what can be
//! [called](Callable) in a worker.
//!
//! On Linux. Elsewhere whatever names a pool compiles, and making one is [`ProcessPoolError::Unsupported`].

// In the place of `mod.rs` where the system lacks what process pools are made of. The interface is the same files as on Linux;
// what they build on is here, and a pool's shared state is a type without values.

mod builder;
mod current_task;
mod error;
mod limits;
mod map;
mod pool;
mod submit;
mod task;

pub use builder::ProcessPoolBuilder;
pub use current_task::{CurrentTask, current_task};
pub use error::ProcessPoolError;
pub use pool::ProcessPoolExecutor;
pub use task::ProcessTask;
pub use wire::blob::{Blob, BlobMut, SealError, SharedVec, SharedVecMut};
pub use wire::callable::Callable;
pub use wire::codec::Json;

mod wire {
    pub(super) mod blob;
    pub(super) mod callable;
    pub(super) mod codec;
    pub(super) mod invocation;
    pub(super) mod limits;
    pub(super) mod memory;

    pub(super) mod call {
        use serde::Serialize;
        use serde::de::DeserializeOwned;

        use crate::process_pool::wire::callable::Callable;
        use crate::task::error::CodecError;
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
                nobody()
            }

            pub(in crate::process_pool) fn of<F, A>(_: F, _: A, _: usize) -> Result<Self, TaskError>
            where
                F: Callable<A>,
                F::Output: Serialize,
                A: Serialize + DeserializeOwned,
            {
                nobody()
            }

            pub(in crate::process_pool) fn listened_to<F, A, P>(_: F, _: A, _: usize) -> Result<Self, TaskError>
            where
                F: Callable<A>,
                F::Output: Serialize,
                A: Serialize + DeserializeOwned,
                P: 'static,
            {
                nobody()
            }
        }

        fn nobody() -> Result<Call, TaskError> {
            Err(TaskError::Encode(CodecError::new("there is nobody to send it to")))
        }
    }
}

mod parent {
    pub(super) mod lifespan;
    pub(super) mod listener;
    pub(super) mod options;
    pub(super) mod terms;

    pub(super) mod shared {
        use std::sync::Arc;

        use serde::Serialize;
        use serde::de::DeserializeOwned;

        use crate::deadlock::door::Limit;
        use crate::deadlock::resource::{Origin, Site};
        use crate::process_pool::parent::settings::Settings;
        use crate::process_pool::parent::terms::{Refused, TaskTerms};
        use crate::process_pool::wire::callable::Callable;
        use crate::process_pool::wire::invocation::Invocation;
        use crate::task::future::Future;
        use crate::task::results::Results;

        /// What a pool's handles would share.
        pub(in crate::process_pool) enum Shared {}

        /// How many tasks and workers there would be.
        pub(in crate::process_pool) struct Counts {
            pub(in crate::process_pool) queued: usize,
            pub(in crate::process_pool) workers: usize,
            pub(in crate::process_pool) active: usize,
            pub(in crate::process_pool) completed: u64,
        }

        impl Shared {
            pub(in crate::process_pool) fn new(settings: Settings) -> Arc<Self> {
                match settings {}
            }

            pub(in crate::process_pool) fn name(&self) -> &Arc<str> {
                match *self {}
            }

            pub(in crate::process_pool) fn max_workers(&self) -> usize {
                match *self {}
            }

            pub(in crate::process_pool) fn is_closed(&self) -> bool {
                match *self {}
            }

            pub(in crate::process_pool) fn panic_count(&self) -> u64 {
                match *self {}
            }

            pub(in crate::process_pool) fn counts(&self) -> Counts {
                match *self {}
            }

            pub(in crate::process_pool) fn pids(&self) -> Vec<u32> {
                match *self {}
            }

            pub(in crate::process_pool) fn call<F, A>(
                self: &Arc<Self>,
                _: Origin,
                _: TaskTerms,
                _: Invocation<F, A>,
            ) -> Future<F::Output>
            where
                F: Callable<A>,
                F::Output: Serialize + DeserializeOwned + Send + 'static,
                A: Serialize + DeserializeOwned,
            {
                match **self {}
            }

            pub(in crate::process_pool) fn try_call<F, A>(
                self: &Arc<Self>,
                _: Origin,
                _: TaskTerms,
                _: Option<Limit>,
                _: Invocation<F, A>,
            ) -> Result<Future<F::Output>, Refused<F, A>>
            where
                F: Callable<A>,
                F::Output: Serialize + DeserializeOwned + Send + 'static,
                A: Serialize + DeserializeOwned,
            {
                match **self {}
            }

            pub(in crate::process_pool) fn has_room(&self) -> bool {
                match *self {}
            }

            pub(in crate::process_pool) fn call_chunk<F, I>(
                self: &Arc<Self>,
                _: Site,
                _: Limit,
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

    pub(super) mod settings {
        use crate::deadlock::resource::Site;
        use crate::process_pool::error::ProcessPoolError;
        use crate::process_pool::parent::options::Options;

        /// What would be decided when a pool is made.
        pub(in crate::process_pool) enum Settings {}

        impl Settings {
            /// Says that there are no pools here.
            pub(in crate::process_pool) fn of(_: Options, _: Site) -> Result<Self, ProcessPoolError> {
                Err(ProcessPoolError::Unsupported)
            }
        }
    }

    pub(super) mod shutdown {
        use std::sync::Arc;

        use crate::deadlock::resource::Site;
        use crate::process_pool::parent::shared::Shared;
        use crate::thread_pool::{ShutdownOptions, ShutdownReport};

        pub(in crate::process_pool) fn shutdown(shared: &Arc<Shared>, _: ShutdownOptions, _: Site) -> ShutdownReport {
            match **shared {}
        }

        pub(in crate::process_pool) fn kill(shared: &Arc<Shared>, _: Site) -> ShutdownReport {
            match **shared {}
        }

        pub(in crate::process_pool) fn terminate(shared: &Arc<Shared>) -> ShutdownReport {
            match **shared {}
        }

        pub(in crate::process_pool) fn drop_pool(shared: &Arc<Shared>) {
            match **shared {}
        }
    }
}

mod worker {
    pub(super) mod entry {
        /// Does nothing: no process is a worker here.
        pub(in crate::process_pool) fn become_worker() {}
    }

    pub(super) mod running {
        use serde::Serialize;

        use crate::task::error::CodecError;

        /// A task in a worker process.
        #[derive(Clone, Copy)]
        pub(in crate::process_pool) enum Running {}

        impl Running {
            pub(in crate::process_pool) fn should_stop(&self) -> bool {
                match *self {}
            }

            pub(in crate::process_pool) fn attempt(&self) -> u32 {
                match *self {}
            }

            pub(in crate::process_pool) fn progress<P: Serialize + 'static>(&self, _: &P) -> Result<(), CodecError> {
                match *self {}
            }
        }

        /// Returns none: no process is a worker here.
        pub(in crate::process_pool) fn running() -> Option<Running> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Blob, BlobMut, ProcessPoolError, ProcessPoolExecutor, SharedVec, SharedVecMut};

    #[test]
    fn sealed_memory_that_cannot_be_says_so_when_it_is_made() {
        let made = [Blob::from_bytes(b"one").err(), BlobMut::new(1).err()];
        let vectors = [SharedVec::from_slice(&[1_u16]).err(), SharedVecMut::<u16>::new(1).err()];
        for error in made.into_iter().chain(vectors) {
            assert_eq!(error.map(|error| error.kind()), Some(std::io::ErrorKind::Unsupported));
        }
    }

    #[test]
    fn a_pool_that_cannot_be_says_so_when_it_is_made() {
        ProcessPoolExecutor::init();
        let builder = ProcessPoolExecutor::builder().name("none").initializer(|n: u8| drop(n), (1,)).retries(1);
        let builder = builder.worker_nice(1).worker_affinity([0]).worker_dir("/").worker_env("A", "B");
        for made in [ProcessPoolExecutor::new(2), builder.build()] {
            let error = made.unwrap_err();
            assert!(matches!(error, ProcessPoolError::Unsupported), "{error}");
            assert!(error.to_string().contains("no process pools on this system"), "{error}");
        }
    }
}
