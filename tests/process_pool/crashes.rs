//! Workers that die: what that costs, and what is told of it.

#![cfg(target_os = "linux")]

use std::collections::HashSet;
use std::fs;
use std::hint::black_box;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use bowline::task::WorkerExit;
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor};

use crate::support::folder::{Folder, begin, wait_for};
use crate::support::processes::{children, die_of, has_ended, is_gone, kill};
use crate::support::workers::{builder, echo, keep, lost, pid, pool_of};
use crate::support::{LIMIT, alone, in_fresh_process, stderr, wait_until, within};

/// A task: ends its process with this code when the gate `crash` is open.
fn exit(folder: String, code: i32) {
    wait_for(&folder, "crash");
    process::exit(code)
}

/// A task: its process dies of this signal when the gate `crash` is open.
fn die(folder: String, signal: i32) {
    wait_for(&folder, "crash");
    die_of(signal);
}

/// A task: a stack that has no end.
#[allow(unconditional_recursion, reason = "meant to")]
fn sink(depth: u64) -> u64 {
    black_box([depth; 64]);
    black_box(sink(black_box(depth + 1))) + 1
}

#[test]
fn a_crash_fails_the_task_that_ran_and_no_other() {
    within(LIMIT, || {
        let pool = pool_of(4);
        let folder = Folder::new();
        let others: Vec<_> = (0..3).map(|n| keep(&pool, &folder, n)).collect();
        let healthy: HashSet<_> = pool.worker_pids().into_iter().collect();
        let crash = pool.submit_named("thumbnail", exit, (folder.path(), 99));
        wait_until(|| pool.worker_pids().len() == 4);
        let doomed = *pool.worker_pids().iter().find(|worker| !healthy.contains(worker)).unwrap();
        folder.put("crash");
        let error = crash.exception().unwrap();
        assert!(error.to_string().contains("terminated abruptly with exit code 99"), "{error}");
        assert!(error.to_string().starts_with(&format!("worker process {doomed} ")), "{error}");
        let lost = lost(crash.result());
        assert_eq!((lost.pid(), lost.exit(), lost.task()), (doomed, &WorkerExit::Code(99), "thumbnail"));
        assert!(lost.stdout().is_empty() && lost.stderr().is_empty(), "they are not captured");
        assert!(is_gone(doomed) && !pool.worker_pids().contains(&doomed));
        // The next one needs a new worker.
        let next = pool.submit(pid, ()).result().unwrap();
        assert!(next != doomed && !healthy.contains(&next));
        assert!(others.iter().all(Future::running));
        folder.put("end");
        let unharmed: HashSet<_> = others.into_iter().map(|task| task.result().unwrap()).collect();
        assert_eq!(unharmed, healthy);
    });
}

#[test]
fn a_lost_worker_is_told_with_the_time_that_its_task_took() {
    within(LIMIT, || {
        const RUNS: Duration = Duration::from_millis(60);
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let began = Instant::now();
        let task = |runs: Duration| -> () {
            thread::sleep(runs);
            process::exit(1)
        };
        let lost = lost(pool.submit(task, (RUNS,)).result());
        assert!((RUNS..=began.elapsed()).contains(&lost.ran_for()), "{lost}");
        assert_eq!(lost.pid(), worker);
    });
}

#[test]
fn a_task_without_a_name_is_told_by_its_functions_type() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        folder.put("crash");
        let lost = lost(pool.submit(exit, (folder.path(), 1)).result());
        assert!(lost.task().ends_with("process_pool::crashes::exit"), "{lost}");
    });
}

