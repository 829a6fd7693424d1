//! Which waits of readers and writers are deadlocks, and who is told.
//!
//! A test that counts reports runs alone, and counts those about its own threads only. Rings of many threads are in
//! `rwlock_rings.rs`, tasks in `rwlock_tasks.rs`, policies in `rwlock_policy.rs`.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use bowline::deadlock::{Deadlock, Kind};
use bowline::sync::{RwLockUpgradableReadGuard, RwLockWriteGuard};
use bowline::{Lock, RwLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof, held_names, names, the_only, wanted};
use crate::support::readers::{counted_and_shown, let_readers_show_themselves};
use crate::support::{
    LIMIT, alone, message, on_another_thread, spawn_named, until_parked, until_thread_where, wait_until, within,
};

/// The ways to ask, by value and by panic.
type Ask = fn(&RwLock<i32>) -> Result<(), Deadlock>;
type AskOrPanic = fn(&RwLock<i32>);
const ASKS: [(Ask, AskOrPanic); 4] = [
    (|lock| lock.acquire_read().map(drop), |lock| drop(lock.read())),
    (|lock| lock.acquire_read_recursive().map(drop), |lock| drop(lock.read_recursive())),
    (|lock| lock.acquire_upgradable_read().map(drop), |lock| drop(lock.upgradable_read())),
    (|lock| lock.acquire_write().map(drop), |lock| drop(lock.write())),
];

/// Checks which of the four ways to ask are a relock for the calling thread.
#[track_caller]
fn assert_relocks(lock: &RwLock<i32>, are_relocks: [bool; 4]) {
    for ((ask, ask_or_panic), is_relock) in ASKS.into_iter().zip(are_relocks) {
        let deadlock = ask(lock).err();
        assert_eq!(deadlock.is_some(), is_relock);
        let panic = catch_unwind(AssertUnwindSafe(|| ask_or_panic(lock))).err();
        assert_eq!(panic.is_some(), is_relock);
        if let (Some(deadlock), Some(panic)) = (deadlock, panic) {
            assert_eq!(deadlock.report().kind(), Kind::Relock);
            assert_is_a_proof(deadlock.report());
            assert!(message(&*panic).starts_with("deadlock: "), "{}", message(&*panic));
        }
    }
}

#[test]
fn what_a_thread_asks_for_against_itself_is_a_relock() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                assert_relocks(&lock, [false; 4]);
                let_readers_show_themselves(&lock);
                let reader = lock.read();
                assert_relocks(&lock, [false, false, false, true]);
                let upgradable = lock.upgradable_read();
                assert_relocks(&lock, [false, false, true, true]);
                drop(reader);
                assert_relocks(&lock, [false, false, true, true]);
                let writer = RwLockUpgradableReadGuard::upgrade(upgradable);
                assert_relocks(&lock, [true; 4]);
                let reader = RwLockWriteGuard::downgrade(writer);
                assert_relocks(&lock, [false, false, false, true]);
                drop(reader);
                let writer = lock.write();
                assert_relocks(&lock, [true; 4]);
                drop(writer);
                assert_relocks(&lock, [false; 4]);
            },
        );
    });
}

#[test]
fn an_upgrade_while_the_same_thread_reads_by_another_guard_is_a_relock() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let (reader, upgradable) = (lock.read(), lock.upgradable_read());
                let error = RwLockUpgradableReadGuard::acquire_upgrade(upgradable).unwrap_err();
                let report = error.deadlock().report();
                assert_eq!(report.kind(), Kind::Relock);
                assert_is_a_proof(report);
                let upgradable = error.into_guard();
                let panic = catch_unwind(AssertUnwindSafe(|| drop(RwLockUpgradableReadGuard::upgrade(upgradable))));
                assert!(message(&*panic.unwrap_err()).starts_with("deadlock: "));
                drop(reader);
                drop(lock.acquire_write().unwrap());
            },
        );
    });
}

