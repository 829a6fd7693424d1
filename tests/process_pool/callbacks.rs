//! Callbacks of tasks in worker processes: they run once, in order and on threads of their own, may wait for whatever they
//! like, for each other as well, and the end of the pool waits for them.

#![cfg(target_os = "linux")]

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use bowline::task::Status;
use bowline::{Future, Lock, ProcessPoolExecutor};

use crate::support::gate::Gate;
use crate::support::processes::is_gone;
use crate::support::workers::{Held, echo, pool_of};
use crate::support::{LIMIT, alone, find_thread, spawn_named, until_thread_where, wait_until, within};

#[test]
fn a_callback_may_wait_for_another_task_of_the_same_worker() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let held = Held::keep(&pool, 1);
        let (tell, told) = mpsc::channel();
        let [first, second] = [1, 2].map(|n| pool.submit(echo::<u64>, (n,)));
        let own = pool.clone();
        first.add_done_callback(move |_| {
            let third = own.submit(echo::<u64>, (3,));
            tell.send(second.result().unwrap() + third.result().unwrap()).unwrap();
        });
        held.release();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), 5);
        assert_eq!(first.result().unwrap(), 1);
        drop(pool);
    });
}

/// Submits tasks whose callbacks wait, by means that nobody sees, each for the one after it; the first does something else before.
/// Returns where the first says how many have run.
fn waiting_callbacks(
    pool: &ProcessPoolExecutor,
    many: usize,
    first: impl FnOnce() + Send + 'static,
) -> mpsc::Receiver<usize> {
    let (mut answer, told) = mpsc::channel();
    let mut first = Some(first);
    for n in 0..many {
        let (tell, next) = mpsc::channel();
        let (answer, first) = (std::mem::replace(&mut answer, tell), first.take());
        pool.submit(echo::<usize>, (n,)).add_done_callback(move |_| {
            if let Some(first) = first {
                first();
            }
            let count = if n + 1 == many { 0 } else { next.recv().unwrap() };
            answer.send(count + 1).unwrap();
        });
    }
    told
}

#[test]
fn callbacks_may_wait_for_what_other_callbacks_of_the_same_pool_do() {
    const MANY: usize = 12;
    within(LIMIT, || {
        let pool = pool_of(1);
        let held = Held::keep(&pool, 1);
        let told = waiting_callbacks(&pool, MANY, || ());
        held.release();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), MANY);
        assert_eq!(pool.submit(echo::<u64>, (2,)).result().unwrap(), 2);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_callback_that_shuts_the_pool_down_leaves_those_that_wait_for_each_other_running() {
    const MANY: usize = 8;
    within(LIMIT, || {
        for shuts_down in [true, false] {
            let pool = pool_of(1);
            let held = Held::keep(&pool, 1);
            let own = pool.clone();
            let told = waiting_callbacks(&pool, MANY, move || {
                if shuts_down {
                    own.shutdown();
                }
            });
            // The callback has the last handle.
            drop(held);
            drop(pool);
            assert_eq!(told.recv_timeout(LIMIT).unwrap(), MANY);
        }
    });
}

#[test]
fn slow_callbacks_get_few_threads() {
    alone(|| {
        let pool = pool_of(1);
        let alone = Arc::new(Mutex::new(0));
        for n in 0..200 {
            let alone = Arc::clone(&alone);
            pool.submit(echo::<u64>, (n,)).add_done_callback(move |_| {
                let mut called = alone.lock().unwrap();
                thread::sleep(Duration::from_millis(5));
                *called += 1;
            });
        }
        let mut most = 0;
        while *alone.lock().unwrap() < 200 {
            most = most.max(std::fs::read_dir("/proc/self/task").unwrap().count());
        }
        assert!(most < 60, "{most} threads");
        drop(pool);
    });
}

#[test]
fn a_waker_may_wait_for_another_task_of_the_same_worker() {
    struct Waits(Mutex<Option<Future<u64>>>, mpsc::Sender<u64>);

    impl Wake for Waits {
        fn wake(self: Arc<Self>) {
            let other = self.0.lock().unwrap().take().expect("it is woken once");
            self.1.send(other.result().unwrap()).unwrap();
        }
    }

    within(LIMIT, || {
        let pool = pool_of(1);
        let held = Held::keep(&pool, 1);
        let [mut awaited, other] = [1, 2].map(|n| pool.submit(echo::<u64>, (n,)));
        let (tell, told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Waits(Mutex::new(Some(other)), tell)));
        assert!(Pin::new(&mut awaited).poll(&mut Context::from_waker(&waker)).is_pending());
        held.release();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), 2);
        assert_eq!(awaited.result().unwrap(), 1);
    });
}

