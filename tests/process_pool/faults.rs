//! Workers that are killed or stopped, at every step of their life: it costs what they had begun, and nothing else.

#![cfg(target_os = "linux")]

use std::thread;
use std::time::{Duration, Instant};

use bowline::task::{Rejected, StartError, StartFailure, WorkerExit};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, begin, note, open, pass, wait_for};
use crate::support::processes::{is_gone, is_stopped, kill, resume, send, stop};
use crate::support::rogue::{shell, starts};
use crate::support::workers::{assert_killed, idle_pool, lost, only_worker, quick_pool};
use crate::support::{LIMIT, wait_until, within};

const NO_WAIT: ShutdownOptions = ShutdownOptions::new().wait(false);

/// An initializer that lets the first process that comes wait.
fn first_waits(folder: String) {
    note(&folder, "initializing", &std::process::id().to_string());
    wait_for(&folder, "initialize");
}

/// A task that has the process's exit wait.
fn delay_exit(folder: String) {
    static FOLDER: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    extern "C" fn delay() {
        let folder = FOLDER.get().expect("a folder");
        note(folder, "exiting", &std::process::id().to_string());
        wait_for(folder, "exit");
    }
    FOLDER.set(folder).expect("one such task");
    // SAFETY:
    // - the function is there for the life of the process.
    assert_eq!(unsafe { libc::atexit(delay) }, 0);
}

/// Submits a task that waits for the gate `open`, and returns when it has begun, with the process that runs it.
#[track_caller]
fn begun(pool: &ProcessPoolExecutor, folder: &Folder, number: u64) -> (Future<u64>, u32) {
    let task = pool.submit(pass, (folder.path(), number, open()));
    (task, folder.until_begun(number))
}

#[test]
fn a_worker_that_is_killed_before_it_says_a_word_is_tried_again() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = r#"echo $$ >>"$2/starts"; mkdir "$2/first" 2>/dev/null && exec sleep 100; exec "$0""#;
        let pool = shell(script, &folder).build().unwrap();
        let tasks = [1, 2].map(|n| pool.submit(begin, (folder.path(), n)));
        folder.until("first");
        let first = folder.lines("starts")[0].parse().unwrap();
        assert!(pool.worker_pids().is_empty(), "it is not up");
        kill(first);
        assert_eq!(tasks.map(|task| task.result().unwrap()), [1, 2]);
        assert_eq!(([1, 2].map(|n| folder.begun_by(n).len()), starts(&folder)), ([1, 1], 2));
        assert!(is_gone(first));
    });
}

#[test]
fn a_worker_that_is_killed_in_its_initializer_breaks_the_pool_with_the_reason() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::builder().max_workers(1).initializer(first_waits, (folder.path(),));
        let pool = pool.build().unwrap();
        let tasks = [1, 2].map(|n| pool.submit(begin, (folder.path(), n)));
        wait_until(|| !folder.lines("initializing").is_empty());
        let worker = folder.lines("initializing")[0].parse().unwrap();
        kill(worker);
        let reason = format!("worker process {worker} was killed by signal 9 (SIGKILL) in the initializer");
        for task in tasks.into_iter().chain([pool.submit(begin, (folder.path(), 3))]) {
            let result = task.result();
            assert!(
                matches!(&result, Err(TaskError::Rejected(Rejected::Broken(said))) if **said == *reason),
                "{result:?}"
            );
        }
        assert!(pool.shutdown().is_complete() && is_gone(worker));
        assert_eq!((folder.lines("initializing").len(), folder.has("begun")), (1, false));
    });
}

#[test]
fn a_kill_of_the_pool_ends_a_worker_in_its_initializer_and_one_that_says_nothing() {
    within(LIMIT, || {
        let folder = Folder::new();
        let slow = ProcessPoolExecutor::builder().max_workers(1).initializer(first_waits, (folder.path(),));
        let silent = shell(r#"echo $$ >>"$2/initializing"; exec sleep 100"#, &folder);
        for (round, builder) in [slow, silent].into_iter().enumerate() {
            let pool = builder.build().unwrap();
            let task = pool.submit(begin, (folder.path(), 1));
            wait_until(|| folder.lines("initializing").len() == round + 1);
            assert!(pool.kill().is_complete());
            let result = task.result();
            assert!(matches!(result, Err(TaskError::Rejected(Rejected::Killed))), "{result:?}");
            assert!(is_gone(folder.lines("initializing")[round].parse().unwrap()));
        }
        assert_eq!(folder.lines("initializing").len(), 2, "no other is tried");
    });
}

#[test]
fn a_task_that_is_sent_to_a_worker_that_was_just_killed_runs_elsewhere_once() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(1), Folder::new());
        for number in 0..8 {
            let worker = only_worker(&pool);
            // It is dead, or dies, and whoever waits for it knows, or not.
            kill(worker);
            assert_eq!(pool.submit(begin, (folder.path(), number)).result().unwrap(), number);
            let begun = folder.begun_by(number);
            assert!(begun.len() == 1 && begun[0] != worker, "{begun:?}");
        }
    });
}

