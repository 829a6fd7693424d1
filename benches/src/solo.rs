//! What one thread alone pays.

use std::array;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::lock::{BenchLock, Reentrant};

/// A workload of one thread: does it so many times, and says how long that took.
pub type Solo = fn(u64) -> Duration;

/// Locks a free lock, counts, unlocks.
#[inline(never)]
pub fn uncontended<L: BenchLock>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let started = Instant::now();
    for _ in 0..times {
        L::add(&mut lock.lock());
    }
    started.elapsed()
}

/// Locks two free locks, one inside the other, and unlocks them the other way round.
#[inline(never)]
pub fn nested_2<L: BenchLock>(times: u64) -> Duration {
    let locks: [L; 2] = array::from_fn(|_| L::new());
    let [first, second] = black_box(&locks);
    let started = Instant::now();
    for _ in 0..times {
        let _first = first.lock();
        L::add(&mut second.lock());
    }
    started.elapsed()
}

/// Locks four free locks, one inside the other, and unlocks them the other way round.
#[inline(never)]
pub fn nested_4<L: BenchLock>(times: u64) -> Duration {
    let locks: [L; 4] = array::from_fn(|_| L::new());
    let [first, second, third, fourth] = black_box(&locks);
    let started = Instant::now();
    for _ in 0..times {
        let _first = first.lock();
        let _second = second.lock();
        let _third = third.lock();
        L::add(&mut fourth.lock());
    }
    started.elapsed()
}

/// Locks a lock that this thread holds, once more, and unlocks it once.
#[inline(never)]
pub fn relock<L: Reentrant>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let outer = lock.lock();
    let started = Instant::now();
    for _ in 0..times {
        L::add(&mut lock.lock());
    }
    let elapsed = started.elapsed();
    drop(outer);
    elapsed
}

/// Makes a lock and drops it.
#[inline(never)]
pub fn new_and_drop<L: BenchLock>(times: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..times {
        drop(black_box(L::new()));
    }
    started.elapsed()
}
