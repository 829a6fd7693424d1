//! Read-write locks and tasks: waited for while a lock is held, run in place, left behind.

use std::cell::Cell;
use std::mem::forget;
use std::sync::Arc;
use std::thread;

use bowline::deadlock::Kind;
use bowline::sync::RwLockUpgradableReadGuard;
use bowline::{Lock, RwLock, TaskError, ThreadPoolExecutor};

use crate::support::deadlocks::{Reports, held_names, names, task_name};
use crate::support::gate::{Busy, Gate};
use crate::support::readers::let_readers_show_themselves;
use crate::support::{LIMIT, alone, spawn_named, until_thread_where, until_waiting, within};

fn pool(name: &str, workers: usize) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(workers).thread_name_prefix(name).build()
}

#[test]
fn a_task_that_reads_what_its_waiter_writes_is_a_cycle_of_the_two() {
    alone(|| {
        let reports = Reports::about("waits for a reader");
        let lock = Arc::new(RwLock::named("written by the waiter", 0));
        let pool = pool("reads for another", 1);
        thread::scope(|s| {
            let waiter = spawn_named(s, "waits for a reader", || {
                let mut guard = lock.write();
                let theirs = Arc::clone(&lock);
                let task = pool.submit_named("reads", move || theirs.acquire_read().map(|value| *value).err());
                let told = task.result();
                *guard += 1;
                told
            });
            // The one of the two that waits last.
            let told = waiter.join().unwrap();
            let deadlock = match told {
                Ok(told) => told.expect("its waiter writes"),
                Err(TaskError::Deadlock(deadlock)) => deadlock,
                Err(error) => panic!("{error}"),
            };
            let report = deadlock.report();
            assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2));
            let reads = report.threads().iter().find(|thread| task_name(thread) == "reads").expect("the task");
            assert_eq!(reads.pool(), Some("reads for another"));
            let waits = report.threads().iter().find(|thread| thread.name() == Some("waits for a reader")).unwrap();
            assert_eq!(held_names(waits), ["written by the waiter"]);
        });
        assert_eq!(reports.take().len(), 1);
        assert_eq!(*lock.read(), 1);
    });
}

#[test]
fn a_task_that_writes_what_its_waiter_reads_is_a_cycle_of_the_two() {
    alone(|| {
        for shown in [false, true] {
            let reports = Reports::about("waits for a writer");
            let lock = Arc::new(RwLock::new(0));
            if shown {
                let_readers_show_themselves(&lock);
            }
            let pool = pool("writes for another", 1);
            thread::scope(|s| {
                let waiter = spawn_named(s, "waits for a writer", || {
                    let _read = (lock.read(), lock.read_recursive());
                    let theirs = Arc::clone(&lock);
                    let task = pool.submit_named("writes", move || theirs.acquire_write().map(drop).err());
                    task.result()
                });
                let told = waiter.join().unwrap();
                let is_told = matches!(&told, Ok(Some(_)) | Err(TaskError::Deadlock(_)));
                assert!(is_told, "{told:?}");
            });
            let [report] = &reports.take()[..] else { panic!("one report") };
            assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2));
            pool.submit(move || *lock.acquire_write().unwrap() += 1).result().unwrap();
        }
    });
}

/// What a task run in place asks of a lock that its waiter holds in another way.
#[test]
fn a_task_run_in_place_is_another_reader_or_writer_than_its_waiter() {
    within(LIMIT, || {
        for shown in [false, true] {
            let pool = pool("in place", 1);
            let lock = Arc::new(RwLock::named("shared with a task", 0));
            let ask = |outer: &'static str, inner: &'static str| {
                if shown {
                    let_readers_show_themselves(&lock);
                }
                let (own, lock) = (pool.clone(), Arc::clone(&lock));
                let told = pool.submit_named("outer", move || {
                    let _read = (outer == "reads").then(|| lock.read());
                    let _upgradable = (outer == "reads upgradably").then(|| lock.upgradable_read());
                    let _write = (outer == "writes").then(|| lock.write());
                    let theirs = Arc::clone(&lock);
                    let told = own.submit_named("inner", move || match inner {
                        "reads" => theirs.acquire_read().map(drop),
                        "reads upgradably" => theirs.acquire_upgradable_read().map(drop),
                        "upgrades" => {
                            let guard = theirs.acquire_upgradable_read()?;
                            RwLockUpgradableReadGuard::acquire_upgrade(guard)
                                .map(drop)
                                .map_err(|error| error.into_deadlock())
                        }
                        _ => theirs.acquire_write().map(drop),
                    });
                    told.result().unwrap()
                });
                told.result().unwrap().err()
            };
            for (outer, inner, is_deadlock) in [
                ("reads", "reads", false),
                ("reads", "reads upgradably", false),
                ("reads", "upgrades", true),
                ("reads", "writes", true),
                ("reads upgradably", "reads", false),
                ("reads upgradably", "reads upgradably", true),
                ("reads upgradably", "writes", true),
                ("writes", "reads", true),
                ("writes", "reads upgradably", true),
                ("writes", "writes", true),
            ] {
                let told = ask(outer, inner);
                assert_eq!(told.is_some(), is_deadlock, "{outer}, {inner}");
                if let Some(deadlock) = told {
                    let report = deadlock.report();
                    assert_eq!(report.kind(), Kind::Cycle, "{outer}, {inner}");
                    let [first, second] = report.threads() else { panic!("{report}") };
                    assert_eq!((task_name(first), task_name(second)), ("inner", "outer"), "{report}");
                    assert!(held_names(second).contains(&"shared with a task"));
                    assert_eq!(first.os_id(), second.os_id());
                }
                assert!(!lock.is_locked(), "{outer}, {inner}");
            }
        }
    });
}

