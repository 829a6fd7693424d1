//! A function applied to many items: in order, lazily, and no further ahead than asked for.
//!
//! What pools of threads and of processes have in common is in `support/contract.rs`.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use bowline::thread_pool::WhenFull;
use bowline::{TaskError, ThreadPoolExecutor};

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, wait_until, within};

#[test]
fn the_order_holds_when_the_last_item_is_done_first() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let gate = Gate::default();
        let waits = gate.clone();
        let run = move |n| {
            if n == 0 {
                waits.pass();
            } else {
                waits.open();
            }
            n
        };
        assert_eq!(pool.map(run, 0..2).map(Result::unwrap).collect::<Vec<_>>(), [0, 1]);
        assert!(gate.is_open());
    });
}

#[test]
fn a_time_out_of_a_call_is_not_the_time_out_of_the_map() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let call = |n: u32| NonZeroU32::new(n).ok_or(TaskError::Timeout);
        for with_timeout in [false, true] {
            let map = pool.map(call, [1, 0, 2]);
            let mut map = if with_timeout { map.timeout(LIMIT) } else { map };
            assert_eq!(map.next().unwrap().unwrap().unwrap().get(), 1);
            assert!(matches!(map.next().unwrap(), Ok(Err(TaskError::Timeout))));
            assert_eq!(map.next().unwrap().unwrap().unwrap().get(), 2, "the map has not ended");
            assert!(map.next().is_none());
        }
    });
}

#[test]
fn a_map_that_times_out_yields_what_is_done_and_cancels_the_rest() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, begun) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
        let call = {
            let (gate, begun) = (gate.clone(), Arc::clone(&begun));
            move |n| {
                begun.fetch_add(1, SeqCst);
                if n == 2 {
                    gate.pass();
                }
                n
            }
        };
        let mut map = pool.map(call, 0..6).start();
        wait_until(|| begun.load(SeqCst) == 3);
        map = map.timeout(Duration::ZERO);
        assert_eq!([map.next().unwrap().unwrap(), map.next().unwrap().unwrap()], [0, 1]);
        assert!(matches!(map.next(), Some(Err(TaskError::Timeout))));
        assert!(map.next().is_none() && map.next().is_none(), "exhausted for good");
        assert_eq!(map.size_hint(), (0, Some(0)));
        let mut map = map.start();
        assert!(map.next().is_none() && format!("{map:?}").contains("under_way: 0"), "{map:?}");
        gate.open();
        drop(pool);
        assert_eq!(begun.load(SeqCst), 3, "no other call began");
    });
}

#[test]
fn a_map_times_out_though_the_queue_has_no_room() {
    within(LIMIT, || {
        for queued_by_others in [false, true] {
            let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build();
            let busy = Busy::keep(&pool, 1);
            let other = queued_by_others.then(|| pool.submit(|| ()));
            let ran = Arc::new(AtomicUsize::new(0));
            let calls = Arc::clone(&ran);
            let mut map = pool.map(move |_| calls.fetch_add(1, SeqCst), 0..10).timeout(Duration::from_millis(20));
            assert!(matches!(map.next(), Some(Err(TaskError::Timeout))));
            assert!(map.next().is_none());
            assert_eq!(pool.queued(), usize::from(queued_by_others));
            busy.release();
            other.into_iter().for_each(|other| other.result().unwrap());
            drop(pool);
            assert_eq!(ran.load(SeqCst), 0);
        }
    });
}

#[test]
fn a_map_fits_into_any_queue_that_it_has_for_itself() {
    within(LIMIT, || {
        for when_full in [WhenFull::Block, WhenFull::Reject, WhenFull::CallerRuns] {
            for (workers, capacity, chunk) in [(1, 1, 1), (1, 2, 1), (2, 1, 1), (1, 2, 7), (3, 2, 3)] {
                let pool = ThreadPoolExecutor::builder().max_workers(workers).queue_capacity(capacity);
                let pool = pool.when_full(when_full).build();
                let map = pool.map(|n| n, 0..200).chunk_size(chunk);
                let results: Vec<u32> = map.map(|result| result.expect("there is room")).collect();
                assert!(results.into_iter().eq(0..200));
                let started = pool.map(|n| n, 0..200).chunk_size(chunk).start();
                assert!(started.map(|result| result.expect("there is room")).eq(0..200));
            }
        }
    });
}

#[test]
fn items_that_were_taken_for_a_large_chunk_go_with_a_smaller_one() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let input = (0..40).inspect(|&n| assert_ne!(n, 12, "the input fails once, with two items in hand"));
        let mut map = pool.map(|n| n, input).chunk_size(10);
        assert!(catch_unwind(AssertUnwindSafe(|| map.next())).is_err());
        let results: Vec<_> = map.chunk_size(1).map(|result| result.unwrap()).collect();
        assert!(results.into_iter().eq((0..40).filter(|&n| n != 12)));
    });
}

