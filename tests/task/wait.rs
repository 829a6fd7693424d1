//! Waiting for several futures: which are done when it returns, and what it leaves behind.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bowline::ReturnWhen::{AllCompleted, FirstCompleted, FirstException};
use bowline::task::{AnyFuture, DoneAndNotDone};
use bowline::{Future, Promise, ReturnWhen, TaskError, ThreadPoolExecutor, promise, wait};
use static_assertions::{assert_impl_all, assert_obj_safe};

use crate::support::{LIMIT, spawn_named, until_parked, until_waiting, within};

assert_obj_safe!(AnyFuture);
assert_impl_all!(DoneAndNotDone<Future<u8>>: Send, Sync);

const EVERY_WAY: [ReturnWhen; 3] = [FirstCompleted, FirstException, AllCompleted];
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn promises<const N: usize>() -> ([Option<Promise<usize>>; N], [Future<usize>; N]) {
    let both: [_; N] = std::array::from_fn(|_| promise());
    let (mut promises, mut futures) = ([const { None }; N], [const { None }; N]);
    for (at, (promise, future)) in both.into_iter().enumerate() {
        (promises[at], futures[at]) = (Some(promise), Some(future));
    }
    (promises, futures.map(Option::unwrap))
}

/// Which of `futures` are in the list, in the list's order.
fn places(futures: &[Future<usize>], list: &[&Future<usize>]) -> Vec<usize> {
    let place = |listed: &&Future<usize>| futures.iter().position(|future| std::ptr::eq(future, *listed)).unwrap();
    list.iter().map(place).collect()
}

/// What a wait on a thread of its own finds of four promised futures, while `happens` happens to the promises.
fn found<const N: usize>(
    name: &str,
    return_when: ReturnWhen,
    happens: impl FnOnce(&mut [Option<Promise<usize>>; N], &[Future<usize>; N]),
) -> (Vec<usize>, Vec<usize>) {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<N>();
        thread::scope(|s| {
            let waiter = spawn_named(s, name, || {
                let set = wait(&futures, return_when, None);
                assert!(set.deadlock.is_none());
                (places(&futures, &set.done), places(&futures, &set.not_done))
            });
            until_parked(name);
            happens(&mut promises, &futures);
            waiter.join().unwrap()
        })
    })
}

fn keep(promises: &mut [Option<Promise<usize>>], at: usize) {
    promises[at].take().unwrap().set_result(at).unwrap();
}

#[test]
fn the_first_future_that_is_done_ends_the_wait_however_it_ended() {
    let kept = found::<4>("first kept", FirstCompleted, |promises, _| keep(promises, 2));
    assert_eq!(kept, (vec![2], vec![0, 1, 3]));
    let broken = found::<4>("first broken", FirstCompleted, |promises, _| promises[3] = None);
    assert_eq!(broken, (vec![3], vec![0, 1, 2]));
    let cancelled = found::<4>("first cancelled", FirstCompleted, |_, futures| assert!(futures[0].cancel()));
    assert_eq!(cancelled, (vec![0], vec![1, 2, 3]));
}

#[test]
fn the_first_exception_ends_the_wait_past_all_values() {
    let broken = found::<4>("exception past values", FirstException, |promises, _| {
        keep(promises, 1);
        keep(promises, 0);
        until_parked("exception past values");
        promises[3] = None;
    });
    assert_eq!(broken, (vec![0, 1, 3], vec![2]));
    let cancelled = found::<4>("exception by cancelling", FirstException, |_, futures| assert!(futures[2].cancel()));
    assert_eq!(cancelled, (vec![2], vec![0, 1, 3]));
}

#[test]
fn without_an_exception_the_wait_for_one_is_for_all() {
    let all = found::<3>("no exception", FirstException, |promises, _| {
        for at in [1, 2, 0] {
            until_parked("no exception");
            keep(promises, at);
        }
    });
    assert_eq!(all, (vec![0, 1, 2], vec![]));
}

#[test]
fn a_wait_for_all_ends_when_the_last_is_done_in_whatever_order_and_way() {
    let all = found::<4>("all of them", AllCompleted, |promises, futures| {
        keep(promises, 3);
        until_parked("all of them");
        promises[0] = None;
        until_parked("all of them");
        assert!(futures[2].cancel());
        until_parked("all of them");
        keep(promises, 1);
    });
    assert_eq!(all, (vec![0, 1, 2, 3], vec![]));
}

