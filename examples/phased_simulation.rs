//! Heat spreads along a rod. Each thread has a part of it and computes step after step from what all of them had computed
//! before: a barrier keeps them in step, and its action looks at the whole while everybody waits.
//!
//! `cargo run --example phased_simulation`

use std::sync::Arc;
use std::thread;

use bowline::sync::BrokenBarrier;
use bowline::{Barrier, Lock};

const WORKERS: usize = 4;
const CELLS: usize = 64;
const STEPS: usize = 400;
const SHOWN_EVERY: usize = 100;

type Rod = [f64; CELLS];

fn main() {
    // Two rods: each step reads one and writes the other.
    let mut hot = [0.0; CELLS];
    hot[CELLS / 2] = 1_000.0;
    let rods: Arc<[Lock<Rod>; 2]> = Arc::new([Lock::named("even steps", hot), Lock::named("odd steps", [0.0; CELLS])]);

    let seen = Arc::clone(&rods);
    let step = Lock::named("step", 0_usize);
    let end_of_step = Barrier::named("end of step", WORKERS).with_action(move || {
        let mut step = step.lock();
        *step += 1;
        if step.is_multiple_of(SHOWN_EVERY) {
            show(*step, &seen[*step % 2].lock());
        }
    });

    thread::scope(|s| {
        for worker in 0..WORKERS {
            let (rods, end_of_step) = (&rods, &end_of_step);
            s.spawn(move || {
                // A worker that fails breaks the barrier, and the others end.
                if let Err(broken) = simulate(worker, rods, end_of_step) {
                    println!("worker {worker} ends early: {broken}");
                }
            });
        }
    });

    let total: f64 = rods[STEPS % 2].lock().iter().sum();
    println!("after {STEPS} steps the rod has {total:.1} of 1000 units of heat");
    assert!((total - 1_000.0).abs() < 1e-6, "heat is neither made nor lost");
}

/// Computes one worker's cells, step by step.
fn simulate(worker: usize, rods: &[Lock<Rod>; 2], end_of_step: &Barrier) -> Result<(), BrokenBarrier> {
    let cells = worker * CELLS / WORKERS..(worker + 1) * CELLS / WORKERS;
    for step in 0..STEPS {
        let before = *rods[step % 2].lock();
        let mut mine = [0.0; CELLS];
        for cell in cells.clone() {
            let (left, right) = (before[cell.saturating_sub(1)], before[(cell + 1).min(CELLS - 1)]);
            mine[cell] = before[cell] + 0.25 * (left - 2.0 * before[cell] + right);
        }
        rods[(step + 1) % 2].lock()[cells.clone()].copy_from_slice(&mine[cells.clone()]);
        end_of_step.wait()?;
    }
    Ok(())
}

/// Prints the rod as a line: the hotter, the darker.
fn show(step: usize, rod: &Rod) {
    let shades = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];
    let hottest = rod.iter().copied().fold(0.0, f64::max);
    let line: String = rod.iter().map(|heat| shades[(heat / hottest * 9.0).round() as usize]).collect();
    println!("{step:>4} |{line}| {hottest:.1}");
}
