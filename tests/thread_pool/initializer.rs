//! What runs on every worker before its first task, and a pool that is broken because that failed.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use bowline::task::Rejected;
use bowline::thread_pool::WhenFull;
use bowline::{Future, TaskError, ThreadPoolExecutor};

use crate::support::gate::Gate;
use crate::support::{LIMIT, in_fresh_process, spawn_named, stderr, until_parked, wait_until, within};

thread_local! {
    static SET_UP: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn the_initializer_runs_on_each_worker_once_and_before_its_first_task() {
    within(LIMIT, || {
        const WORKERS: usize = 3;
        let threads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&threads);
        let set_up = move || {
            SET_UP.set(SET_UP.get() + 1);
            noted.lock().unwrap().push(thread::current().id());
        };
        let pool = ThreadPoolExecutor::builder().max_workers(WORKERS).initializer(set_up).build();
        assert!(threads.lock().unwrap().is_empty(), "no worker, no initializer");
        let barrier = Arc::new(Barrier::new(WORKERS));
        let meet = |_| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || {
                barrier.wait();
                SET_UP.get()
            })
        };
        for _ in 0..3 {
            let tasks: Vec<_> = (0..WORKERS).map(meet).collect();
            assert!(tasks.into_iter().all(|task| task.result().unwrap() == 1));
        }
        let threads = threads.lock().unwrap();
        assert_eq!((threads.len(), threads.iter().collect::<HashSet<_>>().len()), (WORKERS, WORKERS));
    });
}

#[test]
fn an_initializer_may_return_nothing_or_ok() {
    within(LIMIT, || {
        let nothing = ThreadPoolExecutor::builder().max_workers(1).initializer(|| ()).build();
        assert_eq!(nothing.submit(|| 1).result().unwrap(), 1);
        let ok = ThreadPoolExecutor::builder().max_workers(1).initializer(|| Ok::<(), fmt::Error>(())).build();
        assert_eq!(ok.submit(|| 1).result().unwrap(), 1);
    });
}

/// Asserts that the pool is broken for this reason, and that every way to submit says so.
#[track_caller]
fn assert_broken(pool: &ThreadPoolExecutor, reason: &str) {
    let expected = format!("the executor is broken: the initializer failed: {reason}");
    let says_so = |rejected: &Rejected| matches!(rejected, Rejected::Broken(_)) && rejected.to_string() == expected;
    wait_until(|| pool.is_shutdown());
    for task in [pool.submit(|| ()), pool.submit_named("late", || ())] {
        assert!(task.done());
        assert_fails(task, says_so);
    }
    assert!(says_so(pool.try_submit(|| ()).unwrap_err().reason()));
    assert!(says_so(pool.submit_timeout(|| (), LIMIT).unwrap_err().reason()));
    let results: Vec<_> = pool.map(|n| n, 0..3).collect();
    assert_eq!(results.len(), 3);
    for result in results {
        assert!(matches!(result, Err(TaskError::Rejected(rejected)) if says_so(&rejected)));
    }
}

