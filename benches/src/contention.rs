//! What threads pay that want the same locks at the same time.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::{Apart, BenchLock};

/// Who wants how many locks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The threads.
    pub threads: usize,
    /// The locks; each thread takes one at a time, at random.
    pub locks: usize,
    /// [Units of work](work) under the lock.
    pub inside: u32,
    /// Units of work between unlocking and locking again.
    pub outside: u32,
}

/// About one microsecond of work on the machines this was tried on.
pub const MICROSECOND: u32 = 850;
/// About twenty nanoseconds.
const SHORT: u32 = 17;

/// What a crowd does under its one lock, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// One addition under the lock.
    Empty,
    /// About twenty nanoseconds under the lock.
    Short,
    /// About a microsecond under the lock.
    Inside,
    /// About a microsecond between unlocking and locking.
    Outside,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Empty, Self::Short, Self::Inside, Self::Outside];

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Short => "short",
            Self::Inside => "1 µs inside",
            Self::Outside => "1 µs outside",
        }
    }

    /// A crowd of this many threads and one lock.
    pub const fn of(self, threads: usize) -> Crowd {
        let (inside, outside) = match self {
            Self::Empty => (0, 0),
            Self::Short => (SHORT, 0),
            Self::Inside => (MICROSECOND, 0),
            Self::Outside => (0, MICROSECOND),
        };
        Crowd { threads, locks: 1, inside, outside }
    }
}

/// Computes: `units` multiplications, each waiting for the one before.
#[inline]
pub fn work(units: u32, mut number: u64) -> u64 {
    for _ in 0..units {
        number = black_box(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }
    number
}

/// How often a lock is taken between two looks at the clock, where taking it takes nanoseconds.
const UNTIMED: u64 = 256;

/// Lets the crowd run for at least `window`, and says how often a lock was taken in a second, by all of them together.
///
/// The crowd itself starts and stops the clock: a thread of its own for that would wait for its turn on a processor.
///
/// # Panics
///
/// If the system has no thread left.
pub fn throughput<L: BenchLock>(crowd: Crowd, window: Duration) -> f64 {
    let locks: Vec<Apart<L>> = (0..crowd.locks).map(|_| Apart(L::new())).collect();
    let stop = Apart(AtomicBool::new(false));
    let all_there = Barrier::new(crowd.threads);
    let (started, stopped) = (OnceLock::new(), OnceLock::new());
    let between_looks = if crowd.inside + crowd.outside < MICROSECOND { UNTIMED } else { 1 };
    let run = |seed: u64| {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut taken = 0u64;
        all_there.wait();
        let started = *started.get_or_init(Instant::now);
        while !stop.0.load(Relaxed) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let lock = if crowd.locks == 1 { &locks[0].0 } else { &locks[random as usize % crowd.locks].0 };
            let mut guard = lock.lock();
            L::add(&mut guard);
            work(crowd.inside, random);
            drop(guard);
            work(crowd.outside, random);
            taken += 1;
            if taken.is_multiple_of(between_looks) && started.elapsed() >= window {
                stop.0.store(true, Relaxed);
                stopped.get_or_init(Instant::now);
            }
        }
        taken
    };
    let taken: u64 = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (1..=crowd.threads as u64)
            .map(|seed| {
                let builder = thread::Builder::new().stack_size(128 << 10);
                builder.spawn_scoped(scope, move || run(seed)).expect("the system has a thread left")
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the work does not panic")).sum()
    });
    match (started.get(), stopped.get()) {
        (Some(started), Some(stopped)) => taken as f64 / stopped.duration_since(*started).as_secs_f64(),
        _ => f64::NAN,
    }
}
