//! Futures in the order in which they are done: each once, all of them, and none kept.

use std::collections::HashSet;
use std::iter::FusedIterator;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bowline::task::{AnyFuture, AsCompleted, Unfinished};
use bowline::{Future, Promise, TaskError, ThreadPoolExecutor, as_completed, promise};
use static_assertions::assert_impl_all;

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, spawn_named, until_parked, until_waiting, within};

assert_impl_all!(AsCompleted<Future<u8>>: FusedIterator, Send, Sync);
assert_impl_all!(Unfinished: std::error::Error, Send, Sync);

fn promises(count: usize) -> (Vec<Option<Promise<usize>>>, Vec<Future<usize>>) {
    let (promises, futures): (Vec<_>, Vec<_>) = (0..count).map(|_| promise()).unzip();
    (promises.into_iter().map(Some).collect(), futures)
}

fn keep(promises: &mut [Option<Promise<usize>>], at: usize) {
    promises[at].take().unwrap().set_result(at).unwrap();
}

/// The results, in the order in which their futures were yielded.
fn results(iterator: AsCompleted<Future<usize>>) -> Vec<usize> {
    iterator.map(|future| future.unwrap().result().unwrap()).collect()
}

#[test]
fn futures_come_in_the_order_in_which_they_are_done() {
    let (mut promises, futures) = promises(5);
    let iterator = as_completed(futures);
    for at in [3, 0, 4, 1, 2] {
        keep(&mut promises, at);
    }
    assert_eq!(results(iterator), [3, 0, 4, 1, 2]);
}

#[test]
fn those_that_are_done_already_come_first_in_the_order_of_the_input() {
    let (mut promises, futures) = promises(5);
    keep(&mut promises, 4);
    keep(&mut promises, 1);
    assert!(futures[2].cancel());
    let mut iterator = as_completed(&futures);
    keep(&mut promises, 0);
    promises[3] = None;
    let places = iterator.by_ref().map(|future| {
        let future = future.unwrap();
        assert!(future.done());
        futures.iter().position(|other| std::ptr::eq(other, future)).unwrap()
    });
    assert_eq!(places.collect::<Vec<_>>(), [1, 2, 4, 0, 3]);
}

#[test]
fn an_iterator_that_sleeps_is_woken_by_each_future() {
    within(LIMIT, || {
        let (mut promises, futures) = promises(4);
        let (tell, told) = mpsc::channel();
        thread::scope(|s| {
            spawn_named(s, "iterates", move || {
                for future in as_completed(futures) {
                    tell.send(future.unwrap().result()).unwrap();
                }
            });
            for at in [2, 0] {
                until_parked("iterates");
                keep(&mut promises, at);
                assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), at);
            }
            until_parked("iterates");
            promises[3] = None;
            assert!(matches!(told.recv_timeout(LIMIT).unwrap(), Err(TaskError::BrokenPromise)));
            let wait = until_waiting("iterates");
            assert_eq!(wait.waits_for().unwrap().site().file(), file!());
            keep(&mut promises, 1);
            assert_eq!(told.recv_timeout(LIMIT).unwrap().unwrap(), 1);
            assert!(told.recv_timeout(LIMIT).is_err(), "that was all");
        });
    });
}

#[test]
fn nothing_comes_of_nothing() {
    let mut iterator = as_completed(Vec::<Future<u8>>::new()).timeout(Duration::ZERO);
    assert_eq!(iterator.size_hint(), (0, Some(0)));
    assert!(iterator.next().is_none() && iterator.next().is_none());
}

#[test]
fn a_future_that_comes_several_times_is_yielded_once() {
    within(LIMIT, || {
        let (mut promises, futures) = promises(2);
        let [a, b] = &futures[..] else { panic!("two") };
        keep(&mut promises, 0);
        keep(&mut promises, 1);
        assert_eq!(as_completed([a, b, a, a]).count(), 2);
        // Any iterator, of different results.
        let (other, text) = promise();
        other.set_result("text").unwrap();
        let mixed: [&dyn AnyFuture; 4] = [&text, a, &text, b];
        assert_eq!(as_completed(mixed.into_iter().cycle().take(50)).count(), 3);
    });
}

