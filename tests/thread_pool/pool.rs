//! What a pool of threads does with its tasks, and how many threads it has.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, ThreadId};

use bowline::task::SubmitError;
use bowline::thread_pool::{Map, Scope, ShutdownOptions, ShutdownReport, ThreadPoolBuilder, WhenFull};
use bowline::{Future, ThreadPoolExecutor};
use static_assertions::assert_impl_all;

use crate::support::gate::{Busy, Gate};
use crate::support::{LIMIT, message, wait_until, within};

assert_impl_all!(ThreadPoolExecutor: Send, Sync, Unpin, Clone, Eq, Default, std::fmt::Debug);
assert_impl_all!(ThreadPoolBuilder: Send, Sync, std::fmt::Debug);
assert_impl_all!(Future<std::cell::Cell<i32>>: Send, Sync);
assert_impl_all!(Map<std::vec::IntoIter<i32>, fn(i32) -> i32, i32>: Send);
assert_impl_all!(Scope<'static, 'static>: Sync);
assert_impl_all!(ShutdownOptions: Send, Sync, Copy, Default);
assert_impl_all!(ShutdownReport: Send, Sync, Clone);
assert_impl_all!(SubmitError<fn()>: Send, Sync, std::error::Error);
assert_impl_all!(WhenFull: Send, Sync, Copy, Eq, Default);

/// Gives out as many tasks as there are workers that meet at a barrier: their threads.
fn threads_of(pool: &ThreadPoolExecutor) -> HashSet<ThreadId> {
    let barrier = Arc::new(Barrier::new(pool.max_workers()));
    let meet = |_| {
        let barrier = Arc::clone(&barrier);
        pool.submit(move || {
            barrier.wait();
            thread::current().id()
        })
    };
    let tasks: Vec<_> = (0..pool.max_workers()).map(meet).collect();
    tasks.into_iter().map(|task| task.result().unwrap()).collect()
}

#[test]
fn a_task_gives_its_result_to_its_future() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        assert_eq!(pool.submit(|| 2_u32.pow(8)).result().unwrap(), 256);
        assert_eq!(pool.submit_named("a power", || 2_u32.pow(9)).result().unwrap(), 512);
        assert_eq!(pool.try_submit(|| 2_u32.pow(10)).unwrap().result().unwrap(), 1024);
        assert_eq!(pool.submit_timeout(|| 2_u32.pow(11), LIMIT).unwrap().result().unwrap(), 2048);
    });
}

#[test]
fn a_task_takes_several_arguments_as_captures() {
    within(LIMIT, || {
        fn describe(count: usize, what: &str, of: Option<&String>) -> String {
            format!("{count} {what} of {of:?}")
        }
        let pool = ThreadPoolExecutor::new(1);
        let (count, what, of) = (3, "knots", "hemp".to_owned());
        let task = pool.submit(move || describe(count, what, Some(&of)));
        assert_eq!(task.result().unwrap(), "3 knots of Some(\"hemp\")");
    });
}

#[test]
fn a_function_a_boxed_closure_and_a_pool_itself_can_be_submitted() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        assert_eq!(pool.submit(String::new).result().unwrap(), "");
        let boxed: Box<dyn FnOnce() -> i32 + Send> = Box::new(|| 3);
        assert_eq!(pool.submit(boxed).result().unwrap(), 3);
        let other = pool.clone();
        assert!(pool.submit(move || other).result().unwrap() == pool);
    });
}

#[test]
fn more_tasks_than_workers_start_no_more_threads_than_allowed() {
    within(LIMIT, || {
        const WORKERS: usize = 4;
        let pool = ThreadPoolExecutor::new(WORKERS);
        assert_eq!(pool.worker_count(), 0, "none before the first task");
        let (gate, threads) = (Gate::default(), Arc::new(Mutex::new(HashSet::new())));
        let block = |_| {
            let (gate, threads) = (gate.clone(), Arc::clone(&threads));
            pool.submit(move || {
                threads.lock().unwrap().insert(thread::current().id());
                gate.pass();
            })
        };
        let tasks: Vec<_> = (0..15 * WORKERS).map(block).collect();
        wait_until(|| pool.active_count() == WORKERS);
        assert_eq!((pool.worker_count(), pool.queued()), (WORKERS, 14 * WORKERS));
        gate.open();
        tasks.into_iter().for_each(|task| task.result().unwrap());
        assert_eq!((pool.worker_count(), threads.lock().unwrap().len()), (WORKERS, WORKERS));
    });
}

