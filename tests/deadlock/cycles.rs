//! Which waits are deadlocks, who is told, and what becomes of the others, under the default policy.
//!
//! A test that counts reports runs alone, and counts those about its own threads only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread;

use bowline::deadlock::{Deadlock, Kind};
use bowline::{Lock, RLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof, close_ring, held_names, names, the_only, wanted};
use crate::support::{LIMIT, alone, alone_within, message, on_another_thread, spawn_named, until_waiting, within};

#[test]
fn two_locks_taken_in_opposite_orders_are_a_cycle_for_one_of_the_two() {
    alone(|| {
        let reports = Reports::about("opposite ");
        let (a, b) = (Lock::named("a", 0), Lock::named("b", 0));
        let both_hold = Barrier::new(2);
        let closing = thread::scope(|s| {
            let left = spawn_named(s, "opposite left", || {
                let mut a = a.acquire().unwrap();
                both_hold.wait();
                *a += *b.acquire().expect("the other one closes the cycle") + 1;
            });
            let right = spawn_named(s, "opposite right", || {
                let _b = b.acquire().unwrap();
                both_hold.wait();
                until_waiting("opposite left");
                a.acquire().map(drop).unwrap_err()
            });
            left.join().unwrap();
            right.join().unwrap()
        });
        assert_eq!(a.into_inner(), 1);

        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert_eq!(report.threads()[0].name(), Some("opposite right"), "who reports comes first");
        assert_eq!((wanted(&report.threads()[0]).name(), held_names(&report.threads()[0])), (Some("a"), vec!["b"]));
        assert_eq!((wanted(&report.threads()[1]).name(), held_names(&report.threads()[1])), (Some("b"), vec!["a"]));
        assert!(report.bystanders().is_empty());
        assert_eq!(closing.report().to_string(), report.to_string(), "the error and the hook tell the same");
    });
}

#[test]
fn a_panicking_victim_releases_what_it_holds_and_the_other_goes_on() {
    within(LIMIT, || {
        let (a, b) = (Lock::named("a", 0), RLock::named("b", ()));
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            let left = spawn_named(s, "survivor", || {
                let mut a = a.lock();
                both_hold.wait();
                drop(b.lock());
                *a += 1;
            });
            let right = spawn_named(s, "victim", || {
                let _b = b.lock();
                both_hold.wait();
                until_waiting("survivor");
                drop(a.lock());
            });
            left.join().unwrap();
            let payload = right.join().unwrap_err();
            let report = message(&*payload);
            assert!(report.starts_with("deadlock: 2 threads wait for each other\n"), "{report}");
        });
        assert_eq!(a.into_inner(), 1);
    });
}

#[test]
fn a_relock_names_all_that_the_thread_holds() {
    alone(|| {
        let reports = Reports::about("forgetful");
        let (a, own, r, b) =
            (Lock::named("a", ()), Lock::named("own", ()), RLock::named("r", ()), Lock::named("b", ()));
        thread::scope(|s| {
            spawn_named(s, "forgetful", || {
                let _outer = (a.lock(), r.lock());
                let _own = own.lock();
                let _inner = (r.lock(), b.try_lock().unwrap());
                let deadlock = own.acquire().map(drop).unwrap_err();
                assert_eq!(deadlock.report().kind(), Kind::Relock);
                // Nothing was lost: each is still held, the re-entrant lock twice.
                assert!([&a, &own, &b].iter().all(|lock| lock.is_locked()) && r.depth() == 2);
            });
        });
        let report = the_only(&reports);
        assert_eq!(wanted(&report.threads()[0]).name(), Some("own"));
        assert_eq!(held_names(&report.threads()[0]), ["a", "b", "own", "r"]);
    });
}

#[test]
fn a_relock_is_found_while_others_queue_for_the_lock() {
    alone(|| {
        let reports = Reports::about("hog");
        let lock = Lock::named("hogged", 0);
        let held = Gate::new();
        thread::scope(|s| {
            spawn_named(s, "hog", || {
                let guard = lock.lock();
                held.open();
                until_waiting("behind the hog 1");
                until_waiting("behind the hog 2");
                lock.acquire().map(drop).unwrap_err();
                drop(guard);
            });
            held.pass();
            for name in ["behind the hog 1", "behind the hog 2"] {
                spawn_named(s, name, || *lock.lock() += 1);
            }
        });
        let report = the_only(&reports);
        assert_eq!((report.kind(), names(report.threads())), (Kind::Relock, vec!["hog"]));
        assert_eq!(names(report.bystanders()), ["behind the hog 1", "behind the hog 2"]);
        assert_eq!(lock.into_inner(), 2);
    });
}

