//! `RwLock`: who reads and who writes, who waits, for how long, and who overtakes whom.
//!
//! The guards are in `rwlock_guards.rs`, those that are never dropped in `rwlock_leaks.rs`, many readers in
//! `rwlock_crowds.rs`.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::RwLock;
use bowline::deadlock::Kind;
use bowline::sync::{RwLockUpgradableReadGuard, RwLockWriteGuard};

use crate::support::deadlocks::Gate;
use crate::support::readers::counted_and_shown;
use crate::support::{
    LIMIT, find_thread, message, on_another_thread, spawn_named, until_parked, until_waiting, wait_until, within,
};

/// What asking without waiting gets, by each of the four ways: to read, to read recursively, to read upgradably, to write.
fn tried<T: ?Sized>(lock: &RwLock<T>) -> [bool; 4] {
    // Each guard is dropped before the next is asked for.
    let read = lock.try_read().is_some();
    let recursive = lock.try_read_recursive().is_some();
    let upgradable = lock.try_upgradable_read().is_some();
    let write = lock.try_write().is_some();
    [read, recursive, upgradable, write]
}

/// What this thread and another one get.
fn tried_by_me_and_others<T: ?Sized + Send + Sync>(lock: &RwLock<T>) -> [[bool; 4]; 2] {
    [tried(lock), on_another_thread(|| tried(lock))]
}

const FREE: [[bool; 4]; 2] = [[true, true, true, true]; 2];
const READ: [[bool; 4]; 2] = [[true, true, true, false]; 2];
const UPGRADABLE: [[bool; 4]; 2] = [[true, true, false, false]; 2];
const WRITTEN: [[bool; 4]; 2] = [[false; 4]; 2];

#[test]
fn every_constructor_makes_a_free_lock_around_the_value() {
    static NAMED: RwLock<i32> = RwLock::named("named", 1);

    let with_name = RwLock::with_name(String::from("made at run time"), 1);
    for lock in [RwLock::new(1), RwLock::named("named", 1), with_name, RwLock::from(1), const { RwLock::new(1) }] {
        assert_eq!(tried_by_me_and_others(&lock), FREE);
        assert_eq!(*lock.read(), 1);
        assert_eq!(lock.into_inner(), 1);
    }
    assert_eq!(RwLock::<i32>::default().into_inner(), 0);
    *NAMED.write() += 1;
    assert_eq!(*NAMED.read(), 2);
}

#[test]
fn reports_name_a_lock_by_the_line_that_made_it() {
    fn made_at(lock: &RwLock<i32>) -> u32 {
        let _guard = lock.write();
        lock.acquire_read().unwrap_err().report().threads()[0].waits_for().unwrap().resource().made_at().line()
    }

    let here = line!();
    assert_eq!(made_at(&RwLock::new(1)), here + 1);
    assert_eq!(made_at(&RwLock::named("named", 1)), here + 2);
    assert_eq!(made_at(&RwLock::from(1)), here + 3);
    assert_eq!(made_at(&RwLock::default()), here + 4);
    assert_eq!(made_at(&RwLock::with_name("named".to_owned(), 1)), here + 5);
}

#[test]
fn the_owner_of_the_lock_itself_needs_no_guard() {
    let mut lock = RwLock::new(1);
    *lock.get_mut() += 1;
    assert_eq!(tried_by_me_and_others(&lock), FREE);
    assert_eq!(lock.into_inner(), 2);
}

