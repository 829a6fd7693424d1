//! One lock, measured once, as lines to be collected by a script.

use std::time::Duration;

use crate::contention::{self, Section};
use crate::lock::{BenchLock, Reentrant};
use crate::solo::{ReentrantWorkload, Workload};

/// How often a workload of one thread is done at a time: a few milliseconds.
const TIMES: u64 = 500_000;
/// How long a crowd runs.
const WINDOW: Duration = Duration::from_millis(50);

/// Prints `workload<TAB>nanoseconds per operation` for each workload.
pub fn print<L: BenchLock, R: Reentrant>() {
    let solos = Workload::ALL.map(|workload| (workload.name(), workload.over::<L>()));
    let reentrant = ReentrantWorkload::ALL.map(|workload| (workload.name(), workload.over::<R>()));
    for (workload, run) in solos.into_iter().chain(reentrant) {
        run(TIMES / 10);
        println!("{workload}\t{:.3}", run(TIMES).as_nanos() as f64 / TIMES as f64);
    }
    for threads in [2, 8, 32] {
        for section in Section::ALL {
            let rate = contention::throughput::<L>(section.of(threads), WINDOW);
            println!("{threads} threads, {}\t{:.3}", section.name(), 1e9 / rate);
        }
    }
}
