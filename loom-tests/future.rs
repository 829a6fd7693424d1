//! A task's cell: its end wakes every waiter, runs every continuation once, and its result has one end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::thread;

use super::{Count, Parcel, explore};
use crate::primitive::{Ingredient, events, remove};
use crate::{Future, Promise, ReturnWhen, TaskError, as_completed, promise, wait};

/// Starts a thread that keeps promises with the numbers 1, 2, … in that order.
fn keep<const N: usize>(promises: [Promise<u32>; N]) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for (promise, number) in promises.into_iter().zip(1..) {
            promise.set_result(number).expect("nobody cancels");
        }
    })
}

#[test]
fn a_completion_that_races_a_blocked_waiter_wakes_it() {
    explore(3, || completed_while_awaited(None));
}

/// One thread ends a task while another begins to wait for it. Returns whether the waiter was woken.
pub(super) fn completed_while_awaited(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let count = Count::new();
    let (promise, future) = promise::<Parcel>();
    let other = thread::spawn({
        let count = Arc::clone(&count);
        move || assert!(promise.set_result(Parcel::new(7, &count)).is_ok())
    });
    let parcel = future.result().expect("the promise is kept");
    assert_eq!(parcel.content(), 7);
    drop(parcel);
    other.join().unwrap();
    assert_eq!(count.dropped(), 1);
    events().unparks > 0
}

#[test]
fn all_who_wait_for_one_result_are_woken() {
    explore(3, || {
        let (promise, future) = promise::<u32>();
        let shared = future.shared();
        let other = thread::spawn({
            let shared = shared.clone();
            move || assert_eq!(shared.result().unwrap(), 1)
        });
        let keeper = keep([promise]);
        assert_eq!(shared.result().unwrap(), 1);
        other.join().unwrap();
        keeper.join().unwrap();
        events().unparks > 1
    });
}

#[test]
fn a_result_that_nobody_takes_is_dropped_once_by_whoever_ends_the_task() {
    explore(3, || detached_while_it_ends() == Some(false));
}

#[test]
fn a_result_that_nobody_takes_is_dropped_once_by_its_last_owner() {
    explore(3, || detached_while_it_ends() == Some(true));
}

/// A future is dropped while its task ends. Returns whether the result was dropped on the future's side.
fn detached_while_it_ends() -> Option<bool> {
    let count = Count::new();
    let (promise, future) = promise::<Parcel>();
    let other = thread::spawn({
        let count = Arc::clone(&count);
        move || assert!(promise.set_result(Parcel::new(7, &count)).is_ok())
    });
    drop(future);
    other.join().unwrap();
    assert_eq!(count.dropped(), 1);
    Some(count.dropped_by_body() == 1)
}

#[test]
fn a_promise_is_kept_or_cancelled_and_never_both() {
    explore(3, || {
        let count = Count::new();
        let (promise, future) = promise::<Parcel>();
        let other = thread::spawn({
            let count = Arc::clone(&count);
            move || promise.set_result(Parcel::new(7, &count)).is_ok()
        });
        let cancelled = future.cancel();
        match future.result() {
            Ok(parcel) => assert!(!cancelled && parcel.content() == 7),
            Err(error) => assert!(cancelled && matches!(error, TaskError::Cancelled)),
        }
        assert_ne!(other.join().unwrap(), cancelled, "exactly one of them wins");
        assert_eq!(count.dropped(), 1);
        cancelled
    });
}

#[test]
fn a_cancellation_that_races_a_blocked_waiter_wakes_it() {
    explore(3, || {
        let (promise, future) = promise::<u32>();
        let shared = future.shared();
        let other = thread::spawn({
            let shared = shared.clone();
            move || shared.result()
        });
        assert!(shared.cancel());
        assert!(matches!(other.join().unwrap(), Err(TaskError::Cancelled)));
        drop(promise);
        events().unparks > 0
    });
}

