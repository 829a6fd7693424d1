//! A shutdown that hands back what was not begun, and submissions that push out what was queued before.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use bowline::task::{Rejected, Status};
use bowline::thread_pool::{FullQueue, PendingTask, WhenFull};
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor, promise};
use static_assertions::assert_impl_all;

use crate::support::gate::Busy;
use crate::support::{LIMIT, until_waiting, within};

assert_impl_all!(PendingTask: Send, Sync, std::fmt::Debug, std::panic::UnwindSafe);

#[test]
fn a_drained_pool_hands_back_what_was_not_begun_in_order_with_its_futures_connected() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let futures: Vec<_> = (0..6).map(|n| pool.submit_named("late", move || (n, thread::current().id()))).collect();
        assert!(futures[1].cancel());
        let mut pending = pool.drain().into_iter();
        assert_eq!((pending.len(), pool.queued(), pool.is_shutdown()), (5, 0, true));
        let mut next = || pending.next().unwrap();
        let first = next();
        assert!(format!("{first:?}").contains("late") && first.submitted_at().file() == file!());
        assert!(!futures[0].cancel() && futures[0].running());
        first.run();
        next().cancel();
        let other = ThreadPoolExecutor::new(1);
        let third = next();
        other.submit(move || third.run()).result().unwrap();
        drop((next(), next()));
        let here = thread::current().id();
        let states: Vec<_> = futures.iter().map(Future::status).collect();
        use Status::{Cancelled, Finished};
        assert_eq!(states, [Finished, Cancelled, Cancelled, Finished, Cancelled, Cancelled]);
        let results: Vec<_> = futures.into_iter().filter_map(|future| future.result().ok()).collect();
        assert!(results[0] == (0, here) && results[1].0 == 3 && results[1].1 != here);
        busy.release();
        assert!(pool.drain().is_empty() && pool.shutdown().is_complete());
    });
}

#[test]
fn a_pending_task_whose_closure_or_body_panics_unwinds_nobody() {
    within(LIMIT, || {
        struct Panics;
        impl Drop for Panics {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let owned = Panics;
        let dropped = pool.submit(move || drop(owned));
        let panics = pool.submit(|| panic!("in the body"));
        let mut pending = pool.drain();
        pending.pop().unwrap().run();
        drop(pending);
        assert!(dropped.cancelled());
        let TaskError::Panicked(panic) = panics.result().unwrap_err() else { panic!() };
        assert_eq!(panic.message(), "in the body");
        busy.release();
    });
}

#[test]
fn tasks_that_borrow_are_run_by_the_workers_of_a_drained_pool() {
    within(LIMIT, || {
        let (pool, count) = (ThreadPoolExecutor::new(1), AtomicUsize::new(0));
        let busy = Busy::keep(&pool, 1);
        let pending = pool.scope(|s| {
            (0..3).for_each(|_| drop(s.submit(|| count.fetch_add(1, SeqCst))));
            let free = pool.submit(|| ());
            let pending = pool.drain();
            assert_eq!((pending.len(), pool.queued()), (1, 3));
            busy.release();
            drop(free);
            pending
        });
        assert_eq!(count.load(SeqCst), 3);
        drop(pending);
    });
}

#[test]
fn of_all_tasks_that_race_a_drain_each_is_run_handed_back_or_refused() {
    within(LIMIT, || {
        for _ in 0..200 {
            let (pool, ran) = (ThreadPoolExecutor::new(2), AtomicUsize::new(0));
            let ran = Arc::new(ran);
            let (futures, drained) = thread::scope(|s| {
                let submitter = s.spawn(|| {
                    let task = |_| {
                        let ran = Arc::clone(&ran);
                        pool.submit(move || ran.fetch_add(1, SeqCst))
                    };
                    (0..50).map(task).collect::<Vec<_>>()
                });
                let other = s.spawn(|| pool.drain().len());
                let mine = pool.drain().len();
                (submitter.join().unwrap(), mine + other.join().unwrap())
            });
            assert!(pool.shutdown().is_complete());
            let ended = |wanted| futures.iter().filter(|future| future.status() == wanted).count();
            assert_eq!(ended(Status::Finished), ran.load(SeqCst));
            assert_eq!(ended(Status::Cancelled), drained);
            assert_eq!(ended(Status::Failed), 50 - drained - ran.load(SeqCst));
        }
    });
}

#[test]
fn whoever_waits_for_a_task_that_was_handed_back_waits_for_whoever_runs_it() {
    within(LIMIT, || {
        let (pool, lock) = (ThreadPoolExecutor::new(1), Arc::new(Lock::new(())));
        let busy = Busy::keep(&pool, 1);
        let wanted = Arc::clone(&lock);
        let task = pool.submit(move || wanted.acquire().is_err());
        let mut pending = pool.drain();
        let (mine, others) = (pending.pop().unwrap(), Arc::clone(&lock));
        let waiter = thread::Builder::new().name("holds-and-waits".to_owned()).spawn(move || {
            let _held = others.lock();
            task.result()
        });
        until_waiting("holds-and-waits");
        // The circle: this thread runs the task, which wants what the waiter for the task holds.
        mine.run();
        let told = waiter.unwrap().join().unwrap();
        assert!(matches!(told, Ok(true) | Err(TaskError::Deadlock(_))), "{told:?}");
        busy.release();
    });
}

fn full(when_full: WhenFull) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(1).queue_capacity(2).when_full(when_full).build()
}

