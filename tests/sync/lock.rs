//! `Lock`: who gets in, who waits, for how long, and what a deadlock with oneself becomes.
//!
//! The guards are in `lock_guards.rs`, what the compiler promises in `promises.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::Lock;
use bowline::deadlock::{self, Kind};
use bowline::sync::LockGuard;

use crate::support::{
    Dice, LIMIT, alone, find_thread, message, on_another_thread, spawn_named, until_asleep, until_parked,
    until_waiting, within,
};

#[test]
fn every_constructor_makes_a_free_lock_around_the_value() {
    static NAMED: Lock<i32> = Lock::named("named", 1);

    for lock in [Lock::new(1), Lock::named("named", 1), Lock::from(1), const { Lock::new(1) }] {
        assert!(!lock.is_locked());
        assert_eq!(*lock.lock(), 1);
        assert_eq!(lock.into_inner(), 1);
    }
    assert_eq!(Lock::<i32>::default().into_inner(), 0);
    *NAMED.lock() += 1;
    assert_eq!(*NAMED.lock(), 2);
}

#[test]
fn reports_name_a_lock_by_the_line_that_made_it() {
    fn made_at(lock: &Lock<i32>) -> u32 {
        let _guard = lock.lock();
        lock.acquire().unwrap_err().report().threads()[0].waits_for().unwrap().resource().made_at().line()
    }

    let here = line!();
    assert_eq!(made_at(&Lock::new(1)), here + 1);
    assert_eq!(made_at(&Lock::named("named", 1)), here + 2);
    assert_eq!(made_at(&Lock::from(1)), here + 3);
    assert_eq!(made_at(&Lock::default()), here + 4);
}