#[test]
fn a_worker_that_is_killed_in_a_task_costs_that_task_and_is_replaced() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(4), Folder::new());
        let tasks: Vec<_> = (0..4).map(|n| begun(&pool, &folder, n)).collect();
        let queued: Vec<_> = (10..20).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        let mut tasks = tasks.into_iter();
        let (first, worker) = tasks.next().unwrap();
        kill(worker);
        let lost = lost(first.result());
        assert_eq!((lost.pid(), lost.exit()), (worker, &WorkerExit::Signal { number: 9, core_dumped: false }));
        assert!(lost.task().contains("pass"), "{lost}");
        assert!(lost.ran_for() > Duration::ZERO && lost.ran_for() < LIMIT, "{lost}");
        // Its successor runs what is queued, while the others are busy.
        queued.into_iter().zip(10..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
        let tasks: Vec<_> = tasks.collect();
        assert!(tasks.iter().all(|(task, _)| task.running()));
        folder.put("open");
        for ((task, pid), n) in tasks.into_iter().zip(1..) {
            assert_eq!((task.result().unwrap(), folder.begun_by(n)), (n, vec![pid]));
        }
        assert_eq!((folder.begun_by(0).len(), pool.worker_pids().len()), (1, 4));
        assert!(is_gone(worker), "reaped");
    });
}

#[test]
fn every_signal_that_ends_a_worker_is_told() {
    within(LIMIT, || {
        let (pool, folder) = (ProcessPoolExecutor::new(1).unwrap(), Folder::new());
        for (n, signal) in (0..).zip([libc::SIGTERM, libc::SIGSEGV, libc::SIGABRT, libc::SIGUSR1, libc::SIGHUP]) {
            let (task, worker) = begun(&pool, &folder, n);
            // Which a worker ignores, like every Rust program.
            send(worker, libc::SIGPIPE);
            send(worker, signal);
            let lost = lost(task.result());
            let WorkerExit::Signal { number, .. } = lost.exit() else { panic!("{lost}") };
            assert_eq!((*number, lost.pid()), (signal, worker), "{lost}");
        }
    });
}

#[test]
fn a_task_that_was_sent_ahead_runs_elsewhere_once_when_its_worker_is_killed() {
    within(LIMIT, || {
        let (pool, folder) = (quick_pool(1), Folder::new());
        let worker = only_worker(&pool);
        let first = pool.submit(pass, (folder.path(), 1, open()));
        let others: Vec<_> = (2..6).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        folder.until_begun(1);
        assert_eq!(pool.queued(), 4, "those that were sent ahead included");
        kill(worker);
        assert_killed(first.result(), worker);
        for (task, n) in others.into_iter().zip(2..) {
            assert_eq!(task.result().unwrap(), n);
            let begun = folder.begun_by(n);
            assert!(begun.len() == 1 && begun[0] != worker, "{begun:?}");
        }
        let order: Vec<_> =
            folder.lines("begun").iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(order, ["1", "2", "3", "4", "5"], "and before those that were queued after it");
    });
}

#[test]
fn a_worker_that_is_killed_after_it_was_told_to_stop_ends_the_pool_all_the_same() {
    within(LIMIT, || {
        // One that has not heard it.
        let pool = idle_pool(1);
        let worker = only_worker(&pool);
        stop(worker);
        assert!(!pool.shutdown_with(NO_WAIT).is_complete());
        kill(worker);
        assert!(pool.shutdown().is_complete() && is_gone(worker));
        // And one that has.
        let (pool, folder) = (ProcessPoolExecutor::new(1).unwrap(), Folder::new());
        pool.submit(delay_exit, (folder.path(),)).result().unwrap();
        let worker = only_worker(&pool);
        assert!(!pool.shutdown_with(NO_WAIT).is_complete());
        wait_until(|| folder.lines("exiting") == [worker.to_string()]);
        kill(worker);
        assert!(pool.shutdown().is_complete() && is_gone(worker));
    });
}

