//! Used inside of async runtimes, and inside of a runtime on a worker: what blocks does so there, what is awaited wakes.

use std::sync::mpsc;
use std::time::Duration;

use bowline::task::{TaskId, first_ok, results};
use bowline::{ReturnWhen, TaskError, ThreadPoolExecutor, as_completed, promise, wait};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

use crate::support::{LIMIT, within};

const SOON: Duration = Duration::from_millis(2);

/// Blocks and awaits in every way that sets, ids, callbacks and errors of the program's own have.
async fn everything(pool: ThreadPoolExecutor) {
    let squares = || (0..8_u32).map(|n| (n, pool.submit(move || n * n)));
    for pair in as_completed(squares()) {
        let (n, future) = pair.unwrap();
        assert_eq!(future.await.unwrap(), n * n);
    }
    let set = wait(squares(), ReturnWhen::AllCompleted, None).into_result().unwrap();
    assert_eq!((set.done.len(), set.not_done.len()), (8, 0));
    let all = results(squares().map(|(_, future)| future)).unwrap();
    assert_eq!(all.iter().sum::<u32>(), 140);
    let (broken, failed) = promise();
    drop(broken);
    assert_eq!(first_ok([failed, pool.submit(|| 7)]).unwrap(), 7);

    let ids = pool.submit(TaskId::current);
    let id = ids.id();
    assert_eq!(ids.await.unwrap(), Some(id));

    // A callback is removed while its future is awaited, by the task that the awaited one runs beside.
    let (promise, future) = promise::<u8>();
    let (tell, told) = mpsc::channel();
    let removed = future.add_done_callback(|_| unreachable!("it was removed"));
    future.add_done_callback(move |_| tell.send(()).unwrap());
    let giver = pool.submit(move || {
        assert!(removed.remove());
        promise.set_error("out of rope").unwrap();
    });
    let mut future = future;
    let error = (&mut future).await.unwrap_err();
    assert!(matches!(error, TaskError::Custom(_)));
    assert!(matches!(future.exception(), Some(TaskError::Custom(_))), "it is told after it was taken");
    told.recv().unwrap();
    giver.await.unwrap();

    // It never begins, or stops as it is asked to.
    let task = pool.submit_cancellable(|token| token.wait());
    let never_begins = task.cancel();
    assert_eq!(task.await.is_err(), never_begins);
    assert!(pool.map_cancellable(|token, n: u32| (n, token.is_cancelled()), 0..3).all(|call| !call.unwrap().1));

    let (_promise, never) = bowline::promise::<u8>();
    let mut iterator = as_completed([(1, never)]).timeout(SOON);
    assert!(iterator.next().unwrap().is_err());
    let set = wait(iterator.into_futures(), ReturnWhen::FirstCompleted, Some(SOON));
    assert_eq!(set.not_done[0].0, 1);
}

#[test]
fn all_of_it_works_inside_of_a_runtime_of_one_thread() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        Builder::new_current_thread().build().unwrap().block_on(everything(pool));
    });
}

#[test]
fn all_of_it_works_inside_of_a_runtime_of_several_threads() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(everything(pool.clone()))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn all_of_it_works_inside_of_a_local_set() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let runtime = Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let tasks: Vec<_> = (0..4).map(|_| tokio::task::spawn_local(everything(pool.clone()))).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    });
}

#[test]
fn all_of_it_works_inside_of_a_runtime_on_a_worker_of_another_pool() {
    within(LIMIT, || {
        let (pool, outer) = (ThreadPoolExecutor::new(2), ThreadPoolExecutor::new(2));
        let in_tokio = {
            let pool = pool.clone();
            outer.submit(move || Builder::new_current_thread().build().unwrap().block_on(everything(pool)))
        };
        let in_futures = outer.submit(move || futures::executor::block_on(everything(pool)));
        results([in_tokio, in_futures]).unwrap();
    });
}

#[test]
fn a_runtime_on_the_only_worker_runs_results_in_place() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let set = wait((0..3).map(|n| same.submit(move || n)), ReturnWhen::AllCompleted, None);
                results(set.into_result().unwrap().done)
            })
        });
        assert_eq!(outer.result().unwrap().unwrap(), [0, 1, 2]);
    });
}