#[test]
fn each_way_to_end_is_told_as_what_it_is() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let told = |crash: Future<()>, exit: WorkerExit, name: Option<&str>, text: &str| {
            let lost = lost(crash.result());
            assert_eq!((lost.exit(), lost.exit().signal_name()), (&exit, name), "{lost}");
            assert!(lost.to_string().contains(text), "{lost}");
        };
        let killed = |number| WorkerExit::Signal { number, core_dumped: false };
        let folder = Folder::new();
        folder.put("crash");
        let text = "terminated abruptly with exit code 0 after ";
        told(pool.submit(exit, (folder.path(), 0)), WorkerExit::Code(0), None, text);
        let text = "was killed by signal 15 (SIGTERM) after ";
        told(pool.submit(die, (folder.path(), libc::SIGTERM)), killed(15), Some("SIGTERM"), text);
        let text = "was killed by signal 11 (SIGSEGV) after ";
        told(pool.submit(die, (folder.path(), libc::SIGSEGV)), killed(11), Some("SIGSEGV"), text);
        let text = "aborted (signal 6, SIGABRT) after ";
        told(pool.submit(|| -> () { process::abort() }, ()), killed(6), Some("SIGABRT"), text);
        assert!(pool.submit(pid, ()).result().is_ok());
    });
}

#[test]
fn a_stack_overflow_is_told_as_one_and_an_access_to_no_mans_memory_is_not() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let overflow = lost(pool.submit(sink, (0,)).result());
        assert_eq!(overflow.exit(), &WorkerExit::StackOverflow);
        assert!(overflow.to_string().contains(" overflowed its stack after "), "{overflow}");
        let fault = || {
            // SAFETY:
            // - none: nobody has memory there, and the system ends the process. It is written to by the C library, for
            //   which that is a write like any other.
            unsafe { libc::memset(std::ptr::without_provenance_mut(4096), 1, 1) };
        };
        let fault = lost(pool.submit(fault, ()).result());
        assert_eq!(fault.exit().signal_name(), Some("SIGSEGV"), "{fault}");
        assert!(pool.submit(pid, ()).result().is_ok());
    });
}

#[test]
fn a_worker_that_dies_idle_costs_no_task() {
    within(LIMIT, || {
        let pool = pool_of(1);
        for n in 0..20 {
            let worker = pool.submit(pid, ()).result().unwrap();
            kill(worker);
            wait_until(|| has_ended(worker));
            if n % 2 == 0 {
                // The parent has heard of it. Otherwise it may be in the middle of that when the next task comes.
                wait_until(|| pool.worker_count() == 0);
                assert_eq!((pool.worker_pids(), is_gone(worker)), (vec![], true));
            }
            assert_ne!(pool.submit(pid, ()).result().unwrap(), worker);
        }
    });
}

#[test]
fn what_is_queued_behind_a_task_that_crashes_runs_in_its_order() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let crash = pool.submit(exit, (folder.path(), 3));
        let queued: Vec<_> = (0..10)
            .map(|n| {
                pool.submit(
                    |n: u64, path: String| (n, fs::write(&path, "").is_ok(), order(&path)),
                    (n, folder.file(&format!("{n} ran"))),
                )
            })
            .collect();
        folder.put("crash");
        assert_eq!(lost(crash.result()).exit(), &WorkerExit::Code(3));
        for (n, task) in queued.into_iter().enumerate() {
            // Its own file, those of the tasks before it, and the one that let them go.
            assert_eq!(task.result().unwrap(), (n as u64, true, n + 2));
        }
    });
}

/// How many files there are beside this one, and it.
fn order(path: &str) -> usize {
    fs::read_dir(std::path::Path::new(path).parent().expect("a folder")).expect("it is there").count()
}

#[test]
fn a_crash_of_the_last_task_after_the_shutdown_began_ends_the_pool() {
    within(LIMIT, || {
        for _ in 0..5 {
            let pool = pool_of(1);
            let folder = Folder::new();
            let crash = pool.submit(die, (folder.path(), libc::SIGSEGV));
            let _ = pool.shutdown_with(ShutdownOptions::new().wait(false));
            folder.put("crash");
            assert!(pool.shutdown().is_complete());
            assert_eq!(lost(crash.result()).exit().signal_name(), Some("SIGSEGV"));
        }
    });
}

/// A task: notes that this process has begun it, and ends the process.
fn poison(folder: String) {
    begin(folder, 0);
    process::exit(13)
}