#[test]
fn what_is_done_before_the_wait_counts_at_once() {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<4>();
        let found = |return_when| {
            let set = wait(&futures, return_when, None);
            (places(&futures, &set.done), places(&futures, &set.not_done))
        };
        keep(&mut promises, 1);
        assert_eq!(found(FirstCompleted), (vec![1], vec![0, 2, 3]));
        assert!(futures[2].cancel());
        assert_eq!(found(FirstCompleted), (vec![1, 2], vec![0, 3]));
        assert_eq!(found(FirstException), (vec![1, 2], vec![0, 3]));
        keep(&mut promises, 0);
        promises[3] = None;
        for return_when in EVERY_WAY {
            assert_eq!(found(return_when), (vec![0, 1, 2, 3], vec![]));
        }
    });
}

#[test]
fn a_value_that_is_there_does_not_end_a_wait_for_an_exception() {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<3>();
        keep(&mut promises, 0);
        thread::scope(|s| {
            let waiter = spawn_named(s, "past a value", || {
                let set = wait(&futures, FirstException, None);
                (places(&futures, &set.done), places(&futures, &set.not_done))
            });
            until_parked("past a value");
            promises[1] = None;
            assert_eq!(waiter.join().unwrap(), (vec![0, 1], vec![2]));
        });
    });
}

#[test]
fn an_empty_set_is_waited_for_at_once() {
    within(LIMIT, || {
        for return_when in EVERY_WAY {
            for timeout in [None, AT_ONCE, Some(LIMIT * 2)] {
                let set = wait(&[] as &[Future<u8>], return_when, timeout);
                assert!(set.done.is_empty() && set.not_done.is_empty() && set.deadlock.is_none());
            }
        }
    });
}

#[test]
fn a_future_that_comes_several_times_counts_once() {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<2>();
        let [a, b] = &futures;
        keep(&mut promises, 0);
        for return_when in EVERY_WAY {
            let set = wait([a, b, a, a, b], return_when, Some(Duration::from_millis(1)));
            assert_eq!((places(&futures, &set.done), places(&futures, &set.not_done)), (vec![0], vec![1]));
        }
        keep(&mut promises, 1);
        for return_when in EVERY_WAY {
            assert_eq!(places(&futures, &wait([b, b, a, b], return_when, None).done), [1, 0]);
        }
        let (kept, future) = promise();
        let owners = vec![future.shared(); 3];
        assert_eq!(wait(&owners, FirstCompleted, AT_ONCE).not_done.len(), 1, "owners of one result");
        kept.set_result(1).unwrap();
        assert_eq!(wait(&owners, AllCompleted, None).done.len(), 1);
    });
}

#[test]
fn a_time_out_is_no_error_and_tells_how_far_it_went() {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<3>();
        keep(&mut promises, 1);
        for timeout in [Duration::ZERO, Duration::from_millis(20)] {
            let start = Instant::now();
            let set = wait(&futures, AllCompleted, Some(timeout));
            assert!(start.elapsed() >= timeout);
            assert_eq!((places(&futures, &set.done), places(&futures, &set.not_done)), (vec![1], vec![0, 2]));
            assert!(set.deadlock.is_none());
            let set = wait(&futures[2..], FirstCompleted, Some(timeout));
            assert_eq!((set.done.len(), set.not_done.len()), (0, 1));
            let set = wait(&futures, FirstException, Some(timeout));
            assert_eq!((set.done.len(), set.not_done.len()), (1, 2));
        }
    });
}

#[test]
fn a_wait_with_a_limit_ends_before_it_when_it_can() {
    within(LIMIT, || {
        for (at, return_when) in EVERY_WAY.into_iter().enumerate() {
            let (mut promises, futures) = promises::<2>();
            let name = format!("patient {at}");
            thread::scope(|s| {
                let waiter = spawn_named(s, &name, || wait(&futures, return_when, Some(LIMIT * 2)).done.len());
                assert!(until_waiting(&name).waits_for().unwrap().is_timed());
                promises[1] = None;
                if return_when == AllCompleted {
                    until_waiting(&name);
                    keep(&mut promises, 0);
                }
                assert_eq!(waiter.join().unwrap(), if return_when == AllCompleted { 2 } else { 1 });
            });
        }
    });
}

