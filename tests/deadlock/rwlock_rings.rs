//! Rings and crowds of readers and writers, in many rounds: one report for each deadlock, and none where there is no
//! deadlock.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Deadlock, Kind};
use bowline::sync::{RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use bowline::{Lock, RwLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof, names, the_only};
use crate::support::readers::let_readers_show_themselves;
use crate::support::{LIMIT, alone, alone_within, spawn_named, until_parked, wait_until, within};

/// Each of the threads reads one lock, and writes the next once everybody reads one.
fn close_ring(prefix: &str, size: usize, shown: bool) -> Vec<Result<(), Deadlock>> {
    let locks: Vec<_> = (0..size).map(|_| RwLock::new(())).collect();
    if shown {
        locks.iter().for_each(let_readers_show_themselves);
    }
    let everybody_reads_one = Barrier::new(size);
    thread::scope(|s| {
        let member = |at: usize| {
            let (locks, everybody_reads_one) = (&locks, &everybody_reads_one);
            let body = move || {
                let _read = locks[at].read();
                everybody_reads_one.wait();
                locks[(at + 1) % size].acquire_write().map(drop)
            };
            // A thousand threads with the usual stacks would ask for gigabytes of addresses.
            let builder = thread::Builder::new().name(format!("{prefix} {at}")).stack_size(128 << 10);
            builder.spawn_scoped(s, body).expect("a thread")
        };
        let members: Vec<_> = (0..size).map(member).collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

/// Closes a ring and checks that one member alone learns of it, in a report that names them all in their order.
fn a_ring_has_one_report(prefix: &'static str, size: usize, shown: bool) {
    alone_within(LIMIT * 2, || {
        let reports = Reports::about(prefix);
        let outcomes = close_ring(prefix, size, shown);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1, "one victim, the rest finish");
        let report = the_only(&reports);
        assert_eq!(report.kind(), Kind::Cycle);
        assert!(report.bystanders().is_empty());
        let number = |name: &str| -> usize { name.strip_prefix(prefix).unwrap().trim().parse().unwrap() };
        let numbers: Vec<_> = report.threads().iter().map(|thread| number(thread.name().unwrap())).collect();
        let victim = outcomes.iter().position(Result::is_err).unwrap();
        let in_order: Vec<_> = (0..size).map(|step| (victim + step) % size).collect();
        assert_eq!(numbers, in_order, "the victim first, each waiting for the next");
    });
}

#[test]
fn a_ring_of_three_readers_that_write_has_one_report() {
    a_ring_has_one_report("one of three that write", 3, false);
}

#[test]
fn a_ring_of_three_readers_that_show_themselves_and_write_has_one_report() {
    a_ring_has_one_report("one of three shown", 3, true);
}

#[test]
fn a_ring_of_fifty_readers_that_show_themselves_and_write_has_one_report() {
    a_ring_has_one_report("one of fifty shown", if cfg!(miri) { 5 } else { 50 }, true);
}

#[test]
fn a_ring_of_a_thousand_readers_that_write_has_one_report() {
    a_ring_has_one_report("one of a thousand that write", if cfg!(miri) { 10 } else { 1000 }, false);
}

#[test]
fn a_ring_through_locks_of_every_kind_is_a_cycle() {
    alone(|| {
        let reports = Reports::about("mixed ring ");
        for round in 0..8 {
            let (lock, again) = (Lock::new(()), bowline::RLock::new(()));
            let [read, upgradable, written] = [(); 3].map(|()| RwLock::new(()));
            if round % 2 == 1 {
                let_readers_show_themselves(&read);
            }
            let all_hold = Barrier::new(5);
            // Each holds something in another way, and asks for the next in another way.
            let victims = thread::scope(|s| {
                let members = [
                    spawn_named(s, "mixed ring 0", || {
                        let _held = lock.lock();
                        all_hold.wait();
                        read.acquire_write().map(drop)
                    }),
                    spawn_named(s, "mixed ring 1", || {
                        let _held = RwLockReadGuard::map(read.read(), |value| value);
                        all_hold.wait();
                        upgradable.acquire_upgradable_read().map(drop)
                    }),
                    spawn_named(s, "mixed ring 2", || {
                        let _held = upgradable.upgradable_read();
                        all_hold.wait();
                        written.acquire_read().map(drop)
                    }),
                    spawn_named(s, "mixed ring 3", || {
                        let _held = RwLockWriteGuard::map(written.write(), |value| value);
                        all_hold.wait();
                        again.acquire().map(drop)
                    }),
                    spawn_named(s, "mixed ring 4", || {
                        let _held = (again.lock(), again.lock());
                        all_hold.wait();
                        lock.acquire().map(drop)
                    }),
                ];
                members.map(|member| member.join().unwrap()).iter().filter(|outcome| outcome.is_err()).count()
            });
            assert_eq!(victims, 1);
            let report = the_only(&reports);
            let all: Vec<_> = (0..5).map(|at| format!("mixed ring {at}")).collect();
            assert_eq!(names(report.threads()), all);
            assert!(!read.is_locked() && !upgradable.is_locked() && !written.is_locked());
        }
    });
}

#[test]
fn a_writer_whose_readers_are_all_stuck_behind_it_is_the_one_victim() {
    alone(|| {
        let reports = Reports::about("all stuck");
        for shown in [false, true] {
            let lock = RwLock::new(0);
            if shown {
                let_readers_show_themselves(&lock);
            }
            let mutexes = [(); 3].map(|()| Lock::new(()));
            let hold = Gate::new();
            thread::scope(|s| {
                let writer = spawn_named(s, "all stuck, writes", || {
                    let _held = mutexes.each_ref().map(Lock::lock);
                    hold.open();
                    (0..3).for_each(|at| until_parked(&format!("all stuck {at}")));
                    lock.acquire_write().map(drop).unwrap_err()
                });
                hold.pass();
                for at in 0..3 {
                    let (lock, mutexes) = (&lock, &mutexes);
                    spawn_named(s, &format!("all stuck {at}"), move || {
                        let _read = lock.read();
                        drop(mutexes[at].acquire().expect("the writer fails"));
                    });
                }
                let report = writer.join().unwrap();
                assert_eq!(report.report().threads()[0].name(), Some("all stuck, writes"));
            });
            let report = the_only(&reports);
            assert_eq!(names(report.threads()), ["all stuck 0", "all stuck 1", "all stuck 2", "all stuck, writes"]);
        }
    });
}

#[test]
fn a_writer_whose_readers_get_stuck_behind_it_at_the_same_moment_hangs_nobody() {
    alone_within(LIMIT * 2, || {
        let reports = Reports::about("same moment");
        let mut several = 0;
        for round in 0..if cfg!(miri) { 2 } else { 600 } {
            deadlock::set_grace(Duration::from_micros([0, 0, 50, 500][round % 4]));
            let lock = RwLock::new(0);
            if round % 7 == 0 {
                let_readers_show_themselves(&lock);
            }
            let mutexes = [Lock::new(()), Lock::new(())];
            let all_hold = Barrier::new(3);
            let outcomes = thread::scope(|s| {
                let reader = |at: usize| {
                    let (lock, mutexes, all_hold) = (&lock, &mutexes, &all_hold);
                    spawn_named(s, &format!("same moment {at}"), move || {
                        let _read = lock.read();
                        all_hold.wait();
                        mutexes[at].acquire().map(drop)
                    })
                };
                let readers = [0, 1].map(reader);
                let writer = spawn_named(s, "same moment, writes", || {
                    let _held = mutexes.each_ref().map(Lock::lock);
                    all_hold.wait();
                    lock.acquire_write().map(drop)
                });
                let [first, second] = readers.map(|reader| reader.join().unwrap());
                [first, second, writer.join().unwrap()]
            });
            // The writer alone, or the readers as each of them closes a cycle, before the other or after it.
            let victims = outcomes.iter().filter(|outcome| outcome.is_err()).count();
            let taken = reports.take();
            taken.iter().for_each(assert_is_a_proof);
            assert_eq!(taken.len(), victims, "round {round}");
            assert!(victims == 1 || victims == 2 && outcomes[2].is_ok(), "round {round}: {outcomes:?}");
            several += usize::from(victims == 2);
            assert!(!lock.is_locked() && mutexes.iter().all(|mutex| !mutex.is_locked()), "round {round}");
        }
        println!("two victims in {several} rounds");
    });
}

#[test]
fn a_recursive_reader_that_gets_in_while_a_writer_judges_is_no_deadlock() {
    alone_within(LIMIT * 2, || {
        let reports = Reports::about("");
        deadlock::set_grace(Duration::ZERO);
        for round in 0..if cfg!(miri) { 2 } else { 500 } {
            let lock = RwLock::new(0);
            if round % 5 == 0 {
                let_readers_show_themselves(&lock);
            }
            let start = Barrier::new(3);
            thread::scope(|s| {
                for at in 0..2 {
                    let (lock, start) = (&lock, &start);
                    spawn_named(s, &format!("reads on {at}"), move || {
                        let first = lock.read();
                        start.wait();
                        let again =
                            lock.acquire_read_recursive().expect("a recursive reader waits for no writer that waits");
                        drop(first);
                        assert_eq!(*again, 0);
                    });
                }
                spawn_named(s, "writes meanwhile", || {
                    start.wait();
                    *lock.acquire_write().expect("all readers leave") += 1;
                });
            });
        }
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn reading_in_opposite_orders_is_no_deadlock_and_neither_is_trying() {
    alone_within(LIMIT * 2, || {
        let reports = Reports::about("");
        let locks = [RwLock::new(0_u32), RwLock::new(0)];
        locks.iter().for_each(let_readers_show_themselves);
        let both = Barrier::new(2);
        let rounds = if cfg!(miri) { 10 } else { 3_000 };
        thread::scope(|s| {
            for at in 0..2 {
                let (locks, both) = (&locks, &both);
                spawn_named(s, &format!("reads across {at}"), move || {
                    for _ in 0..rounds {
                        let _mine = locks[at].read();
                        let _other = locks[1 - at].read();
                    }
                    // The crossing itself, for certain: each reads one, and the other's.
                    let mine = locks[at].read();
                    both.wait();
                    assert_eq!(*locks[1 - at].acquire_read().unwrap(), *mine);
                    assert!(locks[1 - at].try_write().is_none());
                    both.wait();
                    drop(mine);
                    both.wait();
                    for _ in 0..rounds {
                        let mut mine = locks[at].write();
                        *mine += 1;
                        // Waits for nobody.
                        let _other = locks[1 - at].try_read();
                        let _other = locks[1 - at].try_write();
                        let _other = locks[1 - at].try_upgradable_read();
                    }
                    both.wait();
                    let mine = locks[at].write();
                    both.wait();
                    assert!(locks[1 - at].try_read().is_none() && locks[1 - at].try_write().is_none());
                    both.wait();
                    drop(mine);
                });
            }
        });
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_ring_through_a_wait_with_a_limit_is_no_deadlock_and_ends_with_its_time() {
    alone(|| {
        let reports = Reports::about("");
        for shown in [false, true] {
            let (lock, mutex) = (RwLock::new(0), Lock::new(()));
            if shown {
                let_readers_show_themselves(&lock);
            }
            let hold = Gate::new();
            thread::scope(|s| {
                let reader = spawn_named(s, "reads and waits", || {
                    let _read = lock.read();
                    hold.open();
                    until_parked("writes for a while");
                    // Behind that writer, and then behind what it holds.
                    assert_eq!(*lock.acquire_read().expect("the writer gives up"), 0);
                    drop(mutex.acquire().expect("the writer gives up"));
                });
                hold.pass();
                spawn_named(s, "writes for a while", || {
                    let _mutex = mutex.lock();
                    assert!(lock.try_write_for(Duration::from_millis(100)).is_none());
                    let guard = lock.upgradable_read();
                    let limit = Duration::from_millis(20);
                    drop(RwLockUpgradableReadGuard::try_upgrade_for(guard, limit));
                });
                reader.join().unwrap();
            });
        }
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_writer_that_gives_up_hands_its_turn_to_one_who_closes_a_cycle() {
    alone(|| {
        let reports = Reports::about("succeeds");
        for shown in [false, true] {
            let (lock, mutex) = (RwLock::new(0), Lock::new(()));
            if shown {
                let_readers_show_themselves(&lock);
            }
            let reads = Gate::new();
            thread::scope(|s| {
                let reader = spawn_named(s, "succeeds: reads", || {
                    let _read = lock.read();
                    reads.open();
                    until_parked("succeeds: gives up");
                    until_parked("succeeds: writes");
                    mutex.acquire().map(drop).err()
                });
                reads.pass();
                spawn_named(s, "succeeds: gives up", || {
                    // In the turn, with a limit: whoever waits for it is not stuck.
                    assert!(lock.try_write_for(Duration::from_millis(200)).is_none());
                });
                until_parked("succeeds: gives up");
                let writer = spawn_named(s, "succeeds: writes", || {
                    let _mutex = mutex.lock();
                    lock.acquire_write().map(drop).err()
                });
                let outcomes = [reader.join().unwrap(), writer.join().unwrap()];
                assert_eq!(outcomes.iter().flatten().count(), 1, "{outcomes:?}");
            });
            let report = the_only(&reports);
            assert_eq!(names(report.threads()), ["succeeds: reads", "succeeds: writes"]);
            assert!(!lock.is_locked());
        }
    });
}

#[test]
fn readers_behind_a_chain_of_writers_all_get_in_when_that_ends() {
    within(LIMIT, || {
        const LINKS: usize = 20;
        let locks: Vec<_> = (0..=LINKS).map(|_| RwLock::new(0)).collect();
        let last = locks[LINKS].read();
        thread::scope(|s| {
            for at in (0..LINKS).rev() {
                let (mine, next) = (&locks[at], &locks[at + 1]);
                spawn_named(s, &format!("rw link {at}"), move || {
                    let mut mine = mine.write();
                    *mine += *next.acquire_write().expect("the chain has an end") + 1;
                });
                until_parked(&format!("rw link {at}"));
            }
            let behind: Vec<_> = (0..LINKS)
                .map(|at| spawn_named(s, &format!("rw behind {at}"), || *locks[0].acquire_read().expect("the same")))
                .collect();
            (0..LINKS).for_each(|at| until_parked(&format!("rw behind {at}")));
            drop(last);
            behind.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), LINKS));
        });
        wait_until(|| !locks[0].is_locked());
    });
}
