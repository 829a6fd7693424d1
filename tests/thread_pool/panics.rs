//! Panics of the user's code on a pool's threads: each goes where it belongs, and costs no worker.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};

use bowline::task::{PanicInfo, Rejected, Status};
use bowline::thread_pool::WhenFull;
use bowline::{Future, Lock, TaskError, ThreadPoolExecutor, deadlock, promise};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, alone, in_fresh_process, message, stderr, wait_until, within};

/// A pool of one, and its only thread.
fn pool_of_one() -> (ThreadPoolExecutor, ThreadId) {
    let pool = ThreadPoolExecutor::new(1);
    let worker = worker_of(&pool);
    (pool, worker)
}

fn worker_of(pool: &ThreadPoolExecutor) -> ThreadId {
    pool.submit(|| thread::current().id()).result().unwrap()
}

#[track_caller]
fn panic_of<T: std::fmt::Debug>(future: Future<T>) -> PanicInfo {
    match future.result() {
        Err(TaskError::Panicked(panic)) => panic,
        other => panic!("{other:?}"),
    }
}

/// Panics when it is dropped, unless the thread is panicking already.
#[derive(Debug)]
struct Explosive(Arc<AtomicUsize>);

impl Drop for Explosive {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        if !thread::panicking() {
            panic!("meant to, in a destructor");
        }
    }
}

#[test]
fn a_pool_is_as_good_as_new_after_its_tasks_panicked() {
    within(LIMIT, || {
        const WORKERS: usize = 4;
        let pool = ThreadPoolExecutor::new(WORKERS);
        Busy::keep(&pool, WORKERS).release();
        let tasks: Vec<Future<()>> = (0..3 * WORKERS).map(|n| pool.submit(move || panic!("meant to, {n}"))).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(panic_of(task).message(), format!("meant to, {n}"));
        }
        assert_eq!(pool.panic_count(), 3 * WORKERS as u64);
        // All of them are there, and at work at the same time.
        Busy::keep(&pool, WORKERS).release();
        assert_eq!((pool.worker_count(), pool.completed()), (WORKERS, 5 * WORKERS as u64));
    });
}

#[test]
fn a_panic_comes_with_its_message_its_line_and_its_thread() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("panics").build();
        let line = line!() + 1;
        let panic = panic_of(pool.submit(|| panic!("meant to")));
        assert_eq!((panic.message(), panic.thread()), ("meant to", Some("panics_0")));
        let location = panic.location().unwrap();
        assert_eq!((location.file(), location.line()), (file!(), line));
        let text = format!("panicked at {}:{line}:{}: meant to", file!(), location.column());
        assert_eq!(panic.to_string(), text);
        assert_eq!(TaskError::Panicked(panic).to_string(), format!("the task {text}"));
    });
}

#[test]
fn a_payload_of_any_type_comes_through_once() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let panic = panic_of(pool.submit(|| panic_any(vec![1, 2, 3])));
        let clone = panic.clone();
        assert_eq!(panic.message(), "Box<dyn Any>");
        assert_eq!(*clone.take_payload().unwrap().downcast::<Vec<i32>>().unwrap(), [1, 2, 3]);
        assert!(panic.take_payload().is_none());

        let panic = panic_of(pool.submit(|| panic_any(7_u8)));
        let resumed = catch_unwind(AssertUnwindSafe(|| panic.resume())).unwrap_err();
        assert_eq!(*resumed.downcast::<u8>().unwrap(), 7);
        let resumed = catch_unwind(AssertUnwindSafe(|| panic.resume())).unwrap_err();
        assert_eq!(message(&*resumed), "Box<dyn Any>", "the second time with the message");

        // One that no hook has seen.
        let panic = panic_of(pool.submit(|| resume_unwind(Box::new("quietly"))));
        assert_eq!((panic.message(), panic.location()), ("quietly", None));
    });
}

#[test]
fn a_panic_after_one_that_was_caught_in_the_task_is_told_with_its_own_line() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let caught = pool.submit(|| catch_unwind(|| panic!("meant to, and caught")).is_err());
        assert!(caught.result().unwrap());
        assert_eq!(pool.panic_count(), 0);
        let line = line!() + 3;
        let panic = panic_of(pool.submit(|| {
            let _ = catch_unwind(|| panic!("meant to, and caught"));
            panic!("meant to, and not caught")
        }));
        assert_eq!((panic.message(), panic.location().unwrap().line()), ("meant to, and not caught", line));
    });
}

