//! Tasks whose end sets off the end of others, a hundred thousand in a row: the stack does not grow with the chain, and
//! nothing is late that anybody waits for.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use bowline::{Future, Lock, Promise, SharedFuture, ThreadPoolExecutor, promise};

use crate::support::{LIMIT, spawn_named, within};

const LINKS: usize = if cfg!(miri) { 300 } else { 100_000 };
/// More than the stack has room for by itself, see `src/executor/chain.rs`.
const DEEP: usize = if cfg!(miri) { 300 } else { 30_000 };

/// A chain of promises: the end of each is passed on to the next by `link`. The first promise, and the last future.
fn chain(links: usize, link: impl Fn(Future<usize>, Promise<usize>)) -> (Promise<usize>, Future<usize>) {
    let (first, mut last) = promise();
    for _ in 0..links {
        let (next, future) = promise();
        link(std::mem::replace(&mut last, future), next);
    }
    (first, last)
}

/// Runs `body` in the callback of a future at the end of a long chain, on this thread.
fn deep_in_a_chain<R: Send + 'static>(body: impl FnOnce() -> R + Send + 'static) -> R {
    let (first, last) = chain(DEEP, |future, next| future.on_done(|result| next.set_result(result.unwrap()).unwrap()));
    let (returned, end) = mpsc::channel();
    last.on_done(move |_| returned.send(body()).unwrap());
    first.set_result(0).unwrap();
    end.recv().unwrap()
}

#[test]
fn results_are_passed_on_by_callbacks() {
    let (first, last) =
        chain(LINKS, |future, next| future.on_done(|result| next.set_result(result.unwrap() + 1).unwrap()));
    first.set_result(0).unwrap();
    assert_eq!(last.try_result_now(), LINKS);
}

#[test]
fn promises_are_broken_by_callbacks_that_drop_them() {
    let (first, last) = chain(LINKS, |future, next| _ = future.add_done_callback(|_| drop(next)));
    drop(first);
    assert!(last.done() && last.exception().is_some());
}

#[test]
fn callbacks_that_panic_at_every_link_are_contained() {
    let (first, last) = chain(DEEP, |future, next| {
        future.on_done(|result| {
            next.set_result(result.unwrap() + 1).unwrap();
            resume_unwind(Box::new("on purpose"));
        });
    });
    first.set_result(0).unwrap();
    assert_eq!(last.try_result_now(), DEEP);
}

#[test]
fn a_callback_of_a_future_that_is_done_adds_one_to_the_next() {
    fn step(left: usize, end: mpsc::Sender<()>) {
        let (promise, future) = promise();
        promise.set_result(()).unwrap();
        future.on_done(move |_| if left == 0 { end.send(()).unwrap() } else { step(left - 1, end) });
    }
    let (sender, end) = mpsc::channel();
    step(LINKS, sender);
    end.try_recv().unwrap();
}

#[test]
fn a_shared_result_is_passed_on() {
    let (first, last) = promise();
    let mut last: SharedFuture<usize> = last.shared();
    for _ in 0..LINKS {
        let (next, future) = promise();
        let before = last.clone();
        last.add_done_callback(move |_| next.set_result(before.try_result().unwrap().unwrap() + 1).unwrap());
        last = future.shared();
    }
    first.set_result(0).unwrap();
    assert_eq!(last.try_result().unwrap().unwrap(), LINKS);
}

/// Whoever is woken ends the next promise.
struct EndsNext(Mutex<Option<Promise<usize>>>);

impl Wake for EndsNext {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().take().unwrap().set_result(1).unwrap();
    }
}

fn poll<T>(future: &mut Future<T>, waker: &Waker) -> bool {
    matches!(std::future::Future::poll(Pin::new(future), &mut Context::from_waker(waker)), Poll::Ready(_))
}

#[test]
fn wakers_wake_whoever_wakes_the_next() {
    let (first, mut last) = promise();
    let mut polled = Vec::new();
    for _ in 0..LINKS {
        let (next, future) = promise();
        assert!(!poll(&mut last, &Waker::from(Arc::new(EndsNext(Mutex::new(Some(next)))))));
        polled.push(std::mem::replace(&mut last, future));
    }
    first.set_result(1).unwrap();
    assert_eq!(last.try_result_now(), 1);
}

