//! A pool of processes: how many there are, what reaches them, and what a handle of it is.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bowline::ProcessPoolExecutor;
use bowline::process_pool::ProcessPoolError;
use bowline::task::{CodecError, StartError, Status, WorkerLost};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use static_assertions::{assert_eq_size, assert_impl_all};

use crate::support::folder::{Folder, begin, hold};
use crate::support::processes::{children, is_gone, open_descriptors};
use crate::support::workers::{Held, echo, keep, pid, pool_of};
use crate::support::{LIMIT, alone, wait_until, within};

assert_impl_all!(ProcessPoolExecutor: Send, Sync, Clone, Eq);
assert_eq_size!(ProcessPoolExecutor, Option<ProcessPoolExecutor>, usize);
assert_impl_all!(WorkerLost: Send, Sync, Clone, Error);
assert_impl_all!(StartError: Send, Sync, Clone, Error);
assert_impl_all!(CodecError: Send, Sync, Clone, Error);
assert_impl_all!(ProcessPoolError: Send, Sync, Clone, Error);
assert_eq_size!(WorkerLost, StartError, usize);

#[test]
fn a_call_runs_in_another_process_and_its_result_comes_back() {
    within(LIMIT, || {
        let pool = pool_of(2);
        assert_eq!(pool.submit(u64::pow, (2, 8)).result().unwrap(), 256);
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_ne!(worker, process::id());
        assert!(pool.worker_pids().contains(&worker));
    });
}

