//! What a future says of its task in each state, what its waits return, and what becomes of results, callbacks and
//! closures.

use std::cell::Cell;
use std::error::Error;
use std::marker::PhantomPinned;
use std::mem::size_of;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bowline::task::Status;
use bowline::{Future, Promise, SharedFuture, TaskError, ThreadPoolExecutor, promise};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, message, spawn_named, until_parked, wait_until, within};

// A result is sent between threads, and shared with none by the future that owns it.
assert_impl_all!(Future<Cell<i32>>: Send, Sync, Unpin);
assert_impl_all!(Future<PhantomPinned>: Unpin);
assert_not_impl_any!(Future<Rc<i32>>: Send, Sync);
// There is one owner.
assert_not_impl_any!(Future<i32>: Clone);
assert_impl_all!(SharedFuture<String>: Send, Sync, Unpin, Clone);
assert_not_impl_any!(SharedFuture<Rc<i32>>: Send, Sync);
assert_impl_all!(Promise<Cell<i32>>: Send, Sync, Unpin);
assert_not_impl_any!(Promise<i32>: Clone);
assert_impl_all!(TaskError: Error, Clone, Send, Sync, Unpin);

#[test]
fn a_handle_is_a_word_whatever_the_result() {
    let word = size_of::<usize>();
    assert_eq!([size_of::<Future<()>>(), size_of::<Future<[u64; 100]>>(), size_of::<Option<Future<u8>>>()], [word; 3]);
    assert_eq!([size_of::<Promise<()>>(), size_of::<Promise<[u64; 100]>>()], [word; 2]);
    assert_eq!(size_of::<SharedFuture<[u64; 100]>>(), word + size_of::<u64>());
    assert!(size_of::<Result<u64, TaskError>>() <= 4 * word);
}

/// A future in each of the states, in their order; what keeps it there has to be kept.
fn in_each_state() -> ([Future<u32>; 5], [Promise<u32>; 2]) {
    let [pending, running, cancelled, failed, finished] = std::array::from_fn(|_| promise::<u32>());
    assert!(running.0.set_running());
    assert!(cancelled.1.cancel());
    failed.0.set_exception(TaskError::BrokenPromise).unwrap();
    finished.0.set_result(42).unwrap();
    ([pending.1, running.1, cancelled.1, failed.1, finished.1], [pending.0, running.0])
}

const STATES: [Status; 5] = [Status::Pending, Status::Running, Status::Cancelled, Status::Failed, Status::Finished];

#[test]
fn a_future_says_how_far_its_task_has_come() {
    let (futures, _promises) = in_each_state();
    assert_eq!(futures.each_ref().map(Future::status), STATES);
    assert_eq!(futures.each_ref().map(Future::done), [false, false, true, true, true]);
    assert_eq!(futures.each_ref().map(Future::running), [false, true, false, false, false]);
    assert_eq!(futures.each_ref().map(Future::cancelled), [false, false, true, false, false]);
}

#[test]
fn only_what_has_not_begun_can_be_cancelled_and_the_rest_stays_as_it_was() {
    let (futures, _promises) = in_each_state();
    assert_eq!(futures.each_ref().map(Future::cancel), [true, false, true, false, false]);
    let after = [Status::Cancelled, Status::Running, Status::Cancelled, Status::Failed, Status::Finished];
    assert_eq!(futures.each_ref().map(Future::status), after);
    // Again.
    assert_eq!(futures.each_ref().map(Future::cancel), [true, false, true, false, false]);
}

#[test]
fn a_result_that_is_asked_for_with_no_patience_is_told_from_a_time_out() {
    let (mut futures, _promises) = in_each_state();
    let results = futures.each_mut().map(|future| future.result_timeout(Duration::ZERO));
    assert!(matches!(
        results,
        [
            Err(TaskError::Timeout),
            Err(TaskError::Timeout),
            Err(TaskError::Cancelled),
            Err(TaskError::BrokenPromise),
            Ok(42)
        ]
    ));
    // A time-out leaves the future as it was; a result is there once.
    assert_eq!(futures.each_ref().map(Future::status), STATES);
    let results = futures.each_mut().map(|future| future.result_timeout(Duration::ZERO));
    assert!(results[..2].iter().all(|result| matches!(result, Err(TaskError::Timeout))), "{results:?}");
    assert!(results[2..].iter().all(|result| matches!(result, Err(TaskError::Taken))), "{results:?}");
}

#[test]
fn an_error_that_was_taken_is_told_and_is_no_result_of_those_who_share_it() {
    let (promise, mut future) = promise::<u8>();
    drop(promise);
    assert!(matches!(future.try_result(), Some(Err(TaskError::BrokenPromise))));
    let shared = future.shared();
    assert!(matches!(shared.result(), Err(TaskError::Taken)));
    assert!(matches!(shared.exception(), Some(TaskError::BrokenPromise)));
    assert_eq!(shared.status(), Status::Failed);
}

