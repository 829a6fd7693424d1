//! `Semaphore`: how many get in, who is served first, and what a release wakes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::{Lock, Semaphore, deadlock};

use crate::support::{
    Dice, LIMIT, find_thread_where, message, on_another_thread, spawn_named, until_parked, until_waiting, wait_until,
    within,
};

#[test]
fn a_semaphore_begins_with_the_permits_that_it_is_given() {
    static NAMED: Semaphore = Semaphore::named("named", 2);

    assert_eq!(Semaphore::new(0).available_permits(), 0);
    assert_eq!(Semaphore::new(Semaphore::MAX_PERMITS).available_permits(), Semaphore::MAX_PERMITS);
    assert_eq!(Semaphore::default().available_permits(), 1);
    assert_eq!(Semaphore::with_name(format!("semaphore {}", 1), 7).available_permits(), 7);
    assert_eq!(NAMED.acquire_many(2).permits(), 2);
    assert_eq!(NAMED.available_permits(), 2);
}

#[test]
fn more_permits_than_there_can_be_are_refused() {
    let refused = |run: &dyn Fn()| {
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert!(message(&*payload).contains("MAX_PERMITS"), "{}", message(&*payload));
    };
    refused(&|| drop(Semaphore::new(Semaphore::MAX_PERMITS + 1)));
    let semaphore = Semaphore::new(1);
    refused(&|| semaphore.release(Semaphore::MAX_PERMITS));
    refused(&|| semaphore.release(usize::MAX));
    refused(&|| drop(semaphore.acquire_many(Semaphore::MAX_PERMITS + 1)));
    assert_eq!(semaphore.available_permits(), 1, "nothing is added");
    // What guards give back always fits.
    let all = semaphore.acquire();
    semaphore.release(Semaphore::MAX_PERMITS);
    drop(all);
    assert_eq!(semaphore.available_permits(), Semaphore::MAX_PERMITS + 1);
}

#[test]
fn debug_shows_the_free_permits() {
    let semaphore = Semaphore::new(3);
    let guard = semaphore.acquire_many(2);
    assert_eq!(format!("{semaphore:?}"), "Semaphore { available_permits: 1 }");
    assert_eq!(format!("{guard:?}"), "SemaphoreGuard { permits: 2 }");
    assert_eq!(format!("{:?}", Semaphore::named("slots", 1)), r#"Semaphore { name: "slots", available_permits: 1 }"#);
}

#[test]
fn a_guard_gives_back_at_the_end_of_its_scope_and_on_unwinding() {
    let semaphore = Semaphore::new(1);
    {
        let _guard = semaphore.acquire();
        assert!(semaphore.try_acquire().is_none());
    }
    assert_eq!(semaphore.available_permits(), 1);
    let payload = catch_unwind(|| {
        let _guard = semaphore.acquire();
        panic!("with a permit");
    });
    assert_eq!(message(&*payload.unwrap_err()), "with a permit");
    assert_eq!(semaphore.available_permits(), 1);
}

#[test]
fn guards_go_to_other_threads_and_may_be_forgotten() {
    within(LIMIT, || {
        let semaphore = Arc::new(Semaphore::new(5));
        let (borrowed, owned) = (semaphore.acquire_many(2), semaphore.acquire_many_arc(2));
        assert_eq!((owned.permits(), semaphore.available_permits()), (2, 1));
        on_another_thread(move || drop(borrowed));
        assert_eq!(semaphore.available_permits(), 3);
        thread::spawn(move || drop(owned)).join().unwrap();
        assert_eq!(semaphore.available_permits(), 5);
        semaphore.acquire().forget();
        semaphore.acquire_arc().forget();
        assert_eq!(semaphore.available_permits(), 3);
        assert!(semaphore.try_acquire_many_arc(4).is_none());
        let last = semaphore.try_acquire_many_arc(3).unwrap();
        assert!(Arc::ptr_eq(last.semaphore(), &semaphore));
        let weak = Arc::downgrade(&semaphore);
        drop(semaphore);
        assert!(weak.upgrade().is_some(), "its guard keeps it alive");
        last.forget();
        assert!(weak.upgrade().is_none(), "a forgotten guard does not");
    });
}

#[test]
fn anybody_may_release_more_than_was_acquired() {
    let semaphore = Semaphore::new(1);
    semaphore.release(1);
    on_another_thread(|| semaphore.release(2));
    semaphore.release(0);
    assert_eq!(semaphore.available_permits(), 4);
    assert_eq!(semaphore.acquire_many(4).permits(), 4);
    assert_eq!(semaphore.acquire_many(0).permits(), 0, "never waits");
}

#[test]
fn as_many_try_and_succeed_as_there_are_permits() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(3);
        let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all_have_tried = std::sync::Barrier::new(10);
        thread::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    let guard = semaphore.try_acquire();
                    if guard.is_some() { &taken } else { &refused }.fetch_add(1, SeqCst);
                    all_have_tried.wait();
                });
            }
        });
        assert_eq!((taken.into_inner(), refused.into_inner()), (3, 7));
        assert_eq!(semaphore.available_permits(), 3);
    });
}