#[test]
fn a_relock_names_the_lock_and_the_lines_of_both_acquisitions() {
    within(LIMIT, || {
        counted_and_shown(HashMap::<&str, u32>::new, |users| {
            // The guard is a temporary of the match, and lives to its end.
            let deadlock = match users.read().get("ada") {
                Some(_) => unreachable!("nobody is in there"),
                None => users.acquire_write().map(drop).unwrap_err(),
            };
            let lines = [line!() - 4, line!() - 2];
            let thread = &deadlock.report().threads()[0];
            let held = thread.holds().iter().find(|held| held.resource().is_same(wanted(thread))).unwrap();
            assert_eq!([held.site().line(), thread.waits_for().unwrap().site().line()], lines);
            let text = deadlock.to_string();
            assert!(lines.iter().all(|line| text.contains(&format!("{}:{line}", file!()))), "{text}");
            users.write().insert("ada", 1);
        });
    });
}

#[test]
fn a_relock_is_found_whatever_else_is_held_and_whoever_else_reads() {
    alone(|| {
        let reports = Reports::about("well read");
        let locks: Vec<_> = (0..40).map(|_| RwLock::named("one of many", 0)).collect();
        counted_and_shown(
            || 0,
            |lock| {
                // Its hold is in the first list, or in a further one.
                for others in [0, 7, 15, 16, 33] {
                    thread::scope(|s| {
                        let other = lock.read();
                        let reads = || {
                            let _others: Vec<_> = locks[..others].iter().map(|lock| lock.read()).collect();
                            let _twice = (lock.read(), lock.read_recursive());
                            let deadlock = lock.acquire_write().map(drop).unwrap_err();
                            // Both reads of it are shown.
                            assert_eq!(deadlock.report().threads()[0].holds().len(), others + 2);
                        };
                        spawn_named(s, "well read", reads).join().unwrap();
                        drop(other);
                    });
                    let report = the_only(&reports);
                    assert_eq!((report.kind(), names(report.threads())), (Kind::Relock, vec!["well read"]));
                }
            },
        );
    });
}

#[test]
fn who_drops_what_is_in_the_lock_and_wants_the_lock_for_that_is_told_the_line_of_the_drop() {
    struct ReadsItsLock<'a>(&'a RwLock<Option<Self>>, &'a Cell<Option<(Deadlock, u32)>>);
    impl Drop for ReadsItsLock<'_> {
        fn drop(&mut self) {
            self.1.set(self.0.acquire_read().map(drop).err().map(|deadlock| (deadlock, line!())));
        }
    }
    // Leaked, so that what is in the lock may know it.
    let lock: &RwLock<Option<ReadsItsLock<'_>>> = Box::leak(Box::new(RwLock::new(None)));
    let told: &Cell<Option<(Deadlock, u32)>> = Box::leak(Box::new(Cell::new(None)));
    *lock.write() = Some(ReadsItsLock(lock, told));
    *lock.write() = None;
    let (deadlock, line) = told.take().expect("a relock");
    assert_eq!(deadlock.report().kind(), Kind::Relock);
    assert_eq!(deadlock.report().threads()[0].waits_for().unwrap().site().line(), line);
    assert!(!lock.is_locked());
}

#[test]
fn a_second_read_behind_a_writer_that_waits_is_a_cycle_through_that_writer() {
    fn callee(lock: &RwLock<i32>) -> Deadlock {
        lock.acquire_read().map(drop).unwrap_err()
    }

    alone(|| {
        let reports = Reports::about("reads twice");
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| {
                    let reader = spawn_named(s, "reads twice", || {
                        let _first = lock.read();
                        until_parked("between two reads");
                        callee(&lock)
                    });
                    until_thread_holds("reads twice");
                    let writer = spawn_named(s, "between two reads", || *lock.write() += 1);
                    let deadlock = reader.join().unwrap();
                    writer.join().unwrap();
                    let report = the_only(&reports);
                    assert_eq!(deadlock.report().to_string(), report.to_string());
                    assert_eq!(report.kind(), Kind::Cycle);
                    let [reader, writer] = report.threads() else { panic!("{report}") };
                    assert_eq!((reader.name(), writer.name()), (Some("reads twice"), Some("between two reads")));
                    assert_eq!(held_names(reader), [lock_name(&lock)]);
                    assert!(writer.holds().is_empty(), "it waits for it, and has it not: {report}");
                });
                assert_eq!(*lock.read(), 1);
            },
        );
    });
}