#[test]
fn trying_for_a_result_takes_what_is_there_once_and_never_waits() {
    let (mut futures, _promises) = in_each_state();
    let results = futures.each_mut().map(Future::try_result);
    assert!(matches!(
        results,
        [None, None, Some(Err(TaskError::Cancelled)), Some(Err(TaskError::BrokenPromise)), Some(Ok(42))]
    ));
    for mut future in futures.into_iter().skip(2) {
        assert!(matches!(future.try_result(), Some(Err(TaskError::Taken))));
        // What was taken does not change whether there was a value.
        let status = future.status();
        let is_told = |error: Option<TaskError>| match error {
            None => status == Status::Finished,
            Some(TaskError::Cancelled) => status == Status::Cancelled,
            Some(TaskError::BrokenPromise) => status == Status::Failed,
            Some(_) => false,
        };
        assert!(is_told(future.exception()) && is_told(future.exception_timeout(Duration::ZERO).unwrap()));
        assert!(matches!(future.try_result(), Some(Err(TaskError::Taken))));
        assert!(is_told(future.exception()), "however often it is asked for");
        assert!(matches!(future.result(), Err(TaskError::Taken)));
    }
}

#[test]
fn an_exception_is_why_there_is_no_value_and_leaves_it_there() {
    let (mut futures, _promises) = in_each_state();
    for _ in 0..2 {
        let errors = futures.each_ref().map(|future| future.exception_timeout(Duration::ZERO));
        assert!(matches!(
            errors,
            [
                Err(TaskError::Timeout),
                Err(TaskError::Timeout),
                Ok(Some(TaskError::Cancelled)),
                Ok(Some(TaskError::BrokenPromise)),
                Ok(None)
            ]
        ));
    }
    assert!(matches!(futures[4].try_result(), Some(Ok(42))));
}

#[test]
fn waiting_says_whether_the_task_is_done_and_leaves_the_result() {
    let (futures, _promises) = in_each_state();
    let waited = futures.each_ref().map(|future| future.wait_timeout(Duration::ZERO));
    assert_eq!(waited, [false, false, true, true, true]);
    let [.., finished] = futures;
    finished.wait().unwrap();
    assert_eq!(finished.result().unwrap(), 42);
}

/// What a waiter that sleeps is told of what happens to its future afterwards.
fn told_to_a_sleeper<R: Send>(
    name: &str,
    wait: impl FnOnce(Future<u32>) -> R + Send,
    happens: impl FnOnce(Promise<u32>),
) -> R {
    within(LIMIT, || {
        let (promise, future) = promise();
        thread::scope(|s| {
            let waiter = spawn_named(s, name, || wait(future));
            until_parked(name);
            happens(promise);
            waiter.join().unwrap()
        })
    })
}

#[test]
fn a_sleeping_waiter_is_woken_by_the_value() {
    let result = told_to_a_sleeper("gets the value", Future::result, |promise| promise.set_result(42).unwrap());
    assert_eq!(result.unwrap(), 42);
}

#[test]
fn a_sleeping_waiter_is_woken_by_the_error() {
    let fail = |promise: Promise<u32>| promise.set_exception(TaskError::Timeout).unwrap();
    let result = told_to_a_sleeper("gets the error", Future::result, fail);
    assert!(matches!(result, Err(TaskError::Timeout)));
    let fail = |promise: Promise<u32>| promise.set_exception(TaskError::BrokenPromise).unwrap();
    let error = told_to_a_sleeper("asks for the error", |future| future.exception(), fail);
    assert!(matches!(error, Some(TaskError::BrokenPromise)));
    let value = |promise: Promise<u32>| promise.set_result(1).unwrap();
    assert!(told_to_a_sleeper("asks for no error", |future| future.exception(), value).is_none());
}

#[test]
fn a_waiter_with_a_limit_is_woken_when_the_task_is_done_not_at_its_limit() {
    let wait = |mut future: Future<u32>| (future.wait_timeout(LIMIT * 2), future.result_timeout(LIMIT * 2));
    let (is_done, result) = told_to_a_sleeper("patient", wait, |promise| promise.set_result(42).unwrap());
    assert!(is_done && matches!(result, Ok(42)));
    // Past what the clock can tell.
    let wait = |mut future: Future<u32>| future.result_timeout(Duration::MAX);
    let result = told_to_a_sleeper("patient for ever", wait, |promise| promise.set_result(42).unwrap());
    assert!(matches!(result, Ok(42)));
}

