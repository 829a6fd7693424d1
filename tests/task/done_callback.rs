//! What runs when a task is done: once, in order, on the thread that ends it, whatever the callbacks themselves do.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bowline::task::{DoneCallback, Status};
use bowline::{Future, Promise, ReturnWhen, SharedFuture, TaskError, ThreadPoolExecutor, as_completed, promise, wait};

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, spawn_named, until_waiting, within};

/// Ends a promise in one way, and says what its future's callbacks have to be told.
type End = (Status, fn(Promise<u32>, &Future<u32>));

const ENDS: [End; 4] = [
    (Status::Finished, |promise, _| promise.set_result(1).unwrap()),
    (Status::Failed, |promise, _| promise.set_exception(TaskError::Timeout).unwrap()),
    (Status::Failed, |promise, _| drop(promise)),
    (Status::Cancelled, |promise, future| {
        assert!(future.cancel());
        assert!(promise.cancelled());
    }),
];

/// Has `future` note in a list what it is told.
fn note<T>(future: &Future<T>, list: &Arc<Mutex<Vec<(u32, Status)>>>, number: u32) {
    let list = Arc::clone(list);
    future.add_done_callback(move |status| list.lock().unwrap().push((number, status)));
}

#[test]
fn callbacks_are_told_how_the_task_ended_in_the_order_in_which_they_were_added() {
    for (status, end) in ENDS {
        let list = Arc::new(Mutex::new(Vec::new()));
        let (promise, future) = promise();
        (0..3).for_each(|number| note(&future, &list, number));
        assert!(list.lock().unwrap().is_empty());
        end(promise, &future);
        let told: Vec<_> = (0..3).map(|number| (number, status)).collect();
        assert_eq!(*list.lock().unwrap(), told);
        // One that comes late runs here and now.
        note(&future, &list, 3);
        assert_eq!(list.lock().unwrap()[3..], [(3, status)]);
    }
}

#[test]
fn a_panicking_callback_is_contained_and_the_others_run() {
    for (status, end) in ENDS {
        let list = Arc::new(Mutex::new(Vec::new()));
        let (promise, future) = promise();
        note(&future, &list, 0);
        future.add_done_callback(|_| panic!("on purpose"));
        note(&future, &list, 1);
        future.add_done_callback(|_| panic!("on purpose"));
        end(promise, &future);
        assert_eq!(*list.lock().unwrap(), [(0, status), (1, status)]);
        assert_eq!(future.status(), status);
        // One that comes late does not reach whoever adds it, either.
        future.add_done_callback(|_| panic!("on purpose"));
    }
}

#[test]
fn a_worker_lives_on_after_a_callback_has_panicked_on_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let future = pool.submit(move || theirs.pass());
        future.add_done_callback(|_| panic!("on purpose"));
        gate.open();
        future.result().unwrap();
        assert_eq!(pool.submit(|| 42).result().unwrap(), 42);
        assert_eq!((pool.worker_count(), pool.panic_count()), (1, 0));
    });
}

#[test]
fn callbacks_run_on_the_thread_that_ends_the_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("calls back").build();
        let gate = Arc::new(Gate::new());
        let (tell, told) = mpsc::channel();
        let note = |future: &Future<()>| {
            let tell = tell.clone();
            future.add_done_callback(move |_| tell.send(thread::current().name().map(str::to_owned)).unwrap());
        };
        let theirs = Arc::clone(&gate);
        let future = pool.submit(move || theirs.pass());
        let cancelled = pool.submit(|| ());
        note(&future);
        note(&cancelled);
        assert!(cancelled.cancel());
        assert_eq!(told.try_recv().unwrap().as_deref(), thread::current().name(), "who cancels calls back");
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap().as_deref(), Some("calls back_0"));
        future.wait().unwrap();
        note(&future);
        assert_eq!(told.try_recv().unwrap().as_deref(), thread::current().name(), "late ones run where they are added");
    });
}