/// The name of a lock of `counted_and_shown`.
fn lock_name<T: std::fmt::Debug>(lock: &RwLock<T>) -> &'static str {
    if format!("{lock:?}").contains("\"shown\"") { "shown" } else { "counted" }
}

/// Waits until the thread with this name holds something.
fn until_thread_holds(name: &str) {
    until_thread_where(|thread| thread.name() == Some(name) && !thread.holds().is_empty());
}

#[test]
fn a_recursive_read_behind_a_writer_that_waits_is_none() {
    alone(|| {
        let reports = Reports::about("");
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| {
                    spawn_named(s, "reads again", || {
                        let _first = lock.read();
                        until_parked("overtaken");
                        assert_eq!(*lock.acquire_read_recursive().unwrap() + *lock.read_recursive(), 0);
                    });
                    until_thread_holds("reads again");
                    spawn_named(s, "overtaken", || *lock.acquire_write().unwrap() += 1);
                });
                assert_eq!(*lock.read(), 1);
            },
        );
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn an_upgrade_and_a_reader_that_wants_the_turn_are_a_cycle() {
    alone(|| {
        let reports = Reports::about("in the turn");
        // What the reader asks for while the upgrade waits for it: to read on is none of its business.
        for way in [0, 2, 3] {
            counted_and_shown(
                || 0,
                |lock| {
                    thread::scope(|s| {
                        let reader = spawn_named(s, "wants the turn", || {
                            let _read = lock.read();
                            until_parked("in the turn");
                            // One who writes what it reads would be told at once, of that alone.
                            if way == 3 {
                                assert_eq!(lock.acquire_write().unwrap_err().report().kind(), Kind::Cycle);
                                return None;
                            }
                            ASKS[way].0(&lock).err()
                        });
                        until_thread_holds("wants the turn");
                        let upgrades = spawn_named(s, "in the turn", || {
                            let guard = lock.upgradable_read();
                            *RwLockUpgradableReadGuard::acquire_upgrade(guard).expect("the reader leaves") += 1;
                        });
                        let deadlock = reader.join().unwrap();
                        upgrades.join().unwrap();
                        let report = the_only(&reports);
                        assert_eq!(names(report.threads()), ["in the turn", "wants the turn"]);
                        assert_eq!(deadlock.is_some(), way != 3);
                        let upgrades = report.threads().iter().find(|thread| thread.name() == Some("in the turn"));
                        assert_eq!(held_names(upgrades.unwrap()), [lock_name(&lock)]);
                    });
                    assert_eq!(*lock.read(), 1);
                },
            );
        }
    });
}

#[test]
fn a_writer_is_stuck_behind_one_of_its_readers_and_the_others_are_not_blamed() {
    alone(|| {
        for writer_closes in [false, true] {
            let reports = Reports::about("one of them");
            counted_and_shown(
                || 0,
                |lock| {
                    let (mutex, busy) = (Lock::named("mutex", ()), Lock::named("busy", ()));
                    let [close, leave] = [const { Gate::new() }; 2];
                    thread::scope(|s| {
                        let busy_guard = busy.lock();
                        // One that runs, one that waits for somebody who runs, and one that waits for the writer.
                        spawn_named(s, "runs and reads", || {
                            let _read = lock.read();
                            leave.pass();
                        });
                        spawn_named(s, "waits and reads", || {
                            let _read = lock.read();
                            drop(busy.lock());
                        });
                        until_thread_holds("runs and reads");
                        until_parked("waits and reads");
                        let reader = spawn_named(s, "one of them reads", || {
                            let _read = lock.read();
                            close.pass();
                            mutex.acquire().map(drop).err()
                        });
                        until_thread_holds("one of them reads");
                        let writer = spawn_named(s, "one of them writes", || {
                            let _mutex = mutex.lock();
                            if writer_closes {
                                close.open();
                                until_parked("one of them reads");
                            }
                            let mut guard = lock.acquire_write()?;
                            *guard += 1;
                            Ok::<_, Deadlock>(())
                        });
                        if !writer_closes {
                            until_parked("one of them writes");
                            close.open();
                        }
                        wait_until(|| reports.count() == 1);
                        let report = the_only(&reports);
                        assert_eq!(names(report.threads()), ["one of them reads", "one of them writes"]);
                        assert!(report.bystanders().is_empty(), "{report}");
                        drop(busy_guard);
                        leave.open();
                        let (reader, writer) = (reader.join().unwrap(), writer.join().unwrap());
                        assert_eq!((reader.is_some(), writer.is_err()), (!writer_closes, writer_closes));
                    });
                    assert_eq!(*lock.read(), i32::from(!writer_closes));
                },
            );
        }
    });
}