#[test]
fn every_sleeping_waiter_is_woken_by_a_cancellation() {
    within(LIMIT, || {
        let (promise, future) = promise::<u32>();
        thread::scope(|s| {
            let names = ["one cancelled", "other cancelled", "third cancelled"];
            let waiters = names.map(|name| {
                let future = &future;
                spawn_named(s, name, move || future.exception())
            });
            names.iter().for_each(|name| until_parked(name));
            assert!(future.cancel());
            for waiter in waiters {
                assert!(matches!(waiter.join().unwrap(), Some(TaskError::Cancelled)));
            }
        });
        drop(promise);
        assert!(matches!(future.result(), Err(TaskError::Cancelled)));
    });
}

#[test]
fn a_pool_s_task_goes_through_the_same_states() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let begun = Arc::new(Gate::new());
        let running = pool.submit({
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            move || {
                begun.open();
                gate.pass();
                1
            }
        });
        let panics = pool.submit(|| -> u32 { panic!("on purpose") });
        let cancelled = pool.submit(|| 2);
        begun.pass();
        let statuses = || [&running, &panics, &cancelled].map(Future::status);
        assert_eq!(statuses(), [Status::Running, Status::Pending, Status::Pending]);
        assert_eq!([&running, &cancelled].map(Future::cancel), [false, true]);
        assert_eq!(statuses(), [Status::Running, Status::Pending, Status::Cancelled]);
        gate.open();
        panics.wait().unwrap();
        assert_eq!(statuses(), [Status::Finished, Status::Failed, Status::Cancelled]);
        let Err(TaskError::Panicked(panic)) = panics.result() else { panic!("it panicked") };
        assert_eq!(panic.message(), "on purpose");
        assert_eq!(panic.location().unwrap().file(), file!());
        assert_eq!(panic.take_payload().map(|payload| message(&*payload).to_owned()).unwrap(), "on purpose");
        assert_eq!(running.result().unwrap(), 1);
    });
}

/// Says in a list that it is dropped, and on which thread.
struct SaysDropped(mpsc::Sender<Option<String>>);

impl Drop for SaysDropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().name().map(str::to_owned));
    }
}

#[test]
fn cancelling_drops_the_closure_here_and_now() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        drop(pool.submit(move || theirs.pass()));
        let (tell, told) = mpsc::channel();
        let captured = SaysDropped(tell);
        let future = pool.submit(move || drop(captured));
        assert!(told.try_recv().is_err());
        assert!(future.cancel());
        assert_eq!(told.try_recv().unwrap().as_deref(), thread::current().name());
        gate.open();
    });
}

#[test]
fn a_task_whose_closure_is_still_being_dropped_is_cancelled_and_not_yet_done() {
    struct Slow(Arc<[Gate; 2]>);
    impl Drop for Slow {
        fn drop(&mut self) {
            self.0[0].open();
            self.0[1].pass();
        }
    }

    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gates = Arc::new([const { Gate::new() }; 3]);
        let hold = Arc::clone(&gates);
        drop(pool.submit(move || hold[2].pass()));
        let drops = Arc::new([const { Gate::new() }; 2]);
        let slow = Slow(Arc::clone(&drops));
        let mut future = pool.submit(move || drop(slow));
        thread::scope(|s| {
            s.spawn(|| assert!(future.cancel()));
            drops[0].pass();
            assert!(future.cancelled() && !future.done() && future.cancel());
            assert!(!future.wait_timeout(Duration::from_millis(1)));
            let set = bowline::wait([&future], bowline::ReturnWhen::FirstCompleted, Some(Duration::from_millis(1)));
            assert_eq!((set.done.len(), set.not_done.len()), (0, 1));
            drops[1].open();
            future.wait().unwrap();
        });
        assert!(matches!(future.try_result(), Some(Err(TaskError::Cancelled))));
        gates[2].open();
    });
}

#[test]
fn a_result_that_nobody_wants_is_dropped_as_soon_as_it_is_there() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("unwanted").build();
        let gate = Arc::new(Gate::new());
        let (tell, told) = mpsc::channel();
        let (theirs, result) = (Arc::clone(&gate), SaysDropped(tell));
        let future = pool.submit(move || {
            theirs.pass();
            result
        });
        drop(future);
        assert!(told.try_recv().is_err(), "dropping a future does not stop its task");
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap().as_deref(), Some("unwanted_0"));
    });
}

#[test]
fn a_result_that_was_not_taken_is_dropped_with_its_future() {
    let (tell, told) = mpsc::channel();
    let (promise, future) = promise();
    assert!(promise.set_result(SaysDropped(tell)).is_ok());
    assert!(told.try_recv().is_err());
    drop(future);
    assert_eq!(told.try_recv().unwrap().as_deref(), thread::current().name());
    assert!(told.try_recv().is_err(), "once");
}