#[test]
fn the_owner_of_the_lock_itself_needs_no_guard() {
    let mut lock = Lock::new(1);
    *lock.get_mut() += 1;
    assert!(!lock.is_locked());
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn debug_shows_the_value_of_a_free_lock_and_leaves_it_free() {
    assert_eq!(format!("{:?}", Lock::new(5)), "Lock { data: 5 }");
    let lock = Lock::named("five", 5);
    assert_eq!(format!("{lock:?}"), r#"Lock { name: "five", data: 5 }"#);
    assert!(!lock.is_locked());
}

#[test]
fn debug_of_a_held_lock_says_so_and_never_blocks() {
    within(LIMIT, || {
        let lock = Lock::new(5);
        let guard = lock.lock();
        assert_eq!(format!("{lock:?}"), "Lock { data: <locked> }");
        on_another_thread(|| assert_eq!(format!("{lock:?}"), "Lock { data: <locked> }"));
        drop(guard);
        assert_eq!(format!("{lock:?}"), "Lock { data: 5 }");
    });
}

#[test]
fn a_lock_may_be_dropped_while_a_forgotten_guard_holds_it() {
    struct Counted<'a>(&'a AtomicU32);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    within(LIMIT, || {
        let drops = AtomicU32::new(0);
        let lock = Box::new(Lock::new(Counted(&drops)));
        std::mem::forget(lock.lock());
        drop(lock);
        assert_eq!(drops.load(SeqCst), 1);
    });
}

#[test]
fn a_new_lock_in_the_place_of_a_held_one_is_free_for_all() {
    within(LIMIT, || {
        let mut lock = Lock::new(1);
        std::mem::forget(lock.lock());
        lock = Lock::new(2);
        assert_eq!(*lock.acquire().unwrap(), 2);

        // The forgotten guard's owner waits for another, who got the new lock: nobody waits for the owner.
        thread::scope(|s| {
            let (held, is_held) = mpsc::channel();
            let lock = &lock;
            s.spawn(move || {
                let guard = lock.acquire().unwrap();
                held.send(()).unwrap();
                until_waiting("the one who forgot a guard");
                drop(guard);
            });
            is_held.recv().unwrap();
            // A thread of its own has a name that is known; it forgets a guard in the same place first.
            let waiter = spawn_named(s, "the one who forgot a guard", || {
                let mut other = Lock::new(0);
                std::mem::forget(other.lock());
                other = Lock::new(1);
                drop(lock.acquire().unwrap());
                *other.lock()
            });
            assert_eq!(waiter.join().unwrap(), 1);
        });
    });
}

#[test]
fn try_lock_never_waits() {
    within(LIMIT, || {
        let lock = Lock::new(());
        let guard = lock.try_lock().expect("a free lock");
        assert!(lock.try_lock().is_none(), "not even for the owner");
        on_another_thread(|| assert!(lock.try_lock().is_none()));
        drop(guard);
        on_another_thread(|| assert!(lock.try_lock().is_some()));
        assert!(lock.try_lock().is_some());
    });
}

#[test]
fn is_locked_is_the_same_from_every_thread() {
    let lock = Lock::new(());
    let is_locked = || [lock.is_locked(), on_another_thread(|| lock.is_locked())];
    assert_eq!(is_locked(), [false, false]);
    let guard = lock.lock();
    assert_eq!(is_locked(), [true, true]);
    drop(guard);
    assert_eq!(is_locked(), [false, false]);
}

#[test]
fn waiters_stay_out_until_the_holder_releases_and_then_all_pass() {
    within(LIMIT, || {
        let names = ["patient 1", "patient 2", "patient 3", "patient 4", "patient 5"];
        let lock = Lock::new(0);
        let guard = lock.lock();
        let passed = AtomicUsize::new(0);
        thread::scope(|s| {
            for name in names {
                spawn_named(s, name, || {
                    *lock.lock() += 1;
                    passed.fetch_add(1, SeqCst);
                });
            }
            for name in names {
                until_waiting(name);
            }
            assert_eq!((*guard, passed.load(SeqCst)), (0, 0));
            drop(guard);
        });
        assert_eq!((lock.into_inner(), passed.into_inner()), (5, 5));
    });
}

#[test]
fn a_guard_releases_at_the_end_of_its_scope_and_on_unwinding() {
    within(LIMIT, || {
        let lock = Lock::new(0);
        {
            let _guard = lock.lock();
            assert!(lock.is_locked());
        }
        assert!(!lock.is_locked());

        // No `AssertUnwindSafe`: a lock may be looked at after a panic.
        let payload = catch_unwind(|| {
            let mut guard = lock.lock();
            *guard = 1;
            panic!("with the lock held");
        });
        assert_eq!(message(&*payload.unwrap_err()), "with the lock held");
        // Not poisoned: free, and as the panic left it.
        on_another_thread(|| assert_eq!(*lock.try_lock().unwrap(), 1));
    });
}

#[test]
fn a_lock_can_be_taken_while_unwinding() {
    struct LocksWhenDropped<'a>(&'a Lock<u32>);
    impl Drop for LocksWhenDropped<'_> {
        fn drop(&mut self) {
            *self.0.lock() += 1;
        }
    }

    within(LIMIT, || {
        let lock = Lock::new(0);
        let unwound = catch_unwind(|| {
            let _last = LocksWhenDropped(&lock);
            panic!("on purpose");
        });
        assert!(unwound.is_err());
        assert_eq!(lock.into_inner(), 1);
    });
}

#[test]
fn a_timed_wait_for_a_free_lock_succeeds_whatever_the_time() {
    let lock = Lock::new(());
    for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1 << 40), Duration::MAX] {
        assert!(lock.try_lock_for(timeout).is_some(), "{timeout:?}");
    }
    let now = Instant::now();
    for deadline in [now, now - Duration::from_millis(1), now + Duration::from_secs(1 << 30)] {
        assert!(lock.try_lock_until(deadline).is_some());
    }
}

