//! Correct programs under heavy contention, for as long as one likes: not one report.
//!
//! `BOWLINE_SOAK_SECONDS` says for how long, 20 if it is not set. A binary of its own: it counts every report there is.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Hook};
use bowline::{Lock, LockGuard, RLock};
use support::{Dice, LIMIT, within};

fn seconds() -> Duration {
    let seconds = std::env::var("BOWLINE_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(20, |seconds| seconds.parse().expect("BOWLINE_SOAK_SECONDS is a number")))
}

/// Counts every report of the process.
fn count_reports() -> (&'static AtomicUsize, Hook) {
    static REPORTS: AtomicUsize = AtomicUsize::new(0);
    let hook = deadlock::on_deadlock(|_| {
        REPORTS.fetch_add(1, Ordering::SeqCst);
    });
    (&REPORTS, hook)
}

/// What one thread does until it is told to stop, and how often it did it.
type Work<'a> = Box<dyn Fn(&AtomicBool, usize) -> u64 + Sync + 'a>;

#[test]
fn a_correct_program_is_never_reported() {
    within(seconds() + LIMIT, || {
        let (reports, _hook) = count_reports();
        let locks: Vec<Lock<u64>> = (0..8).map(|_| Lock::new(0)).collect();
        let list: Vec<Lock<u64>> = (0..32).map(|_| Lock::new(0)).collect();
        let registry = RLock::new(std::cell::Cell::new(0_u64));

        let in_order: Work<'_> = Box::new(|stop, seed| {
            let mut dice = Dice::new(seed as u64 + 1);
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                let (low, high) = (dice.below(4), 4 + dice.below(4));
                let mut low = locks[low].lock();
                let mut high = locks[high].lock();
                *low += 1;
                *high += 1;
                rounds += 1;
                if dice.below(64) == 0 {
                    // Long enough for the others to outlast their grace.
                    thread::sleep(Duration::from_millis(1));
                }
                if dice.below(4) == 0 {
                    LockGuard::unlock_fair(low); // the outer one first
                }
            }
            rounds
        });
        let hand_over_hand: Work<'_> = Box::new(|stop, _| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                let mut here = list[0].lock();
                for next in &list[1..] {
                    let next = next.lock();
                    *here += 1;
                    here = next;
                }
                *here += 1;
                rounds += 1;
            }
            rounds
        });
        let tries_backwards: Work<'_> = Box::new(|stop, seed| {
            let mut dice = Dice::new(seed as u64 + 7);
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                let _high = locks[4 + dice.below(4)].lock();
                // Against the order, but never for ever.
                let low = &locks[dice.below(4)];
                let low = if dice.below(2) == 0 { low.try_lock() } else { low.try_lock_for(Duration::from_millis(2)) };
                rounds += u64::from(low.is_some());
                let _outer = registry.try_lock_for(Duration::from_millis(1));
            }
            rounds
        });
        let comes_again: Work<'_> = Box::new(|stop, _| {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                let outer = registry.lock();
                let inner = registry.lock();
                inner.set(inner.get() + 1);
                let last = locks[7].lock();
                drop(outer);
                drop((last, inner));
                rounds += 1;
            }
            rounds
        });

        let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|s| {
            for (kind, work) in [&in_order, &hand_over_hand, &tries_backwards, &comes_again].into_iter().enumerate() {
                for seed in 0..if kind == 0 { 4 } else { 2 } {
                    let (stop, rounds) = (&stop, &rounds);
                    s.spawn(move || rounds.fetch_add(work(stop, seed), Ordering::Relaxed));
                }
            }
            // Threads that come and go, so that contexts are used again under new numbers.
            let end = Instant::now() + seconds();
            while Instant::now() < end {
                let one = thread::Builder::new().spawn_scoped(s, || drop((locks[0].lock(), locks[5].lock())));
                one.expect("a thread").join().expect("it is a correct program, too");
                let _picture = deadlock::snapshot();
            }
            stop.store(true, Ordering::Relaxed);
        });

        assert_eq!(reports.load(Ordering::SeqCst), 0, "a correct program was reported");
        assert!(rounds.load(Ordering::Relaxed) > 0);
        assert_eq!(deadlock::snapshot().graph().node_count(), 0, "nobody waits or holds anything any more");

        // The counter counts: without this the test could not fail.
        let guard = locks[0].lock();
        assert!(locks[0].acquire().is_err());
        drop(guard);
        assert_eq!(reports.load(Ordering::SeqCst), 1);
    });
}