#[test]
fn a_future_that_was_read_keeps_nothing_of_the_result() {
    let (tell, told) = mpsc::channel();
    let (promise, mut future) = promise();
    assert!(promise.set_result(SaysDropped(tell)).is_ok());
    let result = future.try_result().unwrap();
    assert!(told.try_recv().is_err());
    drop(result);
    assert!(told.try_recv().is_ok());
    drop(future);
    assert!(told.try_recv().is_err(), "once");
}

#[test]
fn a_destructor_that_panics_takes_nobody_down() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        drop(pool.submit(move || {
            theirs.pass();
            Bomb
        }));
        let bomb = Bomb;
        let cancelled = pool.submit(move || drop(bomb));
        assert!(cancelled.cancel());
        gate.open();
        assert_eq!(pool.submit(|| 42).result().unwrap(), 42);
        let (promise, future) = promise();
        assert!(promise.set_result(Bomb).is_ok());
        drop(future);
        drop((pool, cancelled));
    });
}

#[test]
fn a_future_and_its_pool_may_be_dropped_in_any_order() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let futures: Vec<_> = (0..20).map(|n| pool.submit(move || n)).collect();
        drop(pool);
        for (n, future) in futures.into_iter().enumerate() {
            assert!(future.done(), "the pool ran what it had");
            assert_eq!(future.result().unwrap(), n);
        }
    });
}

#[test]
fn debug_shows_the_task_and_how_far_it_has_come() {
    let (futures, _promises) = in_each_state();
    for (future, status) in futures.iter().zip(["Pending", "Running", "Cancelled", "Failed", "Finished"]) {
        let text = format!("{future:?}");
        assert!(text.starts_with("Future {") && text.contains(status), "{text}");
    }
    let pool = ThreadPoolExecutor::new(1);
    let named = pool.submit_named("parse", || 1);
    named.wait().unwrap();
    assert_eq!(format!("{named:?}"), r#"Future { task: "parse", status: Finished }"#);
    let text = format!("{:?}", pool.submit(|| 1).shared());
    assert!(text.starts_with("SharedFuture {") && text.contains("debug_shows_the_task"), "{text}");
}

#[test]
fn errors_say_what_happened_in_words() {
    let pool = ThreadPoolExecutor::new(1);
    let error = pool.submit(|| panic!("boom {}", 7)).result().unwrap_err();
    assert!(error.to_string().ends_with(": boom 7") && error.to_string().contains(file!()), "{error}");
    for (error, text) in [
        (TaskError::Cancelled, "the task was cancelled"),
        (TaskError::Timeout, "the wait for the task timed out"),
        (TaskError::Taken, "the result was taken before"),
        (TaskError::BrokenPromise, "the promise was dropped without a result"),
    ] {
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_none());
    }
    let _ = pool.shutdown();
    let refused = pool.submit(|| 1);
    assert!(refused.done() && refused.status() == Status::Failed);
    let error = refused.result().unwrap_err();
    assert_eq!(error.to_string(), "the task was rejected: the executor was shut down");
}

#[test]
fn a_result_races_with_its_future_s_end_and_is_dropped_once() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, SeqCst);
        }
    }

    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };
    within(LIMIT, || {
        let start = Barrier::new(2);
        let (send, receive) = mpsc::channel();
        thread::scope(|s| {
            s.spawn(|| {
                for future in receive {
                    start.wait();
                    drop::<Future<Counted>>(future);
                }
            });
            for _ in 0..ROUNDS {
                let (promise, future) = promise();
                send.send(future).unwrap();
                start.wait();
                assert!(promise.set_result(Counted).is_ok());
            }
            drop(send);
        });
        assert_eq!(DROPPED.load(SeqCst), ROUNDS);
    });
}

#[test]
fn of_a_canceller_and_a_worker_exactly_one_gets_the_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let ran = Arc::new(Mutex::new(0));
        let mut cancelled = 0;
        for _ in 0..if cfg!(miri) { 20 } else { 2_000 } {
            let theirs = Arc::clone(&ran);
            let future = pool.submit(move || *theirs.lock().unwrap() += 1);
            if future.cancel() {
                cancelled += 1;
                assert!(matches!(future.result(), Err(TaskError::Cancelled)));
            } else {
                future.result().unwrap();
            }
        }
        let _ = pool.shutdown();
        assert_eq!(*ran.lock().unwrap() + cancelled, if cfg!(miri) { 20 } else { 2_000 });
        wait_until(|| pool.queued() == 0);
    });
}
