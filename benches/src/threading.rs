//! What is initialised once, conditions, semaphores, barriers and threads: each workload once, over a trait of its own.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// A value that is initialised once.
pub trait BenchOnce: Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Makes one that is initialised.
    fn new() -> Self;

    /// Returns the value.
    fn value(&self) -> u64;
}

macro_rules! bench_once {
    ($once:ty, $name:literal, $new:expr, $value:expr) => {
        impl BenchOnce for $once {
            const NAME: &'static str = $name;

            #[inline]
            fn new() -> Self {
                $new
            }

            #[inline]
            fn value(&self) -> u64 {
                let value: fn(&$once) -> u64 = $value;
                value(self)
            }
        }
    };
}

/// bowline's `OnceLock`.
pub type BowlineOnce = bowline::OnceLock<u64>;
/// The standard library's `OnceLock`.
pub type StdOnce = std::sync::OnceLock<u64>;
/// bowline's `LazyLock`.
pub type BowlineLazy = bowline::LazyLock<u64>;
/// The standard library's `LazyLock`.
pub type StdLazy = std::sync::LazyLock<u64>;

bench_once!(BowlineOnce, "bowline", Self::from(1), |once| *once.get_or_init(|| 2));
bench_once!(StdOnce, "std", Self::from(1), |once| *once.get_or_init(|| 2));
bench_once!(BowlineLazy, "bowline", Self::new(|| 1), |lazy| **lazy);
bench_once!(StdLazy, "std", Self::new(|| 1), |lazy| **lazy);

/// Looks up an initialised value: the time for this many times.
#[inline(never)]
pub fn hit<O: BenchOnce>(times: u64) -> Duration {
    let once = O::new();
    let once = black_box(&once);
    black_box(once.value());
    let started = Instant::now();
    for _ in 0..times {
        black_box(once.value());
    }
    started.elapsed()
}

/// A number under a lock, and the condition that it changes.
pub trait BenchCondition: Sync + Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Makes one whose number is zero.
    fn new() -> Self;

    /// Waits until the number is odd, or even, then adds one and wakes one waiter.
    fn pass_on(&self, odd: bool);
}

/// bowline's `Lock` and `Condition`.
pub type BowlineCondition = (bowline::Lock<u64>, bowline::Condition);
/// parking_lot's `Mutex` and `Condvar`.
pub type ParkingLotCondition = (parking_lot::Mutex<u64>, parking_lot::Condvar);
/// The standard library's `Mutex` and `Condvar`.
pub type StdCondition = (std::sync::Mutex<u64>, std::sync::Condvar);

impl BenchCondition for BowlineCondition {
    const NAME: &'static str = "bowline";

    fn new() -> Self {
        Self::default()
    }

    fn pass_on(&self, odd: bool) {
        let (number, changed) = self;
        let mut number = number.lock();
        while number.is_multiple_of(2) == odd {
            changed.wait(&mut number);
        }
        *number += 1;
        drop(number);
        changed.notify_one();
    }
}

impl BenchCondition for ParkingLotCondition {
    const NAME: &'static str = "parking_lot";

    fn new() -> Self {
        Self::default()
    }

    fn pass_on(&self, odd: bool) {
        let (number, changed) = self;
        let mut number = number.lock();
        while number.is_multiple_of(2) == odd {
            changed.wait(&mut number);
        }
        *number += 1;
        drop(number);
        changed.notify_one();
    }
}

impl BenchCondition for StdCondition {
    const NAME: &'static str = "std";

    fn new() -> Self {
        Self::default()
    }

    fn pass_on(&self, odd: bool) {
        let (number, changed) = self;
        let mut number = number.lock().unwrap();
        while number.is_multiple_of(2) == odd {
            number = changed.wait(number).unwrap();
        }
        *number += 1;
        drop(number);
        changed.notify_one();
    }
}

/// Two threads wake each other in turn: the time for this many round trips.
pub fn ping_pong<C: BenchCondition>(times: u64) -> Duration {
    let condition = C::new();
    in_two_threads(&|odd| (0..times).for_each(|_| condition.pass_on(odd)))
}

/// Permits.
pub trait BenchSemaphore: Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Makes one with this many free permits.
    fn new(permits: usize) -> Self;

    /// Takes a permit and gives it back.
    fn acquire_and_release(&self);
}

/// A semaphore as it is made by hand from parking_lot's `Mutex` and `Condvar`.
pub type ByHand = (parking_lot::Mutex<usize>, parking_lot::Condvar);

impl BenchSemaphore for bowline::Semaphore {
    const NAME: &'static str = "bowline";

    fn new(permits: usize) -> Self {
        Self::new(permits)
    }

    #[inline]
    fn acquire_and_release(&self) {
        drop(self.acquire());
    }
}

impl BenchSemaphore for ByHand {
    const NAME: &'static str = "Mutex + Condvar (parking_lot)";

    fn new(permits: usize) -> Self {
        (parking_lot::Mutex::new(permits), parking_lot::Condvar::new())
    }

    #[inline]
    fn acquire_and_release(&self) {
        let (permits, released) = self;
        let mut free = permits.lock();
        while *free == 0 {
            released.wait(&mut free);
        }
        *free -= 1;
        drop(free);
        *permits.lock() += 1;
        released.notify_one();
    }
}

/// Takes a free permit and gives it back: the time for this many times.
#[inline(never)]
pub fn permits<S: BenchSemaphore>(times: u64) -> Duration {
    let semaphore = S::new(4);
    let semaphore = black_box(&semaphore);
    let started = Instant::now();
    for _ in 0..times {
        semaphore.acquire_and_release();
    }
    started.elapsed()
}

/// A barrier of two.
pub trait BenchBarrier: Sync + Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// Makes one.
    fn of_two() -> Self;

    /// Waits for the other thread.
    fn meet(&self);
}

impl BenchBarrier for bowline::Barrier {
    const NAME: &'static str = "bowline";

    fn of_two() -> Self {
        Self::new(2)
    }

    fn meet(&self) {
        self.wait().expect("nobody breaks the barrier");
    }
}

impl BenchBarrier for std::sync::Barrier {
    const NAME: &'static str = "std";

    fn of_two() -> Self {
        Self::new(2)
    }

    fn meet(&self) {
        self.wait();
    }
}

/// Two threads meet at a barrier: the time for this many meetings.
pub fn meetings<B: BenchBarrier>(times: u64) -> Duration {
    let barrier = B::of_two();
    in_two_threads(&|_| (0..times).for_each(|_| barrier.meet()))
}

/// Runs it in a thread of its own with `false`, and in this one with `true`: the time from the moment both are there.
fn in_two_threads(run: &(impl Fn(bool) + Sync)) -> Duration {
    let both_there = std::sync::Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            both_there.wait();
            run(false);
        });
        both_there.wait();
        let started = Instant::now();
        run(true);
        started.elapsed()
    })
}

/// Starts a thread of bowline's that does nothing, and joins it: the time for this many threads.
///
/// # Panics
///
/// If the system has no thread left.
pub fn bowline_threads(times: u64) -> Duration {
    let started = Instant::now();
    for number in 0..times {
        let thread = bowline::thread::spawn(move || black_box(number));
        assert_eq!(thread.join().expect("the thread does not panic"), number);
    }
    started.elapsed()
}

/// The same with the standard library's.
///
/// # Panics
///
/// If the system has no thread left.
pub fn std_threads(times: u64) -> Duration {
    let started = Instant::now();
    for number in 0..times {
        let thread = thread::spawn(move || black_box(number));
        assert_eq!(thread.join().expect("the thread does not panic"), number);
    }
    started.elapsed()
}