#[test]
fn a_dropped_map_cancels_what_nobody_has_begun() {
    within(LIMIT, || {
        for chunk in [1, 4] {
            let pool = ThreadPoolExecutor::new(1);
            let (gate, ran) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
            let call = {
                let (gate, ran) = (gate.clone(), Arc::clone(&ran));
                move |_| {
                    ran.fetch_add(1, SeqCst);
                    gate.pass();
                }
            };
            let map = pool.map(call, 0..12).chunk_size(chunk).start();
            wait_until(|| ran.load(SeqCst) == 1);
            drop(map);
            assert_eq!(pool.queued(), 0);
            gate.open();
            drop(pool);
            assert_eq!(ran.load(SeqCst), 1, "not even the rest of a chunk of {chunk} that was begun");
        }
    });
}

#[test]
fn a_map_that_was_taken_from_for_a_while_runs_no_more_calls_once_it_is_dropped() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let ran = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&ran);
        let map = pool.map(move |_| calls.fetch_add(1, SeqCst), 0..).buffer_size(4);
        assert_eq!(map.take(10).filter(Result::is_ok).count(), 10);
        drop(pool);
        let ran = ran.load(SeqCst);
        assert!((10..=14).contains(&ran), "{ran}");
    });
}

#[test]
fn an_infinite_input_is_taken_from_as_results_are_asked_for() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let mut squares = pool.map(|n: u64| n * n, 0..).buffer_size(2);
        for n in 0..100 {
            assert_eq!(squares.next().unwrap().unwrap(), n * n);
        }
        let zipped = pool.map(|(a, b): (u64, u64)| a + b, (0..).zip(10..)).buffer_size(2);
        assert_eq!(zipped.take(3).map(Result::unwrap).collect::<Vec<_>>(), [10, 12, 14]);
    });
}

#[test]
fn so_many_items_are_taken_ahead_as_the_buffer_has_and_no_more() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(4);
        for buffer in [1, 2, 3, 7] {
            let (taken, ran) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
            let items = (0..100).inspect(|_| _ = taken.fetch_add(1, SeqCst));
            let calls = Arc::clone(&ran);
            let mut map = pool.map(move |_| calls.fetch_add(1, SeqCst), items).buffer_size(buffer);
            assert_eq!(taken.load(SeqCst), 0, "nothing before it is started");
            map = map.start();
            // However many calls are done, and whoever idles.
            wait_until(|| ran.load(SeqCst) == buffer && pool.active_count() == 0);
            assert_eq!(taken.load(SeqCst), buffer);
            for yielded in 1..20 {
                map.next().unwrap().unwrap();
                let ahead = taken.load(SeqCst) - yielded;
                assert!(ahead <= buffer, "{ahead} of {buffer} ahead after {yielded}");
            }
        }
    });
}

#[test]
fn a_buffer_is_filled_while_the_next_result_is_not_there() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (gate, taken) = (Gate::default(), AtomicUsize::new(0));
        let waits = gate.clone();
        let items = (0..100).inspect(|_| {
            if taken.fetch_add(1, SeqCst) == 6 {
                gate.open();
            }
        });
        let mut map = pool.map(move |_| waits.pass(), items).buffer_size(7);
        map.next().unwrap().unwrap();
        assert_eq!(taken.load(SeqCst), 7);
    });
}

#[test]
fn a_result_that_is_there_is_yielded_before_more_is_taken() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for chunk in [1, 3] {
            let (taken, ran) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
            // An input that is slower than the calls: there is an item when all chunks before have run.
            let items = (0..20).inspect(|n| {
                taken.fetch_add(1, SeqCst);
                wait_until(|| ran.load(SeqCst) >= n / chunk * chunk);
            });
            let calls = Arc::clone(&ran);
            let call = move |n| {
                calls.fetch_add(1, SeqCst);
                n
            };
            let mut map = pool.map(call, items).chunk_size(chunk);
            for expected in 0..20 {
                assert_eq!(map.next().unwrap().unwrap(), expected);
                // One chunk may have been taken while the result was on its way, and the next was begun.
                let ahead = taken.load(SeqCst) - expected;
                assert!(ahead <= 2 * chunk + 1, "{ahead} ahead of result {expected}");
            }
            assert!(map.next().is_none());
        }
    });
}

#[test]
fn items_that_were_taken_and_not_submitted_are_dropped_with_the_map() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let item = Arc::new(());
        let ran = Arc::new(AtomicUsize::new(0));
        let (items, calls) = (Arc::clone(&item), Arc::clone(&ran));
        let items = (0..).map(move |n| {
            wait_until(|| ran.load(SeqCst) >= n / 3 * 3);
            Arc::clone(&items)
        });
        let call = move |_| _ = calls.fetch_add(1, SeqCst);
        let mut map = pool.map(call, items).chunk_size(3);
        map.next().unwrap().unwrap();
        drop(map);
        drop(pool);
        assert_eq!(Arc::strong_count(&item), 1);
    });
}