#[test]
fn a_callback_that_is_added_while_the_task_ends_runs_once() {
    explore(3, || {
        let runs = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (promise, future) = promise::<u32>();
        let keeper = keep([promise]);
        let here = thread::current().id();
        for number in 0..2 {
            let runs = Arc::clone(&runs);
            future.add_done_callback(move |_| {
                let elsewhere = thread::current().id() != here;
                runs[number].fetch_add(if elsewhere { 100 } else { 1 }, Ordering::Relaxed);
            });
        }
        keeper.join().unwrap();
        let runs = [0, 1].map(|number| runs[number].load(Ordering::Relaxed));
        assert!(runs.iter().all(|runs| matches!(runs, 1 | 100)), "each runs once: {runs:?}");
        // One was listed in time and the other was too late.
        runs == [100, 1]
    });
}

#[test]
fn a_callback_that_is_removed_while_the_task_ends_is_removed() {
    explore(3, || removed_while_it_ends());
}

#[test]
fn a_callback_that_is_removed_while_the_task_ends_has_run() {
    explore(3, || !removed_while_it_ends());
}

/// One thread removes a callback while another ends the task. Returns whether it was removed, which it is if, and only if,
/// it does not run.
fn removed_while_it_ends() -> bool {
    let (count, runs) = (Count::new(), Arc::new(AtomicUsize::new(0)));
    let (promise, future) = promise::<u32>();
    let callback = future.add_done_callback({
        let (parcel, runs) = (Parcel::new(7, &count), Arc::clone(&runs));
        move |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            drop(parcel);
        }
    });
    let keeper = keep([promise]);
    let is_removed = callback.remove();
    // What it owns is gone with it.
    assert!(!is_removed || count.dropped() == 1);
    keeper.join().unwrap();
    assert_eq!((runs.load(Ordering::Relaxed), count.dropped()), (usize::from(!is_removed), 1));
    is_removed
}

#[test]
fn an_id_that_is_asked_for_while_the_task_ends_is_one_and_the_end_is_not_lost() {
    explore(3, || {
        let (promise, future) = promise::<u32>();
        let shared = future.shared();
        let keeper = keep([promise]);
        let other = thread::spawn({
            let shared = shared.clone();
            move || shared.id()
        });
        let was_done = shared.done();
        let id = shared.id();
        let is_done = shared.done();
        assert_eq!(shared.result().unwrap(), 1);
        assert_eq!(other.join().unwrap(), id);
        assert_eq!(shared.id(), id);
        keeper.join().unwrap();
        // It ended in the midst of the question.
        !was_done && is_done
    });
}

