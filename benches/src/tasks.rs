//! What tasks cost: each workload once, over [`BenchPool`].

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::pool::{BenchPool, Bowline, Nests, Rayon};

/// Submits so many tiny tasks, then takes all results: the time for all of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn flood<P: BenchPool>(pool: &P, tasks: u64) -> Duration {
    let started = Instant::now();
    let mut handles = Vec::with_capacity(usize::try_from(tasks).expect("fits into memory"));
    handles.extend((0..tasks).map(|number| pool.submit(move || black_box(number))));
    let mut sum = 0;
    pool.collect(handles, |number| sum += number);
    let elapsed = started.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    elapsed
}

/// Submits so many tiny tasks, then takes their results as they are done: the time for all of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn as_completed(pool: &Bowline, tasks: u64) -> Duration {
    let started = Instant::now();
    let futures = (0..tasks).map(|number| pool.submit(move || black_box(number)));
    let values = bowline::as_completed(futures).map(|future| future.expect("no deadlock").result().expect("a value"));
    let sum: u64 = values.sum();
    let elapsed = started.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    elapsed
}

/// The same, of pairs with a key each.
///
/// # Panics
///
/// If the pool loses a task, or takes one for another.
pub fn as_completed_with_keys(pool: &Bowline, tasks: u64) -> Duration {
    let started = Instant::now();
    let pairs = (0..tasks).map(|number| (number, pool.submit(move || black_box(number))));
    let mut sum = 0;
    for pair in bowline::as_completed(pairs) {
        let (key, future) = pair.expect("no deadlock");
        assert_eq!(future.result().expect("a value"), key);
        sum += key;
    }
    let elapsed = started.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    elapsed
}

/// The same by hand: each task sends its key and its result through a channel.
///
/// # Panics
///
/// If the pool loses a task, or takes one for another.
pub fn as_completed_by_hand(pool: &Bowline, tasks: u64) -> Duration {
    let started = Instant::now();
    let (tell, told) = std::sync::mpsc::channel();
    for number in 0..tasks {
        let tell = tell.clone();
        drop(pool.submit(move || tell.send((number, black_box(number))).expect("it is received")));
    }
    drop(tell);
    let mut sum = 0;
    for (key, value) in told {
        assert_eq!(value, key);
        sum += key;
    }
    let elapsed = started.elapsed();
    assert_eq!(sum, tasks * (tasks - 1) / 2);
    elapsed
}

/// Submits a task and takes its result before the next: the time for so many of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn round_trip<P: BenchPool>(pool: &P, tasks: u64) -> Duration {
    let started = Instant::now();
    for number in 0..tasks {
        let handle = pool.submit(move || black_box(number));
        assert_eq!(pool.result(handle), number);
    }
    started.elapsed()
}

/// The tasks of one batch in [`fan`].
pub const BATCH: u64 = 64;

/// Submits a batch, takes its results, submits the next: the time for so many batches.
pub fn fan<P: BenchPool>(pool: &P, batches: u64) -> Duration {
    (0..batches).map(|_| flood(pool, BATCH)).sum()
}

/// Submits a batch whose results nobody takes, and joins the pool: the time for so many batches.
pub fn join(pool: &Bowline, batches: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..batches {
        for number in 0..BATCH {
            drop(pool.executor().submit(move || black_box(number)));
        }
        pool.executor().join();
    }
    started.elapsed()
}

/// The same by a group that each task leaves at its end, as `WaitGroup` in Go: a count under a mutex, and a condition.
///
/// # Panics
///
/// If a task has panicked under the mutex, which none does.
pub fn wait_group(pool: &Bowline, batches: u64) -> Duration {
    let group = Arc::new((Mutex::new(0), Condvar::new()));
    let started = Instant::now();
    for _ in 0..batches {
        *group.0.lock().expect("no task panics") += BATCH;
        for number in 0..BATCH {
            let group = Arc::clone(&group);
            drop(pool.executor().submit(move || {
                black_box(number);
                let mut left = group.0.lock().expect("no task panics");
                *left -= 1;
                if *left == 0 {
                    group.1.notify_all();
                }
            }));
        }
        let left = group.0.lock().expect("no task panics");
        drop(group.1.wait_while(left, |left| *left > 0).expect("no task panics"));
    }
    started.elapsed()
}

/// Runs trees of tasks that wait for their children: the time for so many trees.
///
/// # Panics
///
/// If the pool loses a task.
pub fn trees<P: Nests>(pool: &P, depth: u32, trees: u64) -> Duration {
    let started = Instant::now();
    for _ in 0..trees {
        assert_eq!(pool.tree(depth), (2 << depth) - 1);
    }
    started.elapsed()
}