#[test]
fn a_buffer_without_a_size_is_a_multiple_of_the_workers() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let busy = Busy::keep(&pool, 2);
        let map = pool.map(|n| n, 0..).chunk_size(3).start();
        assert_eq!(pool.queued(), 2 * 16);
        drop(map);
        assert_eq!(pool.queued(), 0);
        busy.release();
    });
}

#[test]
fn calls_begin_when_a_map_is_started_though_nobody_takes_a_result() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(5);
        let (done, ended) = mpsc::channel();
        let map = pool.map(move |n| done.send(n).unwrap(), 0..10);
        assert_eq!(pool.worker_count(), 0, "lazy until then");
        let map = map.start();
        let mut ended: Vec<_> = (0..10).map(|_| ended.recv_timeout(LIMIT).unwrap()).collect();
        ended.sort_unstable();
        assert_eq!(ended, (0..10).collect::<Vec<_>>());
        assert!(pool.shutdown().is_complete());
        assert_eq!(map.filter(Result::is_ok).count(), 10, "results outlive their pool");
    });
}

#[test]
fn a_map_that_is_started_with_results_at_hand_takes_no_more_than_its_buffer_and_waits_for_no_room() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).build();
        let taken = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&taken);
        let items = (0..100).inspect(move |_| _ = counts.fetch_add(1, SeqCst));
        let mut map = pool.map(|n| n, items).chunk_size(4).buffer_size(4);
        assert_eq!(map.next().unwrap().unwrap(), 0);
        // The worker is busy, and there is no room in the queue.
        let gate = Gate::default();
        let theirs = gate.clone();
        let busy = pool.submit(move || theirs.pass());
        wait_until(|| busy.running());
        let queued = pool.submit(|| ());
        let mut map = map.start();
        assert_eq!(taken.load(SeqCst), 4);
        assert!((1..4).all(|n| map.next().unwrap().unwrap() == n));
        gate.open();
        queued.result().unwrap();
        assert_eq!(map.map(Result::unwrap).collect::<Vec<_>>(), (4..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_pool_may_end_right_after_a_map_whose_results_nobody_wants() {
    within(LIMIT, || {
        for _ in 0..20 {
            let pool = ThreadPoolExecutor::new(3);
            drop(pool.map(|n| n, 0..1000).start());
            assert!(pool.shutdown().is_complete());
        }
    });
}

#[test]
fn a_map_goes_on_after_its_pool_was_shut_down_and_says_so_of_each_item() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let mut map = pool.map(|n| n, 0..5).buffer_size(2).start();
        assert!(pool.shutdown().is_complete());
        assert_eq!([map.next().unwrap().unwrap(), map.next().unwrap().unwrap()], [0, 1]);
        let rest: Vec<_> = map.collect();
        assert_eq!(rest.len(), 3);
        assert!(rest.iter().all(|result| matches!(result, Err(TaskError::Rejected(_)))), "{rest:?}");
    });
}

#[test]
fn an_item_is_dropped_by_the_call_that_takes_it() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let item = Arc::new(());
        let mut map = pool.map(drop, std::iter::repeat_n(Arc::clone(&item), 3));
        for _ in 0..3 {
            map.next().unwrap().unwrap();
        }
        assert_eq!(Arc::strong_count(&item), 1, "with the map still there");
        assert!(map.next().is_none());
    });
}

#[test]
fn the_function_is_dropped_with_the_map_and_its_last_call() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let owned = Arc::new(());
        let uses = Arc::clone(&owned);
        let map = pool.map(move |n| (n, Arc::strong_count(&uses)).0, 0..5);
        assert_eq!(map.filter(Result::is_ok).count(), 5);
        // The last call may still hold it for a moment after its result is there.
        wait_until(|| Arc::strong_count(&owned) == 1);
    });
}

#[test]
fn a_task_may_map_over_its_own_pool_of_one() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let own = pool.clone();
        let sum = pool.submit(move || own.map(|n| n * 2, 0..100).map(Result::unwrap).sum::<u32>());
        assert_eq!(sum.result().unwrap(), 9900);
    });
}

#[test]
fn a_map_yields_at_most_as_many_as_its_input_is_known_to_have() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let mut map = pool.map(|n| n, 0..5).buffer_size(2);
        // A time-out, or a deadlock, may cut it short.
        assert_eq!(map.size_hint(), (0, Some(5)));
        for left in (0..5).rev() {
            map.next().unwrap().unwrap();
            assert_eq!(map.size_hint(), (0, Some(left)));
        }
        assert_eq!(pool.map(|n: u32| n, 0..).size_hint().1, None);
    });
}