/// Keeps a future for as long as somebody may wake it, and counts itself out.
struct Keeps(#[allow(dead_code, reason = "is dropped")] Mutex<Future<usize>>, Arc<AtomicUsize>);

impl Wake for Keeps {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Keeps {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_future_that_is_dropped_drops_the_waker_that_keeps_the_next() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let (mut promises, mut last) = (Vec::new(), None::<Future<usize>>);
    for _ in 0..LINKS {
        let (promise, mut future) = promise();
        if let Some(last) = last.take() {
            assert!(!poll(&mut future, &Waker::from(Arc::new(Keeps(Mutex::new(last), Arc::clone(&dropped))))));
        }
        promises.push(promise);
        last = Some(future);
    }
    drop(last);
    assert_eq!(dropped.load(SeqCst), LINKS - 1);
}

/// A result that holds the future of another.
struct Link(#[allow(dead_code, reason = "is dropped")] Option<Future<Link>>, Arc<AtomicUsize>);

impl Drop for Link {
    fn drop(&mut self) {
        self.1.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_result_holds_the_future_of_the_next_and_all_are_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let pool = ThreadPoolExecutor::new(1);
    let mut last = None;
    for _ in 0..LINKS {
        let (before, dropped) = (last.take(), Arc::clone(&dropped));
        last = Some(pool.submit(move || Link(before, dropped)));
    }
    drop(pool);
    assert_eq!(dropped.load(SeqCst), 0);
    drop(last);
    assert_eq!(dropped.load(SeqCst), LINKS);
}

#[test]
fn what_borrows_is_dropped_at_once_however_deep_that_is() {
    struct Counts<'a>(&'a AtomicUsize);
    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let counted = deep_in_a_chain(|| {
        let (count, pool) = (AtomicUsize::new(0), ThreadPoolExecutor::new(1));
        let seen = pool.scope(|s| {
            let future = s.submit(|| Counts(&count));
            future.wait().unwrap();
            drop(future);
            count.load(SeqCst)
        });
        (seen, count.load(SeqCst))
    });
    assert_eq!(counted, (1, 1));
}

#[test]
fn callbacks_have_run_when_a_result_was_set_where_there_is_room() {
    let (first, last) = chain(3, |future, next| {
        let done = Arc::new(AtomicUsize::new(0));
        let sees = Arc::clone(&done);
        let (inner, of_inner) = promise();
        of_inner.add_done_callback(move |_| _ = done.fetch_add(1, SeqCst));
        future.on_done(move |result| {
            inner.set_result(()).unwrap();
            next.set_result(result.unwrap() + sees.load(SeqCst)).unwrap();
        });
    });
    first.set_result(0).unwrap();
    assert_eq!(last.try_result_now(), 3);
}

#[test]
fn callbacks_of_one_future_run_in_order_however_deep() {
    let list = deep_in_a_chain(|| {
        let list = Arc::new(Mutex::new(Vec::new()));
        for of in 0..2 {
            let (promise, future) = promise();
            for number in 0..3 {
                let list = Arc::clone(&list);
                future.add_done_callback(move |_| list.lock().unwrap().push((of, number)));
            }
            promise.set_result(()).unwrap();
        }
        list
    });
    let list = Arc::try_unwrap(list).unwrap().into_inner().unwrap();
    assert_eq!(list, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
}

/// A promise whose result is passed on by a callback, and the future that it is passed on to.
fn relay() -> (Promise<u8>, Future<u8>) {
    let ((promise, future), (next, last)) = (promise(), promise());
    future.on_done(move |result| next.set_result(result.unwrap()).unwrap());
    (promise, last)
}

#[test]
fn a_callback_may_wait_for_what_a_later_callback_of_its_thread_gives() {
    let given = || {
        let (promise, last) = relay();
        promise.set_result(7).unwrap();
        last.result().unwrap()
    };
    assert_eq!(within(LIMIT, || deep_in_a_chain(given)), 7);
}

#[test]
fn a_callback_may_wait_for_a_lock_whose_owner_waits_for_a_later_callback() {
    static LOCK: Lock<u8> = Lock::named("chained", 0);
    within(LIMIT, || {
        thread::scope(|s| {
            let (promise, last) = relay();
            let (locked, is_locked) = mpsc::channel();
            spawn_named(s, "chain-owner", move || {
                let mut guard = LOCK.lock();
                locked.send(()).unwrap();
                *guard = last.result().unwrap();
            });
            is_locked.recv().unwrap();
            let seen = deep_in_a_chain(move || {
                promise.set_result(7).unwrap();
                *LOCK.lock()
            });
            assert_eq!(seen, 7);
        });
    });
}

#[test]
fn a_task_that_runs_in_place_has_its_callbacks_run_as_any_other() {
    let pool = ThreadPoolExecutor::new(1);
    let inner = pool.clone();
    let task = pool.submit(move || {
        deep_in_a_chain(move || {
            let task = inner.submit(|| {
                let (promise, last) = relay();
                let (sender, given) = mpsc::channel();
                last.on_done(move |result| sender.send(result.unwrap()).unwrap());
                promise.set_result(7).unwrap();
                // Outside of the wait-for graph: nothing would tell of a callback that never runs.
                given.recv().unwrap()
            });
            task.result().unwrap()
        })
    });
    assert_eq!(within(LIMIT, || task.result().unwrap()), 7);
}

/// The result that is there without a wait.
trait TryResultNow<T> {
    fn try_result_now(self) -> T;
}

impl<T> TryResultNow<T> for Future<T> {
    fn try_result_now(mut self) -> T {
        self.try_result().expect("it is done").unwrap()
    }
}