#[test]
fn a_worker_is_used_again_before_another_is_started() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(8);
        let mut threads = HashSet::new();
        for _ in 0..50 {
            threads.insert(pool.submit(|| thread::current().id()).result().unwrap());
            // It hands the result over before it is idle.
            wait_until(|| pool.active_count() == 0);
        }
        assert_eq!((pool.worker_count(), threads.len()), (1, 1));
        // Two at once need one more.
        Busy::keep(&pool, 2).release();
        assert_eq!(pool.worker_count(), 2);
    });
}

#[test]
fn the_threads_of_a_pool_are_named_after_its_prefix_and_numbered() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(3).thread_name_prefix("Prefix").build();
        assert_eq!(names_of(&pool), ["Prefix_0", "Prefix_1", "Prefix_2"]);
    });
}

#[test]
fn the_threads_of_a_pool_without_a_prefix_are_named_after_its_number() {
    within(LIMIT, || {
        let [first, second] = [(); 2].map(|()| names_of(&ThreadPoolExecutor::new(2)));
        for names in [&first, &second] {
            let number: u64 =
                names[0].strip_prefix("ThreadPoolExecutor-").unwrap().strip_suffix("_0").unwrap().parse().unwrap();
            assert_eq!(names[1], format!("ThreadPoolExecutor-{number}_1"));
        }
        assert_ne!(first, second);
    });
}

fn names_of(pool: &ThreadPoolExecutor) -> Vec<String> {
    let barrier = Arc::new(Barrier::new(pool.max_workers()));
    let name = |_| {
        let barrier = Arc::clone(&barrier);
        pool.submit(move || {
            barrier.wait();
            thread::current().name().unwrap().to_owned()
        })
    };
    let tasks: Vec<_> = (0..pool.max_workers()).map(name).collect();
    let mut names: Vec<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_number_of_workers_that_makes_no_sense_panics() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let makers: [&dyn Fn(usize); 3] = [
            &|workers| drop(ThreadPoolExecutor::new(workers)),
            &|workers| drop(ThreadPoolExecutor::builder().max_workers(workers)),
            &|workers| pool.set_max_workers(workers),
        ];
        for make in makers {
            for (workers, says) in [(0, "must be greater than 0"), (16384, "must be at most 16383, and is 16384")] {
                let panic = catch_unwind(std::panic::AssertUnwindSafe(|| make(workers))).unwrap_err();
                assert_eq!(message(&*panic), format!("max_workers {says}"));
            }
        }
        assert_eq!((pool.max_workers(), ThreadPoolExecutor::new(16383).max_workers()), (1, 16383));
    });
}

#[test]
fn without_a_number_there_are_as_many_workers_as_the_machine_runs_at_once() {
    let expected = thread::available_parallelism().unwrap().get();
    assert_eq!(ThreadPoolExecutor::default().max_workers(), expected);
    assert_eq!(ThreadPoolExecutor::builder().build().max_workers(), expected);
}

#[test]
fn more_workers_allowed_means_that_queued_tasks_begin_at_once() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let barrier = Arc::new(Barrier::new(5));
        let meet = |_| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || barrier.wait().is_leader())
        };
        // They can only end together, and not before the pool has grown.
        let tasks: Vec<_> = (0..4).map(meet).collect();
        assert_eq!((pool.worker_count(), pool.queued()), (1, 4));
        pool.set_max_workers(4);
        assert_eq!((pool.worker_count(), pool.max_workers()), (4, 4));
        busy.release();
        barrier.wait();
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
    });
}

#[test]
fn fewer_workers_allowed_lets_the_idle_ones_go_at_once() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(5);
        assert_eq!(threads_of(&pool).len(), 5);
        wait_until(|| pool.active_count() == 0);
        pool.set_max_workers(2);
        wait_until(|| pool.worker_count() == 2);
        assert_eq!(threads_of(&pool).len(), 2, "and two stay");
    });
}

