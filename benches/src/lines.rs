//! One lock, measured once, as lines to be collected by a script.

use std::time::Duration;

use crate::contention::{self, Crowd};
use crate::lock::{BenchLock, Reentrant};
use crate::solo::{self, Solo};

/// How often a workload of one thread is done at a time: a few milliseconds.
const TIMES: u64 = 500_000;
/// How long a crowd runs.
const WINDOW: Duration = Duration::from_millis(50);

/// Prints `workload<TAB>nanoseconds per operation` for each workload.
pub fn print<L: BenchLock, R: Reentrant>() {
    let solos: [(&str, Solo); 5] = [
        ("lock + unlock", solo::uncontended::<L>),
        ("2 nested locks", solo::nested_2::<L>),
        ("4 nested locks", solo::nested_4::<L>),
        ("lock again", solo::relock::<R>),
        ("new + drop", solo::new_and_drop::<L>),
    ];
    for (workload, run) in solos {
        run(TIMES / 10);
        println!("{workload}\t{:.3}", run(TIMES).as_nanos() as f64 / TIMES as f64);
    }
    for threads in [2, 8, 32] {
        for (kind, crowd) in [("short", Crowd::short(threads)), ("1 µs inside", Crowd::inside(threads))] {
            let rate = contention::throughput::<L>(crowd, WINDOW);
            println!("{threads} threads, {kind}\t{:.3}", 1e9 / rate);
        }
    }
}
