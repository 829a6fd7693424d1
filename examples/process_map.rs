//! Counts primes on all processors: one after the other, on threads, and in processes, with the same function.
//!
//! Threads are faster to reach. Processes can crash: see the example `crash_proof`.
//!
//! ```sh
//! cargo run --release --example process_map
//! ```

use std::error::Error;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bowline::{ProcessPoolExecutor, TaskError, ThreadPoolExecutor};
use indicatif::{ProgressBar, ProgressStyle};

/// Numbers below this are looked at.
const END: u32 = 400_000;
/// So many of them are one item.
const STEP: u32 = 1_000;
/// So many items are one task.
const CHUNK: usize = 4;
/// How many primes there are.
const PRIMES: usize = 33_860;

/// How many primes there are in this range: a function item, so that it can be called in another process.
fn primes((from, to): (u32, u32)) -> usize {
    (from..to).filter(|&n| is_prime(n)).count()
}

/// By trial division, which is real work.
fn is_prime(n: u32) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

fn ranges() -> impl Iterator<Item = (u32, u32)> {
    (0..END).step_by(STEP as usize).map(|from| (from, from + STEP))
}

/// One way to do it: on what, how many of those, and how long it took.
struct Run {
    on: &'static str,
    workers: usize,
    counts: Vec<usize>,
    took: Duration,
}

impl Run {
    /// Takes what `counts` yields, and shows how far that is.
    fn of(
        on: &'static str,
        workers: usize,
        counts: impl Iterator<Item = Result<usize, TaskError>>,
    ) -> Result<Self, Box<dyn Error>> {
        // To standard error, and not at all if that is no terminal.
        let bar = ProgressBar::new(ranges().count() as u64).with_prefix(on);
        bar.set_style(ProgressStyle::with_template("{prefix:<10} {bar:40} {pos}/{len} ranges, {elapsed}")?);
        let began = Instant::now();
        let counts = bar.wrap_iter(counts).collect::<Result<Vec<_>, _>>()?;
        let took = began.elapsed();
        bar.finish_and_clear();
        Ok(Self { on, workers, counts, took })
    }

    fn items_per_second(&self) -> f64 {
        self.counts.len() as f64 / self.took.as_secs_f64()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let workers = available_parallelism().map_or(1, usize::from);
    let threads = ThreadPoolExecutor::new(workers);
    let processes = ProcessPoolExecutor::new(workers)?;

    let runs = [
        Run::of("one thread", 1, ranges().map(|range| Ok(primes(range))))?,
        Run::of("threads", workers, threads.map(primes, ranges()).chunk_size(CHUNK))?,
        // The processes are started meanwhile, in the time that is measured.
        Run::of("processes", workers, processes.map(primes, ranges()).chunk_size(CHUNK))?,
        Run::of("again", workers, processes.map(primes, ranges()).chunk_size(CHUNK))?,
    ];

    println!("primes below {END}, in {} items of {STEP} numbers:\n", ranges().count());
    println!("{:<12} {:>7} {:>8} {:>9} {:>7}", "", "workers", "seconds", "items/s", "ratio");
    for run in &runs {
        let (seconds, rate) = (run.took.as_secs_f64(), run.items_per_second());
        let ratio = rate / runs[0].items_per_second();
        println!("{:<12} {:>7} {seconds:>8.3} {rate:>9.0} {ratio:>7.2}", run.on, run.workers);
    }

    let all: usize = runs[0].counts.iter().sum();
    assert_eq!(all, PRIMES);
    assert!(runs.iter().all(|run| run.counts == runs[0].counts), "each counts the same, in the same order");
    println!("\n{all} primes, by each of them");
    Ok(())
}