#[test]
fn fewer_workers_allowed_lets_the_busy_ones_end_their_tasks_and_no_task_is_lost() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(4);
        let busy = Busy::keep(&pool, 4);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |_| {
            let ran = Arc::clone(&ran);
            pool.submit(move || ran.fetch_add(1, SeqCst))
        };
        let tasks: Vec<_> = (0..20).map(count).collect();
        pool.set_max_workers(1);
        assert_eq!((pool.active_count(), pool.queued()), (4, 20), "nobody is interrupted");
        busy.release();
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
        wait_until(|| pool.worker_count() == 1);
        assert_eq!(ran.load(SeqCst), 20);
        pool.set_max_workers(3);
        assert_eq!(threads_of(&pool).len(), 3, "and it grows again");
    });
}

#[test]
fn a_task_may_resize_its_own_pool() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let own = pool.clone();
        let (go, gone) = mpsc::channel();
        let grows = pool.submit(move || {
            own.set_max_workers(2);
            // Only a second worker can tell.
            let other = own.submit(move || go.send(()).unwrap());
            gone.recv().unwrap();
            other.result().unwrap();
            own.set_max_workers(1);
        });
        grows.result().unwrap();
        wait_until(|| pool.worker_count() == 1);
        assert_eq!(pool.submit(|| 1).result().unwrap(), 1);
    });
}

#[test]
fn tasks_are_done_while_the_pool_is_resized_from_all_sides() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let done = AtomicUsize::new(0);
        thread::scope(|s| {
            for side in 0..3 {
                let (pool, done) = (&pool, &done);
                s.spawn(move || {
                    for round in 0..300 {
                        pool.set_max_workers(1 + (round + side) % 4);
                        let tasks: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
                        let sum: usize = tasks.into_iter().map(|task| task.result().unwrap()).sum();
                        done.fetch_add(sum, SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.load(SeqCst), 3 * 300 * 3);
        pool.set_max_workers(2);
        wait_until(|| pool.worker_count() <= 2);
    });
}

#[test]
fn a_pool_counts_what_runs_what_waits_and_what_is_done() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let counts = || (pool.active_count(), pool.queued(), pool.completed());
        assert_eq!(counts(), (0, 0, 0));
        let busy = Busy::keep(&pool, 2);
        assert_eq!(counts(), (2, 0, 0));
        let queued: Vec<_> = (0..3).map(|n| pool.submit(move || n)).collect();
        assert_eq!(counts(), (2, 3, 0));
        assert!(queued[1].cancel());
        assert_eq!(counts(), (2, 2, 0), "a cancelled task waits no more");
        busy.release();
        for task in queued {
            assert!(task.cancelled() || task.result().is_ok());
        }
        assert_eq!(pool.completed(), 4, "and has not run");
        wait_until(|| counts() == (0, 0, 4));
    });
}

#[test]
fn handles_are_equal_if_they_are_of_one_pool() {
    let (one, other) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
    let clone = one.clone();
    assert_eq!(one, clone);
    assert_ne!(one, other);
    clone.set_max_workers(7);
    assert_eq!((one.max_workers(), other.max_workers()), (7, 1));
    drop(one);
    within(LIMIT, || assert_eq!(clone.submit(|| 1).result().unwrap(), 1));
}

#[test]
fn debug_shows_the_name_and_the_counts_and_never_waits() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix("shown").build();
        let busy = Busy::keep(&pool, 1);
        let queued = pool.submit(|| ());
        let expected = "ThreadPoolExecutor { name: \"shown\", max_workers: 1, active_count: 1, queued: 1, .. }";
        assert_eq!(format!("{pool:?}"), expected);
        busy.release();
        queued.result().unwrap();
        let builder = format!("{:?}", ThreadPoolExecutor::builder().max_workers(3).queue_capacity(5));
        assert!(builder.contains("max_workers: Some(3)") && builder.contains("queue_capacity: Some(5)"), "{builder}");
    });
}

#[test]
fn masses_of_tasks_each_run_once() {
    const TASKS: u64 = if cfg!(miri) {
        100
    } else if cfg!(debug_assertions) {
        100_000
    } else {
        4_200_000
    };
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(4);
        let sum = Arc::new(AtomicU64::new(0));
        for n in 0..TASKS {
            let sum = Arc::clone(&sum);
            drop(pool.submit(move || sum.fetch_add(n, SeqCst)));
        }
        assert!(pool.shutdown().is_complete());
        assert_eq!((sum.load(SeqCst), pool.completed()), (TASKS * (TASKS - 1) / 2, TASKS));
    });
}