#[test]
fn a_call_has_from_none_to_eight_arguments_of_any_types() {
    within(LIMIT, || {
        let pool = pool_of(1);
        assert_eq!(pool.submit(|| "none".to_owned(), ()).result().unwrap(), "none");
        assert_eq!(pool.submit(|a: u8| a, (1,)).result().unwrap(), 1);
        assert_eq!(pool.submit(|a: u8, b: char| (b, a), (1, 'x')).result().unwrap(), ('x', 1));
        let three = |a: String, b: Option<bool>, c: ()| (a.len(), b, c);
        assert_eq!(pool.submit(three, ("ab".to_owned(), Some(true), ())).result().unwrap(), (2, Some(true), ()));
        let four = |a: i8, b: i16, c: i32, d: i64| i64::from(a) + i64::from(b) + i64::from(c) + d;
        assert_eq!(pool.submit(four, (-1, -2, -3, i64::MIN + 6)).result().unwrap(), i64::MIN);
        let five = |a: f32, b: f64, c: Vec<u8>, d: [u16; 2], e: u128| (a, b, c, d, e);
        let values = (0.1, f64::MAX, vec![1, 2], [3, u16::MAX], u128::MAX);
        assert_eq!(pool.submit(five, values.clone()).result().unwrap(), values);
        let six = |a: u32, b: u32, c: u32, d: u32, e: u32, f: u32| [a, b, c, d, e, f];
        assert_eq!(pool.submit(six, (1, 2, 3, 4, 5, 6)).result().unwrap(), [1, 2, 3, 4, 5, 6]);
        let seven = |a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32| [a, b, c, d, e, f, g];
        assert_eq!(pool.submit(seven, (1, 2, 3, 4, 5, 6, 7)).result().unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        let eight = |a: u32, b: u32, c: u32, d: u32, e: u32, f: u32, g: u32, h: u32| [a, b, c, d, e, f, g, h];
        assert_eq!(pool.submit(eight, (1, 2, 3, 4, 5, 6, 7, 8)).result().unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn calls_of_different_functions_on_the_same_worker_are_not_mixed_up() {
    within(LIMIT, || {
        fn nth<const N: usize>(n: usize) -> usize {
            1000 * N + n
        }
        let pool = pool_of(1);
        let call = |n| [pool.submit(nth::<1>, (n,)), pool.submit(nth::<2>, (n,)), pool.submit(nth::<3>, (n,))];
        let calls: Vec<_> = (0..50).map(call).collect();
        for (n, calls) in calls.into_iter().enumerate() {
            assert_eq!(calls.map(|call| call.result().unwrap()), [1000 + n, 2000 + n, 3000 + n]);
        }
    });
}

#[test]
fn a_pool_has_from_one_to_16383_workers_and_starts_none_before_it_needs_them() {
    alone(|| {
        let zero = ProcessPoolExecutor::new(0).unwrap_err();
        assert_eq!(zero.to_string(), "max_workers must be greater than 0");
        for many in [16384, usize::MAX] {
            let error = ProcessPoolExecutor::new(many).unwrap_err();
            assert!(matches!(error, ProcessPoolError::MaxWorkers(said) if said == many), "{error}");
            assert!(error.to_string().contains("at most 16383"), "{error}");
        }
        for many in [1, 61, 62, 63, 1024, 16383] {
            let pool = ProcessPoolExecutor::new(many).unwrap();
            assert_eq!((pool.max_workers(), pool.worker_count(), pool.worker_pids()), (many, 0, vec![]));
            assert!(children().is_empty(), "of {many}");
            assert!(pool.shutdown().is_complete());
        }
        // One task needs one.
        let pool = ProcessPoolExecutor::new(16383).unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_eq!((pool.worker_count(), pool.worker_pids(), children()), (1, vec![worker], vec![worker]));
    });
}

#[test]
fn more_than_sixty_workers_are_at_work_at_the_same_time() {
    within(LIMIT, || {
        const WORKERS: usize = 70;
        let pool = pool_of(WORKERS);
        let folder = Folder::new();
        let task = |n| pool.submit(hold, (folder.path(), n, "end".to_owned()));
        let tasks: Vec<_> = (0..WORKERS as u64).map(task).collect();
        wait_until(|| folder.begun().len() == WORKERS);
        assert_eq!((pool.worker_count(), pool.active_count(), pool.queued()), (WORKERS, WORKERS, 0));
        folder.put("end");
        let workers: HashSet<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
        assert_eq!(workers.len(), WORKERS);
    });
}

#[test]
fn many_times_more_tasks_than_workers_start_as_many_as_there_may_be_and_no_more() {
    within(LIMIT, || {
        const WORKERS: usize = 3;
        let pool = pool_of(WORKERS);
        let folder = Folder::new();
        let task = |n| pool.submit(hold, (folder.path(), n, "end".to_owned()));
        let tasks: Vec<_> = (0..15 * WORKERS as u64).map(task).collect();
        wait_until(|| folder.begun().len() == WORKERS);
        assert_eq!((pool.worker_count(), pool.worker_pids().len(), pool.active_count()), (WORKERS, WORKERS, WORKERS));
        assert_eq!(pool.queued(), 14 * WORKERS);
        let running = || tasks.iter().filter(|task| task.running()).count();
        assert_eq!((running(), pool.completed()), (WORKERS, 0));
        let started = pool.worker_pids();
        folder.put("end");
        let used: HashSet<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
        assert!(used.iter().all(|worker| started.contains(worker)), "{used:?} of {started:?}");
        assert_eq!((pool.worker_count(), pool.completed(), pool.queued()), (WORKERS, 15 * WORKERS as u64, 0));
    });
}

#[test]
fn a_queue_of_any_length_takes_no_descriptors() {
    const TASKS: u64 = 10_000;
    alone(|| {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(256), maximum }).unwrap();
        let pool = pool_of(2);
        let held = Held::keep(&pool, 2);
        let before = open_descriptors();
        let tasks: Vec<_> = (0..TASKS).map(|n| pool.submit(echo::<u64>, (n,))).collect();
        assert_eq!((pool.queued() as u64, open_descriptors()), (TASKS, before));
        held.release();
        tasks.into_iter().zip(0..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
        assert_eq!((pool.worker_count(), open_descriptors()), (2, before));
    });
}

#[test]
fn a_task_whose_future_is_dropped_runs_all_the_same() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let held = keep(&pool, &folder, 0);
        // One that is sent ahead, one that is queued, and the one that runs.
        drop(pool.submit(begin, (folder.path(), 1)));
        drop(pool.submit(begin, (folder.path(), 2)));
        drop(held);
        assert_eq!((pool.active_count(), pool.queued()), (1, 2));
        folder.put("end");
        folder.until_begun(1);
        folder.until_begun(2);
        assert!(pool.shutdown().is_complete());
        assert_eq!(pool.completed(), 3);
    });
}

#[test]
fn the_arguments_are_dropped_as_soon_as_they_are_encoded() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let held = keep(&pool, &folder, 0);
        let owned = Arc::new("data".to_owned());
        let length = |text: Arc<String>| text.len();
        // One that is sent ahead, one that is queued, one that nobody waits for.
        let tasks = [(); 2].map(|()| pool.submit(length, (Arc::clone(&owned),)));
        drop(pool.submit(length, (Arc::clone(&owned),)));
        assert_eq!(Arc::strong_count(&owned), 1);
        let refused = {
            let other = pool_of(1);
            let _ = other.shutdown();
            other.submit(length, (Arc::clone(&owned),))
        };
        assert_eq!((refused.status(), Arc::strong_count(&owned)), (Status::Failed, 1));
        folder.put("end");
        held.result().unwrap();
        assert_eq!(tasks.map(|task| task.result().unwrap()), [4, 4]);
    });
}

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Counts, in each process, how many of it there are.
struct Counted;

impl Counted {
    fn new() -> Self {
        IN_USE.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, SeqCst);
    }
}

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self::new())
    }
}