#[test]
fn a_result_is_passed_on_once() {
    explore(3, || {
        let count = Count::new();
        let passed = Arc::new(AtomicUsize::new(0));
        let (promise, future) = promise::<Parcel>();
        let other = thread::spawn({
            let count = Arc::clone(&count);
            move || assert!(promise.set_result(Parcel::new(7, &count)).is_ok())
        });
        future.on_done({
            let passed = Arc::clone(&passed);
            move |parcel| {
                passed.fetch_add(parcel.unwrap().content() as usize, Ordering::Relaxed);
            }
        });
        other.join().unwrap();
        assert_eq!((passed.load(Ordering::Relaxed), count.dropped()), (7, 1));
        count.dropped_by_body() == 0
    });
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_waker_that_is_left_while_the_task_ends_is_woken_once_or_not_needed() {
    explore(3, || {
        let woken = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let (promise, future) = promise::<u32>();
        let mut future = pin!(future);
        let keeper = keep([promise]);
        let mut left = None;
        for (number, woken) in woken.iter().enumerate() {
            let waker = Waker::from(Arc::clone(woken));
            if poll(future.as_mut(), &waker).is_ready() {
                break;
            }
            left = Some(number);
        }
        keeper.join().unwrap();
        let woken = woken.map(|woken| woken.0.load(Ordering::Relaxed));
        match left {
            None => assert_eq!(woken, [0, 0], "ready at once"),
            // Woken, or overtaken by the second poll.
            Some(0) => assert_eq!(woken, [1, 0]),
            Some(_) => assert!(woken == [0, 1], "the last one left is woken, and no other: {woken:?}"),
        }
        left == Some(1)
    });
}

fn poll<F: std::future::Future>(future: std::pin::Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    std::future::Future::poll(future, &mut Context::from_waker(waker))
}

/// Makes two promises, each kept on a thread of its own, and returns their futures.
fn two_kept() -> ([Future<u32>; 2], [thread::JoinHandle<()>; 2]) {
    let (first, second) = (promise(), promise());
    ([first.1, second.1], [keep([first.0]), keep([second.0])])
}

#[test]
fn a_wait_for_all_outlasts_the_last_of_two_that_end_at_once() {
    explore(3, || {
        let (futures, keepers) = two_kept();
        let set = wait(&futures, ReturnWhen::AllCompleted, None);
        assert_eq!((set.done.len(), set.not_done.len()), (2, 0));
        keepers.into_iter().for_each(|keeper| keeper.join().unwrap());
        events().unparks > 1
    });
}

#[test]
fn a_wait_for_the_first_is_ended_by_either_of_two_that_end_at_once() {
    explore(3, || {
        let (futures, keepers) = two_kept();
        let set = wait(&futures, ReturnWhen::FirstCompleted, None);
        assert!(!set.done.is_empty());
        let unparks = events().unparks;
        keepers.into_iter().for_each(|keeper| keeper.join().unwrap());
        unparks > 0
    });
}

#[test]
fn a_wait_for_the_first_exception_is_ended_by_it_or_by_the_last_value() {
    explore(2, || {
        let (futures, keepers) = two_kept();
        let set = wait(&futures, ReturnWhen::FirstException, None);
        assert_eq!((set.done.len(), set.not_done.len()), (2, 0), "none of the notices was lost");
        keepers.into_iter().for_each(|keeper| keeper.join().unwrap());
        events().unparks > 0
    });
}

#[test]
fn a_wait_for_the_first_exception_is_ended_by_an_exception() {
    explore(2, || {
        let (kept, broken, standing) = (promise::<u32>(), promise::<u32>(), promise::<u32>());
        let futures = [kept.1, broken.1, standing.1];
        let (keeper, breaker) = (keep([kept.0]), thread::spawn(move || drop(broken.0)));
        let set = wait(&futures, ReturnWhen::FirstException, None);
        assert!(set.done.iter().any(|future| future.exception().is_some()), "the third one is never kept");
        let unparks = events().unparks;
        keeper.join().unwrap();
        breaker.join().unwrap();
        unparks > 0
    });
}

#[test]
fn a_wait_for_the_first_misses_none_that_ends_as_it_begins() {
    explore(3, || {
        let (kept, standing) = (promise::<u32>(), promise::<u32>());
        let futures = [kept.1, standing.1];
        let keeper = keep([kept.0]);
        let set = wait(&futures, ReturnWhen::FirstCompleted, None);
        assert_eq!((set.done.len(), set.not_done.len()), (1, 1));
        let unparks = events().unparks;
        keeper.join().unwrap();
        unparks > 0
    });
}

#[test]
fn each_of_several_that_end_at_once_is_yielded_once() {
    explore(2, || {
        let (first, second, third) = (promise(), promise(), promise());
        let futures = [first.1, second.1, third.1];
        let keepers = [keep([first.0]), keep([second.0, third.0])];
        let numbers: Vec<u32> =
            as_completed(futures).map(|future| future.expect("no deadlock").result().unwrap()).collect();
        keepers.into_iter().for_each(|keeper| keeper.join().unwrap());
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1, 1, 2]);
        events().unparks > 1
    });
}
