//! `RLock`: its owner comes in again and again, nobody else does until the last guard is gone.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::RLock;
use bowline::deadlock;
use bowline::sync::{MappedRLockGuard, RLockGuard};

use crate::support::{
    Dice, LIMIT, alone, find_thread, message, on_another_thread, spawn_named, until_parked, until_waiting, within,
};

/// What `depth`, `is_owned` and `is_locked` say on this thread, and what they say on another.
fn seen_by_me_and_others<T: ?Sized + Send>(lock: &RLock<T>) -> [(u32, bool, bool); 2] {
    let look = || (lock.depth(), lock.is_owned(), lock.is_locked());
    [look(), on_another_thread(look)]
}

const FREE: [(u32, bool, bool); 2] = [(0, false, false); 2];

fn held(depth: u32) -> [(u32, bool, bool); 2] {
    [(depth, true, true), (0, false, true)]
}

#[test]
fn every_constructor_makes_a_free_lock_around_the_value() {
    static NAMED: RLock<i32> = RLock::named("named", 1);

    for lock in [RLock::new(1), RLock::named("named", 1), RLock::from(1), const { RLock::new(1) }] {
        assert_eq!(seen_by_me_and_others(&lock), FREE);
        assert_eq!(*lock.lock(), 1);
        assert_eq!(lock.into_inner(), 1);
    }
    assert_eq!(RLock::<i32>::default().into_inner(), 0);
    assert_eq!(*NAMED.lock(), *NAMED.lock());
}

#[test]
fn reports_name_a_lock_by_the_line_that_made_it() {
    fn made_at(lock: &RLock<i32>, holder: &'static str) -> u32 {
        thread::scope(|s| {
            let look = move || {
                let _guard = lock.lock();
                find_thread(holder).unwrap().holds()[0].resource().made_at().line()
            };
            spawn_named(s, holder, look).join().unwrap()
        })
    }

    let here = line!();
    assert_eq!(made_at(&RLock::new(1), "made by new"), here + 1);
    assert_eq!(made_at(&RLock::named("named", 1), "made by named"), here + 2);
    assert_eq!(made_at(&RLock::from(1), "made by from"), here + 3);
    assert_eq!(made_at(&RLock::default(), "made by default"), here + 4);
}

