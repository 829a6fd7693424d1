//! Scopes: threads that borrow, what the end of a scope waits for, and who is told if it would wait for ever.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bowline::deadlock::Kind;
use bowline::thread::{self, Scope, ScopedJoinHandle};
use bowline::{Lock, ThreadPoolExecutor};

use crate::support::deadlocks::{Reports, names, the_only};
use crate::support::gate::Gate;
use crate::support::{
    LIMIT, alone, in_fresh_process, message, stderr, until_parked, until_waiting, wait_until, within,
};

#[track_caller]
fn spawn_named<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).expect("a thread")
}

#[test]
fn threads_of_a_scope_borrow_and_are_waited_for() {
    within(LIMIT, || {
        let mut words = vec!["knot".to_owned(), "loop".to_owned()];
        let mut letters = 0;
        let returned = thread::scope(|s| {
            s.spawn(|| letters += words.iter().map(String::len).sum::<usize>());
            "value"
        });
        words.push("bight".to_owned());
        assert_eq!((letters, returned), (8, "value"));
        let sums = thread::scope(|s| {
            let halves: Vec<_> = words.chunks(2).map(|half| s.spawn(move || half.concat())).collect();
            halves.into_iter().map(|half| half.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(sums, ["knotloop", "bight"]);
    });
}

#[test]
fn a_thread_spawns_others_in_its_scope_and_scopes_nest() {
    within(LIMIT, || {
        let count = AtomicUsize::new(0);
        thread::scope(|s| {
            s.spawn(|| {
                s.spawn(|| {
                    s.spawn(|| count.fetch_add(1, SeqCst));
                    count.fetch_add(1, SeqCst);
                });
                thread::scope(|inner| {
                    inner.spawn(|| count.fetch_add(1, SeqCst));
                });
                count.fetch_add(1, SeqCst);
            });
        });
        assert_eq!(count.into_inner(), 4);
    });
}

#[test]
fn a_panic_that_nobody_joined_is_the_scopes() {
    within(LIMIT, || {
        let scope = |joins: bool| {
            catch_unwind(AssertUnwindSafe(|| {
                thread::scope(|s| {
                    let child = s.spawn(|| panic!("meant to"));
                    if joins {
                        assert!(child.join().is_err());
                    }
                })
            }))
        };
        assert!(scope(true).is_ok());
        assert_eq!(message(&*scope(false).unwrap_err()), "a scoped thread panicked");
    });
}

#[test]
fn a_panic_of_a_thread_whose_handle_was_leaked_is_the_scopes_and_does_not_hang_it() {
    within(LIMIT, || {
        thread::scope(|s| std::mem::forget(s.spawn(|| 7)));
        let payload = catch_unwind(|| thread::scope(|s| std::mem::forget(s.spawn(|| panic!("meant to")))));
        assert_eq!(message(&*payload.unwrap_err()), "a scoped thread panicked");
    });
}

#[test]
fn a_scope_that_panics_waits_for_its_threads_first() {
    within(LIMIT, || {
        let (gate, done) = (Gate::default(), AtomicUsize::new(0));
        let payload = catch_unwind(AssertUnwindSafe(|| {
            thread::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        gate.pass();
                        done.fetch_add(1, SeqCst);
                    });
                }
                s.spawn(|| panic!("of a thread"));
                s.spawn(|| gate.open());
                std::panic::panic_any("of the scope");
            })
        }));
        assert_eq!(message(&*payload.unwrap_err()), "of the scope");
        assert_eq!(done.into_inner(), 3);
    });
}

#[test]
fn a_result_that_borrows_is_dropped_before_the_scope_ends() {
    struct Borrows<'a>(&'a AtomicUsize, Gate);
    impl Drop for Borrows<'_> {
        fn drop(&mut self) {
            self.1.pass();
            self.0.fetch_add(1, SeqCst);
        }
    }
    within(LIMIT, || {
        let (dropped, gate, nobody_has_it) = (AtomicUsize::new(0), Gate::default(), Gate::default());
        let opener = thread::spawn({
            let gate = gate.clone();
            move || {
                until_waiting("ends a scope of results");
                gate.open();
            }
        });
        thread::scope(|outer| {
            let ends = spawn_named(outer, "ends a scope of results", || {
                thread::scope(|s| {
                    // Nobody takes it, so that the thread itself drops it, and the scope waits for that.
                    drop(s.spawn(|| {
                        nobody_has_it.pass();
                        Borrows(&dropped, gate.clone())
                    }));
                    nobody_has_it.open();
                });
                dropped.load(SeqCst)
            });
            assert_eq!(ends.join().unwrap(), 1);
        });
        opener.join().unwrap();
    });
}