#[test]
fn neither_process_keeps_an_argument_or_a_result() {
    alone(|| {
        let in_use = || IN_USE.load(SeqCst);
        let pool = pool_of(1);
        let task = pool.submit(|given: Counted| (given, IN_USE.load(SeqCst)), (Counted::new(),));
        let (returned, there) = task.result().unwrap();
        assert_eq!((in_use(), there), (1, 1), "the result here, the argument there");
        drop(returned);
        assert_eq!(in_use(), 0);
        assert_eq!(pool.submit(in_use, ()).result().unwrap(), 0);
        // Somebody looks whether there is a result, and nobody takes it.
        let task = pool.submit(echo::<Counted>, (Counted::new(),));
        task.wait().unwrap();
        assert_eq!(in_use(), 0, "nobody has read it");
        assert!(task.exception().is_none());
        assert_eq!(in_use(), 1);
        drop(task);
        assert_eq!(in_use(), 0);
        drop(pool.submit(echo::<Counted>, (Counted::new(),)));
        assert_eq!(pool.submit(in_use, ()).result().unwrap(), 0);
        assert!(pool.shutdown().is_complete());
        assert_eq!(in_use(), 0);
    });
}

#[test]
fn an_error_that_the_function_returns_is_its_result() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let parse = |text: String| text.parse::<u8>().map_err(|error| error.to_string());
        assert_eq!(pool.submit(parse, ("7".to_owned(),)).result().unwrap(), Ok(7));
        let error = pool.submit(parse, ("seven".to_owned(),)).result().unwrap().unwrap_err();
        assert_eq!(error, "invalid digit found in string");
    });
}

#[test]
fn handles_of_one_pool_are_equal_and_share_its_workers() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let clone = pool.clone();
        let other = pool_of(1);
        assert!(pool == clone && pool != other);
        let worker = pool.submit(pid, ()).result().unwrap();
        drop(pool);
        assert!(!clone.is_shutdown() && !is_gone(worker), "one handle is left");
        assert_eq!(clone.submit(pid, ()).result().unwrap(), worker);
        drop(clone);
        assert!(is_gone(worker), "the last handle waits for that");
        assert_ne!(other.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn debug_shows_the_name_and_how_much_there_is_to_do() {
    within(LIMIT, || {
        let pool = ProcessPoolExecutor::builder().max_workers(2).name("thumbnails").build().unwrap();
        let empty = "ProcessPoolExecutor { name: \"thumbnails\", max_workers: 2, active_count: 0, queued: 0, .. }";
        assert_eq!(format!("{pool:?}"), empty);
        let folder = Folder::new();
        let tasks: Vec<_> = (0..2).map(|n| keep(&pool, &folder, n)).collect();
        let queued: Vec<_> = (0..3).map(|_| pool.submit(pid, ())).collect();
        let full = "ProcessPoolExecutor { name: \"thumbnails\", max_workers: 2, active_count: 2, queued: 3, .. }";
        assert_eq!(format!("{pool:?}"), full);
        folder.put("end");
        assert!(tasks.into_iter().chain(queued).all(|task| task.result().is_ok()));
        assert_eq!(format!("{pool:?}"), empty);
        let builder = format!("{:?}", ProcessPoolExecutor::builder().max_workers(3).name("b").retries(1));
        for part in ["ProcessPoolBuilder", "max_workers: Some(3)", "name: Some(\"b\")", "retries: 1"] {
            assert!(builder.contains(part), "{builder}");
        }
    });
}

#[test]
fn a_task_shows_its_name_or_else_its_functions_type() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let named = pool.submit_named("resize", u32::pow, (2, 3));
        named.wait().unwrap();
        assert_eq!(format!("{named:?}"), "Future { task: \"resize\", status: Finished }");
        let task = pool.submit(pid, ());
        assert!(format!("{task:?}").contains("workers::pid"), "{task:?}");
    });
}

#[test]
fn a_worker_shows_the_name_of_its_pool_and_of_its_program() {
    within(LIMIT, || {
        let comm = |worker: u32| fs::read_to_string(format!("/proc/{worker}/comm")).unwrap();
        let pool = ProcessPoolExecutor::builder().max_workers(1).name("thumbnails of the day").build().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_eq!(comm(worker), "thumbnails of t\n");
        let program = fs::read(format!("/proc/{worker}/cmdline")).unwrap();
        let own = std::env::current_exe().unwrap();
        assert_eq!(program, [own.as_os_str().as_encoded_bytes(), b"\0"].concat());
        let pool = pool_of(1);
        assert!(comm(pool.submit(pid, ()).result().unwrap()).starts_with("ProcessPoolExec"));
    });
}

#[test]
fn tasks_submitted_by_many_threads_each_give_their_own_result() {
    within(LIMIT, || {
        let pool = pool_of(3);
        std::thread::scope(|s| {
            for thread in 0..4_u64 {
                let pool = &pool;
                s.spawn(move || {
                    let tasks: Vec<_> = (0..200).map(|n| pool.submit(|t: u64, n: u64| (t, n), (thread, n))).collect();
                    for (n, task) in tasks.into_iter().enumerate() {
                        assert_eq!(task.result().unwrap(), (thread, n as u64));
                    }
                });
            }
        });
        assert_eq!(pool.completed(), 800);
    });
}
