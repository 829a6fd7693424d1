//! Five philosophers really deadlock; one of them is told why, puts its fork down, and everybody eats.
//!
//! `cargo run --example dining_philosophers`

use std::sync::Barrier;
use std::thread;

use bowline::Lock;
use bowline::deadlock::Deadlock;

const NAMES: [&str; 5] = ["Aspasia", "Diotima", "Hipparchia", "Hypatia", "Themistoclea"];

fn main() {
    let forks = ["fork 0", "fork 1", "fork 2", "fork 3", "fork 4"].map(|name| Lock::named(name, 0_u32));
    // Nobody reaches for a second fork before everybody has a first one: the deadlock is certain.
    let everybody_has_one = Barrier::new(NAMES.len());

    thread::scope(|s| {
        for (seat, name) in NAMES.into_iter().enumerate() {
            let (forks, everybody_has_one) = (&forks, &everybody_has_one);
            let dine = move || {
                let (left, right) = (&forks[seat], &forks[(seat + 1) % NAMES.len()]);
                let mut first_try = true;
                while let Err(deadlock) = eat(left, right, || {
                    if std::mem::take(&mut first_try) {
                        everybody_has_one.wait();
                    }
                }) {
                    println!("{deadlock}\n");
                    println!("{name} puts a fork down and tries again.");
                }
                println!("{name} has eaten.");
            };
            thread::Builder::new().name(name.to_owned()).spawn_scoped(s, dine).expect("a thread for each philosopher");
        }
    });

    let meals: u32 = forks.into_iter().map(Lock::into_inner).sum::<u32>() / 2;
    assert_eq!(meals, 5);
    println!("{meals} meals, nobody hungry.");
}

/// Takes both forks and eats. On a deadlock the left fork is put down on the way out.
fn eat(left: &Lock<u32>, right: &Lock<u32>, pause: impl FnOnce()) -> Result<(), Deadlock> {
    let mut left = left.acquire()?;
    pause();
    let mut right = right.acquire()?;
    *left += 1;
    *right += 1;
    Ok(())
}
