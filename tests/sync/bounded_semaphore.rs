//! `BoundedSemaphore`: permits with owners, and the deadlocks that these make.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{Kind, Policy};
use bowline::{BoundedSemaphore, Lock, deadlock};

use crate::support::gate::Gate;
use crate::support::{
    Dice, LIMIT, alone, message, on_another_thread, spawn_named, until_parked, until_waiting, wait_until, within,
};

#[test]
fn a_bounded_semaphore_has_the_permits_that_it_was_made_with() {
    static NAMED: BoundedSemaphore = BoundedSemaphore::named("named", 2);

    assert_eq!(BoundedSemaphore::default().max_permits(), 1);
    assert_eq!(BoundedSemaphore::new(BoundedSemaphore::MAX_PERMITS).available_permits(), BoundedSemaphore::MAX_PERMITS);
    let named = BoundedSemaphore::with_name(format!("semaphore {}", 1), 7);
    let guard = named.lock_many(7);
    assert_eq!((named.available_permits(), named.max_permits(), guard.permits()), (0, 7, 7));
    assert_eq!(
        format!("{named:?}"),
        r#"BoundedSemaphore { name: "semaphore 1", available_permits: 0, max_permits: 7 }"#
    );
    assert_eq!(format!("{guard:?}"), "BoundedSemaphoreGuard { permits: 7 }");
    drop(guard);
    assert_eq!(named.available_permits(), 7);
    drop(NAMED.lock_many(0));
    assert_eq!(NAMED.available_permits(), 2);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |run: &dyn Fn(), because: &str| {
        let payload = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert!(message(&*payload).contains(because), "{}", message(&*payload));
    };
    refused(&|| drop(BoundedSemaphore::new(0)), "at least one permit");
    refused(&|| drop(BoundedSemaphore::new(BoundedSemaphore::MAX_PERMITS + 1)), "MAX_PERMITS");
    let semaphore = BoundedSemaphore::new(3);
    let because = "4 permits are asked for at once, of a semaphore that has 3";
    refused(&|| drop(semaphore.lock_many(4)), because);
    refused(&|| drop(semaphore.acquire_many(4)), because);
    refused(&|| drop(semaphore.try_lock_many_for(4, Duration::ZERO)), because);
    assert!(semaphore.try_lock_many(4).is_none() && semaphore.try_lock_many(usize::MAX).is_none());
    assert_eq!(semaphore.available_permits(), 3);
}

#[test]
fn guards_give_back_in_any_order_and_keep_a_shared_semaphore_alive() {
    within(LIMIT, || {
        let semaphore = Arc::new(BoundedSemaphore::new(6));
        let (one, two) = (semaphore.lock(), semaphore.acquire_many(2).unwrap());
        let (owned, last) = (semaphore.try_lock_many_arc(2).unwrap(), semaphore.acquire_arc().unwrap());
        assert!(semaphore.try_lock().is_none() && semaphore.try_lock_arc().is_none());
        on_another_thread(|| assert!(semaphore.try_lock_for(Duration::from_millis(1)).is_none()));
        drop(one);
        drop(owned);
        drop(two);
        assert_eq!(semaphore.available_permits(), 5);
        let weak = Arc::downgrade(&semaphore);
        drop(semaphore);
        assert_eq!(weak.upgrade().unwrap().available_permits(), 5);
        drop(last);
        assert!(weak.upgrade().is_none());
    });
}

#[test]
fn more_guards_than_fit_inline_are_counted_all() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("many", 50);
        let guards: Vec<_> = (0..50).map(|_| semaphore.lock()).collect();
        let deadlock = semaphore.acquire().unwrap_err();
        assert_eq!(deadlock.report().kind(), Kind::Relock);
        drop(guards);
        assert_eq!(semaphore.acquire_many(50).unwrap().permits(), 50);
    });
}

#[test]
fn asking_for_more_than_the_others_have_is_a_relock() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("slots", 1000);
        let (line, most) = (line!(), semaphore.lock_many(600));
        let deadlock = semaphore.acquire_many(401).unwrap_err();
        let report = deadlock.report();
        assert_eq!((report.kind(), report.threads().len()), (Kind::Relock, 1));
        let held = &report.threads()[0].holds()[0];
        assert_eq!((held.permits(), held.site().line()), (600, line));
        let text = report.to_string();
        assert!(text.contains("waits for permits it holds itself"), "{text}");
        assert!(text.contains("already holds 600 permits of"), "{text}");
        assert!(text.contains("help: give back the permits taken"), "{text}");
        // It was not taken in vain: what is there can still be taken.
        drop(semaphore.acquire_many(400).unwrap());
        drop(most);
        assert!(semaphore.acquire_many(1000).is_ok());

        let payload = catch_unwind(AssertUnwindSafe(|| {
            let _one = semaphore.lock_many(999);
            drop(semaphore.lock_many(2));
        }));
        assert!(message(&*payload.unwrap_err()).starts_with("deadlock: "));
        assert_eq!(semaphore.available_permits(), 1000);
    });
}

