//! Sets of futures by value and with keys: what is handed back, in which order, and what becomes of the rest.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bowline::deadlock::Kind;
use bowline::task::{AsCompleted, Unfinished, first_ok, results};
use bowline::{Future, Promise, ReturnWhen, SharedFuture, TaskError, ThreadPoolExecutor, as_completed, promise, wait};
use static_assertions::assert_impl_all;

use crate::support::deadlocks::Gate;
use crate::support::{LIMIT, within};

assert_impl_all!(AsCompleted<(Cell<u8>, Future<u8>)>: Send);
assert_impl_all!(Unfinished: Error, Clone, Send, Sync);

const SOON: Duration = Duration::from_millis(5);

/// A key that is no more than that.
#[derive(Debug, PartialEq)]
struct Key(u32);

type Pair = (Key, Future<u32>);

fn promises(count: u32) -> (Vec<Promise<u32>>, Vec<Pair>) {
    (0..count)
        .map(|number| {
            let (promise, future) = promise();
            (promise, (Key(number), future))
        })
        .unzip()
}

#[test]
fn each_future_comes_with_its_key_as_it_is_done() {
    within(LIMIT, || {
        let (promises, pairs) = promises(5);
        let mut iterator = as_completed(pairs);
        let mut promises: Vec<_> = promises.into_iter().map(Some).collect();
        for number in [3, 0, 4, 1, 2] {
            promises[number as usize].take().unwrap().set_result(number * 10).unwrap();
            let (key, future) = iterator.next().unwrap().unwrap();
            assert_eq!((key, future.result().unwrap()), (Key(number), number * 10));
        }
        assert!(iterator.next().is_none());
    });
}

#[test]
fn one_task_with_several_keys_comes_with_each_of_them() {
    within(LIMIT, || {
        let (first, second) = (promise(), promise());
        let (shared, other): (SharedFuture<u32>, _) = (first.1.shared(), second.1.shared());
        let pairs = || ["a", "b", "c", "d"].into_iter().zip([&shared, &other, &shared, &shared].map(Clone::clone));
        let mut iterator = as_completed(pairs());
        assert_eq!(iterator.size_hint(), (0, Some(4)));
        first.0.set_result(1).unwrap();
        let keys = [(); 3].map(|()| iterator.next().unwrap().unwrap().0);
        assert_eq!(keys, ["a", "c", "d"]);
        // What is left of one task stands together.
        let left: Vec<_> = as_completed(pairs()).into_futures().into_iter().map(|(key, _)| key).collect();
        assert_eq!(left, ["a", "c", "d", "b"]);
        for return_when in [ReturnWhen::FirstCompleted, ReturnWhen::FirstException, ReturnWhen::AllCompleted] {
            let set = wait(pairs(), return_when, Some(SOON));
            let keys = |pairs: Vec<(&'static str, _)>| pairs.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
            assert_eq!((keys(set.done), keys(set.not_done)), (vec!["a", "c", "d"], vec!["b"]), "{return_when:?}");
        }
        second.0.set_result(2).unwrap();
        assert_eq!(iterator.next().unwrap().unwrap().0, "b");
        assert!(iterator.next().is_none());
        // Each task counts once in a wait for all that has keys.
        assert_eq!(wait(pairs(), ReturnWhen::FirstException, None).done.len(), 4);
    });
}

#[test]
fn a_wait_for_all_with_keys_ends_with_the_last_of_the_tasks() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        for return_when in [ReturnWhen::FirstException, ReturnWhen::AllCompleted] {
            let gate = Arc::new(Gate::new());
            let behind = Arc::clone(&gate);
            let shared = pool.submit(move || behind.pass()).shared();
            let quick = pool.submit(|| ()).shared();
            quick.wait().unwrap();
            let set = wait([(1, &shared), (2, &quick), (3, &shared)], return_when, Some(SOON));
            assert_eq!((set.done.len(), set.not_done.len()), (1, 2));
            gate.open();
            let set = wait([(1, &shared), (2, &quick), (3, &shared)], return_when, None);
            assert_eq!((set.done.len(), set.not_done.len()), (3, 0));
        }
    });
}

