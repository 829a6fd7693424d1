//! Guards of an `RwLock` that are never dropped: their lock goes and another is in its place, or their thread goes and the
//! lock stays.
//!
//! Each for readers that are counted in the lock, and for readers that show themselves elsewhere.

use std::mem::forget;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Deadlock, Kind};
use bowline::sync::RwLockReadGuard;
use bowline::{Lock, RwLock};

use crate::support::deadlocks::{Gate, Reports, assert_is_a_proof, held_names};
use crate::support::readers::{counted_and_shown, let_readers_show_themselves};
use crate::support::{LIMIT, alone, find_thread_where, on_another_thread, spawn_named, until_waiting, within};

/// Puts another lock in the place of one whose guard is forgotten, and does this with it.
fn in_the_place_of_a_forgotten_one(shown: bool, check: impl Fn(&RwLock<i32>)) {
    let mut place = RwLock::named("old", 0);
    if shown {
        let_readers_show_themselves(&place);
    }
    forget(place.read());
    forget(place.read_recursive());
    place = RwLock::named("new", 0);
    if shown {
        let_readers_show_themselves(&place);
    }
    check(&place);
}

#[test]
fn a_lock_in_the_place_of_one_whose_reader_was_forgotten_is_free_for_all() {
    alone(|| {
        let reports = Reports::about("");
        for shown in [false, true] {
            in_the_place_of_a_forgotten_one(shown, |lock| {
                *lock.acquire_write().unwrap() += 1;
                on_another_thread(|| *lock.acquire_write().unwrap() += 1);
                assert!(lock.try_write().is_some() && !lock.is_locked());
                assert_eq!(*lock.read(), 2);
            });
        }
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn who_forgot_a_reader_of_the_lock_before_is_not_taken_for_a_reader_of_the_lock_in_its_place() {
    alone(|| {
        let reports = Reports::about("");
        for shown in [false, true] {
            let other = Lock::named("other", 0);
            thread::scope(|s| {
                let forgetful = spawn_named(s, "forgetful reader", || {
                    in_the_place_of_a_forgotten_one(shown, |lock| {
                        let held = Gate::new();
                        thread::scope(|s| {
                            // By its list the forgetful one reads what this one wants to write.
                            spawn_named(s, "writes the new lock", || {
                                let mut other = other.lock();
                                held.open();
                                until_waiting("forgetful reader");
                                *lock.acquire_write().expect("nobody reads it") += 1;
                                *other += 1;
                            });
                            held.pass();
                            *other.acquire().expect("it is released") += 1;
                        });
                        assert_eq!(*lock.read(), 1);
                    });
                });
                forgetful.join().unwrap();
            });
            assert_eq!(other.into_inner(), 2);
        }
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_lock_may_be_freed_while_forgotten_guards_read_it() {
    within(LIMIT, || {
        on_another_thread(|| {
            for round in 0..40 {
                let lock = Box::new(RwLock::new(vec![round]));
                if round % 2 == 0 {
                    // Another thread has room for more.
                    on_another_thread(|| let_readers_show_themselves(&lock));
                }
                forget(lock.read());
                drop(lock);
            }
            // All of them are listed, and none is looked into.
            let lock = RwLock::named("last", 0);
            let guard = lock.read();
            let deadlock = lock.acquire_write().map(drop).unwrap_err();
            assert_eq!(deadlock.report().kind(), Kind::Relock);
            let thread = &deadlock.report().threads()[0];
            assert_eq!(thread.holds().len() + thread.omitted_holds(), 41, "{deadlock}");
            assert!(held_names(thread).contains(&"last"));
            drop(guard);
            *lock.acquire_write().unwrap() += 1;
        });
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_writer_that_waits_for_a_leaked_reader_is_explained_and_not_judged_until_the_thread_ends() {
    alone(|| {
        let reports = Reports::about("");
        counted_and_shown(
            || 0,
            |lock| {
                let [leaked, end] = [const { Gate::new() }; 2];
                thread::scope(|s| {
                    let leaker = spawn_named(s, "leaks a reader", || {
                        forget(lock.read());
                        let line = line!() - 1;
                        leaked.open();
                        end.pass();
                        line
                    });
                    leaked.pass();
                    let writer =
                        spawn_named(s, "waits for the leaker", || lock.acquire_write().map(drop).expect_err("never"));
                    let told = until_waiting("waits for the leaker");
                    thread::sleep(Duration::from_millis(20));
                    assert_eq!(reports.count(), 0, "the leaker may do anything yet");
                    // The picture has both ends of the wait: who reads, and since which line.
                    let leaks =
                        find_thread_where(|thread| thread.name() == Some("leaks a reader") && !thread.is_gone());
                    let leaks = leaks.unwrap();
                    let resource = told.waits_for().unwrap().resource();
                    let held = leaks.holds().iter().find(|held| held.resource().is_same(resource)).unwrap();
                    let site = held.site();
                    let text = deadlock::snapshot().to_string();
                    assert!(text.contains("leaks a reader") && text.contains("waits for the leaker"), "{text}");
                    end.open();
                    assert_eq!((site.file(), site.line()), (file!(), leaker.join().unwrap()));
                    let deadlock = writer.join().unwrap();
                    assert_eq!(deadlock.report().kind(), Kind::Abandoned);
                    assert_is_a_proof(deadlock.report());
                    assert_eq!(deadlock.report().threads()[1].name(), Some("leaks a reader"));
                    let text = deadlock.to_string();
                    assert!(text.contains(&format!("{}:{}", file!(), site.line())), "{text}");
                });
                assert_eq!(reports.take().len(), 1);
                assert!(lock.try_read().is_some() && lock.try_write().is_none());
            },
        );
    });
}

/// Checks what each way of asking is told, by fresh threads one after the other: nothing where it gets in.
fn asked_by_fresh_threads(lock: &RwLock<i32>, are_told: [bool; 4]) {
    type Ask = fn(&RwLock<i32>) -> Result<(), Deadlock>;
    const ASKS: [Ask; 4] = [
        |lock| lock.acquire_read().map(drop),
        |lock| lock.acquire_read_recursive().map(drop),
        |lock| lock.acquire_upgradable_read().map(drop),
        |lock| lock.acquire_write().map(drop),
    ];
    for _ in 0..10 {
        for (ask, is_told) in ASKS.into_iter().zip(are_told) {
            thread::scope(|s| {
                let outcome = spawn_named(s, "asks what is left", || ask(lock)).join().unwrap();
                assert_eq!(outcome.is_err(), is_told);
                if let Err(deadlock) = outcome {
                    assert_eq!(deadlock.report().kind(), Kind::Abandoned);
                    assert_is_a_proof(deadlock.report());
                    assert_eq!(deadlock.report().threads()[1].name(), Some("leaves it"));
                }
            });
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn who_is_kept_out_by_a_dead_threads_guard_is_told_and_others_get_in() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                thread::scope(|s| drop(spawn_named(s, "leaves it", || forget(lock.read())).join()));
                asked_by_fresh_threads(&lock, [false, false, false, true]);
            },
        );
        for (write, are_told) in [(false, [false, false, true, true]), (true, [true; 4])] {
            let lock = RwLock::new(0);
            let leaves = || if write { forget(lock.write()) } else { forget(lock.upgradable_read()) };
            thread::scope(|s| drop(spawn_named(s, "leaves it", leaves).join()));
            asked_by_fresh_threads(&lock, are_told);
        }
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_reader_that_was_forgotten_once_of_two_still_keeps_writers_out() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let leaves = || {
                    let (first, second) = (lock.read(), lock.read());
                    forget(second);
                    drop(first);
                };
                thread::scope(|s| drop(spawn_named(s, "leaves it", leaves).join()));
                asked_by_fresh_threads(&lock, [false, false, false, true]);
            },
        );
    });
}

#[test]
#[cfg(target_os = "linux")]
fn who_is_parked_before_the_reader_ends_with_its_guard_is_told_and_who_is_behind_gets_in_or_is_told() {
    within(LIMIT, || {
        for round in 0..if cfg!(miri) { 1 } else { 10 } {
            counted_and_shown(
                || 0,
                |lock| {
                    let [held, end] = [const { Gate::new() }; 2];
                    thread::scope(|s| {
                        spawn_named(s, "leaves it", || {
                            forget(lock.read());
                            // Many more: the ones at the end are in further lists.
                            let more: Vec<_> = (0..round * 4).map(|_| lock.read_recursive()).collect();
                            more.into_iter().for_each(forget);
                            held.open();
                            end.pass();
                        });
                        held.pass();
                        let writers = ["mourns 1", "mourns 2", "mourns 3"].map(|name| {
                            let writer = spawn_named(s, name, || lock.acquire_write().map(drop).unwrap_err());
                            until_waiting(name);
                            writer
                        });
                        let upgrades = spawn_named(s, "mourns upgradably", || {
                            // Gets the turn when the writers before it have failed, or fails as they do.
                            lock.acquire_upgradable_read().map(drop)
                        });
                        let reader = spawn_named(s, "mourns not", || *lock.acquire_read().expect("it may read"));
                        until_waiting("mourns upgradably");
                        until_waiting("mourns not");
                        end.open();
                        for writer in writers {
                            let deadlock = writer.join().unwrap();
                            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
                            assert_is_a_proof(deadlock.report());
                        }
                        assert!(upgrades.join().unwrap().is_ok());
                        assert_eq!(reader.join().unwrap(), 0);
                    });
                    assert!(lock.try_read().is_some() && lock.try_write().is_none());
                },
            );
        }
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_writer_waits_for_readers_that_live_and_is_told_of_one_that_has_ended() {
    within(LIMIT, || {
        counted_and_shown(
            || 0,
            |lock| {
                let living = lock.read();
                thread::scope(|s| drop(spawn_named(s, "leaves it", || forget(lock.read())).join()));
                let deadlock = on_another_thread(|| lock.acquire_write().map(drop).unwrap_err());
                assert_eq!(deadlock.report().threads()[1].name(), Some("leaves it"));
                drop(living);
            },
        );
    });
}

#[test]
fn a_timed_writer_of_a_lock_that_a_dead_thread_reads_ends_with_its_time() {
    alone(|| {
        let reports = Reports::about("");
        counted_and_shown(
            || 0,
            |lock| {
                on_another_thread(|| forget(lock.read()));
                on_another_thread(|| assert!(lock.try_write_for(Duration::from_millis(30)).is_none()));
                assert!(lock.try_read().is_some());
            },
        );
        assert_eq!(reports.count(), 0);
    });
}

#[test]
fn a_reader_kept_in_a_thread_local_is_waited_for() {
    use std::cell::RefCell;
    use std::sync::Arc;

    thread_local! {
        static KEPT: RefCell<Vec<bowline::sync::ArcRwLockReadGuard<u32>>> = const { RefCell::new(Vec::new()) };
    }

    within(LIMIT, || {
        counted_and_shown(
            || 0_u32,
            |lock| {
                let lock = Arc::new(lock);
                let [kept, end] = [const { Gate::new() }; 2];
                thread::scope(|s| {
                    spawn_named(s, "keeps a reader", || {
                        // Made before this thread's first lock: destroyed after what a first lock may have made.
                        KEPT.with_borrow_mut(|guards| guards.push(lock.read_arc()));
                        kept.open();
                        end.pass();
                    });
                    kept.pass();
                    let writers = ["writes after the dead 1", "writes after the dead 2"].map(|name| {
                        let writer = spawn_named(s, name, || lock.acquire_write().map(|mut guard| *guard += 1));
                        until_waiting(name);
                        writer
                    });
                    end.open();
                    writers.into_iter().for_each(|writer| writer.join().unwrap().expect("released, not abandoned"));
                });
                assert_eq!(*lock.read(), 2);
            },
        );
    });
}

#[test]
fn a_mapped_reader_that_was_forgotten_keeps_writers_out() {
    let lock = RwLock::new((1, 2));
    forget(RwLockReadGuard::map(lock.read(), |pair| &pair.1));
    assert!(lock.try_write().is_none());
    let deadlock = lock.acquire_write().map(drop).unwrap_err();
    assert_eq!(deadlock.report().kind(), Kind::Relock);
}
