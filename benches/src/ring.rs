//! From the wait that closes a deadlock to the report.
//!
//! Each of `n` threads holds one lock; all but the last wait for their neighbour's, and are known to wait. What is
//! measured is the last one's call.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bowline::Lock;
use bowline::deadlock::{self, Edge};

const STACK: usize = 128 << 10;

/// Closes a ring of bowline's locks: the time that `acquire` took to return the `Deadlock`.
///
/// Panics if it returned anything else, or if anybody else was the victim.
///
/// # Panics
///
/// If the system has no thread left, or the deadlock is not found.
pub fn close(threads: usize) -> Duration {
    let locks: Vec<Lock<usize>> = (0..threads).map(Lock::new).collect();
    let all_hold = Barrier::new(threads);
    let (locks, all_hold) = (&locks, &all_hold);
    thread::scope(|scope| {
        for pair in locks.windows(2) {
            let wait = move || {
                let _own = pair[0].lock();
                all_hold.wait();
                let _next = pair[1].acquire().expect("another thread closes the ring");
            };
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, wait).expect("the system has a thread left");
        }
        let own = locks[threads - 1].lock();
        all_hold.wait();
        while registered_waits() < threads - 1 {
            thread::sleep(Duration::from_millis(1));
        }
        let started = Instant::now();
        let closed = locks[0].acquire();
        let elapsed = started.elapsed();
        let deadlock = closed.expect_err("this wait closes the ring");
        drop(own);
        assert_eq!(deadlock.report().threads().len(), threads);
        elapsed
    })
}

fn registered_waits() -> usize {
    deadlock::snapshot().graph().edge_weights().filter(|edge| matches!(edge, Edge::Waits { .. })).count()
}

/// Closes rings of deloxide's locks. Nobody gets out of them: every ring leaves its threads behind, asleep.
pub struct DeloxideRings {
    closed: Receiver<Instant>,
    started: Instant,
}

impl DeloxideRings {
    /// Rings, and what to call when deloxide has found a deadlock (pass it to its callback).
    ///
    /// # Panics
    ///
    /// Never: the channel it makes is its own.
    pub fn new() -> (Self, impl Fn() + Send + Sync + 'static) {
        let (found, closed): (Sender<Instant>, _) = channel();
        let found = std::sync::Mutex::new(found);
        let callback = move || {
            let now = Instant::now();
            let _ = found.lock().unwrap().send(now);
        };
        (Self { closed, started: Instant::now() }, callback)
    }

    /// The time from the call that closes a ring to the callback.
    ///
    /// # Panics
    ///
    /// If the system has no thread left, or the deadlock is not found.
    pub fn close(&self, threads: usize) -> Duration {
        while self.closed.try_recv().is_ok() {}
        let locks: Arc<Vec<_>> = Arc::new((0..threads).map(deloxide::Mutex::new).collect());
        let all_hold = Arc::new(Barrier::new(threads));
        let closing = Arc::new(AtomicU64::new(0));
        let epoch = self.started;
        for i in 0..threads {
            let (locks, all_hold, closing) = (Arc::clone(&locks), Arc::clone(&all_hold), Arc::clone(&closing));
            let wait = move || {
                let _own = locks[i].lock();
                all_hold.wait();
                if i + 1 == threads {
                    // deloxide cannot be asked who waits.
                    thread::sleep(Duration::from_millis(5 + threads as u64 / 10));
                    closing.store(u64::try_from(epoch.elapsed().as_nanos()).unwrap(), Relaxed);
                }
                let _next = locks[(i + 1) % threads].lock();
            };
            deloxide::thread::Builder::new().stack_size(STACK).spawn(wait).expect("the system has a thread left");
        }
        let closed = self.closed.recv().expect("the callback lives as long as the process");
        closed.saturating_duration_since(epoch + Duration::from_nanos(closing.load(Relaxed)))
    }
}
