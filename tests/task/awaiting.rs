//! Awaited in async code, by an executor written here and by somebody else's: woken once, by the latest waker, and
//! nothing is kept of a task that went away.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use bowline::{Future, SharedFuture, TaskError, ThreadPoolExecutor, promise};
use futures::executor::block_on as other_block_on;
use futures::future::{Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, spawn_named, until_waiting, within};

/// Unparks a thread.
struct Unparks(Thread);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The least that runs a future.
fn block_on<F: std::future::Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unparks(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Counts how often it wakes.
#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Counts {
    fn new() -> (Arc<Self>, Waker) {
        let counts = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&counts));
        (counts, waker)
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

fn poll<F: std::future::Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A task that waits for a gate, and the gate.
fn gated<T: Send + 'static>(pool: &ThreadPoolExecutor, value: T) -> (Arc<Gate>, Future<T>) {
    let gate = Arc::new(Gate::new());
    let theirs = Arc::clone(&gate);
    let future = pool.submit(move || {
        theirs.pass();
        value
    });
    (gate, future)
}

#[test]
fn a_task_is_awaited_by_a_hand_written_executor_and_by_another_crate_s() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let (gate, future) = gated(&pool, 41);
        let program = async {
            let other = pool.submit(|| 1);
            gate.open();
            future.await.unwrap() + other.await.unwrap()
        };
        assert_eq!(block_on(program), 42);
        assert_eq!(other_block_on(async { pool.submit(|| 42).await.unwrap() }), 42);
    });
}

#[test]
fn errors_are_awaited_too() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let panicked = block_on(pool.submit(|| panic!("on purpose")));
        assert!(matches!(panicked, Err(TaskError::Panicked(panic)) if panic.message() == "on purpose"));
        let (gate, first) = gated(&pool, ());
        let cancelled = pool.submit(|| ());
        assert!(cancelled.cancel());
        assert!(matches!(block_on(cancelled), Err(TaskError::Cancelled)));
        gate.open();
        block_on(first).unwrap();
        let _ = pool.shutdown();
        assert!(matches!(block_on(pool.submit(|| ())), Err(TaskError::Rejected(_))));
    });
}

#[test]
fn a_cancellation_wakes_whoever_awaits() {
    let (promise, future) = promise::<()>();
    let shared = future.shared();
    let mut awaited = shared.clone();
    let (counts, waker) = Counts::new();
    assert!(poll(&mut awaited, &waker).is_pending());
    assert!(shared.cancel());
    assert_eq!(counts.count(), 1);
    assert!(matches!(poll(&mut awaited, &waker), Poll::Ready(Err(TaskError::Cancelled))));
    drop(promise);
}

#[test]
fn combinators_of_another_crate_take_our_futures() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(3);
        let squares = (0..100_u64).map(|n| pool.submit(move || n * n));
        let squares = other_block_on(join_all(squares));
        assert!(squares.into_iter().map(Result::unwrap).eq((0..100).map(|n| n * n)), "in order");

        let mut unordered: FuturesUnordered<_> = (0..100_u64).map(|n| pool.submit(move || n)).collect();
        let sum = other_block_on(async {
            let mut sum = 0;
            while let Some(n) = unordered.next().await {
                sum += n.unwrap();
            }
            sum
        });
        assert_eq!(sum, 99 * 100 / 2);

        let ((gate, slow), fast) = (gated(&pool, "slow"), pool.submit(|| "fast"));
        let Either::Right((first, slow)) = other_block_on(select(slow, fast)) else { panic!("the gate is shut") };
        assert_eq!(first.unwrap(), "fast");
        gate.open();
        assert_eq!(other_block_on(slow).unwrap(), "slow", "what lost goes on");
    });
}

#[test]
fn futures_are_yielded_as_they_are_done_by_another_crate_s_executor() {
    within(LIMIT, || {
        let (promises, futures): (Vec<_>, Vec<_>) = (0..4).map(|_| promise()).unzip();
        let mut unordered: FuturesUnordered<Future<usize>> = futures.into_iter().collect();
        let mut promises: Vec<_> = promises.into_iter().map(Some).collect();
        for at in [2, 0, 3, 1] {
            promises[at].take().unwrap().set_result(at).unwrap();
            assert_eq!(other_block_on(unordered.next()).unwrap().unwrap(), at);
        }
        assert!(other_block_on(unordered.next()).is_none());
    });
}

#[test]
fn of_two_wakers_in_turn_the_last_is_woken_and_the_other_is_not_kept() {
    let (promise, mut future) = promise();
    let (first, first_waker) = Counts::new();
    let (second, second_waker) = Counts::new();
    for _ in 0..3 {
        assert!(poll(&mut future, &first_waker).is_pending());
        assert!(poll(&mut future, &second_waker).is_pending());
    }
    drop((first_waker, second_waker));
    assert_eq!([Arc::strong_count(&first), Arc::strong_count(&second)], [1, 2]);
    promise.set_result(42).unwrap();
    assert_eq!([first.count(), second.count()], [0, 1]);
    assert_eq!(Arc::strong_count(&second), 1);
    let (late, late_waker) = Counts::new();
    assert!(matches!(poll(&mut future, &late_waker), Poll::Ready(Ok(42))));
    drop(late_waker);
    assert_eq!((late.count(), Arc::strong_count(&late)), (0, 1), "who finds it done is not woken");
}

