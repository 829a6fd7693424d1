//! Runs each workload once and prints its name and the nanoseconds of one operation, a line each.
//!
//! Which package is called `parking_lot` is for `run.sh` to say.

mod alone;
mod contended;
mod dependants;

use std::time::{Duration, Instant};

/// How long a workload is measured.
const LENGTH: Duration = Duration::from_millis(60);

fn main() {
    let wanted: Vec<_> = std::env::args().skip(1).collect();
    let workloads = [alone::ALL, contended::ALL, dependants::ALL].concat();
    for (name, run) in workloads {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("{name}\t{:.3}", run());
        }
    }
}

/// A workload: its name, and what measures the nanoseconds of one operation.
type Workload = (&'static str, fn() -> f64);

/// Repeats an operation, and returns how many nanoseconds each takes.
fn time_alone(mut operation: impl FnMut()) -> f64 {
    const BATCH: u32 = 4096;
    let mut best = f64::INFINITY;
    let start = Instant::now();
    while start.elapsed() < LENGTH {
        let batch = Instant::now();
        (0..BATCH).for_each(|_| operation());
        best = best.min(batch.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    best
}

/// Lets threads repeat an operation together, each its own number of times, and returns how many nanoseconds one takes.
fn time_together(threads: usize, times: usize, operation: impl Fn(usize, usize) + Sync) -> f64 {
    let ready = std::sync::Barrier::new(threads);
    let start = Instant::now();
    let operation = &operation;
    std::thread::scope(|s| {
        for thread in 0..threads {
            let ready = &ready;
            s.spawn(move || {
                ready.wait();
                (0..times).for_each(|at| operation(thread, at));
            });
        }
    });
    start.elapsed().as_nanos() as f64 / (threads * times) as f64
}