#[test]
fn a_panic_without_a_line_is_not_told_with_that_of_another_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let quietly = || -> () { resume_unwind(Box::new("quietly")) };
        let caught = pool.submit(|| catch_unwind(|| panic!("meant to, and caught")).is_err());
        assert!(caught.result().unwrap());
        assert_eq!(panic_of(pool.submit(quietly)).location(), None);
        panic_of::<()>(pool.submit(|| panic!("meant to, and not caught")));
        assert_eq!(panic_of(pool.submit(quietly)).location(), None);
        // Nor with that of a destructor, which was contained.
        let explosive = Explosive(Arc::default());
        drop(pool.submit(move || explosive));
        assert_eq!(panic_of(pool.submit(quietly)).location(), None);
        // Nor with that of one that is run in place meanwhile.
        let own = pool.clone();
        let outer = pool.submit(move || {
            panic_of::<()>(own.submit(|| panic!("meant to, inside")));
            quietly()
        });
        assert_eq!(panic_of(outer).location(), None);
    });
}

#[test]
fn a_panic_of_a_task_that_its_submitter_runs_at_its_threads_end_stays_with_it() {
    thread_local! {
        static LAST_WISH: RefCell<Option<LastWish>> = const { RefCell::new(None) };
    }
    /// Submits a task that panics.
    struct LastWish(ThreadPoolExecutor, mpsc::Sender<(String, ThreadId)>);
    impl Drop for LastWish {
        fn drop(&mut self) {
            let here = thread::current().id();
            let panic = panic_of::<()>(self.0.submit(|| panic!("meant to, at the end")));
            self.1.send((panic.message().to_owned(), here)).unwrap();
        }
    }
    within(LIMIT, || {
        // The thread's memory of panics is older than the wish, and still there then, or younger, and gone.
        for panics_first in [true, false] {
            let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1);
            let pool = pool.when_full(WhenFull::CallerRuns).build();
            let busy = Busy::keep(&pool, 1);
            let queued = pool.submit(|| ());
            let (tell, told) = mpsc::channel();
            thread::scope(|s| {
                s.spawn(|| {
                    let panic = || drop(panic_of::<()>(pool.submit(|| panic!("meant to, earlier"))));
                    if panics_first {
                        panic();
                    }
                    LAST_WISH.set(Some(LastWish(pool.clone(), tell)));
                    if !panics_first {
                        panic();
                    }
                });
            });
            assert_eq!(told.recv_timeout(LIMIT).unwrap().0, "meant to, at the end");
            busy.release();
            queued.result().unwrap();
            assert_eq!(pool.panic_count(), 2);
        }
    });
}

#[test]
fn a_panic_of_a_task_that_is_run_in_place_stays_with_it() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let own = pool.clone();
        let outer = pool.submit(move || {
            let inner: Future<()> = own.submit(|| panic!("meant to, inside"));
            panic_of(inner).message().to_owned()
        });
        assert_eq!(outer.result().unwrap(), "meant to, inside");
        assert_eq!((pool.panic_count(), worker_of(&pool)), (1, worker));
    });
}

#[test]
fn an_error_of_a_task_goes_on_as_one_of_the_task_that_unwraps_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let own = pool.clone();
        let outer = pool.submit(move || own.submit(|| panic!("meant to, at the bottom")).result().unwrap());
        let panic: PanicInfo = panic_of::<()>(outer);
        assert!(panic.message().contains("meant to, at the bottom"), "{panic}");
    });
}

#[test]
fn what_a_task_that_panics_owns_and_holds_is_given_back() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let lock = Arc::new(Lock::new(1));
        let held = Arc::clone(&lock);
        panic_of(pool.submit(move || {
            *held.lock() = 2;
            let _guard = held.lock();
            panic!("meant to, with a lock held");
        }));
        assert_eq!((*lock.lock(), Arc::strong_count(&lock)), (2, 1));
    });
}

#[test]
fn a_destructor_of_a_closure_that_panics_is_a_panic_of_the_task() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let drops = Arc::new(AtomicUsize::new(0));
        let explosive = Explosive(Arc::clone(&drops));
        let panic = panic_of(pool.submit(move || drop(explosive)));
        assert_eq!((panic.message(), drops.load(SeqCst)), ("meant to, in a destructor", 1));
        // One that is left when the body has returned.
        let explosive = Explosive(Arc::clone(&drops));
        let panic = panic_of(pool.submit(move || {
            let _kept = &explosive;
        }));
        assert_eq!((panic.message(), drops.load(SeqCst)), ("meant to, in a destructor", 2));
        assert_eq!((pool.panic_count(), worker_of(&pool)), (2, worker));
    });
}