#[test]
fn threads_that_each_hold_a_part_and_want_more_are_a_cycle() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("parts", 7);
        let all_hold = std::sync::Barrier::new(3);
        // Seven in all: three, two and two. Two more each cannot be had by anybody.
        let endings: Vec<_> = thread::scope(|s| {
            let threads = [("part 0", 3), ("part 1", 2), ("part 2", 2)].map(|(name, permits)| {
                let (semaphore, all_hold) = (&semaphore, &all_hold);
                spawn_named(s, name, move || {
                    let _part = semaphore.lock_many(permits);
                    all_hold.wait();
                    semaphore.acquire_many(2).map(drop)
                })
            });
            threads.map(|thread| thread.join().unwrap()).into_iter().collect()
        });
        let told: Vec<_> = endings.into_iter().filter_map(Result::err).collect();
        assert_eq!(told.len(), 1, "one gives way, and the others go on");
        let report = told[0].report();
        assert_eq!((report.kind(), report.threads().len(), report.bystanders().len()), (Kind::Cycle, 3, 0));
        let mut held: Vec<_> = report.threads().iter().map(|thread| thread.holds()[0].permits()).collect();
        held.sort_unstable();
        assert_eq!(held, [2, 2, 3]);
        let text = report.to_string();
        assert!(text.contains("help: take all the permits of A 'parts' that a thread needs in one call"), "{text}");
        assert_eq!(semaphore.available_permits(), 7);
    });
}

#[test]
fn a_wait_is_live_while_enough_permits_are_free_or_with_threads_that_run() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("enough", 4);
        let lock = Lock::named("beside it", ());
        let gate = Gate::default();
        thread::scope(|s| {
            // Two hold one each, and wait for a lock that the runner has; so does the runner hold two.
            let (runs, all_wait) = (Gate::default(), Gate::default());
            let (semaphore, lock, gate) = (&semaphore, &lock, &gate);
            let runner = spawn_named(s, "runner", {
                let (runs, all_wait) = (runs.clone(), all_wait.clone());
                move || {
                    let two = semaphore.lock_many(2);
                    let held = lock.lock();
                    runs.open();
                    all_wait.pass();
                    // It gives both back, but not before it is asked to.
                    gate.pass();
                    drop(two);
                    drop(held);
                }
            });
            runs.pass();
            let stuck = ["stuck 0", "stuck 1"].map(|name| {
                spawn_named(s, name, move || {
                    let _one = semaphore.lock();
                    lock.acquire().map(drop)
                })
            });
            until_waiting("stuck 0");
            until_waiting("stuck 1");
            // One of the four may come back: the runner's. So may two. All four may not before the others go on, and they
            // may, since the runner does.
            let waiters = [("wants 1", 1), ("wants 2", 2), ("wants 4", 4)]
                .map(|(name, permits)| spawn_named(s, name, move || semaphore.acquire_many(permits).map(drop)));
            for name in ["wants 1", "wants 2", "wants 4"] {
                until_parked(name);
            }
            all_wait.open();
            gate.open();
            runner.join().unwrap();
            stuck.into_iter().for_each(|thread| thread.join().unwrap().expect("a false alarm"));
            waiters.into_iter().for_each(|thread| thread.join().unwrap().expect("a false alarm"));
        });
        assert_eq!(semaphore.available_permits(), 4);
    });
}

#[test]
fn a_cycle_leads_through_permits_and_locks() {
    within(LIMIT, || {
        let (semaphore, lock) = (BoundedSemaphore::named("both", 2), Lock::named("one", ()));
        let [permits, locked] = [(); 2].map(|()| Gate::default());
        let (by_permits, by_lock) = thread::scope(|s| {
            let by_permits = spawn_named(s, "has the permits", || {
                let _both = (semaphore.lock(), semaphore.lock());
                permits.open();
                locked.pass();
                lock.acquire().map(drop)
            });
            let by_lock = spawn_named(s, "has the lock", || {
                let _held = lock.lock();
                locked.open();
                permits.pass();
                semaphore.acquire().map(drop)
            });
            (by_permits.join().unwrap(), by_lock.join().unwrap())
        });
        assert!(by_permits.is_ok() != by_lock.is_ok());
        let deadlock = by_permits.and(by_lock).unwrap_err();
        let report = deadlock.report();
        assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2));
        let text = report.to_string();
        assert!(text.contains("BoundedSemaphore 'both'") && text.contains("a permit of"), "{text}");
    });
}

