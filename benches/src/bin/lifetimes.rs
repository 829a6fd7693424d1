//! Prints how late tasks of a process pool are ended, and what it costs to replace workers.
//!
//! `lifetimes [ROUNDS]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bowline::{ProcessPoolExecutor, TaskError};

const DEFAULT_ROUNDS: usize = 100;
/// Tasks of a flood.
const FLOOD: u64 = 2_000;

fn hang() {
    loop {
        std::thread::park();
    }
}

fn echo(n: u64) -> u64 {
    black_box(n)
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    println!("| from the time-out of a task that hangs | median, µs | 90 % are below | slowest |");
    println!("|---|---|---|---|");
    lateness(rounds);
    println!();
    println!("| {FLOOD} tasks in two workers, each of which runs | µs a task |");
    println!("|---|---|");
    for max_tasks in [None, Some(1000), Some(100), Some(10), Some(1)] {
        let tasks = max_tasks.map_or("all that come".to_owned(), |tasks| tasks.to_string());
        println!("| {tasks} | {:.1} |", flood(max_tasks));
    }
}

/// How long it takes from the moment at which a task has run for too long until its future is done, and until the next task is.
fn lateness(rounds: usize) {
    let pool = ProcessPoolExecutor::new(1).expect("a pool");
    let timeout = Duration::from_millis(10);
    let mut times = [const { Vec::new() }; 2];
    // The first is a warm-up.
    for round in 0..=rounds {
        let hangs = pool.task(hang, ()).timeout(timeout).grace(Duration::ZERO).submit();
        let next = pool.submit(echo, (1,));
        let TaskError::Terminated(ended) = hangs.result().expect_err("it hangs") else { unreachable!() };
        let ended_at = Instant::now();
        assert_eq!(next.result().expect("it runs in another worker"), 1);
        if round > 0 {
            times[0].push((ended.asked_after() - timeout + ended.took()).as_secs_f64() * 1e6);
            times[1].push(ended_at.elapsed().as_secs_f64() * 1e6);
        }
    }
    let rows = ["until its process is gone", "and from then until the next task is done, in a new process"];
    for (what, mut times) in rows.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!("| {what} | {:.0} | {:.0} | {:.0} |", at(0.5), at(0.9), at(1.0));
    }
}

/// Microseconds a task.
fn flood(max_tasks: Option<u64>) -> f64 {
    let builder = ProcessPoolExecutor::builder().max_workers(2);
    let pool = match max_tasks {
        Some(tasks) => builder.max_tasks_per_worker(tasks),
        None => builder,
    };
    let pool = pool.build().expect("a pool");
    pool.submit(echo, (0,)).result().expect("a number");
    let began = Instant::now();
    let tasks: Vec<_> = (0..FLOOD).map(|n| pool.submit(echo, (n,))).collect();
    tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().expect("a number"), n));
    began.elapsed().as_secs_f64() * 1e6 / FLOOD as f64
}