#[test]
fn who_is_stuck_behind_a_cycle_is_no_part_of_it() {
    alone(|| {
        let reports = Reports::about("crossed ");
        let (a, b, c) = (Lock::named("a", 0), Lock::named("b", 0), Lock::named("c", 0));
        let unrelated = Lock::named("unrelated", ());
        let [c_held, close] = [const { Gate::new() }; 2];
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            spawn_named(s, "crossed 1", || {
                let mut a = a.lock();
                both_hold.wait();
                *a += *b.lock();
            });
            let crossed_2 = spawn_named(s, "crossed 2", || {
                let _b = b.lock();
                both_hold.wait();
                close.pass();
                a.acquire().map(drop).unwrap_err();
            });
            until_waiting("crossed 1");
            // Straight behind one member, behind the other, and behind somebody who is behind.
            for name in ["stuck 1", "stuck 2"] {
                spawn_named(s, name, || *a.lock() += 1);
            }
            spawn_named(s, "stuck 3", || *b.lock() += 1);
            spawn_named(s, "stuck 4", || {
                let _c = c.lock();
                c_held.open();
                *a.lock() += 1;
            });
            c_held.pass();
            spawn_named(s, "stuck 5", || *c.lock() += 1);
            // Somebody waits for what has nothing to do with it.
            let busy = unrelated.lock();
            spawn_named(s, "elsewhere", || drop(unrelated.lock()));
            for name in ["crossed 1", "stuck 1", "stuck 2", "stuck 3", "stuck 4", "stuck 5", "elsewhere"] {
                until_waiting(name);
            }
            close.open();
            crossed_2.join().unwrap();
            drop(busy);
        });
        let report = the_only(&reports);
        assert_eq!(names(report.threads()), ["crossed 1", "crossed 2"]);
        assert_eq!(names(report.bystanders()), ["stuck 1", "stuck 2", "stuck 3", "stuck 4", "stuck 5"]);
        // `crossed 1` adds 1 to `a` if `stuck 3` got `b` before it did.
        let [a, b, c] = [a, b, c].map(Lock::into_inner);
        assert!((3..=4).contains(&a) && b == 1 && c == 1, "all of them went on: {a}, {b}, {c}");
    });
}

/// Closes a ring and checks that one member alone learns of it, in a report that names them all in their order.
fn a_ring_has_one_report(prefix: &'static str, size: usize) {
    alone_within(LIMIT * 2, || {
        let reports = Reports::about(prefix);
        let outcomes = close_ring(prefix, size);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1, "one victim, the rest finish");

        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert!(report.bystanders().is_empty());
        let numbers: Vec<usize> = report
            .threads()
            .iter()
            .map(|thread| thread.name().unwrap().strip_prefix(prefix).unwrap().trim().parse().unwrap())
            .collect();
        let victim = outcomes.iter().position(Result::is_err).unwrap();
        let in_order: Vec<_> = (0..size).map(|step| (victim + step) % size).collect();
        assert_eq!(numbers, in_order, "the victim first, each waiting for the next");
    });
}

#[test]
fn a_ring_of_three_has_one_report() {
    a_ring_has_one_report("one of three", 3);
}

#[test]
fn a_ring_of_five_has_one_report() {
    a_ring_has_one_report("one of five", 5);
}

#[test]
fn a_ring_of_fifty_has_one_report() {
    a_ring_has_one_report("one of fifty", 50);
}

#[test]
fn a_ring_of_a_thousand_has_one_report() {
    a_ring_has_one_report("one of a thousand", if cfg!(miri) { 10 } else { 1000 });
}

#[test]
fn a_ring_through_re_entrant_locks_held_twice_is_a_cycle() {
    alone(|| {
        let reports = Reports::about("re-entrant ");
        let locks = [RLock::named("first", ()), RLock::named("second", ()), RLock::named("third", ())];
        let all_hold = Barrier::new(3);
        let errors = thread::scope(|s| {
            let member = |at: usize| {
                let (locks, all_hold) = (&locks, &all_hold);
                spawn_named(s, &format!("re-entrant {at}"), move || {
                    let _twice = (locks[at].lock(), locks[at].lock());
                    all_hold.wait();
                    locks[(at + 1) % 3].acquire().map(drop)
                })
            };
            let members = [0, 1, 2].map(member);
            members.map(|member| member.join().unwrap()).iter().filter(|outcome| outcome.is_err()).count()
        });
        assert_eq!(errors, 1);
        let report = the_only(&reports);
        assert_eq!(names(report.threads()), ["re-entrant 0", "re-entrant 1", "re-entrant 2"]);
        assert!(report.threads().iter().all(|thread| thread.holds().len() == 1), "held once, however often");
        assert_eq!(wanted(&report.threads()[0]).primitive(), "RLock");
    });
}