#[test]
fn debug_shows_the_value_while_it_can_be_read_and_never_blocks() {
    within(LIMIT, || {
        let lock = RwLock::new(5);
        let debug = || [format!("{lock:?}"), on_another_thread(|| format!("{lock:?}"))];
        let (value, locked) = (["RwLock { data: 5 }"; 2], ["RwLock { data: <locked> }"; 2]);
        assert_eq!(debug(), value);
        let guard = lock.read();
        assert_eq!(debug(), value);
        drop(guard);
        let guard = lock.upgradable_read();
        assert_eq!(debug(), value);
        let guard = RwLockUpgradableReadGuard::upgrade(guard);
        assert_eq!(debug(), locked);
        drop(guard);
        assert_eq!(debug(), value);
        assert_eq!(tried_by_me_and_others(&lock), FREE);

        // Who formats what it reads already does not wait for a writer that waits for it.
        thread::scope(|s| {
            let guard = lock.read();
            spawn_named(s, "writes what is formatted", || drop(lock.write()));
            until_parked("writes what is formatted");
            assert_eq!(debug(), value);
            drop(guard);
        });
        assert_eq!(format!("{:?}", RwLock::named("five", 5)), r#"RwLock { name: "five", data: 5 }"#);
    });
}

#[test]
fn who_gets_in_depends_on_how_the_lock_is_held_and_not_on_who_asks() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                assert_eq!(tried_by_me_and_others(&lock), FREE);
                let guard = lock.read();
                assert_eq!(tried_by_me_and_others(&lock), READ);
                assert!(lock.is_locked() && !lock.is_write_locked());
                let again = lock.read_recursive();
                drop(guard);
                assert_eq!(tried_by_me_and_others(&lock), READ);
                let upgradable = lock.upgradable_read();
                assert_eq!(tried_by_me_and_others(&lock), UPGRADABLE);
                drop(again);
                assert_eq!(tried_by_me_and_others(&lock), UPGRADABLE);
                assert!(lock.is_locked() && !lock.is_write_locked());
                let writer = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap();
                assert_eq!(tried_by_me_and_others(&lock), WRITTEN);
                assert!(lock.is_locked() && lock.is_write_locked());
                let upgradable = RwLockWriteGuard::downgrade_to_upgradable(writer);
                assert_eq!(tried_by_me_and_others(&lock), UPGRADABLE);
                let reader = RwLockUpgradableReadGuard::downgrade(upgradable);
                assert_eq!(tried_by_me_and_others(&lock), READ);
                drop(reader);
                assert_eq!(tried_by_me_and_others(&lock), FREE);
                let writer = lock.write();
                assert_eq!(tried_by_me_and_others(&lock), WRITTEN);
                let reader = RwLockWriteGuard::downgrade(writer);
                assert_eq!(tried_by_me_and_others(&lock), READ);
                drop(reader);
                assert_eq!(tried_by_me_and_others(&lock), FREE);
                assert!(!lock.is_locked() && !lock.is_write_locked());
            },
        );
    });
}

#[test]
fn a_writer_that_waits_keeps_out_new_readers_but_not_recursive_ones() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| {
                    let guard = lock.read();
                    let writer = spawn_named(s, "waits to write", || *lock.write() += 1);
                    until_parked("waits to write");
                    let expected = [false, true, false, false];
                    assert_eq!(tried_by_me_and_others(&lock), [expected; 2]);
                    assert!(lock.try_read_for(Duration::from_millis(5)).is_none());
                    assert!(lock.try_upgradable_read_for(Duration::from_millis(5)).is_none());
                    let recursive = lock.read_recursive();
                    drop(guard);
                    // The writer waits for those as well.
                    assert!(lock.try_read().is_none());
                    assert_eq!(*recursive, 0);
                    assert!(lock.is_locked() && !lock.is_write_locked());
                    drop(recursive);
                    writer.join().unwrap();
                });
                assert_eq!(*lock.read(), 1);
            },
        );
    });
}

#[test]
fn a_writer_that_gives_up_lets_in_the_readers_behind_it() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| {
                    let guard = lock.read();
                    let writer =
                        spawn_named(s, "gives up writing", || lock.try_write_for(Duration::from_millis(300)).is_some());
                    until_parked("gives up writing");
                    let reader = spawn_named(s, "behind one who gives up", || *lock.read());
                    until_waiting("behind one who gives up");
                    assert!(!writer.join().unwrap(), "the lock is still read");
                    assert_eq!(reader.join().unwrap(), 0);
                    assert_eq!(tried_by_me_and_others(&lock), READ);
                    drop(guard);
                });
                // Whatever was noted of the reader is of no consequence for the next writer.
                assert_eq!(tried_by_me_and_others(&lock), FREE);
                *lock.write() += 1;
            },
        );
    });
}

#[test]
fn an_upgrade_that_gives_up_lets_in_the_readers_behind_it() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| {
                    let guard = lock.read();
                    let upgrades = spawn_named(s, "gives up upgrading", || {
                        let guard = lock.upgradable_read();
                        let limit = Duration::from_millis(300);
                        let guard = RwLockUpgradableReadGuard::try_upgrade_for(guard, limit).unwrap_err();
                        assert_eq!(*guard, 0, "it still reads");
                        on_another_thread(|| assert_eq!(tried(&lock), UPGRADABLE[0]));
                    });
                    until_parked("gives up upgrading");
                    let reader = spawn_named(s, "behind an upgrade", || *lock.read());
                    until_waiting("behind an upgrade");
                    upgrades.join().unwrap();
                    assert_eq!(reader.join().unwrap(), 0);
                    drop(guard);
                });
                assert_eq!(tried_by_me_and_others(&lock), FREE);
            },
        );
    });
}

