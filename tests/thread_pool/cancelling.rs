//! Tasks that are asked to stop while they run: by their future, by the end of their scope or map, or by whoever has the token.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::thread_pool::{CancelToken, ShutdownOptions, WhenFull};
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor, deadlock};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, until_parked, until_thread_where, wait_until, within};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn a_task_that_has_not_begun_is_cancelled_and_never_sees_its_token() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let owned = Arc::new(());
        let ran = Arc::new(AtomicBool::new(false));
        let (theirs, noted) = (Arc::clone(&owned), Arc::clone(&ran));
        let task = pool.submit_cancellable(move |_| {
            noted.store(true, SeqCst);
            drop(theirs);
        });
        assert!(task.cancel() && task.cancelled());
        assert_eq!(Arc::strong_count(&owned), 1, "what it owns is dropped");
        busy.release();
        assert!(matches!(task.result(), Err(TaskError::Cancelled)));
        pool.shutdown();
        assert!(!ran.load(SeqCst));
    });
}

#[test]
fn a_task_that_runs_is_asked_to_stop_and_has_its_result() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let task = pool.submit_cancellable(|token| {
            token.wait();
            token.is_cancelled() && token.wait_for(LONG) && token.wait_until(Instant::now() + LONG)
        });
        wait_until(|| task.running());
        assert!(!task.cancel() && !task.cancelled());
        assert!(!task.cancel(), "once more");
        assert!(task.result().unwrap());
        // One that doesn't look runs to its end, and one that panics has its panic.
        let gate = Gate::default();
        let passes = gate.clone();
        let deaf = pool.submit_cancellable(move |_| passes.pass());
        wait_until(|| deaf.running());
        assert!(!deaf.cancel());
        gate.open();
        deaf.result().unwrap();
        let panics = pool.submit_cancellable(|token| -> u8 {
            token.wait();
            panic!("gave up")
        });
        wait_until(|| panics.running());
        assert!(!panics.cancel());
        assert!(matches!(panics.result(), Err(TaskError::Panicked(panic)) if panic.message() == "gave up"));
    });
}

#[test]
fn whoever_shares_the_result_may_ask_for_a_stop() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let task = pool.submit_cancellable(CancelToken::wait).shared();
        let other = task.clone();
        wait_until(|| task.running());
        drop(task);
        assert!(!other.cancel());
        assert!(other.result().is_ok());
        assert!(!other.cancel(), "it is done");
    });
}

#[test]
fn nobody_is_asked_to_stop_who_was_not_cancelled() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (tell, told) = mpsc::channel();
        let gate = Gate::default();
        let passes = gate.clone();
        drop(pool.submit_cancellable(move |token| {
            passes.pass();
            tell.send(token.clone()).unwrap();
        }));
        gate.open();
        let kept = told.recv().unwrap();
        pool.shutdown();
        assert!(!kept.is_cancelled(), "neither the future's drop nor the task's end did that");
        let pool = ThreadPoolExecutor::new(1);
        let looks = pool.submit_cancellable(|token| {
            // A shutdown cancels what is queued, and asks nobody.
            token.wait_for(Duration::from_millis(30))
        });
        wait_until(|| looks.running());
        assert!(pool.shutdown_with(ShutdownOptions::new().cancel_pending(true)).is_complete());
        assert!(!looks.result().unwrap());
        // A task that runs in place of its waiter has left its place in the queue behind.
        let pool = ThreadPoolExecutor::new(1);
        let (same, gate, begun) = (pool.clone(), Gate::default(), Gate::default());
        let (passes, begins) = (gate.clone(), begun.clone());
        let outer = pool.submit(move || {
            let inner = same.submit_cancellable(move |token| {
                begins.open();
                passes.pass();
                token.is_cancelled()
            });
            inner.result().unwrap()
        });
        begun.pass();
        let _ = pool.shutdown_with(ShutdownOptions::new().cancel_pending(true).wait(false));
        gate.open();
        assert!(!outer.result().unwrap());
    });
}

#[test]
fn a_token_is_passed_on_to_threads_and_other_tasks() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let inner = pool.clone();
        let outer = pool.submit_cancellable(move |token| {
            let (for_task, for_thread) = (token.clone(), token.clone());
            assert!(for_task == for_thread && for_task != CancelToken::default());
            let task = inner.submit(move || for_task.wait_for(LONG));
            let thread = thread::spawn(move || for_thread.wait());
            task.result().unwrap() && thread.join().is_ok()
        });
        wait_until(|| outer.running());
        assert!(!outer.cancel());
        assert!(outer.result().unwrap());
    });
}

