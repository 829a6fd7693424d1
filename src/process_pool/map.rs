//! A map over worker processes: a chunk is one call.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::parent::shared::Shared;
use super::wire::callable::Callable;
use crate::task::future::Future;
use crate::task::map::{Chunk, TakesChunks};
use crate::task::results::Results;

/// A function, and the pool whose workers call it.
pub struct ProcessCalls<F> {
    shared: Arc<Shared>,
    f: F,
}

impl<F> ProcessCalls<F> {
    pub(super) fn new(shared: Arc<Shared>, f: F) -> Self {
        Self { shared, f }
    }
}

impl<T, F> TakesChunks<T, F::Output> for ProcessCalls<F>
where
    T: Serialize + DeserializeOwned,
    F: Callable<(T,)>,
    F::Output: Serialize + DeserializeOwned + Send + 'static,
{
    fn submit_chunk(&self, chunk: Chunk<T>) -> Future<Results<F::Output>> {
        self.shared.call_chunk(chunk.site, chunk.limit, self.f, chunk.items)
    }

    fn has_room(&self) -> bool {
        self.shared.has_room()
    }

    fn max_workers(&self) -> usize {
        self.shared.max_workers()
    }
}
