//! What runs in every worker process before its first task, and a pool that is broken because that failed.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};

use bowline::process_pool::{Callable, ProcessPoolError};
use bowline::task::Rejected;
use bowline::thread_pool::Initialized;
use bowline::{Future, ProcessPoolExecutor, TaskError};
use serde::{Deserialize, Serialize, Serializer};

use crate::support::folder::{Folder, begin, hold, put, wait_for};
use crate::support::processes::{children, open_descriptors};
use crate::support::workers::{builder, echo, keep, lost, pid};
use crate::support::{LIMIT, alone, in_fresh_process, stderr, wait_until, within};

/// What the initializer was called with, in a worker.
static SET_UP: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());

fn set_up(name: String, number: u64) {
    SET_UP.lock().unwrap().push((name, number));
}

/// A task: what the initializer left, and the process.
fn set_up_with(folder: String, number: u64, gate: String) -> (Vec<(String, u64)>, u32) {
    let process = hold(folder, number, gate);
    (SET_UP.lock().unwrap().clone(), process)
}

#[track_caller]
fn pool_with<F, A>(max_workers: usize, initializer: F, args: A) -> ProcessPoolExecutor
where
    F: Callable<A>,
    F::Output: Initialized,
    A: Serialize + serde::de::DeserializeOwned + 'static,
{
    builder(max_workers).name("parser").initializer(initializer, args).build().unwrap()
}

#[test]
fn the_initializer_runs_in_each_worker_once_with_its_arguments_and_before_the_first_task() {
    within(LIMIT, || {
        const WORKERS: u64 = 3;
        let pool = pool_with(WORKERS as usize, set_up, ("weights".to_owned(), 7));
        let folder = Folder::new();
        let mut seen = HashMap::<u32, u32>::new();
        for round in 0..3 {
            let end = format!("end {round}");
            let numbers = round * WORKERS..(round + 1) * WORKERS;
            let submit = |n| pool.submit(set_up_with, (folder.path(), n, end.clone()));
            let tasks: Vec<_> = numbers.clone().map(submit).collect();
            numbers.for_each(|n| _ = folder.until_begun(n));
            folder.put(&end);
            for task in tasks {
                let (set_up, worker) = task.result().unwrap();
                assert_eq!(set_up, [("weights".to_owned(), 7)]);
                *seen.entry(worker).or_default() += 1;
            }
        }
        assert_eq!((seen.len() as u64, seen.values().sum()), (WORKERS, 9), "all workers at once, each round");
        assert!(SET_UP.lock().unwrap().is_empty(), "not in this process");
    });
}

#[test]
fn a_worker_that_replaces_another_is_initialized_as_well() {
    within(LIMIT, || {
        let pool = pool_with(1, set_up, ("again".to_owned(), 1));
        let folder = Folder::new();
        folder.put("end");
        let submit = |n| pool.submit(set_up_with, (folder.path(), n, "end".to_owned()));
        let (_, first) = submit(1).result().unwrap();
        assert_eq!(lost(pool.submit(|| -> () { process::abort() }, ()).result()).pid(), first);
        let (set_up, second) = submit(2).result().unwrap();
        assert_eq!(set_up, [("again".to_owned(), 1)]);
        assert_ne!(first, second);
    });
}

#[test]
fn an_initializer_may_return_nothing_or_ok() {
    within(LIMIT, || {
        let nothing = pool_with(1, || (), ());
        assert_eq!(nothing.submit(echo::<u8>, (1,)).result().unwrap(), 1);
        let ok = pool_with(1, || Ok::<(), std::fmt::Error>(()), ());
        assert_eq!(ok.submit(echo::<u8>, (1,)).result().unwrap(), 1);
    });
}

#[test]
fn an_initializer_may_have_arguments_that_are_longer_than_the_stream_takes_at_once() {
    within(LIMIT, || {
        static LENGTH: OnceLock<usize> = OnceLock::new();
        let keep = |text: String| LENGTH.set(text.len()).expect("once");
        let pool = pool_with(2, keep, ("x".repeat(8 << 20),));
        assert_eq!(pool.submit(|| LENGTH.get().copied(), ()).result().unwrap(), Some(8 << 20));
    });
}

#[test]
fn an_initializer_may_panic_inside_as_long_as_it_catches_that() {
    within(LIMIT, || {
        let catches = || assert!(std::panic::catch_unwind(|| panic!("meant to, and caught")).is_err());
        assert!(pool_with(1, catches, ()).submit(pid, ()).result().is_ok());
    });
}