#[test]
fn a_callback_that_panics_is_contained() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let held = Held::keep(&pool, 1);
        let (tell, told) = mpsc::channel();
        let task = pool.submit(echo::<u64>, (1,));
        for n in 0..4 {
            let tell = tell.clone();
            task.add_done_callback(move |_| {
                assert!(n % 2 == 0, "callback {n} is out of order");
                tell.send(n).unwrap();
            });
        }
        held.release();
        assert_eq!([told.recv_timeout(LIMIT).unwrap(), told.recv_timeout(LIMIT).unwrap()], [0, 2]);
        // One that is added late runs at once, on this thread.
        let here = thread::current().id();
        task.add_done_callback(move |status| tell.send(u64::from(status == Status::Finished) + 10).unwrap());
        assert_eq!(told.try_recv().unwrap(), 11);
        task.add_done_callback(move |_| assert_ne!(thread::current().id(), here, "it panics, and nobody sees it"));
        assert_eq!(task.result().unwrap(), 1);
        assert_eq!(pool.submit(echo::<u64>, (2,)).result().unwrap(), 2);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn callbacks_of_a_task_run_in_the_order_in_which_they_were_added() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::new(1).unwrap();
        let held = Held::keep(&pool, 1);
        let called = Arc::new(Mutex::new(Vec::new()));
        for n in 0..50 {
            let task = pool.submit(echo::<u64>, (n,));
            for callback in 0..3 {
                let called = Arc::clone(&called);
                task.add_done_callback(move |_| called.lock().unwrap().push(n * 3 + callback));
            }
        }
        held.release();
        // It waits for the callbacks.
        drop(pool);
        let called = called.lock().unwrap();
        assert_eq!(called.len(), 150);
        for n in 0..50 {
            let its = called.iter().copied().filter(|callback| callback / 3 == n);
            assert!(its.eq(n * 3..n * 3 + 3));
        }
    });
}

#[test]
fn a_done_callback_may_drop_the_last_handle() {
    within(LIMIT, || {
        for cancels in [false, true] {
            let pool = pool_of(1);
            let held = Held::keep(&pool, 1);
            let pids = pool.worker_pids();
            let task = pool.submit(echo::<u64>, (1,));
            let later = pool.submit(echo::<u64>, (2,));
            let (tell, told) = mpsc::channel();
            if cancels {
                thread::scope(|s| {
                    let task = &task;
                    task.add_done_callback(move |status| {
                        drop(pool);
                        tell.send(status).unwrap();
                    });
                    // The callback waits for the end of the pool, on this thread.
                    let cancelling = s.spawn(|| task.cancel());
                    wait_until(|| task.done());
                    held.release();
                    assert!(cancelling.join().unwrap());
                });
            } else {
                task.add_done_callback(move |status| {
                    drop(pool);
                    tell.send(status).unwrap();
                });
                held.release();
            }
            let expected = if cancels { Status::Cancelled } else { Status::Finished };
            assert_eq!(told.recv_timeout(LIMIT).unwrap(), expected);
            assert!(later.done() && pids.into_iter().all(is_gone));
            assert_eq!(later.result().unwrap(), 2);
        }
    });
}

#[test]
fn a_done_callback_may_end_the_pool_while_somebody_else_does() {
    within(LIMIT, || {
        for kills in [false, true] {
            let pool = pool_of(1);
            let held = Held::keep(&pool, 1);
            let task = pool.submit(echo::<u64>, (1,));
            let (own, (tell, told)) = (pool.clone(), mpsc::channel());
            task.add_done_callback(move |_| {
                let report = if kills { own.kill() } else { own.shutdown() };
                tell.send(report.is_complete()).unwrap();
            });
            thread::scope(|s| {
                s.spawn(|| assert!(pool.shutdown().is_complete()));
                wait_until(|| pool.is_shutdown());
                held.release();
            });
            assert!(told.recv_timeout(LIMIT).unwrap());
            assert_eq!(task.result().unwrap(), 1);
        }
    });
}

#[test]
fn every_one_of_several_shutdowns_at_once_waits_for_the_callbacks() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (gate, called) = (Gate::default(), Arc::new(AtomicBool::new(false)));
        let (waits, calls) = (gate.clone(), Arc::clone(&called));
        pool.submit(echo::<u64>, (1,)).add_done_callback(move |_| {
            waits.pass();
            calls.store(true, SeqCst);
        });
        let names = ["first to shut down", "second to shut down", "third to shut down"];
        thread::scope(|s| {
            let shut_down = || (pool.shutdown().is_complete(), called.load(SeqCst));
            let waiters = names.map(|name| spawn_named(s, name, shut_down));
            let waits = |name| {
                let thread = find_thread(name);
                thread.is_some_and(|thread| {
                    thread.waits_for().is_some_and(|wait| wait.resource().primitive() == "ThreadPoolExecutor")
                })
            };
            wait_until(|| names.iter().zip(&waiters).all(|(name, waiter)| waits(name) || waiter.is_finished()));
            gate.open();
            assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [(true, true); 3]);
        });
    });
}

#[test]
fn a_shutdown_that_waits_for_a_callback_that_waits_for_it_reports_a_deadlock() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let lock = Arc::new(Lock::named("held by who shuts down", ()));
        let (guard, wanted) = (lock.lock(), Arc::clone(&lock));
        pool.submit(echo::<u64>, (1,)).add_done_callback(move |_| drop(wanted.lock()));
        until_thread_where(|thread| {
            thread.waits_for().is_some_and(|wait| wait.resource().name() == Some("held by who shuts down"))
        });
        let report = pool.shutdown();
        let deadlock = report.deadlock.as_ref().expect("a deadlock").to_string();
        assert!(report.is_complete() && deadlock.contains("-callbacks"), "{deadlock}");
        drop(guard);
        assert!(pool.shutdown().deadlock.is_none());
    });
}

#[test]
fn nobody_who_drops_a_future_waits_for_a_callback() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let (gate, (tell, told)) = (Gate::default(), mpsc::channel());
        let waits = gate.clone();
        let [task, other] = [1, 2].map(|n| pool.submit(echo::<u64>, (n,)));
        // It has the last handle, and keeps nothing else of the pool.
        task.add_done_callback(move |_| {
            drop(pool);
            tell.send(()).unwrap();
            waits.pass();
        });
        told.recv_timeout(LIMIT).unwrap();
        assert_eq!((task.result().unwrap(), other.result().unwrap()), (1, 2));
        gate.open();
    });
}