#[test]
fn a_destructor_of_a_detached_result_that_panics_costs_no_worker() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let drops = Arc::new(AtomicUsize::new(0));
        // Dropped by the worker.
        let busy = Busy::keep(&pool, 1);
        let explosive = Explosive(Arc::clone(&drops));
        drop(pool.submit(move || explosive));
        busy.release();
        assert_eq!((worker_of(&pool), drops.load(SeqCst)), (worker, 1));
        // Dropped by the one who gives the future up: contained as well.
        let explosive = Explosive(Arc::clone(&drops));
        let future = pool.submit(move || explosive);
        future.wait().unwrap();
        drop(future);
        assert_eq!((worker_of(&pool), drops.load(SeqCst)), (worker, 2));
        // With the last shared owner.
        let explosive = Arc::new(Explosive(Arc::clone(&drops)));
        let shared = pool.submit(move || explosive).shared();
        shared.wait().unwrap();
        drop(shared.clone());
        drop(shared);
        assert_eq!((worker_of(&pool), drops.load(SeqCst), pool.panic_count()), (worker, 3, 0));
    });
}

#[test]
fn a_destructor_of_a_cancelled_closure_that_panics_is_contained() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let drops = Arc::new(AtomicUsize::new(0));
        let submit = || {
            let explosive = Explosive(Arc::clone(&drops));
            pool.submit(move || explosive.0.load(SeqCst))
        };
        let busy = Busy::keep(&pool, 1);
        let (first, second) = (submit(), submit());
        assert!(first.cancel());
        assert_eq!((first.status(), drops.load(SeqCst)), (Status::Cancelled, 1));
        // By the end of the pool.
        let report = pool.shutdown_with(bowline::thread_pool::ShutdownOptions::new().wait(false).cancel_pending(true));
        assert_eq!((report.cancelled, second.status(), drops.load(SeqCst)), (1, Status::Cancelled, 2));
        busy.release();
        assert!(pool.shutdown().is_complete());
        assert_ne!(worker, thread::current().id());
    });
}

#[test]
fn a_closure_that_comes_back_panics_where_it_is_dropped() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        assert!(pool.shutdown().is_complete());
        let drops = Arc::new(AtomicUsize::new(0));
        let explosive = Explosive(Arc::clone(&drops));
        let error = pool.try_submit(move || drop(explosive)).unwrap_err();
        assert!(matches!(error.reason(), Rejected::Shutdown));
        let panic = catch_unwind(AssertUnwindSafe(|| drop(error))).unwrap_err();
        assert_eq!((message(&*panic), drops.load(SeqCst)), ("meant to, in a destructor", 1));
    });
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_costs_no_worker() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let drops = Arc::new(AtomicUsize::new(0));
        let explode = || {
            let explosive = Explosive(Arc::clone(&drops));
            move || -> () { panic_any(explosive) }
        };
        // Dropped by the worker, as nobody wants it; before the task is done, or after.
        let busy = Busy::keep(&pool, 1);
        drop(pool.submit(explode()));
        busy.release();
        assert_eq!((worker_of(&pool), drops.load(SeqCst)), (worker, 1));
        // Dropped by the one who asks.
        let panic = panic_of(pool.submit(explode()));
        drop(panic);
        assert_eq!((worker_of(&pool), drops.load(SeqCst)), (worker, 2));
        // Taken out, it is the taker's.
        let payload: Box<dyn Any + Send> = panic_of(pool.submit(explode())).take_payload().unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(payload))).is_err());
        assert_eq!((worker_of(&pool), drops.load(SeqCst), pool.panic_count()), (worker, 3, 3));
    });
}

/// A payload that counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Panics when it wakes.
struct PanicsWith(Arc<AtomicUsize>);

impl Wake for PanicsWith {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new(Counted(Arc::clone(&self.0))));
    }
}

#[test]
fn the_payload_of_every_contained_panic_is_dropped() {
    alone(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let payload = || Box::new(Counted(Arc::clone(&drops)));
        // Callbacks, wakers, and callbacks that come late.
        let (promise, mut future) = promise::<u8>();
        let first = payload();
        future.add_done_callback(move |_| resume_unwind(first));
        let waker = Waker::from(Arc::new(PanicsWith(Arc::clone(&drops))));
        assert!(std::future::Future::poll(Pin::new(&mut future), &mut Context::from_waker(&waker)).is_pending());
        promise.set_result(1).unwrap();
        assert_eq!(drops.load(SeqCst), 2);
        let late = payload();
        future.on_done(move |_| resume_unwind(late));
        assert_eq!(drops.load(SeqCst), 3);
        // Hooks.
        let counted = Arc::clone(&drops);
        let hook = deadlock::on_deadlock(move |_| resume_unwind(Box::new(Counted(Arc::clone(&counted)))));
        let lock = Lock::new(());
        let guard = lock.lock();
        lock.acquire().unwrap_err();
        drop((guard, hook));
        assert_eq!(drops.load(SeqCst), 4);
        // Tasks, whose panic nobody looks at.
        let pool = ThreadPoolExecutor::builder().max_workers(1).build();
        let panics = payload();
        pool.submit(move || -> () { resume_unwind(panics) }).wait().unwrap();
        let (of_item, other) = (payload(), Mutex::new(Some(payload())));
        drop(pool.submit(move || -> () { resume_unwind(of_item) }));
        let items = pool.map(move |_| -> () { resume_unwind(other.lock().unwrap().take().unwrap()) }, [0]);
        assert_eq!(items.filter(Result::is_err).count(), 1);
        drop(pool);
        assert_eq!(drops.load(SeqCst), 7);
        // Destructors, of what is cancelled and of results.
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let dropped = PanicsInDrop(Some(payload()));
        let cancelled = pool.submit(move || drop(dropped));
        assert!(cancelled.cancel());
        busy.release();
        assert_eq!(drops.load(SeqCst), 8);
        // An initializer.
        let initial = Mutex::new(Some(payload()));
        let broken = ThreadPoolExecutor::builder().max_workers(1);
        let broken =
            broken.initializer(move || -> () { resume_unwind(initial.lock().unwrap().take().unwrap()) }).build();
        assert!(matches!(broken.submit(|| ()).result(), Err(TaskError::Rejected(Rejected::Broken(_)))));
        drop(broken);
        assert_eq!(drops.load(SeqCst), 9);
    });
}