#[test]
fn a_shared_result_is_yielded_once_however_many_owners_are_in_the_set() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let shared: Vec<_> = (0..10).map(|n| pool.submit(move || n).shared()).collect();
        let owners: Vec<_> = (0..4).flat_map(|_| shared.clone()).collect();
        let mut numbers: Vec<_> = as_completed(owners).map(|future| future.unwrap().result().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..10));
        assert!(shared.iter().all(|future| future.result().is_ok()), "the others have it still");
    });
}

#[test]
fn time_that_is_over_before_all_are_done_ends_with_those_that_are_not() {
    within(LIMIT, || {
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let (mut promises, futures) = promises(4);
            keep(&mut promises, 3);
            keep(&mut promises, 1);
            let start = Instant::now();
            let mut iterator = as_completed(futures).timeout(timeout);
            let first = [(); 2].map(|()| iterator.next().unwrap().unwrap().result().unwrap());
            assert_eq!(first, [1, 3]);
            let unfinished = iterator.next().unwrap().unwrap_err();
            assert!(start.elapsed() >= timeout);
            assert_eq!(unfinished.to_string(), "2 (of 4) futures unfinished");
            assert!(unfinished.deadlock().is_none() && std::error::Error::source(&unfinished).is_none());
            assert_eq!(iterator.size_hint(), (0, Some(0)));
            assert!(iterator.next().is_none() && iterator.next().is_none());
            // They go on, and can be waited for again.
            let rest = iterator.into_futures();
            keep(&mut promises, 2);
            keep(&mut promises, 0);
            assert_eq!(results(as_completed(rest)), [0, 2]);
        }
    });
}

#[test]
fn what_is_done_comes_even_after_the_time_is_over() {
    within(LIMIT, || {
        let (mut promises, futures) = promises(3);
        let mut iterator = as_completed(futures).timeout(Duration::ZERO);
        (0..3).for_each(|at| keep(&mut promises, at));
        assert_eq!(results(iterator.by_ref().collect::<Result<Vec<_>, _>>().map(as_completed).unwrap()), [0, 1, 2]);
        assert!(iterator.next().is_none());
    });
}

#[test]
fn nothing_of_a_yielded_future_is_kept() {
    let (promises, futures): (Vec<_>, Vec<_>) = (0..3).map(|_| promise()).unzip();
    let mut iterator = as_completed(futures);
    let witnesses: Vec<_> = promises
        .into_iter()
        .map(|promise| {
            let witness = Arc::new(());
            promise.set_result(Arc::clone(&witness)).unwrap();
            witness
        })
        .collect();
    for witness in &witnesses {
        let future = iterator.next().unwrap().unwrap();
        assert_eq!(Arc::strong_count(witness), 2);
        drop(future);
        assert_eq!(Arc::strong_count(witness), 1);
    }
    assert!(iterator.next().is_none());
}

#[test]
fn dropping_the_iterator_drops_its_futures_and_stops_no_task() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let gate = Arc::new(Gate::new());
        let theirs = Arc::clone(&gate);
        let slow = pool.submit(move || theirs.pass());
        let (tell, told) = mpsc::channel();
        let quick: Vec<_> = (0..3)
            .map(|n| {
                let tell = tell.clone();
                pool.submit(move || tell.send(n).unwrap())
            })
            .collect();
        let witness = Arc::new(());
        let (promise, future) = promise();
        promise.set_result(Arc::clone(&witness)).unwrap();
        let mut iterator = as_completed(quick.iter().map(|future| future as &dyn AnyFuture).chain([&slow as _]));
        assert!(iterator.size_hint() == (0, Some(4)));
        drop(as_completed([future]));
        assert_eq!(Arc::strong_count(&witness), 1);
        gate.open();
        assert!(iterator.next().is_some());
        drop(iterator);
        let mut ran: Vec<_> = (0..3).map(|_| told.recv_timeout(LIMIT).unwrap()).collect();
        ran.sort_unstable();
        assert_eq!(ran, [0, 1, 2]);
    });
}