#[test]
fn a_stopped_worker_delays_its_own_task_only() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(2), Folder::new());
        let (mut slow, worker) = begun(&pool, &folder, 1);
        stop(worker);
        folder.put("open");
        for n in 10..30 {
            assert_eq!(pool.submit(begin, (folder.path(), n)).result().unwrap(), n);
        }
        let result = slow.result_timeout(Duration::from_millis(20));
        assert!(matches!(result, Err(TaskError::Timeout)), "{result:?}");
        assert!(slow.running() && is_stopped(worker));
        resume(worker);
        assert_eq!((slow.result().unwrap(), folder.begun_by(1)), (1, vec![worker]));
        assert_eq!(pool.worker_pids().len(), 2);
    });
}

#[test]
fn a_task_behind_a_stopped_worker_is_taken_by_who_becomes_idle_or_cancelled() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(2), Folder::new());
        let (slow, worker) = begun(&pool, &folder, 1);
        let (other, _) = begun(&pool, &folder, 2);
        let behind: Vec<_> = (3..10).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        stop(worker);
        assert!(behind[0].cancel() && behind[1].cancel() && behind[6].cancel(), "none of them has begun");
        folder.put("open");
        assert_eq!(other.result().unwrap(), 2);
        for (task, n) in behind.into_iter().zip(3..) {
            match task.result() {
                Ok(result) => assert_eq!((result, folder.begun_by(n).len()), (n, 1)),
                Err(TaskError::Cancelled) => assert!([3, 4, 9].contains(&n) && folder.begun_by(n).is_empty()),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(slow.running());
        resume(worker);
        assert_eq!(slow.result().unwrap(), 1);
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_kill_of_the_pool_ends_a_stopped_worker() {
    within(LIMIT, || {
        let (pool, folder) = (idle_pool(1), Folder::new());
        let (task, worker) = begun(&pool, &folder, 1);
        let [ahead, queued] = [2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
        stop(worker);
        let report = pool.kill();
        assert_eq!((report.is_complete(), report.cancelled), (true, 2));
        assert_killed(task.result(), worker);
        for task in [ahead, queued] {
            assert!(matches!(task.result(), Err(TaskError::Rejected(Rejected::Killed))));
        }
        assert!(is_gone(worker));
    });
}

#[test]
fn a_shutdown_waits_for_a_stopped_worker_as_long_as_it_is_to() {
    within(LIMIT, || {
        let pool = idle_pool(1);
        let worker = only_worker(&pool);
        stop(worker);
        let report = pool.shutdown_with(ShutdownOptions::new().timeout(Duration::from_millis(20)));
        assert_eq!((report.is_complete(), report.workers), (false, 1));
        resume(worker);
        assert!(pool.shutdown().is_complete() && is_gone(worker));
    });
}

#[test]
fn a_worker_that_is_stopped_before_it_is_up_is_too_late_and_tried_again() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = r#"echo $$ >>"$2/starts"; mkdir "$2/first" 2>/dev/null && kill -STOP $$; exec "$0""#;
        let pool = shell(script, &folder).start_timeout(Duration::from_secs(1)).build().unwrap();
        assert_eq!(pool.submit(begin, (folder.path(), 1)).result().unwrap(), 1);
        assert_eq!(starts(&folder), 2);
        assert!(is_gone(folder.lines("starts")[0].parse().unwrap()));
    });
}

/// The error of a pool none of whose workers gets up.
#[track_caller]
fn not_started(task: Future<u64>) -> StartError {
    match task.result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => error,
        other => panic!("no worker was to get up: {other:?}"),
    }
}

#[test]
fn a_program_that_does_not_start_is_the_reason_why_there_is_no_worker() {
    within(LIMIT, || {
        let folder = Folder::new();
        folder.put("plain file");
        let plain = format!("{}/plain file", folder.path());
        for (program, kind) in [
            ("/nowhere/there is no such program", std::io::ErrorKind::NotFound),
            (&*plain, std::io::ErrorKind::PermissionDenied),
        ] {
            let pool = ProcessPoolExecutor::builder().max_workers(2).worker_exe(program).build().unwrap();
            for _ in 0..2 {
                let error = not_started(pool.submit(begin, (folder.path(), 1)));
                assert!(matches!(error.failure(), StartFailure::Spawn(error) if error.kind() == kind), "{error}");
                assert_eq!((error.attempts(), error.program()), (3, std::path::Path::new(program)));
                assert!(error.to_string().contains(program), "{error}");
                wait_until(|| pool.worker_count() == 0);
                assert_eq!(pool.queued(), 0);
            }
            assert!(pool.shutdown().is_complete());
        }
    });
}

