//! A system that has no more descriptors, threads or processes to give: tasks run with what there is, or fail with the reason,
//! and none waits for ever.
//!
//! Each test runs alone, but for those that limit a worker.

#![cfg(target_os = "linux")]

use std::ffi::c_int;
use std::io::ErrorKind;
use std::sync::atomic::Ordering::SeqCst;

use bowline::task::{Rejected, StartFailure, Status};
use bowline::{Future, ProcessPoolExecutor, TaskError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::calls::{NO_THREADS, PROCESSES, REFUSED, THREADS};
use crate::support::folder::{Folder, begin, open, pass};
use crate::support::processes::{children, kill, until_gone};
use crate::support::rogue::{shell, starts};
use crate::support::workers::only_worker;
use crate::support::{LIMIT, alone, wait_until, within};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// From now on the process has at most so many descriptors.
fn limit_descriptors(most: u64) {
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
}

#[track_caller]
fn assert_no_thread(task: Future<u64>) {
    match task.result() {
        Err(TaskError::Rejected(Rejected::NoThread(error))) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        other => panic!("{other:?}"),
    }
}

/// Asserts that there was no process for the task, for this reason.
#[track_caller]
fn assert_no_process(task: Future<u64>, errno: c_int) {
    match task.result() {
        Err(TaskError::Rejected(Rejected::NoWorker(error))) => {
            assert!(
                matches!(error.failure(), StartFailure::Spawn(error) if error.raw_os_error() == Some(errno)),
                "{error}"
            );
            assert_eq!(error.attempts(), 3);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn queued_tasks_take_no_descriptors() {
    alone(|| {
        limit_descriptors(256);
        for captures in [false, true] {
            let (folder, before) = (Folder::new(), descriptors());
            let pool = ProcessPoolExecutor::builder().max_workers(2).capture_stderr(captures).build().unwrap();
            let busy = [1, 2].map(|n| pool.submit(pass, (folder.path(), n, open())));
            [1, 2].iter().for_each(|&n| _ = folder.until_begun(n));
            let with_workers = before + if captures { 6 } else { 4 };
            assert_eq!(descriptors(), with_workers, "two for each worker, and one for its standard error");
            let tasks: Vec<_> = (0..10_000).map(|n| pool.submit(u64::wrapping_add, (n, 1))).collect();
            assert_eq!((descriptors(), pool.queued()), (with_workers, 10_000));
            folder.put("open");
            assert_eq!(busy.map(|task| task.result().unwrap()), [1, 2]);
            for (task, n) in tasks.into_iter().zip(1..) {
                assert_eq!(task.result().unwrap(), n);
            }
            assert_eq!(descriptors(), with_workers);
            assert!(pool.shutdown().is_complete());
            wait_until(|| descriptors() == before);
        }
    });
}

#[test]
fn the_descriptors_of_workers_that_are_lost_or_never_got_up_are_given_back() {
    alone(|| {
        limit_descriptors(64);
        let (folder, before) = (Folder::new(), descriptors());
        let pool = ProcessPoolExecutor::new(1).unwrap();
        for n in 0..6 {
            let task = pool.submit(pass, (folder.path(), n, "never".to_owned()));
            let worker = folder.until_begun(n);
            // Those of the worker before this one are given back a moment after its task has failed.
            wait_until(|| descriptors() == before + 2);
            kill(worker);
            assert!(matches!(task.result(), Err(TaskError::WorkerLost(_))));
        }
        assert!(pool.shutdown().is_complete());
        for script in ["exit 3", "exec sleep 100"] {
            let start_timeout = std::time::Duration::from_millis(if script == "exit 3" { 30_000 } else { 50 });
            let pool = shell(script, &folder).start_timeout(start_timeout).build().unwrap();
            for n in 0..3 {
                let result = pool.submit(begin, (folder.path(), n)).result();
                assert!(matches!(result, Err(TaskError::Rejected(Rejected::NoWorker(_)))), "{result:?}");
                wait_until(|| descriptors() == before);
            }
        }
    });
}

#[test]
fn a_pool_has_as_many_workers_as_there_are_descriptors() {
    alone(|| {
        limit_descriptors(descriptors() as u64 + 6);
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::new(16).unwrap();
        let tasks: Vec<_> = (0..16).map(|n| pool.submit(pass, (folder.path(), n, open()))).collect();
        // Some got up, and the others were given up.
        wait_until(|| !pool.worker_pids().is_empty() && pool.worker_count() == pool.worker_pids().len());
        // One more than were free at the count, which had one open itself.
        assert!(pool.worker_count() <= 7, "{pool:?}");
        folder.put("open");
        for (task, n) in tasks.into_iter().zip(0..) {
            assert_eq!((task.result().unwrap(), folder.begun_by(n).len()), (n, 1));
        }
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn without_a_descriptor_tasks_fail_with_the_reason_until_there_is_one_again() {
    alone(|| {
        limit_descriptors(64);
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::new(2).unwrap();
        let mut files = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            files.push(file);
        }
        // None, and one, where a socket has two ends.
        for _ in 0..2 {
            assert_no_process(pool.submit(begin, (folder.path(), 1)), libc::EMFILE);
            files.pop();
        }
        drop(files);
        assert_eq!(pool.submit(begin, (folder.path(), 2)).result().unwrap(), 2);
        assert_eq!((folder.begun_by(1).len(), folder.begun_by(2).len()), (0, 1));
    });
}

#[test]
fn under_a_limit_for_files_that_leaves_no_room_tasks_fail_with_the_reason_and_the_program_goes_on() {
    alone(|| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum }).unwrap();
        let pool = ProcessPoolExecutor::new(1).unwrap();
        for _ in 0..2 {
            match pool.submit(u64::wrapping_add, (1, 2)).result() {
                Err(TaskError::Rejected(Rejected::NoWorker(error))) => {
                    let StartFailure::Spawn(reason) = error.failure() else { panic!("{error}") };
                    assert_eq!(reason.kind(), ErrorKind::FileTooLarge);
                    assert!(reason.to_string().contains("RLIMIT_FSIZE"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
        }
        setrlimit(Resource::Fsize, Rlimit { current: maximum, maximum }).unwrap();
        assert_eq!(pool.submit(u64::wrapping_add, (1, 2)).result().unwrap(), 3);
    });
}

#[test]
fn without_a_thread_tasks_are_rejected_until_there_is_one_again() {
    alone(|| {
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::new(2).unwrap();
        THREADS.store(0, SeqCst);
        for _ in 0..3 {
            assert_no_thread(pool.submit(begin, (folder.path(), 1)));
        }
        let mapped = pool.map(|n: u64| n, 0..3).next();
        assert!(matches!(mapped, Some(Err(TaskError::Rejected(Rejected::NoThread(_))))), "{mapped:?}");
        assert_eq!((pool.queued(), pool.worker_count(), REFUSED.load(SeqCst) >= 4), (0, 0, true));
        THREADS.store(1, SeqCst);
        let busy = pool.submit(pass, (folder.path(), 2, open()));
        let tasks: Vec<_> = (3..13).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        folder.until_begun(2);
        assert_eq!((pool.worker_count(), pool.queued()), (1, 10), "a smaller pool");
        folder.put("open");
        assert_eq!(busy.result().unwrap(), 2);
        tasks.into_iter().zip(3..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
        // Whoever replaces a lost worker is there already.
        let task = pool.submit(pass, (folder.path(), 20, "never".to_owned()));
        let queued = pool.submit(begin, (folder.path(), 21));
        kill(folder.until_begun(20));
        assert!(matches!(task.result(), Err(TaskError::WorkerLost(_))));
        assert_eq!(queued.result().unwrap(), 21);
        assert!(pool.shutdown().is_complete() && folder.begun_by(1).is_empty());
    });
}

#[test]
fn without_a_thread_for_what_a_worker_writes_there_is_no_worker_until_there_is_one_again() {
    alone(|| {
        let folder = Folder::new();
        for (captures, threads) in [((true, false), 1), ((false, true), 1), ((true, true), 1), ((true, true), 2)] {
            let builder = ProcessPoolExecutor::builder().max_workers(1).initializer(|| eprintln!("a line"), ());
            let pool = builder.capture_stdout(captures.0).capture_stderr(captures.1).build().unwrap();
            THREADS.store(threads, SeqCst);
            assert_no_process(pool.submit(begin, (folder.path(), 1)), libc::EAGAIN);
            assert!(children().is_empty(), "none is left");
            THREADS.store(i64::MAX, SeqCst);
            assert_eq!(pool.submit(begin, (folder.path(), 2)).result().unwrap(), 2);
        }
        assert_eq!((folder.begun_by(1).len(), folder.begun_by(2).len()), (0, 4));
    });
}

#[test]
fn without_threads_for_them_callbacks_run_all_the_same() {
    alone(|| {
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::new(1).unwrap();
        THREADS.store(1, SeqCst);
        let (told, hears) = std::sync::mpsc::channel();
        let task = pool.submit(pass, (folder.path(), 1, open()));
        folder.until_begun(1);
        task.add_done_callback(move |status| told.send(status).unwrap());
        folder.put("open");
        assert_eq!(hears.recv().unwrap(), Status::Finished);
        assert_eq!((task.result().unwrap(), REFUSED.load(SeqCst)), (1, 1));
        assert!(pool.shutdown().is_complete());
    });
}

#[test]
fn a_worker_that_may_have_no_thread_of_its_own_says_so() {
    within(LIMIT, || {
        let folder = Folder::new();
        let script = format!(r#"echo $$ >>"$2/starts"; {}=1 exec "$0""#, NO_THREADS.to_str().unwrap());
        let pool = shell(&script, &folder).capture_stderr(true).build().unwrap();
        match pool.submit(begin, (folder.path(), 1)).result() {
            Err(TaskError::Rejected(Rejected::NoWorker(error))) => {
                let StartFailure::Refused(reason) = error.failure() else { panic!("{error}") };
                assert!(reason.contains("no thread that watches the "), "{reason}");
                let said = error.stderr().join("\n");
                assert!(said.contains("this process was to be a worker, and can't"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((starts(&folder), folder.has("begun")), (3, false));
    });
}

#[test]
fn without_a_process_tasks_fail_with_the_reason_until_there_is_one_again() {
    alone(|| {
        let folder = Folder::new();
        let pool = ProcessPoolExecutor::new(3).unwrap();
        PROCESSES.store(0, SeqCst);
        for _ in 0..2 {
            assert_no_process(pool.submit(begin, (folder.path(), 1)), libc::EAGAIN);
        }
        wait_until(|| pool.worker_count() == 0);
        assert_eq!(REFUSED.load(SeqCst), 6, "three times each, and no more");
        PROCESSES.store(1, SeqCst);
        let busy = pool.submit(pass, (folder.path(), 2, open()));
        let tasks: Vec<_> = (3..40).map(|n| pool.submit(begin, (folder.path(), n))).collect();
        folder.until_begun(2);
        wait_until(|| pool.worker_count() == 1);
        folder.put("open");
        assert_eq!(busy.result().unwrap(), 2);
        tasks.into_iter().zip(3..).for_each(|(task, n)| assert_eq!(task.result().unwrap(), n));
        // The last worker is lost, and can't be replaced.
        let task = pool.submit(pass, (folder.path(), 50, "never".to_owned()));
        let queued = pool.submit(begin, (folder.path(), 1));
        kill(folder.until_begun(50));
        assert!(matches!(task.result(), Err(TaskError::WorkerLost(_))));
        assert_no_process(queued, libc::EAGAIN);
        PROCESSES.store(i64::MAX, SeqCst);
        assert_eq!(pool.submit(begin, (folder.path(), 60)).result().unwrap(), 60);
        let worker = only_worker(&pool);
        assert!(pool.shutdown().is_complete());
        until_gone(worker);
        assert!(folder.begun_by(1).is_empty());
    });
}

#[test]
fn under_a_limit_for_processes_tasks_run_or_fail_and_never_wait_for_ever() {
    alone(|| {
        // The real refusal, which root never gets: nobody's processes and threads are those of this test.
        if rustix::process::getuid().is_root() {
            // SAFETY:
            // - no memory is concerned.
            assert_eq!(unsafe { libc::setuid(65534) }, 0);
        }
        let maximum = getrlimit(Resource::Nproc).maximum;
        let limit = |most| setrlimit(Resource::Nproc, Rlimit { current: most, maximum }).unwrap();
        let mut outcomes = [0; 3];
        for most in (0..12).chain([0, 5, 8]) {
            limit(Some(most));
            let pool = ProcessPoolExecutor::new(2).unwrap();
            let tasks: Vec<_> = (0..6).map(|n: u64| pool.submit(u64::wrapping_add, (n, 1))).collect();
            for (task, n) in tasks.into_iter().zip(1..) {
                let outcome = match task.result() {
                    Ok(result) => {
                        assert_eq!(result, n);
                        0
                    }
                    Err(TaskError::Rejected(Rejected::NoThread(_))) => 1,
                    Err(TaskError::Rejected(Rejected::NoWorker(error))) => {
                        // There was none for the process, or none for one of its watching threads.
                        let is_refusal = match error.failure() {
                            StartFailure::Spawn(error) => error.kind() == ErrorKind::WouldBlock,
                            StartFailure::Refused(reason) => reason.contains("no thread that watches the "),
                            failure => panic!("{failure}"),
                        };
                        assert!(is_refusal, "{error}");
                        2
                    }
                    Err(error) => panic!("{error}"),
                };
                outcomes[outcome] += 1;
            }
            assert!(pool.shutdown().is_complete());
            limit(maximum);
        }
        assert!(outcomes[1] > 0, "none was refused: {outcomes:?}");
        let pool = ProcessPoolExecutor::new(2).unwrap();
        assert_eq!(pool.submit(u64::wrapping_add, (1, 1)).result().unwrap(), 2);
        println!("run, without a thread, without a process: {outcomes:?}");
    });
}