#[test]
fn a_callback_may_add_another_which_runs_at_once() {
    let list = Arc::new(Mutex::new(Vec::new()));
    let (promise, future) = promise::<u32>();
    let future = Arc::new(future);
    let (theirs, own) = (Arc::clone(&list), Arc::downgrade(&future));
    future.add_done_callback(move |status| {
        let future = own.upgrade().unwrap();
        assert!(future.done() && future.status() == status && !future.cancel());
        note(&future, &theirs, 1);
        theirs.lock().unwrap().push((2, status));
    });
    note(&future, &list, 3);
    promise.set_result(42).unwrap();
    let numbers: Vec<_> = list.lock().unwrap().iter().map(|&(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(Arc::into_inner(future).unwrap().result().unwrap(), 42);
}

#[test]
fn callbacks_added_while_the_task_ends_run_once_each() {
    const ADDERS: usize = 3;
    const EACH: usize = 5;
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let rounds = if cfg!(miri) { 10 } else { 500 };
    within(LIMIT, || {
        for round in 1..=rounds {
            let (promise, future) = promise();
            let start = Barrier::new(ADDERS + 1);
            thread::scope(|s| {
                for _ in 0..ADDERS {
                    s.spawn(|| {
                        start.wait();
                        for _ in 0..EACH {
                            future.add_done_callback(|status| {
                                assert_eq!(status, Status::Finished);
                                RUNS.fetch_add(1, SeqCst);
                            });
                        }
                    });
                }
                start.wait();
                promise.set_result(()).unwrap();
            });
            assert_eq!(RUNS.load(SeqCst), round * ADDERS * EACH);
        }
    });
}

#[test]
fn the_result_goes_to_its_callback() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (tell, told) = mpsc::channel();
        let pass_on = |future: Future<String>| {
            let tell = tell.clone();
            future.on_done(move |result| tell.send(result).unwrap());
        };
        pass_on(pool.submit(|| "soon".to_owned()));
        assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), "soon");
        pass_on(pool.submit(|| panic!("on purpose")));
        assert!(matches!(told.recv_timeout(LIMIT).unwrap(), Err(TaskError::Panicked(_))));

        let (kept, future) = promise();
        kept.set_result("late".to_owned()).unwrap();
        pass_on(future);
        assert_eq!(told.try_recv().unwrap().unwrap(), "late", "here, if it is there already");
        let (broken, future) = promise();
        pass_on(future);
        drop(broken);
        assert!(matches!(told.try_recv().unwrap(), Err(TaskError::BrokenPromise)));
    });
}

#[test]
fn a_result_whose_callback_panics_is_dropped_once() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }

    let (promise, future) = promise();
    future.on_done(|result| {
        let _result = result;
        panic!("on purpose");
    });
    assert!(promise.set_result(Counted).is_ok());
    assert_eq!(DROPPED.load(SeqCst), 1);
}

#[test]
fn a_callback_may_wait_for_another_future_on_its_worker() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("waits in a callback").build();
        let (promise, other) = promise();
        let (tell, told) = mpsc::channel();
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let first = pool.submit(move || theirs.pass());
        first.add_done_callback(move |_| tell.send(other.result()).unwrap());
        gate.open();
        until_waiting("waits in a callback_0");
        assert!(first.done(), "the task itself is done");
        promise.set_result(42).unwrap();
        assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), 42);
        first.result().unwrap();
    });
}

#[test]
fn a_callback_on_the_only_worker_may_wait_for_what_is_queued_behind_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let first = pool.submit(move || theirs.pass());
        let second = pool.submit(|| 42);
        let (tell, told) = mpsc::channel();
        first.add_done_callback(move |_| tell.send(second.result()).unwrap());
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), 42);
    });
}

#[test]
fn waiters_are_woken_before_the_callbacks_run() {
    within(LIMIT, || {
        let (promise, future) = promise();
        let woken = Arc::new(Gate::new());
        let theirs = Arc::clone(&woken);
        // Would wait for ever if it held the waiter up.
        future.add_done_callback(move |_| theirs.pass());
        thread::scope(|s| {
            let waiter = spawn_named(s, "not held up", || {
                future.wait().unwrap();
                woken.open();
            });
            until_waiting("not held up");
            promise.set_result(()).unwrap();
            waiter.join().unwrap();
        });
    });
}

#[test]
fn a_callback_is_dropped_after_it_has_run_and_not_kept_by_the_future() {
    let witness = Arc::new(());
    let (promise, future) = promise();
    let theirs = Arc::clone(&witness);
    future.add_done_callback(move |_| assert_eq!(Arc::strong_count(&theirs), 2));
    promise.set_result(()).unwrap();
    assert_eq!(Arc::strong_count(&witness), 1);
    drop(future);
}

#[test]
fn whoever_waits_for_one_of_several_is_told_before_a_callback_that_waits_for_it() {
    within(LIMIT, || {
        let ways: [fn(&SharedFuture<u8>) -> bool; 4] = [
            |future| wait([future], ReturnWhen::FirstCompleted, None).deadlock.is_none(),
            |future| wait([future], ReturnWhen::FirstException, None).deadlock.is_none(),
            |future| as_completed([future.clone()]).next().is_some_and(|done| done.is_ok()),
            |future| futures::executor::block_on(future.clone()).is_ok(),
        ];
        for (at, way) in ways.into_iter().enumerate() {
            let (given, future) = promise();
            let future = future.shared();
            let (returned, has_returned) = promise::<()>();
            future.add_done_callback(move |_| {
                let _ = has_returned.result();
            });
            thread::scope(|s| {
                let waiter = spawn_named(s, "before callbacks", || {
                    let is_done = way(&future);
                    returned.set_result(()).unwrap();
                    is_done
                });
                if at < 3 {
                    until_waiting("before callbacks");
                } else {
                    // Another executor's wait is in no graph. One that begins too late finds the result.
                    thread::sleep(Duration::from_millis(20));
                }
                given.set_result(7).unwrap();
                assert!(waiter.join().unwrap());
            });
        }
    });
}