#[test]
fn a_map_of_futures_is_a_set_with_keys() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let futures: HashMap<u32, Future<u32>> = (0..20).map(|n| (n, pool.submit(move || n * n))).collect();
        let borrowed = as_completed(&futures).map(|pair| *pair.unwrap().0).collect::<Vec<_>>();
        assert_eq!(borrowed.len(), 20);
        let squares: Result<BTreeMap<_, _>, Box<dyn Error>> = as_completed(futures)
            .map(|pair| {
                let (n, future) = pair?;
                Ok((n, future.result()?))
            })
            .collect();
        assert!(squares.unwrap().into_iter().eq((0..20).map(|n| (n, n * n))));
    });
}

#[test]
fn done_and_not_done_are_handed_back_by_value_in_the_order_given() {
    within(LIMIT, || {
        let (promises, pairs) = promises(6);
        let mut kept = Vec::new();
        for (number, promise) in promises.into_iter().enumerate() {
            if number % 2 == 0 { promise.set_result(number as u32).unwrap() } else { kept.push(promise) }
        }
        let (keys, futures): (Vec<_>, Vec<_>) = pairs.into_iter().rev().unzip();
        assert_eq!(keys[0], Key(5));
        let ids: Vec<_> = futures.iter().map(Future::id).collect();
        let set = wait(futures, ReturnWhen::AllCompleted, Some(SOON));
        assert!(set.deadlock.is_none());
        assert!(set.not_done.iter().map(Future::id).eq([ids[0], ids[2], ids[4]]));
        let values: Vec<_> = set.done.into_iter().map(|future| future.result().unwrap()).collect();
        assert_eq!(values, [4, 2, 0]);
        // The rest is waited for again.
        for (number, promise) in [1, 3, 5].into_iter().zip(kept) {
            promise.set_result(number).unwrap();
        }
        let set = wait(set.not_done, ReturnWhen::AllCompleted, None).into_result().unwrap();
        assert_eq!(results(set.done).unwrap(), [5, 3, 1]);
    });
}

#[test]
fn what_was_not_yielded_comes_back_in_the_order_given_whether_it_is_done_or_not() {
    within(LIMIT, || {
        let (promises, pairs) = promises(5);
        let mut iterator = as_completed(pairs);
        let mut promises: Vec<_> = promises.into_iter().map(Some).collect();
        for number in [3, 1, 4] {
            promises[number].take().unwrap().set_result(number as u32).unwrap();
        }
        assert_eq!(iterator.next().unwrap().unwrap().0, Key(3));
        let rest = iterator.into_futures();
        assert!(rest.iter().map(|(key, _)| key.0).eq([0, 1, 2, 4]));
        drop(promises);
        let ends: Vec<_> = rest.into_iter().map(|(_, future)| future.result().is_ok()).collect();
        assert_eq!(ends, [false, true, false, true]);
    });
}

/// What a program's `main` does, with sets that it lends and sets that it gives.
fn main_of_a_program(limit: Option<Duration>) -> Result<u32, Box<dyn Error>> {
    let pool = ThreadPoolExecutor::new(2);
    let (_promise, never) = promise::<u32>();
    let mut futures: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
    if limit.is_some() {
        futures.push(never);
    }
    let limit = limit.unwrap_or(LIMIT);
    let lent = wait(&futures, ReturnWhen::FirstCompleted, None).into_result()?;
    assert!(!lent.done.is_empty());
    let mut sum = 0;
    for future in as_completed(&futures).timeout(limit) {
        assert!(future?.done());
    }
    let keyed: Vec<_> = futures.iter().enumerate().collect();
    for pair in as_completed(keyed).timeout(limit) {
        sum += pair?.0 as u32;
    }
    for future in as_completed(wait(futures, ReturnWhen::AllCompleted, None).into_result()?.done) {
        sum += future?.result()?;
    }
    Ok(sum)
}