#[test]
fn many_threads_may_submit_to_one_pool_at_once() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(2);
        let barrier = Barrier::new(4);
        let sums: Vec<usize> = thread::scope(|s| {
            let submit = |_| {
                s.spawn(|| {
                    barrier.wait();
                    let tasks: Vec<_> = (0..500).map(|n| pool.submit(move || n)).collect();
                    tasks.into_iter().map(|task| task.result().unwrap()).sum()
                })
            };
            let threads: Vec<_> = (0..4).map(submit).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((sums, pool.completed()), (vec![500 * 499 / 2; 4], 2000));
    });
}

#[test]
fn a_task_runs_whether_or_not_anybody_has_its_future() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let (ran, runs) = mpsc::channel();
        drop(pool.submit(move || ran.send(()).unwrap()));
        busy.release();
        runs.recv_timeout(LIMIT).unwrap();
    });
}

/// Tells when it is dropped.
struct Tells(mpsc::Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn what_a_closure_owns_is_gone_when_its_result_is_there() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        for _ in 0..50 {
            let owned = Arc::new(());
            let moved = Arc::clone(&owned);
            pool.submit(move || assert_eq!(Arc::strong_count(&moved), 2)).result().unwrap();
            assert_eq!(Arc::strong_count(&owned), 1);
        }
    });
}

#[test]
fn the_result_of_a_detached_task_is_dropped_as_soon_as_there_is_one() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (tell, told) = mpsc::channel();
        // Before it runs, while it runs, and after it ran.
        let busy = Busy::keep(&pool, 1);
        let tells = Tells(tell.clone());
        drop(pool.submit(move || tells));
        busy.release();
        let worker = told.recv_timeout(LIMIT).unwrap();
        assert_eq!(worker, pool.submit(|| thread::current().id()).result().unwrap());

        let (gate, tells) = (Gate::default(), Tells(tell.clone()));
        let running = {
            let gate = gate.clone();
            pool.submit(move || (gate.pass(), tells))
        };
        wait_until(|| running.running());
        drop(running);
        gate.open();
        assert_eq!(told.recv_timeout(LIMIT).unwrap(), worker);

        // Before anybody is told that the task is done.
        let busy = Busy::keep(&pool, 1);
        let (tells, (order, orders)) = (Tells(tell.clone()), mpsc::channel());
        let detached = pool.submit(move || tells);
        let told = Arc::new(Mutex::new(told));
        let tells_first = Arc::clone(&told);
        detached.add_done_callback(move |_| order.send(tells_first.lock().unwrap().try_recv()).unwrap());
        drop(detached);
        busy.release();
        assert_eq!(orders.recv_timeout(LIMIT).unwrap(), Ok(worker));

        let told = told.lock().unwrap();
        let done = pool.submit(|| Tells(tell));
        done.wait().unwrap();
        assert!(told.try_recv().is_err(), "its owner may still take it");
        drop(done);
        assert_eq!(told.try_recv().unwrap(), thread::current().id());
    });
}

#[test]
fn a_cancelled_task_drops_what_it_owns_at_once_and_never_runs() {
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let busy = Busy::keep(&pool, 1);
        let (tell, told) = mpsc::channel();
        let tells = Tells(tell);
        let task = pool.submit(move || drop(tells));
        assert!(task.cancel());
        assert_eq!(told.try_recv().unwrap(), thread::current().id(), "here, while the only worker is busy");
        busy.release();
        drop(pool);
        assert!(task.cancelled());
    });
}

#[test]
fn a_task_that_submits_itself_again_goes_on_while_other_pools_come_and_go() {
    fn again(pool: &ThreadPoolExecutor, left: usize, done: mpsc::Sender<()>) {
        let own = pool.clone();
        drop(pool.submit(move || match left {
            0 => done.send(()).unwrap(),
            _ => again(&own, left - 1, done),
        }));
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::new(1);
        let (done, ended) = mpsc::channel();
        again(&pool, 2000, done);
        for n in 0..50 {
            let other = ThreadPoolExecutor::new(2);
            assert_eq!(other.submit(move || n).result().unwrap(), n);
        }
        ended.recv_timeout(LIMIT).unwrap();
    });
}