#[test]
fn a_task_that_runs_in_place_of_a_waiting_worker_is_asked_to_stop() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let (tell, told) = mpsc::channel();
        let outer = pool.submit(move || {
            let nested = inner.submit_cancellable(|token| token.wait_for(LONG)).shared();
            tell.send(nested.clone()).unwrap();
            nested.result()
        });
        let nested = told.recv().unwrap();
        wait_until(|| nested.running());
        assert!(!nested.cancel());
        assert!(outer.result().unwrap().unwrap());
    });
}

#[test]
fn a_refused_task_and_one_that_its_submitter_runs_have_a_token_that_nobody_sets() {
    within(LIMIT, || {
        let closed = ThreadPoolExecutor::new(1);
        closed.shutdown();
        let refused = closed.submit_cancellable(|_| ());
        assert!(!refused.cancel());
        assert!(matches!(refused.result(), Err(TaskError::Rejected(_))));
        let full =
            ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::CallerRuns).build();
        let busy = Busy::keep(&full, 1);
        drop(full.submit(|| ()));
        let me = thread::current().id();
        let here = full.submit_cancellable(move |token| (thread::current().id() == me, token.is_cancelled()));
        assert!(!here.cancel());
        busy.release();
        assert_eq!(here.result().unwrap(), (true, false));
    });
}

#[test]
fn a_cancel_while_the_task_begins_either_prevents_it_or_reaches_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let began = Arc::new(AtomicUsize::new(0));
        let (mut prevented, rounds) = (0, 3000);
        for round in 0..rounds {
            let counts = Arc::clone(&began);
            let task = pool.submit_cancellable(move |token| {
                counts.fetch_add(1, SeqCst);
                token.wait(); // for ever, if the request is lost
            });
            (0..round % 64).for_each(|_| std::hint::spin_loop());
            prevented += usize::from(task.cancel());
            let _ = task.result();
        }
        assert_eq!(began.load(SeqCst) + prevented, rounds);
    });
}

#[test]
fn a_scope_whose_closure_panics_cancels_its_tasks() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (began, ran, late) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|s| {
                let (began, late) = (&began, &late);
                drop(s.submit_cancellable(move |token| {
                    began.open();
                    token.wait();
                    // Nothing begins after the end.
                    drop(s.submit(|| late.fetch_add(1, SeqCst)));
                    drop(s.submit_cancellable(|_| late.fetch_add(1, SeqCst)));
                }));
                (0..10).for_each(|_| drop(s.submit(|| ran.fetch_add(1, SeqCst))));
                began.pass();
                panic!("the end");
            });
        }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "the end");
        assert_eq!((ran.into_inner(), late.into_inner()), (0, 0));
        assert_eq!(pool.submit(|| 42).result().unwrap(), 42, "the pool works as before");
    });
}

#[test]
fn a_scope_that_returns_asks_nobody_to_stop() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (stopped, ran) = (AtomicBool::new(false), AtomicUsize::new(0));
        pool.scope(|s| {
            drop(s.submit_cancellable(|token| stopped.store(token.wait_for(Duration::from_millis(20)), SeqCst)));
            (0..10).for_each(|_| drop(s.submit(|| ran.fetch_add(1, SeqCst))));
        });
        assert_eq!((stopped.into_inner(), ran.into_inner()), (false, 10));
    });
}

#[test]
fn destructors_that_panic_while_a_scope_cancels_are_contained() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Gate::default();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            pool.scope(|s| {
                drop(s.submit_cancellable(|token| {
                    gate.open();
                    token.wait();
                }));
                for _ in 0..3 {
                    let owned = Panics;
                    drop(s.submit(move || drop(owned)));
                }
                gate.pass();
                panic!("the end");
            });
        }));
        assert_eq!(*panic.unwrap_err().downcast::<&str>().unwrap(), "the end");
    });
}

#[test]
fn a_map_that_ends_early_asks_its_calls_to_stop() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        for chunk_size in [1, 3] {
            let (tell, told) = mpsc::channel();
            let calls = move |token: &CancelToken, n: u32| {
                if n > 0 {
                    tell.send(()).unwrap();
                    token.wait();
                }
                n
            };
            let mut results = pool.map_cancellable(calls, 0..100).chunk_size(chunk_size).start();
            if chunk_size == 1 {
                assert_eq!(results.next().unwrap().unwrap(), 0);
            }
            told.recv().unwrap();
            drop(results);
            // Each worker comes free.
            Busy::keep(&pool, 2).release();
            assert!(told.iter().count() < 4, "what had not begun never did");
        }
    });
}