#[test]
fn a_reader_that_is_stuck_is_found_by_its_hold_wherever_it_is_listed() {
    alone(|| {
        let reports = Reports::about("at place");
        // Reads before the one that matters: its hold shows itself, is inline, or is in a further list.
        for before in [0, 1, 7, 8, 15, 16, 31, 32, 40] {
            let others: Vec<_> = (0..before).map(RwLock::new).collect();
            counted_and_shown(
                || 0,
                |lock| {
                    let mutex = Lock::named("mutex", ());
                    let holds = Gate::new();
                    thread::scope(|s| {
                        let victim = spawn_named(s, "at place it writes", || {
                            let _mutex = mutex.lock();
                            holds.open();
                            until_parked("at place it reads");
                            lock.acquire_write().map(drop).unwrap_err()
                        });
                        holds.pass();
                        let reader = spawn_named(s, "at place it reads", || {
                            let _others: Vec<_> = others.iter().map(|lock| lock.read()).collect();
                            let _read = lock.read();
                            drop(mutex.lock());
                        });
                        victim.join().unwrap();
                        reader.join().unwrap();
                    });
                    let report = the_only(&reports);
                    assert_eq!(names(report.threads()), ["at place it reads", "at place it writes"], "{before}");
                    assert!(!lock.is_locked());
                },
            );
        }
    });
}

#[test]
fn a_writer_queued_behind_a_lock_that_is_downgraded_waits_for_the_new_reader() {
    alone(|| {
        for by_upgradable in [false, true] {
            let reports = Reports::about("downgrade");
            let (lock, mutex) = (RwLock::named("downgraded", 0), Lock::named("mutex", ()));
            thread::scope(|s| {
                let mut guard = lock.write();
                let queued = spawn_named(s, "downgrade queued", || {
                    let _mutex = mutex.lock();
                    *lock.acquire_write().expect("the other one is told") += 1;
                });
                until_parked("downgrade queued");
                *guard += 1;
                let read = if by_upgradable {
                    RwLockUpgradableReadGuard::downgrade(RwLockWriteGuard::downgrade_to_upgradable(guard))
                } else {
                    RwLockWriteGuard::downgrade(guard)
                };
                // It is next now, and waits for this thread, which closes the cycle.
                wait_until(|| lock.try_read().is_none());
                until_parked("downgrade queued");
                let deadlock = mutex.acquire().map(drop).unwrap_err();
                let report = deadlock.report();
                assert_is_a_proof(report);
                assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2));
                assert_eq!(report.threads()[1].name(), Some("downgrade queued"));
                assert_eq!(held_names(&report.threads()[0]), ["downgraded"]);
                drop(read);
                queued.join().unwrap();
            });
            assert_eq!(reports.take().len(), 1);
            assert_eq!(lock.into_inner(), 2);
        }
    });
}