#[test]
fn a_task_that_kills_every_worker_fails_after_its_retries_and_is_not_tried_again() {
    within(LIMIT, || {
        let pool = builder(1).retries(2).build().unwrap();
        let folder = Folder::new();
        let task = pool.submit(poison, (folder.path(),));
        let last = lost(task.result());
        assert_eq!(last.exit(), &WorkerExit::Code(13));
        let begun = folder.begun_by(0);
        assert_eq!(begun.len(), 3, "the first time and two more: {begun:?}");
        assert!(begun.contains(&last.pid()), "{begun:?} without {last}");
        // Nobody is started for nothing.
        wait_until(|| pool.worker_count() == 0);
        assert_eq!(pool.queued(), 0);
        assert!(pool.submit(pid, ()).result().is_ok());
        assert_eq!(folder.begun_by(0), begun);
    });
}

#[test]
fn without_retries_a_task_that_kills_its_worker_is_run_once() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        lost(pool.submit(poison, (folder.path(),)).result());
        assert_eq!(pool.submit(echo::<u8>, (1,)).result().unwrap(), 1);
        assert_eq!(folder.begun().len(), 1);
    });
}

#[test]
fn what_lies_behind_a_long_task_is_run_by_the_worker_that_replaces_a_dead_one() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let folder = Folder::new();
        let long = keep(&pool, &folder, 0);
        let dies = pool.submit(exit, (folder.path(), 7));
        wait_until(|| dies.running());
        let behind = pool.submit(echo::<u8>, (1,));
        folder.put("crash");
        assert_eq!(lost(dies.result()).exit(), &WorkerExit::Code(7));
        assert_eq!(behind.result().unwrap(), 1);
        assert!(long.running());
        folder.put("end");
        assert!(long.result().is_ok());
    });
}

#[test]
fn others_go_on_while_tasks_that_kill_their_workers_are_tried_again() {
    within(LIMIT, || {
        let pool = builder(2).retries(2).build().unwrap();
        let folder = Folder::new();
        let mut poisoned = Vec::new();
        let mut healthy = Vec::new();
        for n in 0..40_u32 {
            if n % 20 == 0 {
                poisoned.push(pool.submit(poison, (folder.path(),)));
            }
            healthy.push(pool.submit(echo::<u32>, (n,)));
        }
        for (n, task) in healthy.into_iter().enumerate() {
            assert_eq!(task.result().unwrap(), n as u32);
        }
        for task in poisoned {
            assert_eq!(lost(task.result()).exit(), &WorkerExit::Code(13));
        }
        assert_eq!(folder.begun().len(), 2 * 3);
    });
}

#[test]
fn a_task_that_kills_its_worker_once_has_a_result_if_it_may_be_tried_again() {
    within(LIMIT, || {
        let once = |path: String| {
            if fs::File::create_new(path).is_ok() {
                process::abort();
            }
            process::id()
        };
        let pool = builder(1).retries(1).build().unwrap();
        let folder = Folder::new();
        let first = pool.submit(pid, ()).result().unwrap();
        assert_ne!(pool.submit(once, (folder.file("was here"),)).result().unwrap(), first);
    });
}

#[test]
fn a_worker_that_may_have_no_more_memory_costs_the_task_that_wanted_it() {
    alone(|| {
        fn hoard() -> usize {
            const MORE: u64 = 64 << 20;
            let pages = fs::read_to_string("/proc/self/statm").expect("Linux");
            let pages: u64 = pages.split_whitespace().next().and_then(|pages| pages.parse().ok()).expect("a number");
            let limit = libc::rlimit { rlim_cur: pages * 4096 + MORE, rlim_max: libc::RLIM_INFINITY };
            // SAFETY:
            // - it reads the limit, which is there.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
            let mut hoard = Vec::new();
            while black_box(hoard.len()) < 1 << 20 {
                hoard.push(vec![1_u8; 1 << 20]);
            }
            hoard.len()
        }
        let pool = builder(2).capture_stderr(true).build().unwrap();
        let folder = Folder::new();
        let other = keep(&pool, &folder, 0);
        let lost = lost(pool.submit(hoard, ()).result());
        assert_eq!(lost.exit().signal_name(), Some("SIGABRT"), "{lost}");
        assert!(lost.stderr().iter().any(|line| line.contains("memory allocation of")), "{lost}");
        assert!(pool.submit(|| vec![1_u8; 100 << 20].len(), ()).result().is_ok(), "the next worker has its own limit");
        folder.put("end");
        assert!(other.result().is_ok());
    });
}

