//! Waits that look like deadlocks and are none: nobody is told of one, and everything goes on.
//!
//! Each test runs alone, and counts the reports of its process.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bowline::sync::{LockGuard, RLockGuard};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, Reports};
use crate::support::{Dice, alone, find_thread, spawn_named, until_parked, until_waiting, wait_until};

#[test]
fn trying_in_opposite_orders_is_no_deadlock() {
    alone(|| {
        let reports = Reports::about("trying ");
        let (a, b) = (Lock::named("a", 0_u32), Lock::named("b", 0_u32));
        let start = Barrier::new(2);
        let tries = if cfg!(miri) { 20 } else { 20_000 };
        let body = |first: &Lock<u32>, second: &Lock<u32>| {
            start.wait();
            let mut in_vain = 0;
            for _ in 0..tries {
                let mut first = first.lock();
                *first += 1;
                match second.try_lock() {
                    Some(mut second) => *second += 1,
                    None => in_vain += 1,
                }
            }
            in_vain
        };
        thread::scope(|s| {
            spawn_named(s, "trying a, b", || body(&a, &b));
            spawn_named(s, "trying b, a", || body(&b, &a));
        });
        // The crossing itself, for certain: each holds one and tries the other's.
        let both_hold = Barrier::new(2);
        let cross = |first: &Lock<u32>, second: &Lock<u32>| {
            let _first = first.lock();
            both_hold.wait();
            assert!(second.try_lock().is_none());
            both_hold.wait();
        };
        thread::scope(|s| {
            spawn_named(s, "trying across 1", || cross(&a, &b));
            spawn_named(s, "trying across 2", || cross(&b, &a));
        });
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_wait_with_a_time_limit_is_no_part_of_a_deadlock_and_ends_with_its_time() {
    alone(|| {
        let reports = Reports::about("limited ");
        let (a, b) = (Lock::named("a", 0), Lock::named("b", 0));
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            let patient = spawn_named(s, "limited patient", || {
                let mut a = a.lock();
                both_hold.wait();
                *a += *b.acquire().expect("the other gives up") + 1;
            });
            spawn_named(s, "limited", || {
                let mut b = b.lock();
                both_hold.wait();
                until_waiting("limited patient");
                // A ring of two, for as long as this takes.
                assert!(a.try_lock_for(Duration::from_millis(60)).is_none());
                assert!(find_thread("limited patient").unwrap().waits_for().is_some(), "nobody else gave up");
                *b = 1;
            });
            let timed = until_waiting("limited");
            assert!(timed.waits_for().unwrap().is_timed());
            assert!(!until_waiting("limited patient").waits_for().unwrap().is_timed());
            patient.join().unwrap();
        });
        assert_eq!(reports.count(), 0);
        assert_eq!(a.into_inner(), 2, "after the time-out everything went on");
    });
}

#[test]
fn a_wait_with_a_time_limit_that_began_first_is_no_part_of_a_deadlock_either() {
    alone(|| {
        let reports = Reports::about("hasty ");
        let (a, b) = (RLock::named("a", ()), RLock::named("b", ()));
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            spawn_named(s, "hasty one", || {
                let _b = b.lock();
                both_hold.wait();
                // Far longer than it takes to see the other wait; nobody waits for all of it.
                assert!(a.try_lock_for(Duration::from_millis(300)).is_none());
            });
            spawn_named(s, "hasty other", || {
                let _a = a.lock();
                both_hold.wait();
                assert!(until_waiting("hasty one").waits_for().unwrap().is_timed());
                drop(b.acquire().expect("the other gives up"));
            });
        });
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_lock_replaced_in_place_while_a_forgotten_guard_names_it_is_in_nobodys_way() {
    alone(|| {
        let reports = Reports::about("careless ");
        let (mut place, other) = (Lock::named("old", 0), Lock::named("other", 0));
        let held = Gate::new();
        thread::scope(|s| {
            let careless = spawn_named(s, "careless one", || {
                std::mem::forget(place.lock());
                place = Lock::named("new", 0);
                thread::scope(|s| {
                    spawn_named(s, "careless heir", || {
                        let mut new = place.acquire().expect("a new lock is free");
                        held.open();
                        // By its list the careless one holds what its friend waits for; in truth this thread does.
                        until_waiting("careless one");
                        *new += 1;
                    });
                    held.pass();
                    spawn_named(s, "careless friend", || {
                        let mut other = other.lock();
                        *place.acquire().expect("the heir releases it") += 1;
                        *other += 1;
                    });
                    until_waiting("careless friend");
                    *other.acquire().expect("the friend releases it") += 1;
                });
            });
            careless.join().unwrap();
        });
        assert_eq!(reports.count(), 0);
        assert_eq!((place.into_inner(), other.into_inner()), (2, 2));
    });
}

#[test]
fn handing_over_among_many_is_no_deadlock_and_nobody_starves() {
    alone(|| {
        const THREADS: usize = 12;
        let reports = Reports::about("polite ");
        let rounds = if cfg!(miri) { 5 } else { 1_500 };
        let locks = [Lock::new([0_usize; THREADS]), Lock::new([0_usize; THREADS])];
        let again = RLock::new(());
        let start = Barrier::new(THREADS);
        thread::scope(|s| {
            for me in 0..THREADS {
                let (locks, again, start) = (&locks, &again, &start);
                spawn_named(s, &format!("polite {me}"), move || {
                    start.wait();
                    for round in 0..rounds {
                        let mut first = locks[0].lock();
                        first[me] += 1;
                        if round % 3 == 0 {
                            let mut second = locks[1].acquire().unwrap();
                            second[me] += 1;
                            LockGuard::unlock_fair(second);
                        }
                        if round % 5 == 0 {
                            let _outer = again.lock();
                            RLockGuard::unlock_fair(again.lock());
                        }
                        LockGuard::unlock_fair(first);
                    }
                });
            }
        });
        assert_eq!(reports.count(), 0);
        let [first, second] = locks.map(Lock::into_inner);
        assert_eq!(first, [rounds; THREADS]);
        assert_eq!(second, [rounds.div_ceil(3); THREADS]);
    });
}

#[test]
fn a_chain_that_ends_at_a_running_thread_is_no_deadlock() {
    alone(|| {
        const LINKS: usize = 20;
        let reports = Reports::about("link ");
        let locks: Vec<_> = (0..=LINKS).map(|_| Lock::new(0)).collect();
        let all_hold = Barrier::new(LINKS);
        let last = locks[LINKS].lock();
        thread::scope(|s| {
            let mut order: Vec<_> = (0..LINKS).collect();
            Dice::new(7).shuffle(&mut order);
            for at in order {
                let (mine, next, all_hold) = (&locks[at], &locks[at + 1], &all_hold);
                spawn_named(s, &format!("link {at}"), move || {
                    let mut mine = mine.lock();
                    all_hold.wait();
                    *mine += *next.acquire().expect("the chain has an end") + 1;
                });
            }
            for at in 0..LINKS {
                until_waiting(&format!("link {at}"));
            }
            drop(last);
        });
        assert_eq!(reports.count(), 0);
        assert_eq!(*locks[0].lock(), LINKS);
    });
}

#[test]
fn a_lock_taken_by_somebody_else_in_between_is_still_waited_for() {
    alone(|| {
        let reports = Reports::about("queued ");
        let lock = Lock::named("contended", Vec::new());
        thread::scope(|s| {
            let guard = lock.lock();
            spawn_named(s, "queued waiter", || lock.acquire().unwrap().push("waiter"));
            until_parked("queued waiter");
            drop(guard);
            // Whoever runs may take it before the one who was woken: that one registers again, or gets it first.
            while let Some(mut barged) = lock.try_lock() {
                barged.push("barged");
                if barged.contains(&"waiter") {
                    break;
                }
            }
            wait_until(|| lock.try_lock().is_some_and(|guard| guard.contains(&"waiter")));
        });
        assert_eq!(reports.count(), 0);
    });
}
