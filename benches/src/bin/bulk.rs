//! Prints the table of large data in `docs/performance.md`: what it costs to get bytes to a worker process and back, beside
//! one copy of as many into fresh pages in the same run.
//!
//! `bulk [ROUNDS]`

use std::hint::black_box;
use std::time::Instant;

use bowline::{Blob, ProcessPoolExecutor};
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
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let pool = ProcessPoolExecutor::new(1).expect("a pool");
    println!(
        "| bytes | one copy, µs | `Vec` to a worker | `Vec` back | `Blob`, copied, to a worker | the same `Blob` | `Blob` back, made in place |"
    );
    println!("|---|---|---|---|---|---|---|");
    for shift in [10, 14, 16, 18, 20, 22, 24, 26] {
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
                    times.push(began.elapsed().as_nanos() as f64 / 1000.0);
                }
            }
        }
        let medians = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
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