#[test]
fn polled_after_it_was_ready_it_is_ready_again() {
    let (promise, mut future) = promise();
    promise.set_result(42).unwrap();
    assert!(matches!(poll(&mut future, Waker::noop()), Poll::Ready(Ok(42))));
    assert!(matches!(poll(&mut future, Waker::noop()), Poll::Ready(Err(TaskError::Taken))));
}

#[test]
fn dropping_a_future_that_was_polled_keeps_no_waker_and_stops_no_task() {
    let (promise, mut future) = promise::<u8>();
    let (counts, waker) = Counts::new();
    assert!(poll(&mut future, &waker).is_pending());
    drop(waker);
    assert_eq!(Arc::strong_count(&counts), 2);
    drop(future);
    assert_eq!(Arc::strong_count(&counts), 1);
    promise.set_result(1).unwrap();
    assert_eq!(counts.count(), 0);
}

#[test]
fn dropping_one_awaiting_owner_keeps_the_result_for_the_others_and_not_its_waker() {
    let (promise, future) = promise();
    let mut first = future.shared();
    let [mut second, third] = [first.clone(), first.clone()];
    let (goes, goes_waker) = Counts::new();
    let (stays, stays_waker) = Counts::new();
    assert!(poll(&mut first, &goes_waker).is_pending());
    assert!(poll(&mut second, &stays_waker).is_pending());
    drop((goes_waker, first));
    assert_eq!(Arc::strong_count(&goes), 1);
    promise.set_result("for the others".to_owned()).unwrap();
    assert_eq!([goes.count(), stays.count()], [0, 1]);
    assert!(matches!(poll(&mut second, &stays_waker), Poll::Ready(Ok(text)) if text == "for the others"));
    assert_eq!(third.result().unwrap(), "for the others");
}

#[test]
fn each_owner_of_a_shared_result_has_a_waker_of_its_own() {
    let (promise, future) = promise();
    let mut owners: Vec<SharedFuture<u8>> = vec![future.shared()];
    (1..5).for_each(|_| owners.push(owners[0].clone()));
    let wakers: Vec<_> = owners.iter().map(|_| Counts::new()).collect();
    for _ in 0..2 {
        for (owner, (_, waker)) in owners.iter_mut().zip(&wakers) {
            assert!(poll(owner, waker).is_pending());
        }
    }
    promise.set_result(1).unwrap();
    assert!(wakers.iter().all(|(counts, _)| counts.count() == 1));
}

#[test]
fn a_result_is_awaited_and_waited_for_at_the_same_time() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, future) = gated(&pool, 42);
        let waited = future.shared();
        let awaited = waited.clone();
        thread::scope(|s| {
            let blocking = spawn_named(s, "blocks beside a poll", || waited.result().unwrap());
            let asynchronous = s.spawn(|| other_block_on(awaited).unwrap());
            until_waiting("blocks beside a poll");
            gate.open();
            assert_eq!((blocking.join().unwrap(), asynchronous.join().unwrap()), (42, 42));
        });
    });
}

#[test]
fn a_waker_may_use_the_future_that_wakes_it() {
    struct Looks(SharedFuture<u8>, mpsc::Sender<u8>);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let tell = self.1.clone();
            self.0.add_done_callback(move |_| tell.send(1).unwrap());
            self.1.send(self.0.try_result().unwrap().unwrap()).unwrap();
        }
    }

    within(LIMIT, || {
        let (promise, future) = promise();
        let mut future = future.shared();
        let (tell, told) = mpsc::channel();
        let waker = Waker::from(Arc::new(Looks(future.clone(), tell)));
        assert!(poll(&mut future, &waker).is_pending());
        promise.set_result(42).unwrap();
        assert_eq!([told.try_recv().unwrap(), told.try_recv().unwrap()], [1, 42]);
    });
}

#[test]
fn a_waker_that_panics_stops_nobody_else() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    let (promise, future) = promise();
    let mut first = future.shared();
    let mut second = first.clone();
    let (counts, waker) = Counts::new();
    assert!(poll(&mut first, &Waker::from(Arc::new(Panics))).is_pending());
    assert!(poll(&mut second, &waker).is_pending());
    promise.set_result(1).unwrap();
    assert_eq!(counts.count(), 1);
}

#[test]
fn a_future_that_is_polled_while_its_task_ends_is_never_lost() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for n in 0..if cfg!(miri) { 20 } else { 5_000 } {
            assert_eq!(block_on(pool.submit(move || n)).unwrap(), n);
        }
    });
}