#[test]
fn a_permit_of_a_thread_that_has_ended_is_abandoned_once_it_is_missed() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("leaked", 3);
        thread::scope(|s| {
            spawn_named(s, "leaks two", || std::mem::forget(semaphore.lock_many(2))).join().unwrap();
        });
        assert_eq!(semaphore.available_permits(), 1);
        drop(semaphore.acquire().expect("one is left"));
        if !cfg!(target_os = "linux") || cfg!(miri) {
            return;
        }
        let deadlock = semaphore.acquire_many(2).unwrap_err();
        let report = deadlock.report();
        assert_eq!(report.kind(), Kind::Abandoned);
        assert_eq!((report.threads()[1].name(), report.threads()[1].holds()[0].permits()), (Some("leaks two"), 2));
        assert!(report.to_string().contains("waits for a permit held by"), "{report}");
    });
}

#[test]
fn a_waiter_is_told_when_the_thread_that_leaked_ends_later() {
    if !cfg!(target_os = "linux") || cfg!(miri) {
        return;
    }
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::named("leaked later", 1);
        let (held, end) = (Gate::default(), Gate::default());
        thread::scope(|s| {
            s.spawn(|| {
                std::mem::forget(semaphore.lock());
                held.open();
                end.pass();
            });
            held.pass();
            let waiter = spawn_named(s, "waits for a leaked permit", || semaphore.acquire().map(drop));
            until_parked("waits for a leaked permit");
            end.open();
            assert_eq!(waiter.join().unwrap().unwrap_err().report().kind(), Kind::Abandoned);
        });
    });
}

#[test]
fn a_new_semaphore_in_the_place_of_a_leaked_one_is_free() {
    within(LIMIT, || {
        let mut semaphore = BoundedSemaphore::new(1);
        std::mem::forget(semaphore.lock());
        semaphore = BoundedSemaphore::new(1);
        let guard = semaphore.acquire().unwrap();
        thread::scope(|s| {
            let other = spawn_named(s, "of the new one", || semaphore.acquire().map(drop));
            until_waiting("of the new one");
            drop(guard);
            other.join().unwrap().expect("nobody holds it");
        });
    });
}

#[test]
fn a_request_that_fits_passes_one_that_does_not() {
    within(LIMIT, || {
        let semaphore = BoundedSemaphore::new(3);
        let two = semaphore.lock_many(2);
        thread::scope(|s| {
            let many = spawn_named(s, "wants all three", || drop(semaphore.lock_many(3)));
            until_parked("wants all three");
            // One is free, and nobody who can use it waits for the one who cannot.
            on_another_thread(|| drop(semaphore.acquire().unwrap()));
            drop(two);
            many.join().unwrap();
        });
    });
}

#[test]
fn under_report_a_deadlock_of_permits_stands_and_is_told_once() {
    alone(|| {
        deadlock::set_policy(Policy::Report);
        let semaphore: &BoundedSemaphore = Box::leak(Box::new(BoundedSemaphore::named("stands", 2)));
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let _hook = deadlock::on_deadlock(move |report| {
            assert_eq!(report.kind(), Kind::Cycle);
            counted.fetch_add(1, SeqCst);
        });
        let both_hold = Arc::new(std::sync::Barrier::new(2));
        for at in 0..2 {
            let both_hold = Arc::clone(&both_hold);
            thread::Builder::new()
                .name(format!("stands {at}"))
                .spawn(move || {
                    let _one = semaphore.lock();
                    both_hold.wait();
                    drop(semaphore.lock());
                })
                .unwrap();
        }
        wait_until(|| told.load(SeqCst) == 1);
        until_waiting("stands 0");
        until_waiting("stands 1");
        assert_eq!(told.load(SeqCst), 1);
    });
}

/// Threads that take and give back at random, each never more than the others leave: no deadlock can be, and none is told.
#[test]
fn no_permit_is_lost_and_no_alarm_is_false_among_requests_of_all_sizes() {
    within(LIMIT, || {
        const PERMITS: usize = 6;
        let rounds = if cfg!(miri) { 20 } else { 300 };
        let semaphore = BoundedSemaphore::new(PERMITS);
        let taken = AtomicUsize::new(0);
        thread::scope(|s| {
            for seed in 0..4 {
                let (semaphore, taken) = (&semaphore, &taken);
                s.spawn(move || {
                    let mut dice = Dice::new(seed);
                    for _ in 0..rounds {
                        // One at a time, so that nobody waits with a permit; or a second one, of which there are enough.
                        let first = semaphore.acquire_many(1 + dice.below(2)).expect("a false alarm");
                        let mut permits = first.permits();
                        let second = (permits == 1 && dice.below(2) == 0)
                            .then(|| semaphore.try_lock_many_for(1 + dice.below(3), Duration::from_micros(700)))
                            .flatten();
                        permits += second.as_ref().map_or(0, |second| second.permits());
                        assert!(taken.fetch_add(permits, SeqCst) + permits <= PERMITS);
                        thread::yield_now();
                        taken.fetch_sub(permits, SeqCst);
                        drop(first);
                        drop(second);
                    }
                });
            }
        });
        assert_eq!((taken.into_inner(), semaphore.available_permits()), (0, PERMITS));
    });
}
