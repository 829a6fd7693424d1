//! A map over worker processes: a chunk is one call.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{self, Call, Callable};
use super::core::Core;
use super::{ProcessPoolExecutor, submit_call};
use crate::deadlock::resource::Origin;
use crate::executor::future::Future;
use crate::executor::map::{Chunk, HasMap, Results, TakesChunks};

/// A function, and the workers that call it.
pub struct ProcessCalls<F> {
    core: Arc<Core>,
    f: F,
}

impl<F> ProcessCalls<F> {
    pub(super) fn new(core: Arc<Core>, f: F) -> Self {
        Self { core, f }
    }
}

impl HasMap for ProcessPoolExecutor {
    type Calls<F> = ProcessCalls<F>;
}

impl<T, F> TakesChunks<T, F::Output> for ProcessCalls<F>
where
    T: Serialize + DeserializeOwned,
    F: Callable<(T,)>,
    F::Output: Serialize + DeserializeOwned + Send + 'static,
{
    fn submit_chunk(&self, chunk: Chunk<T>) -> Future<Results<F::Output>> {
        let call = Call::of_chunk(self.f, chunk.items, self.core.settings.most);
        let origin = Origin::at(chunk.site, None);
        // SAFETY:
        // - the function is for the results of a chunk.
        unsafe { submit_call::<F, _>(&self.core, call, call::complete_chunk::<F::Output>, origin) }
    }

    fn has_room(&self) -> bool {
        true
    }

    fn max_workers(&self) -> usize {
        self.core.settings.max_workers
    }
}