#[test]
fn all_readers_that_wait_get_in_together_when_the_writer_leaves() {
    within(LIMIT, || {
        const NAMES: [&str; 4] =
            ["reader in waiting 1", "reader in waiting 2", "reader in waiting 3", "reader in waiting 4"];
        let lock = RwLock::new(0);
        let mut guard = lock.write();
        let all_read = std::sync::Barrier::new(NAMES.len());
        thread::scope(|s| {
            for (at, name) in NAMES.into_iter().enumerate() {
                let (lock, all_read) = (&lock, &all_read);
                spawn_named(s, name, move || {
                    let guard = match at {
                        0 => lock.read(),
                        1 => lock.acquire_read().unwrap(),
                        2 => lock.read_recursive(),
                        _ => lock.try_read_for(Duration::MAX).unwrap(),
                    };
                    all_read.wait();
                    assert_eq!(*guard, 1);
                });
            }
            NAMES.iter().for_each(|name| drop(until_waiting(name)));
            *guard += 1;
            drop(guard);
        });
    });
}

#[test]
fn writers_that_wait_all_get_their_turn() {
    within(LIMIT, || {
        const NAMES: [&str; 5] = ["turn 1", "turn 2", "turn 3", "turn 4", "turn 5"];
        counted_and_shown(
            || 0,
            |lock| {
                let guard = lock.read();
                let passed = AtomicUsize::new(0);
                thread::scope(|s| {
                    for (at, name) in NAMES.into_iter().enumerate() {
                        let (lock, passed) = (&lock, &passed);
                        spawn_named(s, name, move || {
                            match at {
                                0 => *lock.write() += 1,
                                1 => *lock.acquire_write().unwrap() += 1,
                                2 => *RwLockUpgradableReadGuard::upgrade(lock.upgradable_read()) += 1,
                                3 => *lock.try_write_for(Duration::from_secs(3600)).unwrap() += 1,
                                _ => {
                                    let guard = lock.acquire_upgradable_read().unwrap();
                                    *RwLockUpgradableReadGuard::acquire_upgrade(guard).unwrap() += 1;
                                }
                            }
                            passed.fetch_add(1, SeqCst);
                        });
                    }
                    // Those that read upgradably do not wait for a reader, but for a writer before them.
                    wait_until(|| {
                        let waits = |name: &&&str| find_thread(name).is_some_and(|thread| thread.waits_for().is_some());
                        NAMES.iter().filter(waits).count() == NAMES.len()
                    });
                    assert_eq!((*guard, passed.load(SeqCst)), (0, 0));
                    drop(guard);
                });
                assert_eq!((lock.into_inner(), passed.into_inner()), (5, 5));
            },
        );
    });
}

#[test]
fn an_upgrade_waits_for_the_other_readers_and_nobody_writes_in_between() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let is_in = Gate::new();
                thread::scope(|s| {
                    let reader = lock.read();
                    let upgrades = spawn_named(s, "upgrades behind a reader", || {
                        let guard = lock.upgradable_read();
                        is_in.open();
                        let seen = *guard;
                        let mut guard = RwLockUpgradableReadGuard::upgrade(guard);
                        assert_eq!(*guard, seen);
                        *guard += 1;
                    });
                    is_in.pass();
                    until_parked("upgrades behind a reader");
                    let writer = spawn_named(s, "writes behind an upgrade", || *lock.write() += 10);
                    until_parked("writes behind an upgrade");
                    assert_eq!(*reader, 0);
                    drop(reader);
                    upgrades.join().unwrap();
                    writer.join().unwrap();
                });
                assert_eq!(*lock.read(), 11);
            },
        );
    });
}

