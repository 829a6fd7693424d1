//! Threads that want the same.

use std::hint::black_box;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, RwLock};

use crate::{Workload, time_together};

pub(crate) const ALL: &[Workload] = &[
    ("2 threads: lock", || lock(2)),
    ("8 threads: lock", || lock(8)),
    ("2 threads: lock, some work apart", || lock_apart(2)),
    ("2 threads: read", || mixed(2, usize::MAX)),
    ("4 threads: read", || mixed(4, usize::MAX)),
    ("4 threads: read, 1 % writes", || mixed(4, 100)),
    ("4 threads: read, 10 % writes", || mixed(4, 10)),
    ("condvar: ping-pong", ping_pong),
];

const TIMES: usize = 500_000;

fn lock(threads: usize) -> f64 {
    let mutex = Mutex::new(0_u64);
    time_together(threads, TIMES * 2 / threads, |_, _| *mutex.lock() += 1)
}

fn lock_apart(threads: usize) -> f64 {
    let mutex = Mutex::new(0_u64);
    time_together(threads, TIMES * 2 / threads, |_, at| {
        *mutex.lock() += 1;
        (0..at % 200).for_each(|n| _ = black_box(n));
    })
}

/// Every `nth` access writes.
fn mixed(threads: usize, nth: usize) -> f64 {
    let lock = RwLock::new(0_u64);
    time_together(threads, TIMES * 4 / threads, |thread, at| {
        if (at + thread).is_multiple_of(nth) { *lock.write() += 1 } else { _ = black_box(*lock.read()) }
    })
}

fn ping_pong() -> f64 {
    const ROUNDS: u64 = 5_000;
    let (turn, changed) = (Mutex::new(0_u64), Condvar::new());
    let play = |parity| {
        for _ in 0..ROUNDS {
            let mut turn = turn.lock();
            changed.wait_while(&mut turn, |turn| *turn % 2 != parity);
            *turn += 1;
            changed.notify_one();
        }
    };
    let start = Instant::now();
    std::thread::scope(|s| {
        s.spawn(|| play(0));
        play(1);
    });
    start.elapsed().as_nanos() as f64 / (2 * ROUNDS) as f64
}
