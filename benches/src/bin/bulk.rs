//! Prints the tables of large data in `docs/performance.md`: what it costs to get bytes to a worker process and back, beside
//! one copy of as many into fresh pages in the same run, and beside Python's pipes.
//!
//! `bulk [copy|python] [ROUNDS [LEAST BYTES]]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use bowline::{Blob, ProcessPoolExecutor};
use bowline_benches::processes::{Python, PythonPipes};
use serde_bytes::ByteBuf;

const DEFAULT_ROUNDS: usize = 15;
/// One copy into fresh pages, and the ways.
const WAYS: usize = 6;

fn length(bytes: ByteBuf) -> usize {
    black_box(bytes.len())
}

fn make(len: usize) -> ByteBuf {
    ByteBuf::from(vec![7; len])
}

/// Reads a byte of each page.
fn look(blob: Blob) -> usize {
    blob.iter().step_by(4096).map(|&byte| usize::from(byte)).sum::<usize>() + blob.len()
}

fn make_blob(len: usize) -> Blob {
    let mut made = bowline::process_pool::BlobMut::new(len).expect("memory");
    made.fill(7);
    made.seal().expect("sealed memory")
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let (numbers, tables): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.parse::<usize>().is_ok());
    let number = |at: usize| numbers.get(at).and_then(|word| word.parse().ok());
    let (rounds, least) = (number(0).unwrap_or(DEFAULT_ROUNDS), number(1).unwrap_or(0));
    let is_asked = |what: &str| tables.is_empty() || tables.iter().any(|table| *table == what);
    let pool = ProcessPoolExecutor::new(1).expect("a pool");
    if is_asked("copy") {
        beside_a_copy(&pool, rounds, least);
    }
    if is_asked("python") {
        beside_python(&pool, rounds, least);
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn beside_a_copy(pool: &ProcessPoolExecutor, rounds: usize, least: usize) {
    println!(
        "| bytes | one copy, µs | `Vec` to a worker | `Vec` back | `Blob`, copied, to a worker | the same `Blob` | `Blob` back, made in place |"
    );
    println!("|---|---|---|---|---|---|---|");
    for shift in [10, 14, 16, 18, 20, 22, 24, 26].into_iter().filter(|&shift| 1 << shift >= least) {
        let source = vec![7_u8; 1 << shift];
        let blob = Blob::from_bytes(&source).expect("memory");
        let mut times = [const { Vec::new() }; WAYS];
        // The first is a warm-up.
        for round in 0..=rounds {
            for (way, times) in times.iter_mut().enumerate() {
                let argument = (way == 1).then(|| ByteBuf::from(source.clone()));
                let began = Instant::now();
                match way {
                    0 => copy(&source),
                    1 => _ = black_box(pool.submit(length, (argument.expect("bytes"),)).result().expect("a length")),
                    2 => _ = black_box(pool.submit(make, (source.len(),)).result().expect("bytes")),
                    3 => {
                        let blob = Blob::from_bytes(&source).expect("memory");
                        black_box(pool.submit(look, (blob,)).result().expect("a sum"));
                    }
                    4 => _ = black_box(pool.submit(look, (blob.clone(),)).result().expect("a sum")),
                    _ => _ = black_box(look(pool.submit(make_blob, (source.len(),)).result().expect("bytes"))),
                }
                if round > 0 {
                    times.push(micros(began.elapsed()));
                }
            }
        }
        let medians = times.map(median);
        print!("| {} | {:.1}", source.len(), medians[0]);
        medians[1..].iter().for_each(|median| print!(" | {:.2}", median / medians[0]));
        println!(" |");
    }
}

/// Copies into pages that are new each time.
fn copy(source: &[u8]) {
    let fresh = memmap2::MmapMut::map_anon(source.len());
    let mut fresh = fresh.expect("memory");
    fresh.copy_from_slice(source);
    black_box(&fresh);
}

/// The time for one call that takes, or returns, so many bytes. They are there before, and gone after.
fn measure(pool: &ProcessPoolExecutor, direction: &str, source: &[u8]) -> Duration {
    if direction == "to" {
        let argument = ByteBuf::from(source.to_vec());
        let began = Instant::now();
        let result = pool.submit(length, (argument,)).result().expect("a length");
        let elapsed = began.elapsed();
        assert_eq!(result, source.len());
        return elapsed;
    }
    let began = Instant::now();
    let result = pool.submit(make, (source.len(),)).result().expect("bytes");
    let elapsed = began.elapsed();
    assert_eq!(result.len(), source.len());
    elapsed
}

fn beside_python(pool: &ProcessPoolExecutor, rounds: usize, least: usize) {
    let Some(version) = Python::version() else {
        println!("There is no python3 here: its pipes are not measured.");
        return;
    };
    println!("\nBeside {version}:\n");
    let mut python = PythonPipes::start();
    println!("| bytes | direction | the best of Python's, µs | bowline | executor | pool | pipe |");
    println!("|---|---|---|---|---|---|---|");
    for shift in (10..=28).filter(|&shift| 1 << shift >= least) {
        let source = vec![7_u8; 1 << shift];
        // Small ones take so little that what else runs decides.
        let rounds = if shift < 20 { 4 * rounds } else { rounds };
        for direction in ["to", "back"] {
            let mut times = [const { Vec::new() }; 1 + PythonPipes::WAYS.len()];
            // The first is a warm-up.
            for round in 0..=rounds {
                let ours = measure(pool, direction, &source);
                let theirs = PythonPipes::WAYS.map(|way| python.measure(way, direction, source.len()));
                if round > 0 {
                    let all = [&[ours], &theirs[..]].concat();
                    times.iter_mut().zip(all).for_each(|(times, time)| times.push(micros(time)));
                }
            }
            // Several processes take turns here: what else the machine does adds to all of them.
            let least = times.map(|times| times.into_iter().fold(f64::INFINITY, f64::min));
            let best = least[1..].iter().copied().fold(f64::INFINITY, f64::min);
            print!("| {} | {direction} | {best:.1}", source.len());
            least.iter().for_each(|least| print!(" | {:.2}", least / best));
            println!(" |");
        }
    }
    python.end();
}