#[test]
fn what_a_task_run_in_place_reads_ends_with_it_and_what_it_forgets_is_its_threads() {
    alone(|| {
        for shown in [false, true] {
            let reports = Reports::about("left by a task");
            let (lock, dropped) = (Arc::new(RwLock::named("left by a task", 0)), Arc::new(RwLock::new(0)));
            let mutex = Arc::new(Lock::new(()));
            if shown {
                let_readers_show_themselves(&lock);
                let_readers_show_themselves(&dropped);
            }
            let pool = pool("left by a task", 1);
            let (own, begun, held) = (pool.clone(), Gate::default(), Gate::default());
            let task = {
                let (lock, dropped, mutex) = (Arc::clone(&lock), Arc::clone(&dropped), Arc::clone(&mutex));
                let (begun, held) = (begun.clone(), held.clone());
                pool.submit_named("waits in the end", move || {
                    let theirs = (Arc::clone(&lock), Arc::clone(&dropped));
                    let inner = own.submit(move || {
                        // More than fits into the first list, of one lock and another.
                        let guards: Vec<_> = (0..20).map(|_| theirs.1.read()).collect();
                        forget(theirs.0.read_arc());
                        drop(guards);
                    });
                    inner.result().unwrap();
                    assert!(dropped.try_write().is_some());
                    begun.open();
                    held.pass();
                    // The thread that alone could end that read waits.
                    drop(mutex.lock());
                })
            };
            let told = thread::scope(|s| {
                let writer = spawn_named(s, "left by a task: writes", || {
                    let _mutex = mutex.lock();
                    held.open();
                    begun.pass();
                    until_thread_where(|thread| {
                        thread.pool() == Some("left by a task") && thread.waits_for().is_some()
                    });
                    lock.acquire_write().map(drop).unwrap_err()
                });
                writer.join().unwrap()
            });
            task.result().unwrap();
            let report = told.report();
            assert_eq!((report.kind(), report.threads().len()), (Kind::Cycle, 2), "{report}");
            assert_eq!(report.threads()[1].pool(), Some("left by a task"));
            assert!(held_names(&report.threads()[1]).contains(&"left by a task"), "{report}");
            assert_eq!(reports.take().len(), 1);
            // With its thread, the read ends in nothing.
            drop(pool);
            if cfg!(target_os = "linux") {
                assert_eq!(lock.acquire_write().map(drop).unwrap_err().report().kind(), Kind::Abandoned);
            }
        }
    });
}

#[test]
fn a_writer_that_waits_for_a_task_that_is_queued_behind_its_readers_is_a_starvation() {
    alone(|| {
        let reports = Reports::about("queued behind readers");
        let lock = Arc::new(RwLock::named("read by all workers", 0));
        let pool = pool("queued behind readers", 3);
        let busy = Busy::keep(&pool, 3);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let lock = Arc::clone(&lock);
                pool.submit(move || *lock.read())
            })
            .collect();
        let task = pool.submit(|| 7);
        thread::scope(|s| {
            let writer = spawn_named(s, "writes and waits", || {
                let _guard = lock.write();
                busy.release();
                task.result().map_err(|error| error.to_string())
            });
            let told = writer.join().unwrap();
            assert!(told.unwrap_err().starts_with("deadlock: "));
        });
        readers.into_iter().for_each(|reader| assert_eq!(reader.result().unwrap(), 0));
        let reports = reports.take();
        assert_eq!((reports.len(), reports[0].kind()), (1, Kind::Starvation));
        assert_eq!(reports[0].threads().len(), 4);
        assert!(names(reports[0].threads()).contains(&"writes and waits"));
    });
}

