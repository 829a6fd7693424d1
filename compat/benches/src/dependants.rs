//! Crates that lock by parking_lot, end to end.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::{Workload, time_together};

pub(crate) const ALL: &[Workload] =
    &[("moka: get and insert, 4 threads", moka), ("tokio: spawn and await, 2 workers", tokio_tasks)];

fn moka() -> f64 {
    const KEYS: usize = 1000;
    let cache = moka::sync::Cache::new(KEYS as u64);
    time_together(4, 25_000, |thread, at| {
        let key = (thread * 7919 + at * 31) % KEYS;
        match cache.get(&key) {
            Some(value) => _ = black_box(value),
            None => cache.insert(key, at),
        }
        if at % 16 == 0 {
            cache.insert(key, at);
        }
    })
}

fn tokio_tasks() -> f64 {
    const TASKS: usize = 20_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let total = Arc::new(tokio::sync::Mutex::new(0_usize));
    let start = Instant::now();
    runtime.block_on(async {
        let (sender, mut receiver) = mpsc::channel(64);
        for at in 0..TASKS {
            let (sender, total) = (sender.clone(), Arc::clone(&total));
            tokio::spawn(async move {
                *total.lock().await += at;
                _ = sender.send(at).await;
            });
        }
        drop(sender);
        while receiver.recv().await.is_some() {}
    });
    start.elapsed().as_nanos() as f64 / TASKS as f64
}
