//! The `procspawn` crate's pool.

use ::procspawn::{JoinHandle, Pool};

use super::{CHUNK, Maps, ProcessBench, WORKERS, same, small};

/// The `procspawn` crate's pool. A task that is queued holds three descriptors. Results are handed over by rendezvous,
/// and so have to be taken in the order of submission: a worker's monitor does nothing else until somebody has come.
pub struct Procspawn(Pool);

impl ProcessBench for Procspawn {
    const NAME: &'static str = "procspawn";
    type Handle = JoinHandle<u64>;

    fn new() -> Self {
        Self(Pool::new(WORKERS).expect("the system has processes left"))
    }

    fn submit(&self, number: u64) -> Self::Handle {
        self.0.spawn(number, same)
    }

    fn result(&self, handle: Self::Handle) -> u64 {
        handle.join().expect("the task does not panic")
    }
}

/// A task a chunk, by hand.
impl Maps for Procspawn {
    fn map(&self, items: Vec<u64>) -> Vec<u64> {
        fn chunk(items: Vec<u64>) -> Vec<u64> {
            items.into_iter().map(small).collect()
        }
        let handles: Vec<_> = items.chunks(CHUNK).map(|items| self.0.spawn(items.to_vec(), chunk)).collect();
        let mut results = Vec::with_capacity(items.len());
        for handle in handles {
            results.extend(handle.join().expect("the task does not panic"));
        }
        results
    }
}