#[test]
fn what_a_worker_wrote_last_is_in_the_error_and_on_standard_error() {
    let body = || {
        within(LIMIT / 2, || {
            let pool = builder(1).capture_stderr(true).build().unwrap();
            let speak = || -> () {
                (1..=30).for_each(|n| eprintln!("line {n} of 30"));
                eprint!("and no more");
                process::abort();
            };
            let lost = lost(pool.submit(speak, ()).result());
            let mut expected: Vec<_> = (12..=30).map(|n| format!("line {n} of 30")).collect();
            expected.push("and no more".to_owned());
            assert_eq!(lost.stderr(), expected);
            let text = lost.to_string();
            assert!(text.contains("\n  last lines of its standard error:\n    line 12 of 30\n"), "{text}");
            assert!(text.ends_with("\n    and no more"), "{text}");
            // Not those of the worker before.
            let quiet = lost_quietly(&pool);
            assert!(quiet.is_empty(), "{quiet:?}");
        });
    };
    let test = "what_a_worker_wrote_last_is_in_the_error_and_on_standard_error";
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    let text = stderr(&output);
    assert!(output.status.success(), "{text}");
    let lines = (1..=30).map(|n| format!("line {n} of 30\n")).collect::<String>();
    assert_eq!(text, lines + "and no more");
}

/// What is told of a worker that says nothing.
fn lost_quietly(pool: &ProcessPoolExecutor) -> Vec<String> {
    lost(pool.submit(|| -> () { process::abort() }, ()).result()).stderr().to_vec()
}

#[test]
fn a_worker_whose_standard_error_is_captured_can_write_any_amount() {
    let body = || {
        within(LIMIT / 2, || {
            let pool = builder(1).capture_stderr(true).build().unwrap();
            let worker = pool.submit(pid, ()).result().unwrap();
            let speak = || (0..4000).for_each(|_| eprintln!("{}", "x".repeat(99)));
            pool.submit(speak, ()).result().unwrap();
            assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        });
    };
    let test = "a_worker_whose_standard_error_is_captured_can_write_any_amount";
    let Some(output) = in_fresh_process(test, &[], body) else { return };
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(output.stderr.len(), 4000 * 100);
}

#[test]
fn a_task_that_kills_one_worker_after_another_does_not_make_the_pool_pause() {
    within(LIMIT, || {
        let crash = || -> () { process::abort() };
        // Pauses between these would take seven seconds, and no machine takes as long for the workers themselves.
        let [one_by_one, again_and_again] = [(12, 0), (1, 12)].map(|(tasks, retries)| {
            let pool = builder(1).retries(retries).build().unwrap();
            let began = Instant::now();
            for task in (0..tasks).map(|_| pool.submit(crash, ())).collect::<Vec<_>>() {
                lost(task.result());
            }
            began.elapsed()
        });
        assert!(again_and_again < 5 * one_by_one + Duration::from_secs(3), "{again_and_again:?} {one_by_one:?}");
    });
}

#[test]
fn nothing_is_left_of_workers_that_crashed() {
    alone(|| {
        let pool = pool_of(2);
        pool.submit(pid, ()).result().unwrap();
        let tasks: Vec<_> = (0..4).map(|_| pool.submit(|| -> () { process::abort() }, ())).collect();
        for task in tasks {
            lost(task.result());
        }
        drop(pool);
        assert!(children().is_empty(), "{:?}", children());
    });
}
