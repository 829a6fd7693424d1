//! Transfers in both directions between the same accounts, each taking its two locks in the order of the transfer: the
//! classic deadlock. Every one that closes is an error, the transfer backs off and tries again, and no money is lost.
//!
//! `cargo run --example bank_transfer`

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bowline::Lock;
use bowline::deadlock::{self, Deadlock};

const ACCOUNTS: usize = 4;
const CLERKS: usize = 4;
const TRANSFERS: usize = 200;
const OPENING: i64 = 1_000;

fn main() {
    // Look at a wait at once: this program is about deadlocks, not about throughput.
    deadlock::set_grace(Duration::ZERO);
    let accounts: [Lock<i64>; ACCOUNTS] = std::array::from_fn(|_| Lock::named("account", OPENING));
    let retries = AtomicU32::new(0);

    thread::scope(|s| {
        for clerk in 0..CLERKS {
            let (accounts, retries) = (&accounts, &retries);
            let work = move || {
                for n in 0..TRANSFERS {
                    let from = (clerk + n) % ACCOUNTS;
                    let to = (from + 1 + n % (ACCOUNTS - 1)) % ACCOUNTS;
                    let mut pause = Duration::from_micros(10 * (clerk as u64 + 1));
                    while let Err(deadlock) = transfer(&accounts[from], &accounts[to], 7) {
                        if retries.fetch_add(1, Ordering::Relaxed) == 0 {
                            println!("the first deadlock:\n\n{deadlock}\n");
                        }
                        // The guard is dropped: the others go on. Come back a little later, each at another time.
                        thread::sleep(pause);
                        pause *= 2;
                    }
                }
            };
            thread::Builder::new()
                .name(format!("clerk {clerk}"))
                .spawn_scoped(s, work)
                .expect("a thread for each clerk");
        }
    });

    let total: i64 = accounts.into_iter().map(Lock::into_inner).sum();
    println!("{} transfers, {} retried after a deadlock, total {total}", CLERKS * TRANSFERS, retries.into_inner());
    assert_eq!(total, OPENING * ACCOUNTS as i64, "money is neither made nor lost");
}

/// Moves money. Nothing is changed before both locks are held, so that an error leaves everything as it was.
fn transfer(from: &Lock<i64>, to: &Lock<i64>, amount: i64) -> Result<(), Deadlock> {
    let mut from = from.acquire()?;
    // Between two locks anything can happen, and here it does.
    thread::yield_now();
    let mut to = to.acquire()?;
    *from -= amount;
    *to += amount;
    Ok(())
}