#[test]
fn a_downgrade_lets_waiting_readers_in_and_keeps_waiting_writers_out() {
    within(LIMIT, || {
        for to_upgradable in [false, true] {
            let lock = RwLock::new(0);
            thread::scope(|s| {
                let mut guard = lock.write();
                let writer = spawn_named(s, "writes after a downgrade", || *lock.write() += 1);
                until_parked("writes after a downgrade");
                let reader = spawn_named(s, "reads after a downgrade", || *lock.read_recursive());
                until_parked("reads after a downgrade");
                *guard += 1;
                if to_upgradable {
                    let guard = RwLockWriteGuard::downgrade_to_upgradable(guard);
                    assert_eq!(reader.join().unwrap(), 1);
                    assert!(until_waiting("writes after a downgrade").waits_for().is_some());
                    assert_eq!(*guard, 1);
                    // The turn is not free: the writer is not even next, and keeps no reader out.
                    assert_eq!(tried(&lock), UPGRADABLE[0]);
                    let guard = RwLockUpgradableReadGuard::downgrade(guard);
                    // Now it is next.
                    wait_until(|| lock.try_read().is_none());
                    assert_eq!(*guard, 1);
                } else {
                    let guard = RwLockWriteGuard::downgrade(guard);
                    assert_eq!(reader.join().unwrap(), 1);
                    wait_until(|| lock.try_read().is_none());
                    assert_eq!(*guard, 1);
                    assert!(until_waiting("writes after a downgrade").waits_for().is_some());
                }
                writer.join().unwrap();
            });
            assert_eq!(lock.into_inner(), 2);
        }
    });
}

#[test]
fn a_writer_that_fails_leaves_the_lock_as_it_found_it() {
    within(LIMIT, || {
        let (lock, other) = (RwLock::named("read", 0), bowline::Lock::named("other", ()));
        thread::scope(|s| {
            let (give, given) = mpsc::channel::<()>();
            let (lock, other) = (&lock, &other);
            let reader = spawn_named(s, "in the victim's way", move || {
                let guard = lock.read();
                given.recv().unwrap();
                drop(other.lock());
                *guard
            });
            let victim = spawn_named(s, "writes in vain", move || {
                let _other = other.lock();
                give.send(()).unwrap();
                until_parked("in the victim's way");
                lock.acquire_write().map(drop).unwrap_err()
            });
            assert_eq!(victim.join().unwrap().report().kind(), Kind::Cycle);
            assert_eq!(reader.join().unwrap(), 0);
        });
        assert_eq!(tried_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn a_guard_releases_on_unwinding_and_leaves_the_lock_usable() {
    within(LIMIT, || {
        let lock = RwLock::new(0);
        // No `AssertUnwindSafe`: a lock may be looked at after a panic.
        let payload = catch_unwind(|| {
            *lock.write() = 1;
            let mut guard = lock.write();
            *guard = 2;
            panic!("while it writes");
        });
        assert_eq!(message(&*payload.unwrap_err()), "while it writes");
        // Not poisoned: free, and as the panic left it.
        assert_eq!(tried_by_me_and_others(&lock), FREE);
        assert_eq!(*lock.read(), 2);
        let reads = || {
            let _guards = (lock.read(), lock.upgradable_read());
            panic!("while it reads");
        };
        assert_eq!(message(&*catch_unwind(reads).unwrap_err()), "while it reads");
        assert_eq!(tried_by_me_and_others(&lock), FREE);
    });
}

#[test]
fn a_lock_can_be_taken_while_unwinding() {
    struct WritesWhenDropped<'a>(&'a RwLock<u32>);
    impl Drop for WritesWhenDropped<'_> {
        fn drop(&mut self) {
            let was = *self.0.read();
            *self.0.write() += was + 1;
        }
    }

    within(LIMIT, || {
        let lock = RwLock::new(0);
        let unwound = catch_unwind(|| {
            let _last = WritesWhenDropped(&lock);
            panic!("on purpose");
        });
        assert!(unwound.is_err());
        assert_eq!(lock.into_inner(), 1);
    });
}

/// The timed forms, with a time-out and with a deadline.
type Timed = fn(&RwLock<i32>, Duration) -> bool;
const TIMED: [(&str, Timed); 8] = [
    ("read for", |lock, timeout| lock.try_read_for(timeout).is_some()),
    ("read until", |lock, timeout| lock.try_read_until(Instant::now() + timeout).is_some()),
    ("read recursively for", |lock, timeout| lock.try_read_recursive_for(timeout).is_some()),
    ("read recursively until", |lock, timeout| lock.try_read_recursive_until(Instant::now() + timeout).is_some()),
    ("read upgradably for", |lock, timeout| lock.try_upgradable_read_for(timeout).is_some()),
    ("read upgradably until", |lock, timeout| lock.try_upgradable_read_until(Instant::now() + timeout).is_some()),
    ("write for", |lock, timeout| lock.try_write_for(timeout).is_some()),
    ("write until", |lock, timeout| lock.try_write_until(Instant::now() + timeout).is_some()),
];

#[test]
fn a_timed_wait_for_a_free_lock_succeeds_whatever_the_time() {
    counted_and_shown(
        || 0,
        |lock| {
            for (_, timed) in TIMED {
                assert!(timed(&lock, Duration::ZERO) && timed(&lock, Duration::from_secs(1 << 30)));
            }
            assert!(lock.try_read_for(Duration::MAX).is_some() && lock.try_write_for(Duration::MAX).is_some());
            let past = Instant::now() - Duration::from_millis(1);
            assert!(lock.try_read_until(past).is_some() && lock.try_write_until(past).is_some());
            assert!(lock.try_upgradable_read_until(past).is_some());
            let upgradable = lock.try_upgradable_read_for(Duration::MAX).unwrap();
            assert!(RwLockUpgradableReadGuard::try_upgrade_until(upgradable, past).is_ok());
            assert!(RwLockUpgradableReadGuard::try_upgrade_for(lock.upgradable_read(), Duration::ZERO).is_ok());
        },
    );
}

#[test]
fn a_timed_wait_for_a_held_lock_ends_with_its_time() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let ends_with_its_time = |names: &[&str]| {
                    for (name, timed) in TIMED.iter().filter(|(name, _)| names.contains(name)) {
                        // Within the grace, and past it.
                        for timeout in [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(10)] {
                            let start = Instant::now();
                            assert!(!timed(&lock, timeout), "{name}");
                            assert!(start.elapsed() >= timeout, "{name}");
                        }
                    }
                };
                let writes = ["write for", "write until"];
                let guard = lock.read();
                ends_with_its_time(&writes); // for one's own lock as well
                on_another_thread(|| ends_with_its_time(&writes));
                drop(guard);
                let guard = lock.upgradable_read();
                on_another_thread(|| {
                    ends_with_its_time(&["write until", "read upgradably for", "read upgradably until"])
                });
                drop(guard);
                let guard = lock.write();
                ends_with_its_time(&TIMED.map(|(name, _)| name));
                on_another_thread(|| ends_with_its_time(&TIMED.map(|(name, _)| name)));
                drop(guard);
                assert_eq!(tried_by_me_and_others(&lock), FREE);

                let (reader, upgradable) = (lock.read(), lock.upgradable_read());
                let start = Instant::now();
                let timeout = Duration::from_millis(10);
                let upgradable = RwLockUpgradableReadGuard::try_upgrade_for(upgradable, timeout).unwrap_err();
                assert!(start.elapsed() >= timeout);
                let deadline = Instant::now() + timeout;
                let upgradable = RwLockUpgradableReadGuard::try_upgrade_until(upgradable, deadline).unwrap_err();
                assert!(Instant::now() >= deadline);
                drop((reader, upgradable));
            },
        );
    });
}