/// The items of one task in the maps.
pub const CHUNK: u64 = 1000;

fn small(item: u64) -> u64 {
    black_box(item).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn checked(results: &[u64], items: u64, started: Instant) -> Duration {
    let elapsed = started.elapsed();
    assert_eq!(results.len() as u64, items);
    assert_eq!(results.last(), Some(&small(items - 1)));
    elapsed
}

/// Maps so many small items in chunks, a task each, whose results are put in a row.
///
/// # Panics
///
/// If the pool loses a task.
pub fn map_by_hand<P: BenchPool>(pool: &P, items: u64) -> Duration {
    let started = Instant::now();
    let chunk = |from: u64| move || (from..(from + CHUNK).min(items)).map(small).collect::<Vec<_>>();
    let handles = (0..items).step_by(1000).map(|from| pool.submit(chunk(from))).collect();
    let mut results = Vec::with_capacity(usize::try_from(items).expect("fits into memory"));
    pool.collect(handles, |chunk: Vec<u64>| results.extend(chunk));
    checked(&results, items, started)
}

/// The same by `ThreadPoolExecutor::map`, which catches the panic of each item.
///
/// # Panics
///
/// Never: the calls do not panic.
pub fn map_by_bowline(pool: &Bowline, items: u64) -> Duration {
    let started = Instant::now();
    let map = pool.executor().map(small, 0..items).chunk_size(1000);
    let mut results = Vec::with_capacity(usize::try_from(items).expect("fits into memory"));
    results.extend(map.map(|result| result.expect("the call does not panic")));
    checked(&results, items, started)
}

/// The same by a parallel iterator, which writes the results where they belong.
///
/// # Panics
///
/// If the pool loses a task.
pub fn map_by_rayon(pool: &Rayon, items: u64) -> Duration {
    // Only a range of `usize` says how long it is.
    let range = 0..usize::try_from(items).expect("fits into memory");
    let started = Instant::now();
    let mapped = || range.into_par_iter().with_min_len(1000).map(|item| small(item as u64)).collect();
    let results: Vec<_> = pool.pool().install(mapped);
    checked(&results, items, started)
}

/// One task every millisecond, for so long: what this process used of the processors, for all of them.
///
/// # Panics
///
/// If the pool loses a task.
pub fn trickle<P: BenchPool>(pool: &P, tasks: u64) -> Duration {
    trickle_of(tasks, |number| assert_eq!(pool.result(pool.submit(move || black_box(number))), number))
}

/// The same without any task: what the sleep costs.
pub fn trickle_of_nothing(tasks: u64) -> Duration {
    trickle_of(tasks, |number| {
        black_box(number);
    })
}

fn trickle_of(tasks: u64, each: impl Fn(u64)) -> Duration {
    let (started, used) = (Instant::now(), processor_time());
    for number in 0..tasks {
        each(number);
        std::thread::sleep((started + Duration::from_millis(number + 1)).saturating_duration_since(Instant::now()));
    }
    processor_time() - used
}

/// What this process has used of the processors, in user and in kernel mode.
fn processor_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY:
    // - `usage` is a place to write to.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    assert_eq!(answer, 0, "a process may ask for its own usage");
    // SAFETY:
    // - the call succeeded: it has written all.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        let (seconds, microseconds) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
        Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_micros(microseconds.unwrap_or(0))
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Runs `body`, and whatever threads it starts, on one processor. `None`: this system has no way to say so.
#[cfg(target_os = "linux")]
pub fn on_one_core<R>(body: impl FnOnce() -> R) -> Option<R> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY:
    // - a set of processors is plain numbers, and all zero is the empty one.
    let mut all = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY:
    // - `all` is a place to write so many bytes to.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut all) } != 0 {
        return None;
    }
    // SAFETY:
    // - the set is initialised.
    let last = (0..libc::CPU_SETSIZE as usize).rfind(|&core| unsafe { libc::CPU_ISSET(core, &all) })?;
    // SAFETY:
    // - as above.
    let mut one = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    // SAFETY:
    // - the number is one that fits the set.
    unsafe { libc::CPU_SET(last, &mut one) };
    // SAFETY:
    // - `one` is a set of so many bytes.
    if unsafe { libc::sched_setaffinity(0, size, &raw const one) } != 0 {
        return None;
    }
    let result = body();
    // SAFETY:
    // - `all` is a set of so many bytes.
    unsafe { libc::sched_setaffinity(0, size, &raw const all) };
    Some(result)
}

/// Runs `body`, and whatever threads it starts, on one processor. `None`: this system has no way to say so.
#[cfg(not(target_os = "linux"))]
pub fn on_one_core<R>(_: impl FnOnce() -> R) -> Option<R> {
    None
}