/// How many of the threads whose names begin like this wait.
fn waiting(prefix: &str) -> usize {
    let graph = deadlock::snapshot();
    let is_waiting = |thread: &deadlock::report::StuckThread| {
        thread.name().is_some_and(|name| name.starts_with(prefix)) && thread.waits_for().is_some()
    };
    graph
        .graph()
        .node_weights()
        .filter(|node| matches!(node, deadlock::Node::Thread(thread) if is_waiting(thread)))
        .count()
}

#[test]
fn a_release_of_n_lets_exactly_n_go_on() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(7);
        let passed = AtomicUsize::new(0);
        thread::scope(|s| {
            for at in 0..17 {
                let (semaphore, passed) = (&semaphore, &passed);
                spawn_named(s, &format!("acquirer {at}"), move || {
                    semaphore.acquire().forget();
                    passed.fetch_add(1, SeqCst);
                });
            }
            // The first seven, and then as many as are released: each time the rest is seen to wait.
            let mut expected = 7;
            for released in [0, 6, 1, 0, 2] {
                semaphore.release(released);
                expected += released;
                wait_until(|| passed.load(SeqCst) >= expected && waiting("acquirer ") == 17 - expected);
                assert_eq!((passed.load(SeqCst), semaphore.available_permits()), (expected, 0));
            }
            semaphore.release(1);
        });
        assert_eq!((passed.into_inner(), semaphore.available_permits()), (17, 0));
    });
}

#[test]
fn a_timed_wait_for_permits_ends_with_its_time_and_takes_none() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(1);
        for timeout in [Duration::ZERO, Duration::from_secs(1 << 40), Duration::MAX] {
            assert!(semaphore.try_acquire_for(timeout).is_some(), "{timeout:?}");
        }
        // Within the grace, and past it.
        for timeout in [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(20)] {
            let start = Instant::now();
            assert!(semaphore.try_acquire_many_for(2, timeout).is_none());
            assert!(start.elapsed() >= timeout);
            let deadline = Instant::now() + timeout;
            assert!(semaphore.try_acquire_many_until(2, deadline).is_none());
            assert!(Instant::now() >= deadline);
        }
        assert_eq!(semaphore.available_permits(), 1);
        let _last = semaphore.acquire();
        assert!(semaphore.try_acquire_until(Instant::now()).is_none());
    });
}