#[test]
fn a_timed_wait_ends_when_the_lock_is_released() {
    within(LIMIT, || {
        const NAMES: [&str; 4] =
            ["reads within an hour", "reads within ever", "writes within an hour", "writes within ever"];
        let hour = Duration::from_secs(3600);
        let lock = RwLock::new(0);
        let guard = lock.write();
        thread::scope(|s| {
            spawn_named(s, NAMES[0], || assert!(*lock.try_read_for(hour).unwrap() >= 1));
            spawn_named(s, NAMES[1], || assert!(*lock.try_read_for(Duration::MAX).unwrap() >= 1));
            spawn_named(s, NAMES[2], || *lock.try_write_until(Instant::now() + hour).unwrap() += 1);
            spawn_named(s, NAMES[3], || *lock.try_write_for(Duration::MAX).unwrap() += 1);
            for name in NAMES {
                // A limit past what the clock can tell is none.
                assert_eq!(until_waiting(name).waits_for().unwrap().is_timed(), name.ends_with("an hour"), "{name}");
            }
            let mut guard = guard;
            *guard += 1;
            drop(guard);
        });
        assert_eq!(lock.into_inner(), 3);
    });
}

#[test]
fn a_writer_that_gives_up_leaves_the_turn_to_the_next() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let lock = Arc::new(lock);
                thread::scope(|s| {
                    let guard = lock.read();
                    let first = spawn_named(s, "first and impatient", || {
                        lock.try_write_for(Duration::from_millis(200)).is_some()
                    });
                    until_parked("first and impatient");
                    let second = spawn_named(s, "second and patient", || *lock.write_arc() += 1);
                    until_parked("second and patient");
                    assert!(!first.join().unwrap());
                    // It keeps readers out now.
                    wait_until(|| lock.try_read().is_none());
                    drop(guard);
                    second.join().unwrap();
                });
                assert_eq!(*lock.read(), 1);
            },
        );
    });
}
