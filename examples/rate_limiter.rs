//! A token bucket: a semaphore whose permits are used up, and that a clock fills again, lets a burst through and then so many
//! requests a second, whatever the number of clients. A request takes as many permits as it costs.
//!
//! `cargo run --example rate_limiter`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bowline::{Lock, Semaphore};

/// How much can be saved up for a burst.
const BURST: usize = 8;
/// How often the bucket gets a permit.
const INTERVAL: Duration = Duration::from_millis(10);
const CLIENTS: usize = 4;
const REQUESTS: usize = 6;

fn main() {
    let bucket = Semaphore::named("bucket", BURST);
    let served = Lock::named("served", Vec::new());
    let is_over = AtomicBool::new(false);
    let start = Instant::now();

    thread::scope(|s| {
        s.spawn(|| fill(&bucket, &is_over));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (bucket, served) = (&bucket, &served);
                s.spawn(move || {
                    for request in 0..REQUESTS {
                        // Every third request is a large one. It is not starved by the small ones of the others.
                        let cost = if request % 3 == 2 { 3 } else { 1 };
                        bucket.acquire_many(cost).forget();
                        served.lock().push((start.elapsed(), client, cost));
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().expect("a client only waits"));
        is_over.store(true, Ordering::Relaxed);
    });

    let served = served.into_inner();
    for (at, client, cost) in &served {
        println!("{:>4} ms  client {client}  {}", at.as_millis(), "#".repeat(*cost));
    }
    let (cost, time) = (served.iter().map(|(_, _, cost)| cost).sum::<usize>(), start.elapsed());
    println!("{} requests of cost {cost} in {} ms", served.len(), time.as_millis());
    // The burst is free, all else has to be waited for.
    assert!(time >= INTERVAL * (cost - BURST) as u32);
}

/// Adds a permit at each tick of a clock, unless the bucket is full.
fn fill(bucket: &Semaphore, is_over: &AtomicBool) {
    let mut tick = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        tick += INTERVAL;
        thread::sleep(tick.saturating_duration_since(Instant::now()));
        if bucket.available_permits() < BURST {
            bucket.release(1);
        }
    }
}