#[track_caller]
fn reason<T: Debug>(task: Future<T>) -> String {
    match task.result() {
        Err(TaskError::Rejected(rejected @ Rejected::Broken(_))) => rejected.to_string(),
        other => panic!("the pool is not broken: {other:?}"),
    }
}

/// What is told of a pool that this initializer breaks, to whom was there before and to who comes later.
#[track_caller]
fn broken_by<F>(initializer: F) -> String
where
    F: Callable<(String,)>,
    F::Output: Initialized,
{
    // Both workers stand in their initializers while the tasks are queued. The folder is gone last, so that it is them
    // who end it.
    let folder = Folder::new();
    let pool = pool_with(2, initializer, (folder.path(),));
    let pending: Vec<_> = (0..10_u32).map(|n| pool.submit(echo::<u32>, (n,))).collect();
    assert!(pending.iter().all(|task| !task.done()));
    folder.put("go");
    let reasons: Vec<_> = pending.into_iter().map(reason).collect();
    assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    assert!(pool.is_shutdown());
    let late = pool.submit(echo::<u32>, (1,));
    assert!(late.done());
    assert_eq!(reason(late), reasons[0]);
    assert_eq!(reason(pool.submit_named("late", pid, ())), reasons[0]);
    for result in pool.map(|n: u32| n, 0..3) {
        let Err(TaskError::Rejected(Rejected::Broken(_))) = result else { panic!("{result:?}") };
    }
    assert!(pool.shutdown().is_complete());
    assert_eq!((pool.worker_count(), pool.worker_pids(), pool.queued(), pool.completed()), (0, vec![], 0, 0));
    let mut reasons = reasons;
    reasons.swap_remove(0)
}

const BROKEN: &str = "the executor is broken: ";

#[test]
fn an_initializer_that_fails_breaks_the_pool_for_what_is_queued_and_what_comes() {
    within(LIMIT, || {
        let fail = |folder: String| {
            wait_for(&folder, "go");
            Err::<(), _>("no licence".to_owned())
        };
        assert_eq!(broken_by(fail), format!("{BROKEN}the initializer failed: no licence"));
    });
}

#[test]
fn an_initializer_that_panics_breaks_the_pool_with_its_message_and_line() {
    within(LIMIT, || {
        let line = line!() + 3;
        let panics = |folder: String| -> () {
            wait_for(&folder, "go");
            panic!("meant to, at the start")
        };
        let reason = broken_by(panics);
        assert!(reason.starts_with(&format!("{BROKEN}the initializer failed: ")), "{reason}");
        assert!(reason.contains("meant to, at the start"), "{reason}");
        assert!(reason.contains(&format!("{}:{line}:", file!())), "{reason}");
    });
}

#[test]
fn an_initializer_in_which_the_worker_dies_breaks_the_pool_and_is_not_tried_again() {
    within(LIMIT, || {
        let aborts = |folder: String| -> () {
            wait_for(&folder, "go");
            process::abort()
        };
        let reason = broken_by(aborts);
        assert!(reason.starts_with(&format!("{BROKEN}worker process ")), "{reason}");
        assert!(reason.ends_with(" aborted (signal 6, SIGABRT) in the initializer"), "{reason}");
        let exits = |folder: String| -> () {
            wait_for(&folder, "go");
            process::exit(4)
        };
        let reason = broken_by(exits);
        assert!(reason.ends_with(" terminated abruptly with exit code 4 in the initializer"), "{reason}");
        // One worker at a time: each would note itself.
        let folder = Folder::new();
        let notes = |folder: String| -> () {
            begin(folder, 0);
            process::abort()
        };
        let pool = pool_with(1, notes, (folder.path(),));
        let tasks: Vec<_> = (0..5).map(|_| pool.submit(pid, ())).collect();
        assert_eq!(tasks.into_iter().map(self::reason).filter(|reason| reason.contains("SIGABRT")).count(), 5);
        assert_eq!(folder.begun().len(), 1);
    });
}

