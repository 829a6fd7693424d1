//! `Barrier`: all pass or none, each generation once, and what breaks and mends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::Kind;
use bowline::sync::BrokenBarrier;
use bowline::{Barrier, Lock};

use crate::support::gate::Gate;
use crate::support::{LIMIT, message, spawn_named, until_waiting, wait_until, within};

const PARTIES: usize = 5;

/// Runs `body` on as many threads as there are parties.
fn parties<T: Send>(body: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|s| {
        let threads: Vec<_> = (0..PARTIES).map(|_| s.spawn(&body)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_barrier_without_parties_is_refused() {
    let payload = catch_unwind(|| Barrier::new(0)).unwrap_err();
    assert_eq!(message(&*payload), "a barrier needs at least one party");
}

#[test]
fn a_single_party_never_waits() {
    within(LIMIT, || {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let barrier = Barrier::new(1).with_action(move || _ = counted.fetch_add(1, SeqCst));
        for _ in 0..3 {
            let pass = barrier.wait().unwrap();
            assert_eq!((pass.index(), pass.is_leader()), (0, true));
            assert!(barrier.wait_for(Duration::ZERO).is_ok());
        }
        assert_eq!(runs.load(SeqCst), 6);
    });
}

#[test]
fn nobody_passes_before_all_have_arrived_in_any_of_many_generations() {
    within(LIMIT, || {
        let barrier = Barrier::new(PARTIES);
        let rounds = if cfg!(miri) { 5 } else { 500 };
        let arrived: Vec<_> = (0..rounds).map(|_| AtomicUsize::new(0)).collect();
        let indices: Vec<_> = (0..rounds).map(|_| AtomicUsize::new(0)).collect();
        let leaders = AtomicUsize::new(0);
        parties(|| {
            for (arrived, indices) in arrived.iter().zip(&indices) {
                arrived.fetch_add(1, SeqCst);
                let pass = barrier.wait().unwrap();
                assert_eq!(arrived.load(SeqCst), PARTIES);
                assert_eq!(indices.fetch_or(1 << pass.index(), SeqCst) & 1 << pass.index(), 0, "once each");
                leaders.fetch_add(usize::from(pass.is_leader()), SeqCst);
            }
        });
        assert!(indices.iter().all(|indices| indices.load(SeqCst) == (1 << PARTIES) - 1));
        assert_eq!(leaders.into_inner(), rounds);
        assert_eq!((barrier.parties(), barrier.n_waiting(), barrier.is_broken()), (PARTIES, 0, false));
    });
}

#[test]
fn the_action_runs_once_a_generation_before_anybody_passes() {
    within(LIMIT, || {
        let runs = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&runs);
        let barrier = Barrier::new(PARTIES).with_action(move || _ = counted.fetch_add(1, SeqCst));
        parties(|| {
            for round in 0..if cfg!(miri) { 3 } else { 200 } {
                barrier.wait().unwrap();
                assert_eq!(runs.load(SeqCst), 2 * round + 1);
                barrier.wait().unwrap();
            }
        });
    });
}

#[test]
fn the_last_party_runs_the_action_and_may_use_the_barrier_in_it() {
    within(LIMIT, || {
        let barrier: Arc<std::sync::OnceLock<Barrier>> = Arc::default();
        let inside = Arc::clone(&barrier);
        let runner = Arc::new(Lock::new(None));
        let found = Arc::clone(&runner);
        let made = Barrier::new(2).with_action(move || {
            let barrier = inside.get().unwrap();
            // It runs outside of every lock: nothing here waits for the party that waits.
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
            assert!(format!("{barrier:?}").contains("n_waiting: 0"));
            // This generation has arrived: only its action decides.
            barrier.abort();
            barrier.reset();
            *found.lock() = Some(thread::current().id());
        });
        barrier.set(made).ok().unwrap();
        let barrier = barrier.get().unwrap();
        let leaders: Vec<_> = thread::scope(|s| {
            let threads = [(); 2].map(|()| s.spawn(|| (thread::current().id(), barrier.wait().unwrap().is_leader())));
            threads.map(|thread| thread.join().unwrap()).into_iter().filter(|pass| pass.1).collect()
        });
        assert_eq!(leaders, [(runner.lock().unwrap(), true)]);
    });
}

#[test]
fn a_panic_of_the_action_breaks_the_barrier() {
    within(LIMIT, || {
        let barrier = Barrier::new(2).with_action(|| panic!("in the action"));
        thread::scope(|s| {
            let other = spawn_named(s, "waits for a panic", || barrier.wait());
            until_waiting("waits for a panic");
            let payload = catch_unwind(AssertUnwindSafe(|| barrier.wait())).unwrap_err();
            assert_eq!(message(&*payload), "in the action");
            assert!(!other.join().unwrap().unwrap_err().timed_out());
        });
        assert!(barrier.is_broken() && barrier.wait().is_err());
    });
}

#[test]
fn an_abort_breaks_the_barrier_for_all_others() {
    within(LIMIT, || {
        let barrier = Barrier::new(PARTIES);
        let broken = AtomicUsize::new(0);
        parties(|| {
            // The first two pass together with the rest; then one gives up.
            if barrier.wait().unwrap().is_leader() {
                wait_until(|| barrier.n_waiting() == PARTIES - 1);
                barrier.abort();
            } else {
                assert_eq!(barrier.wait(), barrier.wait_for(LIMIT), "broken for those that come, too");
                broken.fetch_add(1, SeqCst);
            }
        });
        assert_eq!(broken.into_inner(), PARTIES - 1);
        assert!(barrier.is_broken());
        assert_eq!(barrier.n_waiting(), 0);
    });
}

#[test]
fn a_reset_breaks_the_waits_and_leaves_the_barrier_usable() {
    within(LIMIT, || {
        let barrier = Barrier::new(PARTIES);
        let freed = AtomicUsize::new(0);
        parties(|| {
            if barrier.wait().unwrap().is_leader() {
                wait_until(|| barrier.n_waiting() == PARTIES - 1);
                barrier.reset();
            } else {
                assert!(barrier.wait().is_err());
                freed.fetch_add(1, SeqCst);
            }
            barrier.wait().unwrap();
        });
        assert_eq!((freed.into_inner(), barrier.is_broken()), (PARTIES - 1, false));
    });
}

#[test]
fn a_broken_barrier_is_mended_by_a_reset() {
    within(LIMIT, || {
        let (barrier, all_know) = (Barrier::new(PARTIES), Barrier::new(PARTIES));
        parties(|| {
            if barrier.wait().unwrap().is_leader() {
                barrier.abort();
            } else {
                assert!(barrier.wait().is_err());
            }
            if all_know.wait().unwrap().is_leader() {
                barrier.reset();
            }
            all_know.wait().unwrap();
            barrier.wait().unwrap();
        });
        assert!(!barrier.is_broken());
    });
}

#[test]
fn a_wait_that_times_out_breaks_the_barrier() {
    within(LIMIT, || {
        // The limit is the wait's own, or the barrier's.
        let short = Duration::from_millis(20);
        type Wait = fn(&Barrier, Duration) -> Result<bowline::sync::BarrierWait, BrokenBarrier>;
        let waits: [(Barrier, Wait); 3] = [
            (Barrier::new(3), |barrier, limit| barrier.wait_for(limit)),
            (Barrier::new(3), |barrier, limit| barrier.wait_until(Instant::now() + limit)),
            (Barrier::new(3).with_timeout(short), |barrier, _| barrier.wait()),
        ];
        for (barrier, wait) in waits {
            thread::scope(|s| {
                let patient = spawn_named(s, "has more time", || barrier.wait_for(LIMIT * 2));
                wait_until(|| barrier.n_waiting() == 1);
                let start = Instant::now();
                let error = wait(&barrier, short).unwrap_err();
                assert!(error.timed_out() && start.elapsed() >= short);
                assert_eq!(error.to_string(), "timed out at a barrier, which is broken now");
                let error = patient.join().unwrap().unwrap_err();
                assert!(!error.timed_out());
                assert_eq!(error.to_string(), "the barrier is broken");
            });
            assert!(barrier.is_broken());
        }
    });
}

#[test]
fn a_limit_does_not_end_a_wait_for_the_action() {
    within(LIMIT, || {
        let (begun, end) = (Gate::default(), Gate::default());
        let barrier = Barrier::new(2).with_action({
            let (begun, end) = (begun.clone(), end.clone());
            move || {
                begun.open();
                end.pass();
            }
        });
        thread::scope(|s| {
            let waits = spawn_named(s, "limited", || barrier.wait_for(Duration::from_millis(200)));
            wait_until(|| barrier.n_waiting() == 1);
            let runs = s.spawn(|| barrier.wait());
            begun.pass();
            // Its limit is over when its wait is one without.
            wait_until(|| !until_waiting("limited").waits_for().unwrap().is_timed());
            end.open();
            assert!(waits.join().unwrap().is_ok());
            assert!(runs.join().unwrap().is_ok());
        });
    });
}

#[test]
fn more_threads_than_parties_pass_in_generations() {
    within(LIMIT, || {
        let barrier = Barrier::new(2);
        let stop = AtomicBool::new(false);
        let rounds = if cfg!(miri) { 10 } else { 500 };
        thread::scope(|s| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    s.spawn(|| {
                        let mut passes = 0;
                        while !stop.load(SeqCst) && barrier.wait().is_ok() {
                            passes += 1;
                            if passes == rounds {
                                stop.store(true, SeqCst);
                                barrier.abort();
                            }
                        }
                        passes
                    })
                })
                .collect();
            let passes: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(passes.iter().sum::<usize>() % 2, 0, "two in each generation: {passes:?}");
        });
    });
}