#[test]
fn main_may_end_with_the_error_of_a_set_that_it_lends_or_gives() {
    within(LIMIT, || {
        assert_eq!(main_of_a_program(None).unwrap(), 6);
        let error = main_of_a_program(Some(SOON)).unwrap_err();
        assert!(error.to_string().contains("(of 4) futures unfinished"), "{error}");
        assert!(error.is::<Unfinished>());
    });
}

/// Yields this many futures of a pool, and panics then.
fn panics_after(pool: &ThreadPoolExecutor, count: u32, tell: &mpsc::Sender<u32>) -> impl Iterator<Item = Future<u32>> {
    let (pool, tell) = (pool.clone(), tell.clone());
    (0..=count).map(move |number| {
        assert!(number < count, "on purpose");
        let tell = tell.clone();
        pool.submit(move || {
            tell.send(number).unwrap();
            number
        })
    })
}

#[test]
fn an_iterator_that_panics_loses_no_task_and_hangs_nobody() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let (tell, told) = mpsc::channel();
        let futures = || panics_after(&pool, 3, &tell);
        let waits: [(&str, &dyn Fn()); 5] = [
            ("wait", &|| drop(wait(futures(), ReturnWhen::AllCompleted, None))),
            ("as_completed", &|| drop(as_completed(futures()))),
            ("with keys", &|| drop(as_completed(futures().enumerate()))),
            ("results", &|| drop(results(futures()))),
            ("first_ok", &|| drop(first_ok(futures()))),
        ];
        for (name, wait) in waits {
            assert!(catch_unwind(AssertUnwindSafe(wait)).is_err(), "{name}");
            let mut ran = [(); 3].map(|()| told.recv().unwrap());
            ran.sort_unstable();
            assert_eq!(ran, [0, 1, 2], "{name}");
        }
        // By reference, they are the caller's still.
        let kept: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
        let lend = || kept.iter().chain(std::iter::from_fn(|| panic!("on purpose")));
        assert!(catch_unwind(AssertUnwindSafe(|| wait(lend(), ReturnWhen::FirstCompleted, None))).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| as_completed(lend()))).is_err());
        assert_eq!(results(kept).unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_key_whose_destructor_panics_hangs_nobody() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.0, "on purpose");
        }
    }

    within(LIMIT, || {
        let (promise, future) = promise();
        let shared = future.shared();
        let pairs = [true, false].map(|is_bomb| (Bomb(is_bomb), shared.clone()));
        assert!(catch_unwind(AssertUnwindSafe(|| drop(as_completed(pairs)))).is_err());
        promise.set_result(1).unwrap();
        assert_eq!(shared.result().unwrap(), 1);
    });
}

/// Returns a pool whose only worker waits at the gate, and what it waits in.
fn busy_pool() -> (ThreadPoolExecutor, Arc<Gate>, Future<()>) {
    let pool = ThreadPoolExecutor::new(1);
    let gate = Arc::new(Gate::new());
    let behind = Arc::clone(&gate);
    let busy = pool.submit(move || behind.pass());
    (pool, gate, busy)
}

#[test]
fn results_are_the_values_in_order_or_the_first_error_in_order() {
    within(LIMIT, || {
        assert_eq!(results::<u8>([]).unwrap(), [0; 0]);
        let (promises, pairs) = promises(4);
        let futures = pairs.into_iter().map(|pair| pair.1).collect::<Vec<_>>();
        let keeper = std::thread::spawn(move || {
            for (number, promise) in promises.into_iter().enumerate().rev() {
                promise.set_result(number as u32).unwrap();
            }
        });
        assert_eq!(results(futures).unwrap(), [0, 1, 2, 3]);
        keeper.join().unwrap();
        // A later error that comes first is not the first in order.
        let (first, second, third) = (promise::<u8>(), promise(), promise());
        third.0.set_exception(TaskError::Cancelled).unwrap();
        let keeper = std::thread::spawn(move || {
            first.0.set_result(1).unwrap();
            drop(second.0);
        });
        assert!(matches!(results([first.1, second.1, third.1]), Err(TaskError::BrokenPromise)));
        keeper.join().unwrap();
    });
}