#[test]
fn futures_of_different_results_are_waited_for_together() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let (number, text) = (pool.submit(|| 42), pool.submit(|| "text".to_owned()));
        let (promise, promised) = promise::<Option<u8>>();
        let shared = pool.submit(|| ()).shared();
        let all: [&dyn AnyFuture; 4] = [&number, &text, &promised, &shared];
        let set = wait(all[..2].iter().copied().chain([all[3]]), AllCompleted, None);
        assert_eq!((set.done.len(), set.not_done.len()), (3, 0));
        let set = wait(all, AllCompleted, AT_ONCE);
        assert_eq!((set.done.len(), set.not_done.len()), (3, 1));
        drop(promise);
        assert_eq!(wait(all, FirstException, None).done.len(), 4);
        assert_eq!((number.result().unwrap(), text.result().unwrap()), (42, "text".to_owned()));
        assert!(matches!(promised.result(), Err(TaskError::BrokenPromise)));
    });
}

#[test]
fn the_wait_is_in_the_graph_with_its_own_line() {
    within(LIMIT, || {
        for (at, return_when) in EVERY_WAY.into_iter().enumerate() {
            let (mut promises, futures) = promises::<2>();
            let name = format!("in the graph {at}");
            thread::scope(|s| {
                let waiter = spawn_named(s, &name, || (line!(), wait(&futures, return_when, None)).0);
                let told = until_waiting(&name);
                let wait = told.waits_for().unwrap();
                assert_eq!((wait.resource().primitive(), wait.is_timed()), ("Promise", false));
                let site = wait.site();
                keep(&mut promises, 0);
                keep(&mut promises, 1);
                assert_eq!((site.file(), site.line()), (file!(), waiter.join().unwrap()));
            });
        }
    });
}

#[test]
fn a_hundred_futures_that_end_at_the_same_time_lose_no_notice() {
    const THREADS: usize = 4;
    within(LIMIT, || {
        for round in 0..if cfg!(miri) { 3 } else { 300 } {
            let (promises, futures): (Vec<_>, Vec<_>) = (0..100).map(|_| promise()).unzip();
            let start = Barrier::new(THREADS + 1);
            thread::scope(|s| {
                let (mut shares, mut at) = ([const { Vec::new() }; THREADS], 0);
                for promise in promises {
                    shares[at % THREADS].push(promise);
                    at += 1;
                }
                for share in shares {
                    let start = &start;
                    s.spawn(move || {
                        start.wait();
                        share.into_iter().for_each(|promise: Promise<()>| promise.set_result(()).unwrap());
                    });
                }
                start.wait();
                let set = wait(&futures, EVERY_WAY[round % 3], None);
                assert!(!set.done.is_empty());
                assert_eq!(wait(&futures, AllCompleted, None).done.len(), 100);
            });
        }
    });
}

#[test]
fn several_threads_wait_for_the_same_futures() {
    within(LIMIT, || {
        let (mut promises, futures) = promises::<3>();
        thread::scope(|s| {
            let waiters: Vec<_> = (0..6)
                .map(|at| {
                    let futures = &futures;
                    let body = move || wait(futures, EVERY_WAY[at % 3], None).done.len();
                    spawn_named(s, &format!("one of six {at}"), body)
                })
                .collect();
            (0..6).for_each(|at| until_parked(&format!("one of six {at}")));
            (0..3).for_each(|at| keep(&mut promises, at));
            let done: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
            assert!(done[0] >= 1 && done[3] >= 1, "{done:?}");
            assert_eq!([done[1], done[2], done[4], done[5]], [3; 4]);
        });
    });
}

#[test]
fn a_worker_that_waits_for_all_runs_what_is_queued_behind_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("runs all").build();
        let inner = pool.clone();
        let names = pool.submit(move || {
            let futures: Vec<_> =
                (0..10).map(|_| inner.submit(|| thread::current().name().unwrap().to_owned())).collect();
            let set = wait(&futures, AllCompleted, None);
            assert_eq!((set.done.len(), set.not_done.len()), (10, 0));
            futures.into_iter().map(|future| future.result().unwrap()).collect::<Vec<_>>()
        });
        assert!(names.result().unwrap().iter().all(|name| name == "runs all_0"));
    });
}

#[test]
fn a_wait_with_a_limit_runs_nothing_itself() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let inner = pool.clone();
        let waited = pool.submit(move || {
            let mut queued = inner.submit(|| ());
            let not_done = wait([&queued], AllCompleted, Some(Duration::from_millis(2))).not_done.len();
            let timed_out = queued.result_timeout(Duration::from_millis(2));
            (not_done, matches!(timed_out, Err(TaskError::Timeout)), queued)
        });
        let (not_done, timed_out, queued) = waited.result().unwrap();
        assert!(not_done == 1 && timed_out);
        queued.result().unwrap();
    });
}