#[test]
fn who_waits_for_a_read_write_lock_of_a_member_is_a_bystander() {
    const STUCK: [&str; 4] = ["stuck 1 reads", "stuck 2 reads", "stuck 3 upgradably", "stuck 4 writes"];
    alone(|| {
        let reports = Reports::about("crossing ");
        // A reader keeps out writers, an upgradable reader those who want the turn, a writer everybody.
        for (way, stuck) in [("reads", &STUCK[3..]), ("reads upgradably", &STUCK[2..]), ("writes", &STUCK)] {
            let (a, b, lock) = (Lock::named("a", ()), Lock::named("b", ()), RwLock::named("held by a member", 0));
            let [holds, close] = [const { Gate::new() }; 2];
            thread::scope(|s| {
                let closes = spawn_named(s, "crossing 2", || {
                    let _b = b.lock();
                    holds.open();
                    close.pass();
                    a.acquire().map(drop).unwrap_err()
                });
                holds.pass();
                spawn_named(s, "crossing 1", || {
                    let _a = a.lock();
                    let _read = (way == "reads").then(|| lock.read());
                    let _upgradable = (way == "reads upgradably").then(|| lock.upgradable_read());
                    let _write = (way == "writes").then(|| lock.write());
                    drop(b.lock());
                });
                until_parked("crossing 1");
                for &name in stuck {
                    let lock = &lock;
                    spawn_named(s, name, move || match name {
                        "stuck 1 reads" => assert!(*lock.read() >= 0),
                        "stuck 2 reads" => assert!(*lock.read_recursive() >= 0),
                        "stuck 3 upgradably" => assert!(*lock.upgradable_read() >= 0),
                        _ => *lock.write() += 1,
                    });
                    until_parked(name);
                }
                close.open();
                closes.join().unwrap();
            });
            let report = the_only(&reports);
            assert_eq!(names(report.threads()), ["crossing 1", "crossing 2"]);
            assert_eq!(names(report.bystanders()), stuck);
            assert_eq!(lock.into_inner(), 1);
        }
    });
}

#[test]
fn who_is_behind_a_writer_that_is_stuck_is_a_bystander() {
    alone(|| {
        let reports = Reports::about("stuck pair");
        counted_and_shown(
            || 0,
            |lock| {
                let mutex = Lock::named("mutex", ());
                let close = Gate::new();
                thread::scope(|s| {
                    let reader = spawn_named(s, "stuck pair reads", || {
                        let _read = lock.read();
                        close.pass();
                        mutex.acquire().map(drop).unwrap_err()
                    });
                    until_thread_holds("stuck pair reads");
                    spawn_named(s, "stuck pair writes", || {
                        let _mutex = mutex.lock();
                        *lock.write() += 1;
                    });
                    until_parked("stuck pair writes");
                    spawn_named(s, "behind the pair 1", || assert!(*lock.read() >= 1));
                    spawn_named(s, "behind the pair 2", || *lock.write() += 1);
                    spawn_named(s, "behind the pair 3", || drop(lock.upgradable_read()));
                    spawn_named(s, "behind the pair 4", || drop(mutex.lock()));
                    (1..5).for_each(|n| until_parked(&format!("behind the pair {n}")));
                    // Not behind it: it gets in.
                    spawn_named(s, "past the pair", || assert_eq!(*lock.read_recursive(), 0)).join().unwrap();
                    close.open();
                    reader.join().unwrap();
                });
                let report = the_only(&reports);
                assert_eq!(names(report.threads()), ["stuck pair reads", "stuck pair writes"]);
                let behind: Vec<_> = (1..5).map(|n| format!("behind the pair {n}")).collect();
                assert_eq!(names(report.bystanders()), behind);
                assert_eq!(*lock.read(), 2);
            },
        );
    });
}

#[test]
fn a_victim_that_unwinds_lets_go_of_what_it_read_and_wrote() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let (written, mutex) = (RwLock::named("written", 0), Lock::named("mutex", ()));
                let reads = Gate::new();
                thread::scope(|s| {
                    let victim = spawn_named(s, "unwinds as a reader", || {
                        let _read = lock.read();
                        reads.open();
                        until_parked("survives the reader");
                        let mut written = written.write();
                        *written = 1;
                        drop(mutex.lock());
                    });
                    reads.pass();
                    spawn_named(s, "survives the reader", || {
                        let _mutex = mutex.lock();
                        *lock.write() += 1;
                    });
                    let payload = victim.join().unwrap_err();
                    assert!(message(&*payload).starts_with("deadlock: 2 threads"), "{}", message(&*payload));
                });
                assert_eq!((*lock.read(), on_another_thread(|| *written.acquire_write().unwrap())), (1, 1));
            },
        );
    });
}