#[test]
fn an_action_that_wants_what_a_party_holds_is_a_deadlock() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("of the party", 0));
        let kind = Arc::new(Lock::new(None));
        let barrier = Barrier::named("phase", 2).with_action({
            let (lock, kind) = (Arc::clone(&lock), Arc::clone(&kind));
            move || {
                let deadlock = lock.acquire().map(drop).unwrap_err();
                let report = deadlock.report();
                *kind.lock() = Some((report.kind(), report.threads().len()));
                let text = format!("{report:1000}");
                assert!(text.contains("Barrier 'phase'"), "{text}");
                assert!(text.contains("\nhelp: release "), "what is to be released before the wait: {text}");
            }
        });
        thread::scope(|s| {
            let holder = spawn_named(s, "holds at the barrier", || {
                let mut held = lock.lock();
                *held += 1;
                barrier.wait()
            });
            until_waiting("holds at the barrier");
            barrier.wait().unwrap();
            holder.join().unwrap().unwrap();
        });
        assert_eq!(*kind.lock(), Some((Kind::Cycle, 2)));
    });
}

#[test]
fn a_thread_that_wants_what_a_party_holds_is_suspected_to_be_the_one_to_arrive() {
    within(LIMIT, || {
        let (lock, barrier) = (Lock::named("held at the barrier", ()), Barrier::new(2));
        thread::scope(|s| {
            let party = spawn_named(s, "waits for an arrival", || {
                let _held = lock.lock();
                barrier.wait().is_err()
            });
            until_waiting("waits for an arrival");
            spawn_named(s, "would arrive", || drop(lock.lock()));
            until_waiting("would arrive");
            let shown = until_waiting("waits for an arrival");
            let [suspicion] = shown.suspicions() else { panic!("{shown:?}") };
            assert_eq!(suspicion.waiter().name(), Some("would arrive"));
            barrier.abort();
            assert!(party.join().unwrap());
        });
    });
}

#[test]
fn debug_and_snapshots_show_a_barrier() {
    within(LIMIT, || {
        let barrier = Barrier::named("phase", 3);
        assert_eq!(format!("{barrier:?}"), r#"Barrier { name: "phase", parties: 3, n_waiting: 0, is_broken: false }"#);
        thread::scope(|s| {
            let line = line!() + 1;
            let waiter = spawn_named(s, "at the phase", || barrier.wait());
            let shown = until_waiting("at the phase");
            let wait = shown.waits_for().unwrap();
            assert_eq!((wait.resource().primitive(), wait.resource().name()), ("Barrier", Some("phase")));
            assert_eq!((wait.site().line(), wait.is_timed()), (line, false));
            assert!(format!("{barrier:?}").contains("n_waiting: 1"));
            barrier.abort();
            assert!(waiter.join().unwrap().is_err());
        });
        let unnamed = format!("{:?}", {
            let barrier = Barrier::with_name(String::from("run"), 1);
            barrier.abort();
            barrier
        });
        assert_eq!(unnamed, r#"Barrier { name: "run", parties: 1, n_waiting: 0, is_broken: true }"#);
    });
}
