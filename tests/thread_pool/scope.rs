//! Tasks that borrow from whoever submits them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock::Kind;
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, alone, message, spawn_named, until_parked, until_waiting, wait_until, within};

#[test]
fn a_task_borrows_what_outlives_the_scope() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let words = ["knot".to_owned(), "loop".to_owned(), "bight".to_owned()];
        let mut lengths = [0; 3];
        let longest = pool.scope(|s| {
            for (length, word) in lengths.iter_mut().zip(&words) {
                drop(s.submit(move || *length = word.len()));
            }
            let longest = s.submit_named("longest", || words.iter().max_by_key(|word| word.len()).unwrap());
            longest.result().unwrap()
        });
        assert_eq!((lengths, longest.as_str()), ([4, 4, 5], "bight"));
    });
}

#[test]
fn every_task_is_done_when_the_scope_is() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        for _ in 0..100 {
            let done = AtomicUsize::new(0);
            pool.scope(|s| (0..20).for_each(|_| drop(s.submit(|| done.fetch_add(1, SeqCst)))));
            assert_eq!(done.into_inner(), 20);
        }
    });
}

#[test]
fn a_scope_waits_for_a_task_that_runs_and_for_none_that_is_not_its_own() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let other = Busy::keep(&pool, 1);
        let (gate, ran) = (Gate::default(), AtomicBool::new(false));
        thread::scope(|threads| {
            let scope = spawn_named(threads, "ends a scope", || {
                pool.scope(|s| {
                    drop(s.submit(|| {
                        gate.pass();
                        ran.store(true, SeqCst);
                    }));
                });
            });
            until_parked("ends a scope");
            assert!(!ran.load(SeqCst));
            gate.open();
            scope.join().unwrap();
        });
        assert!(ran.into_inner());
        other.release();
    });
}

#[test]
fn a_task_may_submit_to_its_own_scope_as_deep_as_it_likes() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let done = AtomicUsize::new(0);
        // Nobody waits for the inner ones but the scope.
        pool.scope(|s| {
            for _ in 0..4 {
                drop(s.submit(|| {
                    for _ in 0..4 {
                        drop(s.submit(|| {
                            drop(s.submit(|| done.fetch_add(1, SeqCst)));
                            done.fetch_add(1, SeqCst);
                        }));
                    }
                    done.fetch_add(1, SeqCst);
                }));
            }
        });
        assert_eq!(done.into_inner(), 4 + 16 + 16);
    });
}

#[test]
fn the_last_of_a_chain_of_tasks_is_waited_for_too() {
    fn next<'s>(s: &'s bowline::thread_pool::Scope<'s, '_>, left: usize, done: &'s AtomicUsize) {
        done.fetch_add(1, SeqCst);
        if left > 0 {
            drop(s.submit(move || next(s, left - 1, done)));
        }
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let done = AtomicUsize::new(0);
        pool.scope(|s| next(s, 500, &done));
        assert_eq!(done.into_inner(), 501);
    });
}

#[test]
fn scopes_nest_on_a_pool_of_one() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let total = AtomicUsize::new(0);
        pool.scope(|outer| {
            for _ in 0..5 {
                drop(outer.submit(|| {
                    pool.scope(|inner| (0..5).for_each(|_| drop(inner.submit(|| total.fetch_add(1, SeqCst)))));
                    // The inner scope has ended, on the only worker.
                    total.fetch_add(100, SeqCst);
                }));
            }
        });
        assert_eq!(total.into_inner(), 525);
    });
}

#[test]
fn a_panic_of_the_scopes_body_cancels_what_has_not_begun_waits_for_the_rest_and_goes_on() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, began, done) = (Gate::default(), Gate::default(), AtomicUsize::new(0));
        thread::scope(|threads| {
            let scope = spawn_named(threads, "panics in a scope", || {
                catch_unwind(AssertUnwindSafe(|| {
                    pool.scope(|s| {
                        drop(s.submit(|| {
                            began.open();
                            gate.pass();
                            done.fetch_add(1, SeqCst)
                        }));
                        (0..5).for_each(|_| drop(s.submit(|| done.fetch_add(100, SeqCst))));
                        began.pass();
                        panic!("meant to, in the body");
                    });
                }))
            });
            until_parked("panics in a scope");
            assert_eq!(done.load(SeqCst), 0, "it waits");
            gate.open();
            let panic = scope.join().unwrap().unwrap_err();
            assert_eq!((message(&*panic), done.load(SeqCst)), ("meant to, in the body", 1));
        });
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    });
}

#[test]
fn a_panic_of_a_task_stays_with_its_future() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let result = pool.scope(|s| {
            drop(s.submit(|| panic!("meant to, and nobody asks")));
            let asked: Future<()> = s.submit(|| panic!("meant to, and asked for"));
            asked.result()
        });
        assert!(matches!(result, Err(TaskError::Panicked(panic)) if panic.message() == "meant to, and asked for"));
        assert_eq!(pool.panic_count(), 2);
    });
}