#[test]
fn a_timed_wait_for_permits_ends_when_there_are_enough() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(0);
        thread::scope(|s| {
            let waiter = spawn_named(s, "permits in time", || semaphore.try_acquire_many_for(2, LIMIT * 2).is_some());
            until_waiting("permits in time");
            semaphore.release(1);
            assert_eq!(semaphore.available_permits(), 1, "kept for the waiter");
            semaphore.release(1);
            assert!(waiter.join().unwrap());
        });
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn a_request_for_many_is_not_overtaken_by_those_that_come_later() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(1);
        let order = Lock::new(Vec::new());
        thread::scope(|s| {
            let acquire = |name: &'static str, permits| {
                let (semaphore, order) = (&semaphore, &order);
                spawn_named(s, name, move || {
                    let guard = semaphore.acquire_many(permits);
                    order.lock().push(name);
                    drop(guard);
                })
            };
            acquire("wants three", 3);
            until_parked("wants three");
            semaphore.release(1);
            // Two are free, and kept for the one that wants three.
            assert_eq!(semaphore.available_permits(), 2);
            assert!(semaphore.try_acquire().is_none());
            acquire("wants one", 1);
            until_parked("wants one");
            assert!(order.lock().is_empty());
            semaphore.release(1);
        });
        assert_eq!(order.into_inner(), ["wants three", "wants one"]);
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn those_behind_a_request_for_many_go_on_when_it_gives_up() {
    within(LIMIT, || {
        let semaphore = Semaphore::new(0);
        thread::scope(|s| {
            let many = spawn_named(s, "gives up three", || {
                semaphore.try_acquire_many_for(3, Duration::from_millis(300)).is_some()
            });
            until_parked("gives up three");
            semaphore.release(2);
            let one = spawn_named(s, "behind three", || semaphore.acquire().forget());
            let two = spawn_named(s, "behind three, too", || semaphore.acquire().forget());
            assert!(!many.join().unwrap());
            one.join().unwrap();
            two.join().unwrap();
        });
        assert_eq!(semaphore.available_permits(), 0);
    });
}

#[test]
fn a_wait_for_a_permit_that_the_waiter_holds_is_no_deadlock() {
    within(LIMIT, || {
        let semaphore = Semaphore::named("one", 1);
        thread::scope(|s| {
            let line = line!() + 3;
            let holder = spawn_named(s, "acquires again", || {
                let _first = semaphore.acquire();
                semaphore.acquire().forget();
            });
            let shown = until_waiting("acquires again");
            let wait = shown.waits_for().unwrap();
            assert_eq!((wait.resource().primitive(), wait.resource().name()), ("Semaphore", Some("one")));
            assert_eq!((wait.site().line(), shown.holds().len()), (line, 0));
            semaphore.release(1);
            holder.join().unwrap();
        });
        assert_eq!(semaphore.available_permits(), 1);
        assert!(find_thread_where(|thread| thread.name() == Some("acquires again")).is_none());
    });
}

#[test]
fn no_permit_is_lost_or_made_by_requests_of_all_sizes() {
    within(LIMIT, || {
        const PERMITS: usize = 5;
        let rounds = if cfg!(miri) { 30 } else { 300 };
        let semaphore = Semaphore::new(PERMITS);
        let taken = AtomicUsize::new(0);
        thread::scope(|s| {
            for seed in 0..4 {
                let (semaphore, taken) = (&semaphore, &taken);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    for _ in 0..rounds {
                        let permits = 1 + dice.below(PERMITS);
                        let guard = match dice.below(3) {
                            0 => semaphore.try_acquire_many(permits),
                            1 => semaphore.try_acquire_many_for(permits, Duration::from_micros(dice.below(900) as u64)),
                            _ => Some(semaphore.acquire_many(permits)),
                        };
                        let Some(guard) = guard else { continue };
                        assert!(taken.fetch_add(permits, SeqCst) + permits <= PERMITS);
                        if dice.below(4) == 0 {
                            thread::yield_now();
                        }
                        taken.fetch_sub(permits, SeqCst);
                        drop(guard);
                    }
                });
            }
        });
        assert_eq!((taken.into_inner(), semaphore.available_permits()), (0, PERMITS));
    });
}

#[test]
fn a_thread_that_wants_what_a_waiter_holds_is_suspected_to_be_the_one_to_release() {
    within(LIMIT, || {
        let (lock, semaphore) = (Lock::named("held for a permit", ()), Semaphore::new(0));
        thread::scope(|s| {
            spawn_named(s, "waits for a release", || {
                let _held = lock.lock();
                semaphore.acquire().forget();
            });
            until_waiting("waits for a release");
            spawn_named(s, "would release", || drop(lock.lock()));
            until_waiting("would release");
            let shown = until_waiting("waits for a release");
            let [suspicion] = shown.suspicions() else { panic!("{shown:?}") };
            assert_eq!(suspicion.waiter().name(), Some("would release"));
            semaphore.release(1);
        });
    });
}