#[test]
fn whoever_submits_all_the_time_is_told_that_no_worker_gets_up() {
    within(LIMIT, || {
        let folder = Folder::new();
        // Longer than the longest pause before another start.
        let limit = Duration::from_millis(1500);
        let pool = shell("exec sleep 1000", &folder).max_workers(4).start_timeout(limit).build().unwrap();
        let first = pool.submit(begin, (folder.path(), 0));
        let mut later = Vec::new();
        while !first.done() {
            later.push(pool.submit(begin, (folder.path(), 1)));
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = not_started(first);
        assert!(matches!(error.failure(), StartFailure::Timeout(after) if *after == limit), "{error}");
        assert!(pool.kill().is_complete());
        assert!(later.into_iter().all(|task| matches!(task.result(), Err(TaskError::Rejected(_)))));
    });
}

#[test]
fn a_program_that_ends_at_once_is_tried_three_times_and_again_for_a_later_task() {
    within(LIMIT, || {
        for (end, exit, said) in [
            ("echo 'no licence' >&2; exit 3", WorkerExit::Code(3), vec!["no licence".to_owned()]),
            ("exit 0", WorkerExit::Code(0), vec![]),
            ("kill -KILL $$", WorkerExit::Signal { number: 9, core_dumped: false }, vec![]),
        ] {
            let folder = Folder::new();
            let script = format!(r#"echo $$ >>"$2/starts"; {end}"#);
            let pool = shell(&script, &folder).capture_stderr(true).build().unwrap();
            for round in 1..=2 {
                let tasks = [1, 2, 3].map(|n| pool.submit(begin, (folder.path(), n)));
                for task in tasks {
                    let error = not_started(task);
                    assert!(matches!(error.failure(), StartFailure::Ended(ended) if *ended == exit), "{error}");
                    assert_eq!((error.attempts(), error.stderr()), (3, &*said), "{error}");
                }
                wait_until(|| pool.worker_count() == 0);
                assert_eq!(starts(&folder), 3 * round, "{end}");
            }
            assert!(pool.shutdown().is_complete());
            assert_eq!(starts(&folder), 6, "nobody starts another");
            assert!(folder.lines("starts").iter().all(|pid| is_gone(pid.parse().unwrap())));
        }
    });
}

#[test]
fn the_workers_that_there_are_run_the_tasks_for_which_no_other_gets_up() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = r#"echo $$ >>"$2/starts"; mkdir "$2/first" 2>/dev/null && exec "$0"; exit 3"#;
        let pool = shell(script, &folder).max_workers(4).build().unwrap();
        let (busy, worker) = begun(&pool, &folder, 0);
        let tasks: Vec<_> = (1..60).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        wait_until(|| pool.worker_count() == 1);
        folder.put("open");
        assert_eq!(busy.result().unwrap(), 0);
        for (task, n) in tasks.into_iter().zip(1..) {
            assert_eq!((task.result().unwrap(), folder.begun_by(n)), (n, vec![worker]));
        }
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_start_that_fails_beside_a_worker_is_tried_again_ever_more_seldom() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = r#"echo $$ >>"$2/starts"; mkdir "$2/first" 2>/dev/null && exec "$0"; exit 3"#;
        let pool = shell(script, &folder).max_workers(2).build().unwrap();
        let (busy, _) = begun(&pool, &folder, 0);
        let (since, mut tasks) = (Instant::now(), Vec::new());
        wait_until(|| {
            tasks.push(pool.submit(begin, (folder.path(), 1 + tasks.len() as u64)));
            starts(&folder) >= 8
        });
        // Seven failed, with pauses of 10, 20, 40, 80, 160 and 320 ms between them.
        assert!(since.elapsed() >= Duration::from_millis(630), "{:?}", since.elapsed());
        folder.put("open");
        assert_eq!(busy.result().unwrap(), 0);
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
    });
}

#[test]
fn several_threads_submit_to_a_pool_whose_workers_never_get_up_and_all_are_told() {
    within(LIMIT, || {
        let folder = Folder::new();
        let pool = shell("exit 3", &folder).max_workers(3).build().unwrap();
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for n in 0..20 {
                        let task = pool.submit(begin, (folder.path(), n));
                        assert!(matches!(not_started(task).failure(), StartFailure::Ended(WorkerExit::Code(3))));
                    }
                });
            }
        });
        assert!(pool.shutdown().is_complete());
        assert!(!folder.has("begun"));
    });
}