#[test]
fn a_removed_callback_never_runs_and_the_others_run_in_order() {
    for (status, end) in ENDS {
        for many in [1, 3, 8, 9, 40] {
            let list = Arc::new(Mutex::new(Vec::new()));
            let (promise, future) = promise();
            let add = |number| {
                let list = Arc::clone(&list);
                future.add_done_callback(move |status| list.lock().unwrap().push((number, status)))
            };
            let callbacks: Vec<DoneCallback> = (0..many).map(add).collect();
            for (number, callback) in callbacks.into_iter().enumerate().rev() {
                // The handle of one that is to run is dropped.
                if number % 3 != 1 {
                    assert!(callback.remove());
                }
            }
            end(promise, &future);
            let left: Vec<_> = (0..many).filter(|number| number % 3 == 1).map(|number| (number, status)).collect();
            assert_eq!(*list.lock().unwrap(), left);
        }
    }
}

#[test]
fn a_callback_that_has_run_or_runs_cannot_be_removed() {
    within(LIMIT, || {
        let (promise, future) = promise();
        let early = future.add_done_callback(|_| {});
        let (inside, told) = (Arc::new(Barrier::new(2)), Arc::new(Gate::new()));
        let (there, may_go_on) = (Arc::clone(&inside), Arc::clone(&told));
        let running = future.add_done_callback(move |_| {
            there.wait();
            may_go_on.pass();
        });
        let next = future.add_done_callback(|_| {});
        let keeper = thread::spawn(move || promise.set_result(1).unwrap());
        inside.wait();
        let removed = [early.remove(), running.remove(), next.remove()];
        told.open();
        keeper.join().unwrap();
        assert_eq!(removed, [false; 3]);
        assert!(!future.add_done_callback(|_| {}).remove(), "it ran where it was added");
    });
}

#[test]
fn a_callback_may_remove_the_next_which_is_too_late_and_the_handle_outlives_the_future() {
    let (promise, future) = promise();
    let (send, receive) = mpsc::channel::<DoneCallback>();
    let (tell, told) = mpsc::channel();
    future.add_done_callback(move |_| tell.send(receive.recv().unwrap().remove()).unwrap());
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    send.send(future.add_done_callback(move |_| _ = counted.fetch_add(1, SeqCst))).unwrap();
    let counted = Arc::clone(&runs);
    let removed = future.add_done_callback(move |_| _ = counted.fetch_add(100, SeqCst));
    drop(future);
    assert!(removed.remove());
    promise.set_result(1).unwrap();
    assert_eq!((told.recv().unwrap(), runs.load(SeqCst)), (false, 1));
}

#[test]
fn what_a_removed_callback_owns_is_dropped_by_the_remover_with_no_lock_held_and_its_panic_is_contained() {
    struct Ask(SharedFuture<u32>, mpsc::Sender<thread::ThreadId>);
    impl Drop for Ask {
        fn drop(&mut self) {
            assert!(self.0.add_done_callback(|_| {}).remove());
            self.1.send(thread::current().id()).unwrap();
            panic!("on purpose");
        }
    }

    within(LIMIT, || {
        let (_promise, future) = promise();
        let shared = future.shared();
        let (tell, told) = mpsc::channel();
        let ask = Ask(shared.clone(), tell);
        let callback = shared.add_done_callback(move |_| drop(ask));
        assert!(callback.remove());
        assert_eq!(told.recv().unwrap(), thread::current().id());
    });
}

#[test]
fn of_a_remover_and_an_end_exactly_one_has_the_callback() {
    let mut removed = 0;
    for _ in 0..500 {
        let runs = Arc::new(AtomicUsize::new(0));
        let (promise, future) = promise();
        let counted = Arc::clone(&runs);
        let callback = future.add_done_callback(move |_| _ = counted.fetch_add(1, SeqCst));
        let both = Barrier::new(2);
        let is_removed = thread::scope(|s| {
            let remover = s.spawn(|| {
                both.wait();
                callback.remove()
            });
            both.wait();
            promise.set_result(1).unwrap();
            remover.join().unwrap()
        });
        assert_eq!(runs.load(SeqCst), usize::from(!is_removed));
        assert_eq!(Arc::strong_count(&runs), 1, "it is dropped");
        removed += usize::from(is_removed);
    }
    println!("removed {removed} of 500");
}

#[test]
fn an_error_that_is_taken_for_good_is_nowhere_else() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for with_callback in [false, true] {
            let owned = Arc::new(());
            let (theirs, kept) = (Arc::clone(&owned), Arc::downgrade(&owned));
            let task = pool.submit(move || -> u8 { std::panic::resume_unwind(Box::new(theirs)) });
            drop(owned);
            let callback = with_callback.then(|| task.add_done_callback(drop));
            drop(task.result().unwrap_err());
            assert!(kept.upgrade().is_none(), "the payload is gone with the error");
            drop(callback);
        }
    });
}