#[test]
fn the_end_of_a_scope_passes_the_verdict_to_the_thread_whoever_closes_the_cycle() {
    alone(|| {
        let reports = Reports::about("ends a scope");
        for by_value in [true, false] {
            for thread_closes in [true, false] {
                let lock = Arc::new(Lock::named("held around a scope", ()));
                let ends = thread::Builder::new().name("ends a scope".to_owned()).spawn(move || {
                    let _guard = lock.lock();
                    thread::scope(|s| {
                        let child = spawn_named(s, "in a scope", || {
                            if thread_closes {
                                until_parked("ends a scope");
                            }
                            match by_value {
                                true => assert!(lock.acquire().is_err()),
                                false => drop(lock.lock()),
                            }
                        });
                        if !thread_closes {
                            until_parked("in a scope");
                        }
                        if by_value {
                            std::mem::forget(child);
                        }
                    });
                });
                let ended = ends.unwrap().join();
                match by_value {
                    true => ended.unwrap(),
                    false => assert_eq!(message(&*ended.unwrap_err()), "a scoped thread panicked"),
                }
                let report = the_only(&reports);
                assert_eq!((report.kind(), names(report.threads())), (Kind::Cycle, vec!["ends a scope", "in a scope"]));
                assert_eq!(report.threads()[0].name(), Some("in a scope"), "the victim first");
            }
        }
    });
}

#[test]
fn the_end_of_a_scope_waits_for_all_of_its_threads_so_that_one_is_enough_for_a_deadlock() {
    alone(|| {
        let reports = Reports::about("ends a scope of many");
        let (lock, gate) = (Lock::named("held around many", ()), Gate::default());
        let told = AtomicUsize::new(0);
        thread::scope(|outer| {
            spawn_named(outer, "ends a scope of many", || {
                let _guard = lock.lock();
                thread::scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| gate.pass());
                    }
                    for _ in 0..2 {
                        s.spawn(|| told.fetch_add(usize::from(lock.acquire().is_err()), SeqCst));
                    }
                });
            });
            // Both that want the lock are told, one after the other, while the others run.
            wait_until(|| told.load(SeqCst) == 2);
            let waiting = until_waiting("ends a scope of many");
            assert!(waiting.waits_for().unwrap().others() <= 2);
            gate.open();
        });
        assert_eq!(reports.count(), 2);
    });
}

#[test]
fn a_thread_that_is_spawned_while_its_scope_ends_is_waited_for_as_well() {
    alone(|| {
        let reports = Reports::about("ends a late scope");
        let lock = Lock::named("held around a late scope", ());
        let told = AtomicUsize::new(0);
        thread::scope(|outer| {
            spawn_named(outer, "ends a late scope", || {
                let _guard = lock.lock();
                thread::scope(|s| {
                    spawn_named(s, "spawns late", || {
                        until_parked("ends a late scope");
                        spawn_named(s, "late", || told.fetch_add(usize::from(lock.acquire().is_err()), SeqCst));
                    });
                });
            });
        });
        assert_eq!(told.into_inner(), 1);
        assert_eq!(names(the_only(&reports).threads()), ["ends a late scope", "late"]);
    });
}

#[test]
fn a_chain_of_siblings_that_ends_in_a_lock_of_its_joiner_is_one_deadlock() {
    alone(|| {
        let reports = Reports::about("sibling ");
        let lock = Lock::named("wanted by a sibling", ());
        let is_told = thread::scope(|s| {
            let owner = spawn_named(s, "sibling 0", || {
                let guard = lock.lock();
                let wants = spawn_named(s, "sibling 2", || lock.acquire().is_err());
                let joins = spawn_named(s, "sibling 1", || wants.join().unwrap());
                until_parked("sibling 1");
                until_parked("sibling 2");
                let refused = joins.acquire_join().unwrap_err();
                drop(guard);
                refused.into_handle().join().unwrap()
            });
            owner.join().unwrap()
        });
        assert!(!is_told);
        assert_eq!(names(the_only(&reports).threads()), ["sibling 0", "sibling 1", "sibling 2"]);
    });
}

#[test]
fn a_scope_on_a_worker_of_a_pool_whose_thread_waits_for_that_pool_is_reported() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("scopes").build();
        let same = pool.clone();
        let task = pool.submit(move || {
            let mut told = None;
            thread::scope(|s| {
                s.spawn(|| told = same.submit(|| 7).result().err());
            });
            told.expect("the only worker waits for the thread")
        });
        let told = task.result().unwrap();
        assert!(told.to_string().contains("deadlock: "), "{told}");
    });
}

#[test]
fn a_scope_that_nobody_can_help_prints_the_report_and_aborts() {
    struct LocksWhilePanicking<'l>(&'l Lock<()>);
    impl Drop for LocksWhilePanicking<'_> {
        fn drop(&mut self) {
            drop(self.0.lock());
        }
    }
    let test = "a_scope_that_nobody_can_help_prints_the_report_and_aborts";
    let Some(output) = in_fresh_process(test, &[], || {
        let lock = Lock::named("held by a scope", ());
        let _guard = lock.lock();
        thread::scope(|s| {
            s.spawn(|| {
                let _locks = LocksWhilePanicking(&lock);
                panic!("meant to");
            });
        });
    }) else {
        return;
    };
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("deadlock: 2 threads wait for each other"), "{text}");
    // On a narrow page.
    let text: Vec<_> = text.split_whitespace().collect();
    assert!(text.join(" ").contains("waits for the end of unnamed thread"), "{text:?}");
}