#[test]
fn a_submission_to_a_full_queue_takes_the_place_of_the_oldest() {
    within(LIMIT, || {
        let pool = full(WhenFull::DiscardOldest);
        let busy = Busy::keep(&pool, 1);
        let futures: Vec<_> = (0..10).map(|n| pool.submit(move || n)).collect();
        assert_eq!(pool.queued(), 2);
        assert!(futures[..8].iter().all(Future::cancelled));
        assert!(matches!(pool.try_submit(|| 1).unwrap_err().reason(), Rejected::QueueFull));
        busy.release();
        let ran: Vec<_> = futures.into_iter().filter_map(|future| future.result().ok()).collect();
        assert_eq!(ran, [8, 9]);
    });
}

#[test]
fn a_discarded_closure_may_use_the_pool_as_it_is_dropped() {
    within(LIMIT, || {
        struct Submits(ThreadPoolExecutor, mpsc::Sender<Future<i32>>);
        impl Drop for Submits {
            fn drop(&mut self) {
                self.1.send(self.0.submit(|| 7)).unwrap();
            }
        }
        let pool = full(WhenFull::DiscardOldest);
        let busy = Busy::keep(&pool, 1);
        let (send, sent) = mpsc::channel();
        let owned = Submits(pool.clone(), send);
        let first = pool.submit(move || drop(owned));
        let others: Vec<_> = (0..4).map(|n| pool.submit(move || n)).collect();
        assert!(first.cancelled());
        let inner = sent.recv().unwrap();
        busy.release();
        pool.join();
        assert!(inner.done() && others.iter().all(Future::done));
    });
}

#[test]
fn several_who_discard_lose_no_task_and_keep_the_capacity() {
    within(LIMIT, || {
        let pool = full(WhenFull::DiscardOldest);
        let ended: usize = thread::scope(|s| {
            let submit = || {
                let futures: Vec<_> = (0..500).map(|n| pool.submit(move || n)).collect();
                futures
                    .into_iter()
                    .map(|future| usize::from(matches!(future.result(), Ok(_) | Err(TaskError::Cancelled))))
            };
            let submitters: Vec<_> = (0..3).map(|_| s.spawn(move || submit().sum::<usize>())).collect();
            submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum()
        });
        assert_eq!(ended, 1500);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_handler_decides_for_each_task_what_becomes_of_it_and_may_use_the_pool() {
    within(LIMIT, || {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (notes, handle) = (Arc::clone(&seen), Arc::new(std::sync::OnceLock::<ThreadPoolExecutor>::new()));
        let same = Arc::clone(&handle);
        let decide = move |full: &FullQueue| {
            let pool = same.get().unwrap();
            notes.lock().unwrap().push((full.task_name(), full.capacity(), pool.queued()));
            assert_eq!(full.submitted_at().file(), file!());
            match full.task_name() {
                Some("here") => WhenFull::CallerRuns,
                Some("now") => WhenFull::DiscardOldest,
                Some("wait") => WhenFull::Block,
                Some("panic") => panic!("on purpose"),
                _ => WhenFull::Reject,
            }
        };
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).on_full(decide).build();
        assert!(handle.set(pool.clone()).is_ok());
        let busy = Busy::keep(&pool, 1);
        let first = pool.submit(|| thread::current().id());
        let here = pool.submit_named("here", || thread::current().id());
        assert_eq!(here.result().unwrap(), thread::current().id());
        for name in ["no", "panic"] {
            let refused = catch_unwind(AssertUnwindSafe(|| pool.submit_named(name, || ()))).unwrap();
            assert!(matches!(refused.exception(), Some(TaskError::Rejected(Rejected::QueueFull))), "{name}");
        }
        let now = pool.submit_named("now", || 1);
        assert!(first.cancelled());
        thread::scope(|s| {
            let waits = s.spawn(|| pool.submit_named("wait", || 2).result().unwrap());
            crate::support::wait_until(|| seen.lock().unwrap().len() == 5);
            busy.release();
            assert_eq!((now.result().unwrap(), waits.join().unwrap()), (1, 2));
        });
        let names = ["here", "no", "panic", "now", "wait"];
        assert_eq!(*seen.lock().unwrap(), names.map(|name| (Some(name), 1, 1)));
        drop(handle);
    });
}

#[test]
fn a_task_that_was_handed_back_and_forgotten_is_waited_for_like_a_promise() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (open, opened) = promise::<()>();
        let busy = pool.submit(move || opened.result());
        while !busy.running() {
            thread::yield_now();
        }
        let mut late = pool.submit(|| 1);
        pool.drain().into_iter().for_each(std::mem::forget);
        let timeout = late.result_timeout(std::time::Duration::from_millis(5));
        assert!(matches!(timeout, Err(TaskError::Timeout)), "{timeout:?}");
        open.set_result(()).unwrap();
        busy.result().unwrap().unwrap();
    });
}
