//! What calls into other processes cost: the pools of two workers behind one trait, and each workload once.

mod bowline;
mod echo;
mod procspawn;
mod python;

use std::hint::black_box;
use std::time::{Duration, Instant};

pub use self::bowline::Bowline;
pub use self::echo::Echo;
pub use self::procspawn::Procspawn;
pub use self::python::{Python, PythonPipes};

/// The processes of each pool.
pub const WORKERS: usize = 2;

/// The items of one task in the maps.
pub const CHUNK: usize = 1000;

/// A pool of processes, which are asked for one number at a time.
pub trait ProcessBench: Sized {
    /// What tables call it.
    const NAME: &'static str;

    /// What a result is taken from.
    type Handle;

    /// Makes a pool of [`WORKERS`] processes.
    fn new() -> Self;

    /// Has a worker run [`same`].
    fn submit(&self, number: u64) -> Self::Handle;

    /// Waits for a result.
    fn result(&self, handle: Self::Handle) -> u64;
}

/// A pool that maps many items, [`CHUNK`] of them a task.
pub trait Maps: ProcessBench {
    /// Has the workers run [`small`] for each item: the results, in order.
    fn map(&self, items: Vec<u64>) -> Vec<u64>;
}

/// The task: nothing but its way there and back.
pub fn same(number: u64) -> u64 {
    black_box(number)
}

/// The call of the maps.
pub fn small(item: u64) -> u64 {
    black_box(item).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Makes of this process what it was started for, if that is a worker of a peer. To be called first in `main`.
pub fn init() {
    ::procspawn::init();
    echo::serve_if_asked();
}

/// Makes a pool and takes one result: the time for both, so many times in a row. Its end is not in there.
///
/// # Panics
///
/// If the pool loses a task.
pub fn start_up<P: ProcessBench>(times: u64) -> Duration {
    let once = || {
        let started = Instant::now();
        let pool = P::new();
        assert_eq!(pool.result(pool.submit(7)), 7);
        started.elapsed()
    };
    (0..times).map(|_| once()).sum()
}

/// Submits a task and takes its result before the next: the time for so many of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn round_trip<P: ProcessBench>(pool: &P, tasks: u64) -> Duration {
    let started = Instant::now();
    for number in 0..tasks {
        assert_eq!(pool.result(pool.submit(number)), number);
    }
    started.elapsed()
}

/// Submits so many tasks, then takes all results, in that order: the time for all of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn flood<P: ProcessBench>(pool: &P, tasks: u64) -> Duration {
    let started = Instant::now();
    let handles: Vec<_> = (0..tasks).map(|number| pool.submit(number)).collect();
    let sum: u64 = handles.into_iter().map(|handle| pool.result(handle)).sum();
    let elapsed = started.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    elapsed
}

/// Maps so many small items.
///
/// # Panics
///
/// If the pool loses a task.
pub fn map<P: Maps>(pool: &P, items: u64) -> Duration {
    let range = (0..items).collect();
    let started = Instant::now();
    let results = pool.map(range);
    let elapsed = started.elapsed();
    assert_eq!(results.len() as u64, items);
    assert_eq!(results.last(), Some(&small(items - 1)));
    elapsed
}

/// Lets this process, and those that it starts, have so many open descriptors, or as many as the system lets it have:
/// how many those are.
///
/// # Panics
///
/// Never: a process may ask for its own limits.
pub fn allow_descriptors(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - `limit` is a place to write to.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(answer, 0, "a process may ask for its own limits");
    // More than the hard limit is for the privileged.
    for most in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let new = libc::rlimit { rlim_cur: wanted.min(most), rlim_max: most };
        // SAFETY:
        // - `new` is a limit, whatever it says.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const new) } == 0 {
            return new.rlim_cur;
        }
    }
    limit.rlim_cur
}