#[test]
fn an_iterator_goes_on_on_another_thread() {
    within(LIMIT, || {
        let (mut promises, futures) = promises(3);
        let mut iterator = as_completed(futures);
        keep(&mut promises, 1);
        assert_eq!(iterator.next().unwrap().unwrap().result().unwrap(), 1);
        thread::scope(|s| {
            let other = spawn_named(s, "iterates further", || results(iterator));
            until_parked("iterates further");
            keep(&mut promises, 2);
            until_waiting("iterates further");
            keep(&mut promises, 0);
            assert_eq!(other.join().unwrap(), [2, 0]);
        });
    });
}

#[test]
fn ten_thousand_futures_each_come_once() {
    const COUNT: usize = if cfg!(miri) { 50 } else { 10_000 };
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(4);
        let futures: Vec<_> = (0..COUNT).map(|n| pool.submit(move || n)).collect();
        let seen: HashSet<_> = as_completed(futures).map(|future| future.unwrap().result().unwrap()).collect();
        assert_eq!(seen.len(), COUNT);

        // Those of one promise after the other, the last first.
        let (mut promises, futures) = promises(COUNT);
        let iterator = as_completed(futures);
        (0..COUNT).rev().for_each(|at| keep(&mut promises, at));
        assert!(results(iterator).into_iter().eq((0..COUNT).rev()));
    });
}

#[test]
fn futures_that_end_while_they_are_asked_for_are_all_yielded() {
    const COUNT: usize = 64;
    const THREADS: usize = 4;
    within(LIMIT, || {
        for _ in 0..if cfg!(miri) { 3 } else { 2_000 } {
            let (promises, futures) = promises(COUNT);
            let start = Barrier::new(THREADS + 1);
            let mut shares = [const { Vec::new() }; THREADS];
            for (at, promise) in promises.into_iter().flatten().enumerate() {
                shares[at % THREADS].push((at, promise));
            }
            thread::scope(|s| {
                for share in shares {
                    let start = &start;
                    s.spawn(move || {
                        start.wait();
                        share.into_iter().for_each(|(at, promise)| promise.set_result(at).unwrap());
                    });
                }
                let iterator = as_completed(futures);
                start.wait();
                let mut numbers = results(iterator);
                numbers.sort_unstable();
                assert!(numbers.into_iter().eq(0..COUNT));
            });
        }
    });
}

#[test]
fn a_worker_that_takes_what_comes_first_leaves_the_queue_to_the_others() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let inner = pool.clone();
        let sum = pool.submit(move || {
            let futures: Vec<_> = (0..100_u32).map(|n| inner.submit(move || n)).collect();
            as_completed(futures).map(|future| future.unwrap().result().unwrap()).sum::<u32>()
        });
        assert_eq!(sum.result().unwrap(), 4950);
    });
}

#[test]
fn debug_shows_how_many_are_left() {
    let (mut promises, futures) = promises(3);
    keep(&mut promises, 0);
    let mut iterator = as_completed(futures).timeout(Duration::ZERO);
    assert_eq!(format!("{iterator:?}"), "AsCompleted { left: 3, total: 3, .. }");
    assert!(iterator.next().unwrap().is_ok());
    assert_eq!(format!("{iterator:?}"), "AsCompleted { left: 2, total: 3, .. }");
    let unfinished = iterator.next().unwrap().unwrap_err();
    assert_eq!(format!("{unfinished:?}"), "Unfinished(2 (of 3) futures unfinished)");
}
