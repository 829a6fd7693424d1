//! The read-write locks that are compared, behind one trait, and what their readers and writers pay.

use std::hint::black_box;
use std::ops::{Deref, DerefMut};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::Apart;

/// A read-write lock around a counter.
pub trait BenchRwLock: Send + Sync + Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Proof that the lock is read.
    type Read<'a>: Deref<Target = u64>
    where
        Self: 'a;

    /// Proof that the lock is written.
    type Write<'a>: DerefMut<Target = u64>
    where
        Self: 'a;

    /// Makes a free lock around zero.
    fn new() -> Self;

    /// Locks to read.
    fn read(&self) -> Self::Read<'_>;

    /// Locks to write.
    fn write(&self) -> Self::Write<'_>;
}

/// bowline's `RwLock`.
pub type Bowline = bowline::RwLock<u64>;
/// parking_lot's `RwLock`.
pub type ParkingLot = parking_lot::RwLock<u64>;
/// The standard library's `RwLock`.
pub type Std = std::sync::RwLock<u64>;
/// deloxide's `RwLock`: an on-line wait-for graph.
pub type Deloxide = deloxide::RwLock<u64>;

macro_rules! bench_rwlock {
    ($lock:ty, $name:literal, $read:ty, $write:ty $(, $unwrap:ident)?) => {
        impl BenchRwLock for $lock {
            const NAME: &'static str = $name;
            type Read<'a> = $read;
            type Write<'a> = $write;

            #[inline]
            fn new() -> Self {
                <$lock>::new(0)
            }

            #[inline]
            fn read(&self) -> Self::Read<'_> {
                <$lock>::read(self)$(.$unwrap())?
            }

            #[inline]
            fn write(&self) -> Self::Write<'_> {
                <$lock>::write(self)$(.$unwrap())?
            }
        }
    };
}

bench_rwlock!(Bowline, "bowline", bowline::sync::RwLockReadGuard<'a, u64>, bowline::sync::RwLockWriteGuard<'a, u64>);
bench_rwlock!(ParkingLot, "parking_lot", parking_lot::RwLockReadGuard<'a, u64>, parking_lot::RwLockWriteGuard<'a, u64>);
bench_rwlock!(Std, "std", std::sync::RwLockReadGuard<'a, u64>, std::sync::RwLockWriteGuard<'a, u64>, unwrap);
bench_rwlock!(Deloxide, "deloxide", deloxide::RwLockReadGuard<'a, u64>, deloxide::RwLockWriteGuard<'a, u64>);

/// Reads a free lock, and unlocks it: the time for this many times.
#[inline(never)]
pub fn read<L: BenchRwLock>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let started = Instant::now();
    for _ in 0..times {
        black_box(*lock.read());
    }
    started.elapsed()
}

/// Writes a free lock, and unlocks it: the time for this many times.
#[inline(never)]
pub fn write<L: BenchRwLock>(times: u64) -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    let started = Instant::now();
    for _ in 0..times {
        *lock.write() += 1;
    }
    started.elapsed()
}

/// Threads that want the same lock, and how often to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// The threads.
    pub threads: usize,
    /// Of a hundred operations of a thread so many are writes, at random.
    pub writes: u64,
}

impl Mix {
    /// All that are measured.
    pub const ALL: [Self; 9] = [
        Self { threads: 2, writes: 0 },
        Self { threads: 8, writes: 0 },
        Self { threads: 32, writes: 0 },
        Self { threads: 2, writes: 1 },
        Self { threads: 8, writes: 1 },
        Self { threads: 2, writes: 10 },
        Self { threads: 8, writes: 10 },
        Self { threads: 2, writes: 50 },
        Self { threads: 8, writes: 50 },
    ];

    /// What tables call it.
    pub fn name(self) -> String {
        match self.writes {
            0 => format!("{} threads, reads", self.threads),
            writes => format!("{} threads, {writes} % writes", self.threads),
        }
    }
}

/// Divides this many operations among the threads of the mix: the time from the first one's begin to the last one's end.
///
/// # Panics
///
/// If the system has no thread left.
pub fn mixed<L: BenchRwLock>(mix: Mix, times: u64) -> Duration {
    let lock = Apart(L::new());
    let all_there = Barrier::new(mix.threads);
    let each = times.div_ceil(mix.threads as u64);
    let run = |seed: u64| {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        all_there.wait();
        let started = Instant::now();
        for _ in 0..each {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random % 100 < mix.writes {
                *lock.0.write() += 1;
            } else {
                black_box(*lock.0.read());
            }
        }
        (started, Instant::now())
    };
    thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (1..=mix.threads as u64)
            .map(|seed| {
                let builder = thread::Builder::new().stack_size(128 << 10);
                builder.spawn_scoped(scope, move || run(seed)).expect("the system has a thread left")
            })
            .collect();
        let spans = threads.into_iter().map(|thread| thread.join().expect("the work does not panic"));
        let whole = spans.reduce(|(began, ended), (begins, ends)| (began.min(begins), ended.max(ends)));
        whole.map_or(Duration::ZERO, |(began, ended)| ended.duration_since(began))
    })
}

/// How many reads come before the write in [`first_write`]: enough for readers of bowline's lock to show themselves.
const READS: u64 = 4_000;

/// Reads a lock for long, then writes it: the time of this many such writes. Meanwhile `others` threads are there that have
/// read another lock, and sleep.
///
/// # Panics
///
/// If the system has no thread left.
pub fn first_write<L: BenchRwLock>(others: usize, times: u64) -> Duration {
    let another = L::new();
    let (have_read, all_have_read) = mpsc::channel();
    let over = Barrier::new(others + 1);
    thread::scope(|scope| {
        for _ in 0..others {
            let have_read = have_read.clone();
            let (another, over) = (&another, &over);
            let sleep = move || {
                black_box(*another.read());
                have_read.send(()).expect("the measuring thread listens");
                over.wait();
            };
            let builder = thread::Builder::new().stack_size(128 << 10);
            builder.spawn_scoped(scope, sleep).expect("the system has a thread left");
        }
        (0..others).for_each(|_| all_have_read.recv().expect("the others read"));
        let elapsed = (0..times).map(|_| write_after_reads::<L>()).sum();
        over.wait();
        elapsed
    })
}

#[inline(never)]
fn write_after_reads<L: BenchRwLock>() -> Duration {
    let lock = L::new();
    let lock = black_box(&lock);
    for _ in 0..READS {
        black_box(*lock.read());
    }
    let started = Instant::now();
    *lock.write() += 1;
    started.elapsed()
}