#[test]
fn a_timed_wait_for_a_held_lock_ends_with_its_time() {
    within(LIMIT, || {
        let lock = Lock::new(());
        let _guard = lock.lock();
        on_another_thread(|| {
            assert!(lock.try_lock_for(Duration::ZERO).is_none());
            assert!(lock.try_lock_until(Instant::now() - Duration::from_millis(1)).is_none());
            // Within the grace, and past it.
            for timeout in [Duration::from_micros(100), Duration::from_millis(50)] {
                let start = Instant::now();
                assert!(lock.try_lock_for(timeout).is_none());
                assert!(start.elapsed() >= timeout);
                let deadline = Instant::now() + timeout;
                assert!(lock.try_lock_until(deadline).is_none());
                assert!(Instant::now() >= deadline);
            }
        });
    });
}

#[test]
fn a_timed_wait_ends_when_the_lock_is_released() {
    within(LIMIT, || {
        let lock = Lock::new(0);
        let guard = lock.lock();
        thread::scope(|s| {
            spawn_named(s, "for ever", || *lock.try_lock_for(Duration::MAX).unwrap() += 1);
            spawn_named(s, "for an hour", || *lock.try_lock_for(Duration::from_secs(3600)).unwrap() += 1);
            spawn_named(s, "until tomorrow", || {
                *lock.try_lock_until(Instant::now() + Duration::from_secs(24 * 3600)).unwrap() += 1;
            });
            for name in ["for ever", "for an hour", "until tomorrow"] {
                // A limit past what the clock can tell is none.
                assert_eq!(until_waiting(name).waits_for().unwrap().is_timed(), name != "for ever");
            }
            drop(guard);
        });
        assert_eq!(lock.into_inner(), 3);
    });
}