#[test]
fn a_worker_that_fails_later_breaks_the_pool_and_lets_the_running_tasks_end() {
    within(LIMIT, || {
        let second_fails = |first: String| match fs::File::create_new(first) {
            Ok(_) => Ok(()),
            Err(_) => Err("one too many"),
        };
        let folder = Folder::new();
        let pool = pool_with(2, second_fails, (folder.file("first"),));
        let running = keep(&pool, &folder, 0);
        // Needs a second worker.
        assert_eq!(reason(pool.submit(pid, ())), format!("{BROKEN}the initializer failed: one too many"));
        assert!(running.running() && pool.is_shutdown());
        let worker = pool.worker_pids()[0];
        folder.put("end");
        assert_eq!(running.result().unwrap(), worker);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn arguments_of_an_initializer_that_cannot_be_written_are_an_error_of_the_builder() {
    struct Mute;
    impl Serialize for Mute {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("meant to"))
        }
    }
    impl<'de> Deserialize<'de> for Mute {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            Ok(Self)
        }
    }
    let build = || ProcessPoolExecutor::builder().initializer(|_: Mute| (), (Mute,)).build();
    assert!(matches!(build(), Err(ProcessPoolError::Initializer(_))));
    let long = ProcessPoolExecutor::builder().max_message_size(1024).initializer(|_: String| (), ("x".repeat(1024),));
    let error = long.build().unwrap_err();
    assert!(error.to_string().contains("`max_message_size` is 1024"), "{error}");
}

#[test]
fn arguments_of_an_initializer_that_cannot_be_read_break_the_pool() {
    within(LIMIT, || {
        #[derive(Serialize)]
        struct OneWay(u32);
        impl<'de> Deserialize<'de> for OneWay {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                Err(serde::de::Error::custom("meant to"))
            }
        }
        let pool = pool_with(1, |_: OneWay| (), (OneWay(1),));
        let reason = reason(pool.submit(pid, ()));
        assert!(reason.contains("the initializer failed") && reason.contains("OneWay"), "{reason}");
    });
}

#[test]
fn a_pool_that_breaks_says_so_once() {
    let body = || {
        within(LIMIT / 2, || {
            let pool = pool_with(4, || Err::<(), _>("no licence"), ());
            let tasks: Vec<_> = (0..20).map(|_| pool.submit(pid, ())).collect();
            assert!(tasks.into_iter().all(|task| task.result().is_err()));
            assert!((0..20).all(|_| pool.submit(pid, ()).result().is_err()));
        });
    };
    let Some(output) = in_fresh_process("a_pool_that_breaks_says_so_once", &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text, "bowline: parser is broken: the initializer failed: no licence\n");
}

#[test]
fn nothing_is_left_of_a_pool_whose_initializer_failed() {
    alone(|| {
        // Whatever is opened once and for all.
        drop(ProcessPoolExecutor::new(1).unwrap().submit(pid, ()).result());
        let before = open_descriptors();
        let fails: fn() -> ProcessPoolExecutor = || pool_with(3, || Err::<(), _>("no licence"), ());
        let dies: fn() -> ProcessPoolExecutor = || pool_with(3, || -> () { process::exit(1) }, ());
        for pool in [fails(), dies(), fails()] {
            let tasks: Vec<_> = (0..10).map(|_| pool.submit(pid, ())).collect();
            assert!(tasks.into_iter().all(|task| task.result().is_err()));
            drop(pool);
            assert!(children().is_empty(), "{:?}", children());
            // The threads of the pool have ended; the system may take a moment to say so.
            wait_until(|| open_descriptors() == before);
        }
    });
}

#[test]
fn a_pool_that_is_broken_can_be_ended_in_any_way() {
    within(LIMIT, || {
        for end in [ProcessPoolExecutor::kill, ProcessPoolExecutor::terminate, ProcessPoolExecutor::shutdown] {
            // While it breaks, and afterwards.
            for waits in [false, true] {
                let pool = pool_with(2, || Err::<(), _>("no licence"), ());
                let tasks: Vec<_> = (0..5).map(|_| pool.submit(pid, ())).collect();
                if waits {
                    assert!(reason(pool.submit(pid, ())).contains("no licence"));
                }
                let _ = end(&pool);
                assert!(pool.shutdown().is_complete());
                assert_eq!(pool.worker_count(), 0);
                assert!(tasks.into_iter().all(|task| task.done() && task.result().is_err()));
                assert!(pool.submit(pid, ()).result().is_err());
            }
        }
    });
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[test]
fn the_initializer_is_not_called_for_a_pool_without_tasks() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = pool_with(2, |folder: String| put(&folder, "called"), (folder.path(),));
        assert!(pool.shutdown().is_complete());
        assert!(folder.names().is_empty());
        let pool = pool_with(1, || _ = CALLS.fetch_add(1, SeqCst), ());
        for _ in 0..5 {
            assert_eq!(pool.submit(|| CALLS.load(SeqCst), ()).result().unwrap(), 1);
        }
        assert_eq!(CALLS.load(SeqCst), 0);
    });
}
