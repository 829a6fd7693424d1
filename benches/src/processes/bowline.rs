//! bowline's `ProcessPoolExecutor`.

use ::bowline::{Future, ProcessPoolExecutor};

use super::{CHUNK, Maps, ProcessBench, WORKERS, same, small};

/// bowline's `ProcessPoolExecutor`. Its workers never reach `main`.
pub struct Bowline(ProcessPoolExecutor);

impl ProcessBench for Bowline {
    const NAME: &'static str = "bowline";
    type Handle = Future<u64>;

    fn new() -> Self {
        Self(ProcessPoolExecutor::new(WORKERS).expect("the system has processes left"))
    }

    fn submit(&self, number: u64) -> Self::Handle {
        self.0.submit(same, (number,))
    }

    fn result(&self, handle: Self::Handle) -> u64 {
        handle.result().expect("the task does not panic")
    }
}

/// By `map`, which catches the panic of each item.
impl Maps for Bowline {
    fn map(&self, items: Vec<u64>) -> Vec<u64> {
        let results = self.0.map(small, items).chunk_size(CHUNK);
        results.map(|result| result.expect("the call does not panic")).collect()
    }
}