#[test]
fn the_owner_of_the_lock_itself_needs_no_guard() {
    let mut lock = RLock::new(1);
    *lock.get_mut() += 1;
    assert_eq!(seen_by_me_and_others(&lock), FREE);
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn debug_shows_the_depth_also_to_another_thread_and_never_blocks() {
    within(LIMIT, || {
        let lock = RLock::new(5);
        let debug = || [format!("{lock:?}"), on_another_thread(|| format!("{lock:?}"))];
        assert_eq!(debug(), ["RLock { depth: 0, data: 5 }"; 2]);
        let outer = lock.lock();
        assert_eq!(debug(), ["RLock { depth: 1, data: 5 }", "RLock { data: <locked> }"]);
        let inner = lock.lock();
        assert_eq!(debug(), ["RLock { depth: 2, data: 5 }", "RLock { data: <locked> }"]);
        drop((outer, inner));
        assert_eq!(debug(), ["RLock { depth: 0, data: 5 }"; 2]);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
        assert_eq!(format!("{:?}", RLock::named("five", 5)), r#"RLock { name: "five", depth: 0, data: 5 }"#);
    });
}

#[test]
fn depth_and_ownership_follow_the_guards_and_others_see_none() {
    within(LIMIT, || {
        let lock = RLock::new(());
        assert_eq!(seen_by_me_and_others(&lock), FREE);
        let first = lock.lock();
        assert_eq!(seen_by_me_and_others(&lock), held(1));
        let second = lock.lock();
        let third = lock.lock();
        assert_eq!(seen_by_me_and_others(&lock), held(3));
        drop(second);
        assert_eq!(seen_by_me_and_others(&lock), held(2));
        drop(first);
        assert_eq!(seen_by_me_and_others(&lock), held(1));
        drop(third);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn another_owner_has_a_depth_of_its_own() {
    within(LIMIT, || {
        let lock = RLock::new(());
        drop((lock.lock(), lock.lock()));
        on_another_thread(|| {
            let _guard = lock.lock();
            assert_eq!(seen_by_me_and_others(&lock), held(1));
        });
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn the_owner_comes_in_again_by_every_way() {
    within(LIMIT, || {
        let lock = RLock::new(7);
        let past = Instant::now();
        let guards = [
            lock.lock(),
            lock.acquire().unwrap(),
            lock.try_lock().unwrap(),
            lock.try_lock_for(Duration::ZERO).unwrap(),
            lock.try_lock_for(Duration::MAX).unwrap(),
            lock.try_lock_until(past).unwrap(),
        ];
        assert_eq!(lock.depth(), 6);
        assert!(guards.iter().all(|guard| **guard == 7));
        drop(guards);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn nobody_else_comes_in_before_the_last_guard_is_gone() {
    within(LIMIT, || {
        let lock = RLock::new(());
        let mut dice = Dice::new(3);
        let mut guards: Vec<_> = (0..40).map(|_| lock.lock()).collect();
        dice.shuffle(&mut guards);
        while !guards.is_empty() {
            on_another_thread(|| {
                assert!(lock.try_lock().is_none());
                assert!(lock.try_lock_for(Duration::ZERO).is_none());
            });
            guards.pop();
        }
        on_another_thread(|| assert!(lock.try_lock().is_some()));
    });
}

#[test]
fn waiters_stay_out_until_the_last_guard_is_gone_and_then_all_pass() {
    within(LIMIT, || {
        let names = [
            "re-entrant patient 1",
            "re-entrant patient 2",
            "re-entrant patient 3",
            "re-entrant patient 4",
            "re-entrant patient 5",
        ];
        let lock = RLock::new(Cell::new(0));
        let (outer, inner) = (lock.lock(), lock.lock());
        let passed = AtomicUsize::new(0);
        thread::scope(|s| {
            for name in names {
                spawn_named(s, name, || {
                    let (outer, _inner) = (lock.acquire().unwrap(), lock.lock());
                    outer.set(outer.get() + 1);
                    passed.fetch_add(1, SeqCst);
                });
            }
            names.into_iter().for_each(|name| drop(until_waiting(name)));
            drop(outer);
            on_another_thread(|| assert!(lock.try_lock().is_none()));
            names.into_iter().for_each(|name| drop(until_waiting(name)));
            assert_eq!((inner.get(), passed.load(SeqCst)), (0, 0));
            drop(inner);
        });
        assert_eq!((lock.into_inner().get(), passed.into_inner()), (5, 5));
    });
}

#[test]
fn unwinding_gives_up_every_level_that_it_passes_and_no_other() {
    within(LIMIT, || {
        let lock = RLock::new(Cell::new(0));
        let outer = lock.lock();
        let unwound = catch_unwind(|| {
            let (guard, _again) = (lock.lock(), lock.lock());
            guard.set(1);
            assert_eq!(lock.depth(), 3);
            panic!("at depth 3");
        });
        assert_eq!(message(&*unwound.unwrap_err()), "at depth 3");
        assert_eq!(seen_by_me_and_others(&lock), held(1));
        assert_eq!(outer.get(), 1);
        drop(outer);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn a_timed_wait_ends_with_its_time_or_when_the_lock_is_released() {
    within(LIMIT, || {
        let lock = RLock::new(Cell::new(0));
        let guard = lock.lock();
        on_another_thread(|| {
            assert!(lock.try_lock_until(Instant::now() - Duration::from_millis(1)).is_none());
            for timeout in [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(50)] {
                let start = Instant::now();
                assert!(lock.try_lock_for(timeout).is_none());
                assert!(start.elapsed() >= timeout);
                let deadline = Instant::now() + timeout;
                assert!(lock.try_lock_until(deadline).is_none());
                assert!(Instant::now() >= deadline);
            }
        });
        thread::scope(|s| {
            let count = |guard: Option<RLockGuard<'_, Cell<i32>>>| {
                let guard = guard.expect("released long before");
                guard.set(guard.get() + 1);
            };
            let lock = &lock;
            spawn_named(s, "for ever, re-entrant", move || count(lock.try_lock_for(Duration::MAX)));
            let tomorrow = Instant::now() + Duration::from_secs(24 * 3600);
            spawn_named(s, "until tomorrow, re-entrant", move || count(lock.try_lock_until(tomorrow)));
            for name in ["for ever, re-entrant", "until tomorrow, re-entrant"] {
                // A limit past what the clock can tell is none.
                assert_eq!(until_waiting(name).waits_for().unwrap().is_timed(), name != "for ever, re-entrant");
            }
            drop(guard);
        });
        assert_eq!(lock.into_inner().get(), 2);
    });
}

#[test]
fn a_thread_that_ends_with_a_forgotten_guard_lets_nobody_in() {
    within(LIMIT, || {
        let lock = RLock::new(());
        on_another_thread(|| std::mem::forget(lock.lock()));
        // Fresh threads, one after the other and at once: none of them is taken for the owner.
        let look = || {
            assert!(lock.try_lock().is_none());
            assert_eq!((lock.depth(), lock.is_owned(), lock.is_locked()), (0, false, true));
        };
        for _ in 0..20 {
            on_another_thread(look);
        }
        thread::scope(|s| {
            for _ in 0..20 {
                s.spawn(look);
            }
        });
    });
}

#[test]
fn a_lock_may_be_dropped_while_forgotten_guards_hold_it() {
    within(LIMIT, || {
        let mut lock = RLock::new(Arc::new(1));
        let value = Arc::clone(&lock.lock());
        std::mem::forget((lock.lock(), lock.lock()));
        lock = RLock::new(Arc::new(2));
        assert_eq!(Arc::strong_count(&value), 1);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
        assert_eq!(**lock.lock(), 2);
    });
}

#[test]
fn a_lock_held_many_times_is_listed_once_until_the_last_guard_is_gone() {
    within(LIMIT, || {
        let lock = RLock::named("listed", ());
        let listed = || {
            let thread = find_thread("counts its holds");
            thread
                .iter()
                .flat_map(|thread| thread.holds())
                .filter_map(|held| held.resource().name())
                .collect::<Vec<_>>()
        };
        thread::scope(|s| {
            let count = || {
                let mut guards: Vec<_> = (0..20).map(|_| lock.lock()).collect();
                assert_eq!(listed(), ["listed"]);
                // The first guard is not the one that keeps the lock listed.
                while guards.len() > 1 {
                    drop(guards.remove(0));
                    assert_eq!(listed(), ["listed"]);
                }
                guards.clear();
                assert_eq!(listed(), [""; 0]);
            };
            spawn_named(s, "counts its holds", count).join().unwrap();
        });
    });
}

#[test]
fn many_locks_are_held_at_once_and_released_in_any_order() {
    for count in [16, 17, 48, 49, 120] {
        within(LIMIT, || {
            let locks: Vec<_> = (0..count).map(RLock::new).collect();
            let mut guards: Vec<_> = locks.iter().flat_map(|lock| [lock.lock(), lock.lock()]).collect();
            Dice::new(count as u64).shuffle(&mut guards);
            let mut depths = vec![2; count];
            while let Some(guard) = guards.pop() {
                depths[*guard] -= 1;
                drop(guard);
                assert!(locks.iter().map(RLock::depth).eq(depths.iter().copied()));
            }
            assert!(!locks.iter().any(RLock::is_locked));
        });
    }
}

#[test]
fn a_mapped_guard_is_one_level_and_reaches_the_part() {
    within(LIMIT, || {
        let lock = RLock::new((1, [2, 3]));
        let pair = RLockGuard::map(lock.lock(), |value| &value.1);
        let whole = lock.lock();
        let last = MappedRLockGuard::map(pair, |pair| &pair[1]);
        assert_eq!((*last, *whole), (3, (1, [2, 3])));
        assert_eq!(format!("{last:?} {last} {whole:?}"), "3 3 (1, [2, 3])");
        assert_eq!(seen_by_me_and_others(&lock), held(2));
        drop(whole);
        assert_eq!(seen_by_me_and_others(&lock), held(1));
        drop(last);
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn a_guard_comes_back_when_there_is_no_part_to_map_to() {
    let lock = RLock::new((None::<u8>, Some(4)));
    let guard = RLockGuard::try_map(lock.lock(), |value| value.0.as_ref()).unwrap_err();
    assert_eq!(lock.depth(), 1);
    let part = RLockGuard::try_map(guard, |value| value.1.as_ref()).unwrap();
    assert_eq!((*part, lock.depth()), (4, 1));
    drop(part);
    assert_eq!(seen_by_me_and_others(&lock), FREE);
}

#[test]
fn a_level_is_given_up_when_mapping_panics() {
    let lock = RLock::new(0);
    let outer = lock.lock();
    let panics = || drop(RLockGuard::map(lock.lock(), |_| -> &i32 { panic!("no part") }));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(lock.depth(), 1);
    drop(outer);
    let whole = RLockGuard::map(lock.lock(), |value| value);
    let panics = || drop(MappedRLockGuard::map(whole, |_| -> &i32 { panic!("no part") }));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(seen_by_me_and_others(&lock), FREE);
}

#[test]
fn a_guard_knows_its_lock() {
    let lock = RLock::new(0);
    let guard = lock.lock();
    let same = RLockGuard::lock(&guard);
    assert!(std::ptr::eq(same, &raw const lock));
    drop(guard);
    assert!(!same.is_locked());
}

#[test]
fn only_the_last_fair_unlocking_hands_over() {
    within(LIMIT, || {
        let lock = RLock::new(Cell::new(0));
        let (outer, inner) = (lock.lock(), RLockGuard::map(lock.lock(), |value| value));
        thread::scope(|s| {
            let mut gates = Vec::new();
            for (turn, name) in ["re-entrant heir 1", "re-entrant heir 2"].into_iter().enumerate() {
                let (open, gate) = mpsc::channel::<()>();
                gates.push(open);
                let lock = &lock;
                spawn_named(s, name, move || {
                    let guard = lock.lock();
                    let again = lock.lock();
                    assert_eq!((lock.depth(), guard.replace(turn + 1)), (2, turn), "not the longest waiter's turn");
                    drop(guard);
                    gate.recv().unwrap();
                    RLockGuard::unlock_fair(again);
                });
                until_parked(name);
            }
            MappedRLockGuard::unlock_fair(inner);
            assert_eq!(seen_by_me_and_others(&lock), held(1));
            RLockGuard::unlock_fair(outer);
            // There is no moment at which the lock is free: whoever asks now comes too late.
            assert!(lock.try_lock().is_none());
            assert!(lock.is_locked() && !lock.is_owned());
            for open in gates {
                open.send(()).unwrap();
            }
        });
        assert_eq!(lock.lock().get(), 2);
        RLockGuard::unlock_fair(lock.lock());
        assert_eq!(seen_by_me_and_others(&lock), FREE);
    });
}

/// Eight threads increment a plain counter at changing depths; an overlap shows as a flag that is up already or as a
/// lost increment.
fn eight_threads_never_overlap(rounds: usize) {
    within(LIMIT, || {
        const THREADS: usize = 8;
        let lock = RLock::new(Cell::new(0_usize));
        let inside = AtomicBool::new(false);
        let count = |value: &Cell<usize>| {
            assert!(!inside.swap(true, SeqCst), "two threads are inside");
            let before = std::hint::black_box(value.get());
            std::hint::spin_loop();
            value.set(before + 1);
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
                        let mut guards = vec![match dice.below(3) {
                            0 => lock.acquire().unwrap(),
                            1 => lock.try_lock_for(LIMIT * 2).unwrap(),
                            _ => lock.lock(),
                        }];
                        for _ in 0..dice.below(3) {
                            guards.push(lock.lock());
                        }
                        assert_eq!(lock.depth() as usize, guards.len());
                        count(&guards[0]);
                        dice.shuffle(&mut guards);
                        if dice.below(4) == 0 {
                            guards.into_iter().for_each(RLockGuard::unlock_fair);
                        }
                    }
                });
            }
        });
        assert_eq!(seen_by_me_and_others(&lock), FREE);
        assert_eq!(lock.into_inner().get(), THREADS * rounds);
    });
}

#[test]
fn at_most_one_thread_is_inside() {
    eight_threads_never_overlap(if cfg!(miri) { 20 } else { 10_000 });
}

#[test]
fn at_most_one_thread_is_inside_when_every_wait_enters_the_graph() {
    alone(|| {
        deadlock::set_grace(Duration::ZERO);
        eight_threads_never_overlap(4_000);
    });
}

#[test]
fn a_lock_may_protect_what_has_no_size() {
    let slice: Box<RLock<[u8]>> = Box::new(RLock::new([1, 2, 3]));
    assert_eq!(*slice.lock(), [1, 2, 3]);
    assert_eq!(*RLockGuard::map(slice.lock(), |all| &all[1..]), [2, 3]);
    assert_eq!(format!("{slice:?}"), "RLock { depth: 0, data: [1, 2, 3] }");

    let call: Arc<RLock<dyn Fn(i32) -> i32 + Send>> = Arc::new(RLock::new(|n| n + 1));
    assert_eq!(call.lock()(1), 2);
    assert_eq!(on_another_thread(|| call.acquire().unwrap()(2)), 3);
    assert_eq!(seen_by_me_and_others(&call), FREE);
}

#[test]
fn a_lock_serializes_as_its_value_also_for_its_owner() {
    let lock = RLock::named("list", RefCell::new(vec![1, 2]));
    let guard = lock.lock();
    guard.borrow_mut().push(3);
    let json = serde_json::to_string(&lock).unwrap();
    assert_eq!(json, "[1,2,3]");
    assert_eq!(lock.depth(), 1);
    let back: RLock<RefCell<Vec<i32>>> = serde_json::from_str(&json).unwrap();
    assert_eq!(seen_by_me_and_others(&back), FREE);
    assert_eq!(back.into_inner().into_inner(), [1, 2, 3]);
}