#[track_caller]
fn assert_fails<T: fmt::Debug>(task: Future<T>, says_so: impl Fn(&Rejected) -> bool) {
    match task.result() {
        Err(TaskError::Rejected(rejected)) if says_so(&rejected) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_initializer_that_fails_breaks_the_pool_for_what_is_queued_and_what_comes() {
    within(LIMIT, || {
        let gate = Gate::default();
        let waits = gate.clone();
        let fail = move || {
            waits.pass();
            Err("no licence".to_owned())
        };
        let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(fail).build();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |_| {
            let ran = Arc::clone(&ran);
            pool.submit(move || ran.fetch_add(1, SeqCst))
        };
        let pending: Vec<_> = (0..10).map(count).collect();
        gate.open();
        for task in pending {
            assert_fails(task, |rejected| {
                rejected.to_string() == "the executor is broken: the initializer failed: no licence"
            });
        }
        assert_broken(&pool, "no licence");
        assert_eq!((ran.load(SeqCst), Arc::strong_count(&ran), pool.queued()), (0, 1, 0));
        assert!(pool.shutdown().is_complete());
        assert_eq!((pool.worker_count(), pool.completed()), (0, 0));
    });
}

#[test]
fn a_broken_pool_runs_nothing_in_place() {
    within(LIMIT, || {
        let gate = Gate::default();
        let waits = gate.clone();
        let fail = move || {
            waits.pass();
            Err("no licence".to_owned())
        };
        let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(fail).build();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ran = Arc::clone(&ran);
            pool.submit(move || ran.fetch_add(1, SeqCst)).shared()
        };
        let [first, second] = [(); 2].map(|()| count());
        let (tell, told) = std::sync::mpsc::channel();
        let awaited = second.clone();
        // On the worker, which waits for a task that is behind the one that has just failed.
        first.add_done_callback(move |_| tell.send(awaited.result()).unwrap());
        gate.open();
        for result in [told.recv_timeout(LIMIT).unwrap(), first.result(), second.result()] {
            assert!(matches!(result, Err(TaskError::Rejected(Rejected::Broken(_)))), "{result:?}");
        }
        drop(pool);
        assert_eq!(ran.load(SeqCst), 0);
    });
}

#[test]
fn an_initializer_that_panics_breaks_the_pool_with_its_message() {
    within(LIMIT, || {
        let line = line!() + 1;
        let panics = || panic!("meant to, at the start");
        let pool = ThreadPoolExecutor::builder().max_workers(1).initializer::<()>(panics).build();
        let reason = |rejected: &Rejected| {
            let text = rejected.to_string();
            text.contains("meant to, at the start") && text.contains(&format!("{}:{line}:", file!()))
        };
        assert_fails(pool.submit(|| ()), reason);
        wait_until(|| pool.is_shutdown());
        assert_fails(pool.submit(|| ()), reason);
    });
}

#[test]
fn an_error_that_cannot_be_shown_breaks_the_pool_all_the_same() {
    struct Mute;
    impl fmt::Display for Mute {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("meant to, while showing an error")
        }
    }
    within(LIMIT, || {
        let pool = ThreadPoolExecutor::builder().max_workers(1).initializer(|| Err(Mute)).build();
        assert_fails(pool.submit(|| ()), |rejected| rejected.to_string().contains("meant to, while showing an error"));
    });
}

#[test]
fn a_worker_that_fails_later_breaks_the_pool_and_lets_the_running_tasks_end() {
    within(LIMIT, || {
        let started = AtomicUsize::new(0);
        let second_fails = move || if started.fetch_add(1, SeqCst) == 0 { Ok(()) } else { Err("one too many") };
        let pool = ThreadPoolExecutor::builder().max_workers(2).initializer(second_fails).build();
        let gate = Gate::default();
        let waits = gate.clone();
        let running = pool.submit(move || {
            waits.pass();
            "ran"
        });
        wait_until(|| running.running());
        // Needs a second worker.
        assert_fails(pool.submit(|| ()), |rejected| matches!(rejected, Rejected::Broken(_)));
        assert_broken(&pool, "one too many");
        gate.open();
        assert_eq!(running.result().unwrap(), "ran");
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn who_waits_for_room_in_a_pool_that_breaks_is_told_so() {
    within(LIMIT, || {
        let gate = Gate::default();
        let waits = gate.clone();
        let fail = move || {
            waits.pass();
            Err("out of order")
        };
        let builder = ThreadPoolExecutor::builder().max_workers(1).queue_capacity(1).when_full(WhenFull::Block);
        let pool = builder.initializer(fail).build();
        let queued = pool.submit(|| ());
        thread::scope(|s| {
            let submitter = spawn_named(s, "waits for a pool that breaks", || pool.submit(|| ()));
            until_parked("waits for a pool that breaks");
            gate.open();
            let broken = |rejected: &Rejected| matches!(rejected, Rejected::Broken(_));
            assert_fails(submitter.join().unwrap(), broken);
            assert_fails(queued, broken);
        });
    });
}

#[test]
fn a_pool_that_breaks_says_so_once() {
    let body = || {
        within(LIMIT / 2, || {
            let fail = || Err("no licence");
            let pool =
                ThreadPoolExecutor::builder().max_workers(4).thread_name_prefix("parser").initializer(fail).build();
            for _ in 0..20 {
                assert!(pool.submit(|| ()).result().is_err());
            }
            drop(pool);
        });
    };
    let Some(output) = in_fresh_process("a_pool_that_breaks_says_so_once", &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text, "bowline: parser is broken: the initializer failed: no licence\n");
}