#[test]
fn what_was_tried_successfully_is_held_and_closes_a_cycle() {
    alone(|| {
        let reports = Reports::about("lucky ");
        let locks = [Lock::named("tried", ()), Lock::named("timed", ())];
        let both_hold = Barrier::new(2);
        thread::scope(|s| {
            for at in 0..2 {
                let (locks, both_hold) = (&locks, &both_hold);
                spawn_named(s, &format!("lucky {at}"), move || {
                    let mine = &locks[at];
                    let guard = if at == 0 { mine.try_lock() } else { mine.try_lock_for(LIMIT) };
                    assert!(guard.is_some());
                    both_hold.wait();
                    let _ = locks[1 - at].acquire().map(drop);
                });
            }
        });
        let report = the_only(&reports);
        assert_eq!(names(report.threads()), ["lucky 0", "lucky 1"]);
    });
}

#[test]
fn two_deadlocks_at_once_are_two_reports_and_each_is_complete() {
    alone(|| {
        for round in 0..if cfg!(miri) { 1 } else { 40 } {
            let reports = Reports::about("twin ");
            let rings = [("twin A", 2 + round % 3), ("twin B", 2 + round % 2)];
            thread::scope(|s| {
                for (prefix, size) in rings {
                    s.spawn(move || {
                        let outcomes = close_ring(prefix, size);
                        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
                    });
                }
            });
            let mut taken = reports.take();
            taken.sort_by_key(|report| names(report.threads())[0].to_owned());
            assert_eq!(taken.len(), 2, "round {round}");
            for (report, (prefix, size)) in taken.iter().zip(rings) {
                assert_is_a_proof(report);
                let complete: Vec<_> = (0..size).map(|at| format!("{prefix} {at}")).collect();
                assert_eq!(names(report.threads()), complete, "round {round}");
                assert!(report.bystanders().is_empty());
            }
        }
    });
}

/// Takes a lock again when it is dropped, as a destructor does that cleans up.
struct TakesAgain<'a>(&'a Lock<u32>);

impl Drop for TakesAgain<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
    }
}

#[test]
fn a_victim_whose_destructors_take_the_same_lock_while_it_unwinds_passes_the_verdict_on() {
    alone(|| {
        let reports = Reports::about("tidy ");
        let (a, b) = (Lock::named("a", 0), Lock::named("b", 0));
        let both_hold = Barrier::new(2);
        let outcomes = thread::scope(|s| {
            let plain = spawn_named(s, "tidy plain", || {
                catch_unwind(AssertUnwindSafe(|| {
                    let _b = b.lock();
                    both_hold.wait();
                    drop(a.lock());
                }))
            });
            let cleaner = spawn_named(s, "tidy cleaner", || {
                catch_unwind(AssertUnwindSafe(|| {
                    let _a = a.lock();
                    // Dropped before the guard is: it wants the other lock while this one is held.
                    let _cleans_up = TakesAgain(&b);
                    both_hold.wait();
                    until_waiting("tidy plain");
                    drop(b.lock());
                }))
            });
            [plain, cleaner].map(|member| member.join().unwrap())
        });
        for outcome in &outcomes {
            assert!(message(&**outcome.as_ref().unwrap_err()).starts_with("deadlock: 2 threads"));
        }
        // The one that closed the cycle unwinds and, on the way, closes it again: this time the other is the victim.
        let taken = reports.take();
        taken.iter().for_each(assert_is_a_proof);
        let victims: Vec<_> = taken.iter().map(|report| report.threads()[0].name().unwrap()).collect();
        assert_eq!(victims, ["tidy cleaner", "tidy plain"]);
        assert_eq!((a.into_inner(), b.into_inner()), (0, 1), "the destructor got its lock");
    });
}

#[test]
fn a_destructor_that_asks_for_a_value_while_unwinding_gets_the_verdict_as_one() {
    struct AsksAgain<'a>(&'a Lock<()>, &'a mut Option<Deadlock>);
    impl Drop for AsksAgain<'_> {
        fn drop(&mut self) {
            *self.1 = self.0.acquire().map(drop).err();
        }
    }

    within(LIMIT, || {
        let lock = Lock::named("own", ());
        let mut answer = None;
        on_another_thread(|| {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _guard = lock.lock();
                let _asks = AsksAgain(&lock, &mut answer);
                panic!("on purpose");
            }));
            assert_eq!(message(&*unwound.unwrap_err()), "on purpose");
        });
        assert_eq!(answer.expect("a relock").report().kind(), Kind::Relock);
        assert!(!lock.is_locked());
    });
}