#[test]
fn a_timed_wait_for_ones_own_lock_is_no_deadlock() {
    within(LIMIT, || {
        let lock = Lock::new(());
        let guard = lock.lock();
        let start = Instant::now();
        let timeout = Duration::from_millis(20);
        assert!(lock.try_lock_for(timeout).is_none());
        assert!(start.elapsed() >= timeout, "waited to the end, as it would for any other holder");
        drop(guard);
        assert!(lock.acquire().is_ok());
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_the_queue_to_the_others() {
    within(LIMIT, || {
        let lock = Lock::new(());
        let guard = lock.lock();
        thread::scope(|s| {
            // Parked in front of the one that stays.
            let impatient = spawn_named(s, "impatient", || lock.try_lock_for(Duration::from_millis(500)).is_some());
            until_parked("impatient");
            let stays = spawn_named(s, "stays", || lock.try_lock_for(LIMIT * 2).is_some());
            until_parked("stays");
            assert!(!impatient.join().unwrap());
            drop(guard);
            assert!(stays.join().unwrap());
        });
    });
}

#[test]
fn asking_again_for_a_held_lock_is_a_relock_as_a_value() {
    within(LIMIT, || {
        let others = [Lock::named("first", ()), Lock::named("second", ())];
        let lock = Lock::named("own", 7);
        let deadlock = on_another_thread(|| {
            let _others = others.each_ref().map(|lock| lock.acquire().unwrap());
            let guard = lock.acquire().unwrap();
            let deadlock = lock.acquire().unwrap_err();
            // The guard that was there goes on holding, and nothing else does.
            on_another_thread(|| assert!(lock.try_lock().is_none()));
            drop(guard);
            assert_eq!(lock.acquire().map(|guard| *guard).unwrap(), 7);
            deadlock
        });

        let report = deadlock.report();
        assert_eq!(report.kind(), Kind::Relock);
        assert!(report.bystanders().is_empty());
        let [thread] = report.threads() else { panic!("one thread in {report}") };
        assert_eq!(thread.waits_for().unwrap().resource().name(), Some("own"));
        let mut held: Vec<_> = thread.holds().iter().map(|held| held.resource().name().unwrap()).collect();
        held.sort_unstable();
        assert_eq!(held, ["first", "own", "second"]);
    });
}

#[test]
fn asking_again_for_a_held_lock_panics_with_the_report() {
    within(LIMIT, || {
        let lock = Lock::named("own", 7);
        let guard = lock.lock();
        let again = catch_unwind(AssertUnwindSafe(|| drop(lock.lock())));
        let payload = again.unwrap_err();
        let report = message(&*payload);
        assert!(report.starts_with("deadlock: "), "{report}");
        assert!(report.contains("'own'") && report.contains("tests/sync/lock.rs"), "{report}");
        assert_eq!(*guard, 7);
        drop(guard);
        assert_eq!(*lock.lock(), 7);
    });
}

#[test]
fn fair_unlocking_without_waiters_frees_the_lock() {
    let lock = Lock::new(());
    LockGuard::unlock_fair(lock.lock());
    assert!(lock.try_lock().is_some());
}

#[test]
fn fair_unlocking_hands_over_to_the_one_who_waited_longest() {
    within(LIMIT, || {
        let lock = Lock::new(Vec::new());
        let guard = lock.lock();
        thread::scope(|s| {
            let mut gates = Vec::new();
            for name in ["heir 1", "heir 2", "heir 3"] {
                let (open, gate) = mpsc::channel::<()>();
                gates.push(open);
                let lock = &lock;
                spawn_named(s, name, move || {
                    let mut guard = lock.lock();
                    guard.push(name);
                    gate.recv().unwrap();
                    LockGuard::unlock_fair(guard);
                });
                until_parked(name);
            }
            // There is no moment at which the lock is free: whoever asks now comes too late.
            LockGuard::unlock_fair(guard);
            assert!(lock.try_lock().is_none());
            let latecomer = s.spawn(|| lock.lock().clone());
            for open in gates {
                open.send(()).unwrap();
            }
            assert_eq!(latecomer.join().unwrap(), ["heir 1", "heir 2", "heir 3"]);
        });
    });
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells who is asleep")]
fn fair_unlocking_hands_over_to_a_waiter_that_is_not_in_the_graph_yet() {
    alone(|| {
        deadlock::set_grace(Duration::from_secs(3600));
        let lock = Lock::new(());
        drop(lock.lock());
        let guard = lock.lock();
        let os_id = AtomicU32::new(0);
        thread::scope(|s| {
            let (open, gate) = mpsc::channel::<()>();
            let (lock, waiter) = (&lock, &os_id);
            spawn_named(s, "within the grace", move || {
                // The first use of a lock is behind it.
                drop(Lock::new(()).lock());
                waiter.store(crate::support::this_os_id(), SeqCst);
                let guard = lock.lock();
                gate.recv().unwrap();
                drop(guard);
            });
            crate::support::wait_until(|| os_id.load(SeqCst) != 0);
            until_asleep(os_id.load(SeqCst));
            assert!(find_thread("within the grace").is_none());
            LockGuard::unlock_fair(guard);
            assert!(lock.try_lock().is_none());
            open.send(()).unwrap();
        });
        assert!(!lock.is_locked());
    });
}

/// Eight threads increment a plain counter by every kind of acquisition; an overlap shows as a flag that is up already
/// or as a lost increment.
fn eight_threads_never_overlap(rounds: usize) {
    within(LIMIT, || {
        const THREADS: usize = 8;
        let lock = std::sync::Arc::new(Lock::new(0_usize));
        let inside = AtomicBool::new(false);
        let count = |value: &mut usize| {
            assert!(!inside.swap(true, SeqCst), "two threads are inside");
            let before = std::hint::black_box(*value);
            std::hint::spin_loop();
            *value = before + 1;
            assert!(inside.swap(false, SeqCst), "two threads were inside");
        };
        let start = Barrier::new(THREADS);
        thread::scope(|s| {
            for thread in 0..THREADS {
                let (lock, count, start) = (&lock, &count, &start);
                s.spawn(move || {
                    start.wait();
                    let mut dice = Dice::new(thread as u64);
                    for _ in 0..rounds {
                        match dice.below(6) {
                            0 => count(&mut lock.acquire().unwrap()),
                            1 => count(&mut lock.lock_arc()),
                            2 => count(&mut lock.try_lock_for(LIMIT * 2).unwrap()),
                            3 => {
                                let mut guard = lock.lock();
                                count(&mut guard);
                                LockGuard::unlock_fair(guard);
                            }
                            4 => {
                                let patience = Duration::from_micros(dice.below(800) as u64);
                                let guard = lock.try_lock().or_else(|| lock.try_lock_for(patience));
                                count(&mut guard.unwrap_or_else(|| lock.lock()));
                            }
                            _ => count(&mut lock.lock()),
                        }
                    }
                });
            }
        });
        assert!(!lock.is_locked());
        assert_eq!(*lock.lock(), THREADS * rounds);
    });
}

#[test]
fn at_most_one_thread_is_inside() {
    eight_threads_never_overlap(if cfg!(miri) { 20 } else { 20_000 });
}

#[test]
fn at_most_one_thread_is_inside_when_every_wait_enters_the_graph() {
    alone(|| {
        deadlock::set_grace(Duration::ZERO);
        eight_threads_never_overlap(4_000);
    });
}

#[test]
fn many_locks_are_held_at_once_and_released_in_any_order() {
    for count in [1, 16, 17, 32, 33, 48, 49, 200] {
        within(LIMIT, || {
            let locks: Vec<_> = (0..count).map(Lock::new).collect();
            let mut dice = Dice::new(count as u64);
            for _ in 0..3 {
                let mut guards: Vec<_> = locks.iter().map(Lock::lock).collect();
                dice.shuffle(&mut guards);
                while let Some(guard) = guards.pop() {
                    let number = *guard;
                    drop(guard);
                    assert!(!locks[number].is_locked());
                    assert_eq!(locks.iter().filter(|lock| lock.is_locked()).count(), guards.len());
                }
            }
        });
    }
}

#[test]
fn what_a_thread_holds_is_listed_whatever_it_took_and_released_before() {
    const LOCKS: usize = 70;

    fn sorted(mut lines: Vec<&'static str>) -> Vec<&'static str> {
        lines.sort_unstable();
        lines
    }

    within(LIMIT, || {
        let names: Vec<&'static str> =
            (0..LOCKS).map(|i| &*Box::leak(format!("hold {i:02}").into_boxed_str())).collect();
        let locks: Vec<_> = names.iter().map(|&name| Lock::named(name, name)).collect();
        thread::scope(|s| {
            let shopper = spawn_named(s, "takes and releases", || {
                let mut dice = Dice::new(1);
                let mut guards: Vec<Option<LockGuard<'_, &'static str>>> = locks.iter().map(|_| None).collect();
                // Mostly taking at first, mostly releasing later.
                for step in 0..2_000 {
                    let at = dice.below(LOCKS);
                    let takes = dice.below(2_000) >= step;
                    if takes && guards[at].is_none() {
                        guards[at] = Some(locks[at].lock());
                    } else if !takes {
                        guards[at] = None;
                    }
                    if step % 50 == 0 {
                        let held = sorted(guards.iter().flatten().map(|guard| **guard).collect());
                        let listed = find_thread("takes and releases");
                        let listed = listed.iter().flat_map(|thread| thread.holds());
                        assert_eq!(sorted(listed.map(|held| held.resource().name().unwrap()).collect()), held);
                    }
                }
            });
            shopper.join().unwrap();
        });
    });
}

#[test]
fn a_thousand_nodes_are_walked_hand_over_hand() {
    const WALKERS: usize = 4;
    within(LIMIT, || {
        let nodes: Vec<_> = (0..1000).map(|_| Lock::new(Vec::new())).collect();
        thread::scope(|s| {
            for walker in 0..WALKERS {
                let nodes = &nodes;
                s.spawn(move || {
                    let mut hand = nodes[0].lock();
                    hand.push(walker);
                    for node in &nodes[1..] {
                        // The next node is taken before this one is let go.
                        hand = node.lock();
                        hand.push(walker);
                    }
                });
            }
        });
        let visits: Vec<_> = nodes.into_iter().map(Lock::into_inner).collect();
        assert_eq!(visits[0].len(), WALKERS);
        assert!(visits.iter().all(|order| *order == visits[0]), "nobody overtakes");
    });
}