/// A result that uses what it borrows when it is dropped.
struct Uses<'b>(&'b Mutex<Vec<&'static str>>, &'static str);

impl Drop for Uses<'_> {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
    }
}

#[test]
fn a_result_that_borrows_is_dropped_while_what_it_borrows_is_there() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for _ in 0..100 {
            let log = Mutex::new(Vec::new());
            pool.scope(|s| {
                // Dropped before it is there, after it is there, with its closure, and taken.
                drop(s.submit(|| Uses(&log, "detached")));
                let done = s.submit(|| Uses(&log, "done"));
                done.wait().unwrap();
                drop(done);
                assert_eq!(s.submit(|| Uses(&log, "taken")).result().unwrap().1, "taken");
                let in_closure = Uses(&log, "in a closure");
                drop(s.submit(move || drop(in_closure)));
            });
            let mut log = log.into_inner().unwrap();
            log.sort_unstable();
            assert_eq!(log, ["detached", "done", "in a closure", "taken"]);
        }
    });
}

#[test]
fn a_cancelled_task_of_a_scope_drops_what_it_borrows_before_the_scope_ends() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let log = Mutex::new(Vec::new());
        pool.scope(|s| {
            let borrows = Uses(&log, "in a cancelled closure");
            let task = s.submit(move || drop(borrows));
            assert!(task.cancel());
            let dropped = log.lock().unwrap().len();
            assert_eq!(dropped, 1);
        });
        assert_eq!(log.into_inner().unwrap().len(), 1);
        busy.release();
    });
}

#[test]
fn a_future_may_leave_its_scope_when_its_result_borrows_nothing() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let text = "borrowed".to_owned();
        let length = pool.scope(|s| s.submit(|| text.len()));
        assert!(length.done());
        drop(text);
        drop(pool);
        assert_eq!(length.result().unwrap(), 8);
    });
}

#[test]
fn a_scope_in_which_a_task_needs_a_lock_that_its_caller_holds_ends_with_an_error_of_the_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let lock = Lock::named("held around a scope", 0);
        let kind = Mutex::new(None);
        {
            let _guard = lock.lock();
            pool.scope(|s| {
                drop(s.submit(|| {
                    let deadlock = lock.acquire().expect_err("its owner waits for this task");
                    *kind.lock().unwrap() = Some(deadlock.report().kind());
                }));
            });
        }
        assert_eq!(kind.into_inner().unwrap(), Some(Kind::Cycle));
    });
}

#[test]
fn a_scope_may_be_used_by_other_threads_while_it_lasts() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let done = AtomicUsize::new(0);
        pool.scope(|s| {
            thread::scope(|threads| {
                for _ in 0..3 {
                    threads.spawn(|| (0..50).for_each(|_| drop(s.submit(|| done.fetch_add(1, SeqCst)))));
                }
            });
        });
        assert_eq!(done.into_inner(), 150);
    });
}

#[test]
fn an_empty_scope_returns_the_value_of_its_body() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let text = "value".to_owned();
        assert_eq!(pool.scope(|_| &text), "value");
        assert_eq!(pool.worker_count(), 0);
        wait_until(|| pool.active_count() == 0);
    });
}

/// The worker that ends a scope runs the tasks that came last, though another worker waits for what the first one holds.
#[test]
fn the_end_of_a_scope_on_a_worker_is_no_deadlock_while_tasks_are_queued_that_it_will_run() {
    let round = || {
        let pool = ThreadPoolExecutor::builder().max_workers(2).thread_name_prefix("ends it").build();
        let lock = Lock::named("held by the scope's owner", ());
        let (begun, rival_queued) = (Gate::default(), Gate::default());
        let owner = || {
            let _guard = lock.lock();
            let me = thread::current().name().unwrap().to_owned();
            let ran_last = AtomicBool::new(false);
            pool.scope(|s| {
                let ran_last = &ran_last;
                drop(s.submit(|| {
                    begun.open();
                    rival_queued.pass();
                    until_waiting(&me);
                    drop(s.submit(|| ran_last.store(true, SeqCst)));
                }));
                begun.pass();
            });
            ran_last.into_inner()
        };
        pool.scope(|s| {
            let owner = s.submit(owner);
            begun.pass();
            let rival = s.submit(|| lock.acquire().map(drop));
            rival_queued.open();
            wait_until(|| owner.done() && rival.done());
            assert!(owner.result().unwrap());
            rival.result().unwrap().unwrap();
        });
    };
    alone(|| {
        bowline::deadlock::set_grace(Duration::ZERO);
        within(LIMIT, || (0..if cfg!(miri) { 3 } else { 300 }).for_each(|_| round()));
    });
}