#[test]
fn after_an_error_what_has_not_begun_is_cancelled_and_what_runs_goes_on() {
    within(LIMIT, || {
        let (pool, gate, busy) = busy_pool();
        let (tell, told) = mpsc::channel();
        let queued = pool.submit(move || tell.send(()).unwrap());
        let (broken, failed) = promise();
        drop(broken);
        assert!(matches!(results([failed, busy, queued]), Err(TaskError::BrokenPromise)));
        assert!(told.recv().is_err(), "the closure is dropped, and was not run");
        gate.open();
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
        assert_eq!(pool.shutdown().cancelled, 0);
    });
}

#[test]
fn the_first_value_is_enough_and_the_rest_is_cancelled() {
    within(LIMIT, || {
        let (pool, gate, busy) = busy_pool();
        let (tell, told) = mpsc::channel();
        let queued = pool.submit(move || tell.send(()).unwrap());
        let (broken, failed) = promise();
        drop(broken);
        let (kept, value) = promise();
        let keeper = std::thread::spawn(move || kept.set_result(()).unwrap());
        first_ok([failed, busy, queued, value]).unwrap();
        keeper.join().unwrap();
        assert!(told.recv().is_err(), "the closure is dropped, and was not run");
        gate.open();
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    });
}

#[test]
fn without_a_value_the_error_is_the_first_in_order_and_of_no_futures_it_says_so() {
    #[derive(Debug)]
    struct Numbered(u32);
    impl fmt::Display for Numbered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "error {}", self.0)
        }
    }
    impl Error for Numbered {}

    within(LIMIT, || {
        let (mut promises, pairs) = promises(3);
        let futures: Vec<_> = pairs.into_iter().map(|pair| pair.1).collect();
        for number in [2, 0, 1] {
            let promise = std::mem::replace(&mut promises[number], promise().0);
            promise.set_error(Numbered(number as u32)).unwrap();
        }
        let error = first_ok(futures).unwrap_err();
        assert_eq!(error.downcast_ref::<Numbered>().unwrap().0, 0);
        let error = first_ok::<u8>([]).unwrap_err();
        assert!(matches!(error, TaskError::Empty), "{error}");
    });
}

#[test]
fn on_a_worker_results_run_what_is_queued_and_the_first_value_is_a_deadlock_that_is_told() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let all = results((0..4).map(|n| same.submit(move || n))).unwrap();
            let (tell, told) = mpsc::channel::<()>();
            let first = first_ok((0..2).map(|_| {
                let tell = tell.clone();
                same.submit(move || tell.send(()).unwrap())
            }));
            drop(tell);
            // Those that have not begun are cancelled then.
            assert!(told.recv().is_err());
            (all, first)
        });
        let (all, first) = outer.result().unwrap();
        assert_eq!(all, [0, 1, 2, 3]);
        let Err(TaskError::Deadlock(deadlock)) = first else { panic!("{first:?}") };
        assert_eq!(deadlock.report().kind(), Kind::Starvation);
    });
}

#[test]
fn results_that_are_part_of_a_deadlock_say_so_and_cancel_the_rest() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let (send, receive) = mpsc::channel::<Future<usize>>();
        let (tell, told) = mpsc::channel();
        let mine = pool.submit(move || {
            let myself = receive.recv().unwrap();
            let queued = same.submit(move || {
                tell.send(()).unwrap();
                0
            });
            match results([myself, queued]) {
                Err(TaskError::Deadlock(deadlock)) => deadlock.report().threads().len(),
                other => panic!("{other:?}"),
            }
        });
        send.send(mine).unwrap();
        assert!(told.recv().is_err(), "the closure is dropped, and was not run");
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
        assert_eq!(pool.panic_count(), 0);
    });
}