/// Panics when it is dropped.
struct PanicsInDrop(Option<Box<Counted>>);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        resume_unwind(self.0.take().unwrap());
    }
}

#[test]
fn a_callback_that_panics_costs_no_worker_and_no_other_callback() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let gate = Gate::default();
        let waits = gate.clone();
        let task = pool.submit(move || waits.pass());
        let (called, calls) = mpsc::channel();
        for n in 0..3 {
            let called = called.clone();
            task.add_done_callback(move |status| {
                called.send((n, status, thread::current().id())).unwrap();
                panic!("meant to, in a callback");
            });
        }
        gate.open();
        let calls: Vec<_> = (0..3).map(|_| calls.recv_timeout(LIMIT).unwrap()).collect();
        assert_eq!(calls, [0, 1, 2].map(|n| (n, Status::Finished, worker)));
        assert_eq!((worker_of(&pool), pool.panic_count()), (worker, 0));
    });
}

#[test]
fn an_item_a_function_or_a_result_of_a_map_that_panics_when_dropped_costs_no_worker() {
    within(LIMIT, || {
        let (pool, worker) = pool_of_one();
        let drops = Arc::new(AtomicUsize::new(0));
        let items = || (0..3).map(|_| Explosive(Arc::clone(&drops))).collect::<Vec<_>>();
        let results: Vec<_> = pool.map(drop, items()).collect();
        assert!(results.iter().all(|result| matches!(result, Err(TaskError::Panicked(_)))), "{results:?}");
        assert_eq!((worker_of(&pool), drops.load(SeqCst)), (worker, 3));
        // Results that nobody takes.
        let map = pool.map(|item| item, items()).start();
        wait_until(|| pool.queued() == 0);
        drop(map);
        assert_eq!(worker_of(&pool), worker);
        assert_eq!(drops.load(SeqCst), 6);
    });
}

#[test]
fn a_drop_of_a_pool_waits_for_tasks_that_panic() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let ended = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 {
            let explosive = Explosive(Arc::clone(&ended));
            drop(pool.submit(move || panic!("meant to, with {explosive:?}")));
        }
        drop(pool);
        assert_eq!(ended.load(SeqCst), 10);
    });
}

#[test]
fn a_report_that_is_passed_on_from_task_to_task_is_one_page() {
    let name = "a_report_that_is_passed_on_from_task_to_task_is_one_page";
    let body = || {
        within(LIMIT / 2, || {
            let pool = ThreadPoolExecutor::new(4);
            let deadlocks = pool.submit(|| {
                let lock = Lock::named("own", ());
                let _guard = lock.lock();
                drop(lock.lock());
            });
            let pass_on = |before: bowline::Future<()>| {
                pool.submit(move || {
                    if let Err(error) = before.result() {
                        panic!("{error}")
                    }
                })
            };
            let last = pass_on(pass_on(pass_on(deadlocks)));
            let error = last.result().unwrap_err().to_string();
            assert!(error.contains("waits for a lock it holds itself"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        });
    };
    let Some(output) = in_fresh_process(name, &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("panicked at").count() - text.matches("the task panicked at").count(), 4, "{text}");
    assert_eq!(text.matches("\nhelp: ").count(), 1, "{text}");
}

#[test]
fn a_refused_closure_whose_destructor_panics_unwinds_no_submission() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("meant to, in a destructor");
        }
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        pool.shutdown();
        let owned = Panics;
        let refused = pool.submit(move || drop(owned));
        assert!(matches!(refused.result(), Err(TaskError::Rejected(_))));
    });
}