#[test]
fn a_map_whose_time_is_over_asks_its_calls_to_stop_and_one_that_is_iterated_to_its_end_asks_nobody() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let mut results = pool.map_cancellable(|token, _| token.wait(), 0..3).timeout(Duration::from_millis(5));
        assert!(matches!(results.next(), Some(Err(TaskError::Timeout))));
        assert!(results.next().is_none());
        Busy::keep(&pool, 1).release();
        let (tell, told) = mpsc::channel();
        let calls = move |token: &CancelToken, _| tell.send(token.clone()).unwrap();
        assert!(pool.map_cancellable(calls, 0..3).all(|result| result.is_ok()));
        assert!(told.iter().all(|token| !token.is_cancelled()));
    });
}

#[test]
fn a_wait_for_a_token_is_shown_and_part_of_no_deadlock() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("waits for its token").build();
        let (lock, gate) = (Arc::new(Lock::named("held meanwhile", ())), Gate::default());
        let (theirs, passes) = (Arc::clone(&lock), gate.clone());
        let task = pool.submit_cancellable(move |token| {
            let _held = theirs.lock();
            passes.open();
            token.wait();
        });
        gate.pass();
        let waits =
            until_thread_where(|thread| thread.name() == Some("waits for its token_0") && thread.waits_for().is_some());
        let wait = waits.waits_for().unwrap();
        assert_eq!((wait.resource().primitive(), wait.resource().name()), ("Event", Some("cancel")));
        assert!(wait.resource().made_at().file().ends_with("cancelling.rs"), "{:?}", wait.resource());
        let other = thread::Builder::new().name("wants what is held".to_owned());
        let other = other.spawn(move || drop(lock.lock())).unwrap();
        until_parked("wants what is held");
        assert!(deadlock::snapshot().to_string().contains("'cancel'"));
        task.cancel();
        task.result().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn reports_name_the_type_of_the_closure_that_takes_the_token() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("runs unnamed").build();
        let task = pool.submit_cancellable(CancelToken::wait);
        until_parked("runs unnamed_0");
        let shows = |what: &str| deadlock::snapshot().to_string().contains(what);
        let closure = pool.submit_cancellable(|_| ());
        let mut waiter = pool.submit_cancellable_named("has a name", |_| ());
        thread::scope(|s| {
            let waits = thread::Builder::new().name("waits for the closure".to_owned());
            waits.spawn_scoped(s, || closure.wait()).unwrap();
            until_parked("waits for the closure");
            assert!(shows("task reports_name_the_type") && !shows("Cancellable<"), "{}", deadlock::snapshot());
            let waits = thread::Builder::new().name("waits for the name".to_owned());
            let waiter = &mut waiter;
            waits.spawn_scoped(s, move || waiter.wait()).unwrap();
            until_parked("waits for the name");
            assert!(shows("'has a name'"));
            task.cancel();
        });
        task.result().unwrap();
    });
}

#[test]
fn a_token_of_ones_own_stops_many_and_says_so() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(3);
        let token = CancelToken::new();
        assert_eq!(format!("{token:?}"), "CancelToken { cancelled: false }");
        let tasks: Vec<Future<()>> = (0..3)
            .map(|_| {
                let token = token.clone();
                pool.submit(move || token.wait())
            })
            .collect();
        wait_until(|| tasks.iter().all(Future::running));
        token.cancel();
        token.cancel();
        tasks.into_iter().for_each(|task| task.result().unwrap());
        assert_eq!(format!("{token:?}"), "CancelToken { cancelled: true }");
    });
}

#[test]
fn whoever_discards_the_oldest_asks_no_task_to_stop_that_runs() {
    within(LIMIT, || {
        let full = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::DiscardOldest);
        let pool = full.build();
        let (same, gate, begun) = (pool.clone(), Gate::default(), Gate::default());
        let (passes, begins) = (gate.clone(), begun.clone());
        // It runs in place of its waiter, and has left its place in the queue behind.
        let outer = pool.submit(move || {
            let inner = same.submit_cancellable(move |token| {
                begins.open();
                passes.pass();
                token.is_cancelled()
            });
            inner.result().unwrap()
        });
        begun.pass();
        let [first, second] = [1, 2].map(|n| pool.submit(move || n));
        gate.open();
        assert!(!outer.result().unwrap(), "nobody asked for that");
        assert!(matches!(first.result(), Err(TaskError::Cancelled)));
        assert_eq!(second.result().unwrap(), 2);
    });
}

#[test]
fn a_task_that_shuts_down_or_joins_its_own_pool_is_told_so() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let [shuts_down, joins] = [pool.clone(), pool.clone()];
        let joined = pool.submit(move || joins.acquire_join().unwrap_err()).result().unwrap();
        let shut_down = pool.submit(move || shuts_down.shutdown().deadlock.unwrap()).result().unwrap();
        for deadlock in [joined, shut_down] {
            let text = deadlock.report().to_string();
            let headline = text.lines().next().unwrap();
            assert!(headline.ends_with("waits for a pool that it works for"), "{text}");
        }
    });
}