#[test]
fn a_scope_whose_owner_reads_what_its_tasks_write_ends_with_a_victim_for_each() {
    alone(|| {
        let reports = Reports::about("owner of a scope");
        let lock = RwLock::named("read around a scope", 0);
        let pool = pool("tasks of a scope", 3);
        let told = thread::scope(|s| {
            let owner = spawn_named(s, "owner of a scope", || {
                let _read = lock.read();
                pool.scope(|scope| [0, 1, 2].map(|_| scope.submit(|| lock.acquire_write().map(drop).is_err())))
            });
            owner.join().unwrap()
        });
        assert_eq!(told.map(|task| task.result().unwrap()), [true; 3], "the end of a scope cannot fail");
        let reports = reports.take();
        assert_eq!(reports.len(), 3);
        assert!(reports.iter().all(|report| report.kind() == Kind::Cycle));
        assert!(!lock.is_locked());
    });
}

thread_local! {
    /// Where a task leaves a guard that a task in its place finds.
    static LEFT: Cell<Option<RwLockUpgradableReadGuard<'static, ()>>> = const { Cell::new(None) };
}

/// Runs `inner` in the place of a task that reads `lock` upgradably, with the guard of that read.
fn with_the_waiters_guard<R: Send + 'static>(
    lock: &'static RwLock<()>,
    inner: impl FnOnce(RwLockUpgradableReadGuard<'static, ()>) -> R + Send + 'static,
) -> R {
    let pool = Arc::new(pool("takes over", 1));
    let theirs = Arc::clone(&pool);
    let outer = pool.submit_named("has left a guard", move || {
        LEFT.set(Some(lock.upgradable_read()));
        theirs.submit_named("upgrades it", || inner(LEFT.take().expect("on the same thread"))).result().unwrap()
    });
    outer.result().unwrap()
}

#[test]
fn a_task_in_place_that_upgrades_a_guard_of_its_waiter_and_reads_as_well_is_told() {
    within(LIMIT, || {
        let lock: &RwLock<()> = Box::leak(Box::new(RwLock::named("read by the task", ())));
        let deadlock = with_the_waiters_guard(lock, |guard| {
            let _read = lock.read();
            RwLockUpgradableReadGuard::acquire_upgrade(guard).map(drop).unwrap_err().deadlock().clone()
        });
        assert_eq!(deadlock.report().kind(), Kind::Relock);
        assert_eq!(task_name(&deadlock.report().threads()[0]), "upgrades it");
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn a_task_in_place_that_upgrades_a_guard_of_its_waiter_waits_with_what_it_holds_itself() {
    within(LIMIT, || {
        let [lock, other]: [&'static RwLock<()>; 2] =
            ["upgraded in place", "read in place"].map(|name| &*Box::leak(Box::new(RwLock::named(name, ()))));
        let victims = with_the_waiters_guard(lock, move |guard| {
            let read = other.read();
            let theirs = thread::Builder::new().name("reads and writes".to_owned()).spawn(move || {
                let _read = lock.read();
                other.acquire_write().is_err()
            });
            until_waiting("reads and writes");
            let upgraded = RwLockUpgradableReadGuard::acquire_upgrade(guard);
            let is_victim = upgraded.as_ref().is_err();
            if let Err(error) = upgraded {
                assert_eq!(error.deadlock().report().kind(), Kind::Cycle);
                drop(error);
            }
            drop(read);
            usize::from(is_victim) + usize::from(theirs.unwrap().join().unwrap())
        });
        assert_eq!(victims, 1, "one of the two breaks the circle");
        assert!(lock.try_write().is_some() && other.try_write().is_some());
    });
}

#[test]
fn an_upgrade_in_place_of_a_guard_of_the_waiter_belongs_to_the_task() {
    within(LIMIT, || {
        for (name, waits) in [("upgraded at once", false), ("upgraded after a wait", true)] {
            let lock: &RwLock<()> = Box::leak(Box::new(RwLock::named(name, ())));
            with_the_waiters_guard(lock, move |guard| {
                let reader = waits.then(|| {
                    let (has_read, go_on) = (Gate::default(), Gate::default());
                    let (told, waits) = (has_read.clone(), go_on.clone());
                    let reader = thread::spawn(move || {
                        let _read = lock.read();
                        told.open();
                        waits.pass();
                    });
                    has_read.pass();
                    let opener = thread::spawn(move || {
                        until_thread_where(|thread| {
                            thread.waits_for().is_some_and(|wait| wait.resource().name() == Some(name))
                        });
                        go_on.open();
                    });
                    (reader, opener)
                });
                let written = RwLockUpgradableReadGuard::upgrade(guard);
                // A write in its own place is against itself, in whichever context the guard was made.
                assert!(lock.try_read().is_none());
                assert_eq!(lock.acquire_read().map(drop).unwrap_err().report().kind(), Kind::Relock, "{name}");
                drop(written);
                reader.into_iter().for_each(|(reader, opener)| {
                    reader.join().unwrap();
                    opener.join().unwrap();
                });
            });
            assert!(lock.try_write().is_some());
        }
    });
}
