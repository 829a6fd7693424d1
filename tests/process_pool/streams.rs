//! A worker's connection to its pool, in the hands of tasks that close what is not theirs, or become another program.

#![cfg(target_os = "linux")]

use std::io::Read;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use bowline::task::WorkerExit;
use bowline::{ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, open, pass};
use crate::support::processes::{kill, until_gone};
use crate::support::workers::{assert_killed, echo, lost, pid, pool_of};
use crate::support::{LIMIT, alone, within};

fn close_range(first: u32, last: u32) {
    // SAFETY:
    // - numbers. Nothing of the test itself has a descriptor in a worker.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// A task: closes so many descriptors that are not its own.
fn close_up_to(last: u32) -> u32 {
    close_range(3, last);
    pid()
}

/// A task: as above, one of them twice.
fn close_three() -> u32 {
    // SAFETY:
    // - a number.
    unsafe { libc::close(3) };
    close_up_to(3)
}

#[test]
fn a_stray_close_of_low_descriptors_does_not_meet_the_stream() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_eq!(pool.submit(close_three, ()).result().unwrap(), worker);
        assert_eq!(pool.submit(close_up_to, (255,)).result().unwrap(), worker);
        let text = "x".repeat(1 << 20);
        assert_eq!(pool.submit(echo::<String>, (text.clone(),)).result().unwrap(), text);
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
        assert!(pool.shutdown().is_complete());
    });
}

#[track_caller]
fn assert_stream_closed(pool: &ProcessPoolExecutor, worker: u32, result: Result<u32, TaskError>) {
    let lost = lost(result);
    assert_eq!((lost.exit(), lost.pid()), (&WorkerExit::StreamClosed { program: None }, worker), "{lost}");
    until_gone(worker);
    let next = pool.submit(pid, ()).result().unwrap();
    assert_ne!(next, worker);
}

#[test]
fn a_task_that_closes_all_descriptors_is_told_and_costs_its_worker_only() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let task = pool.submit(close_up_to, (u32::MAX,));
        let behind = pool.submit(echo::<u32>, (7,));
        assert_stream_closed(&pool, worker, task.result());
        assert_eq!(behind.result().unwrap(), 7);
        assert!(pool.shutdown().is_complete());
    });
}

/// A task: gives every descriptor from 3 on to a socket of its own, and returns what came out at its other end.
fn take_all_descriptors(limit: RawFd) -> u32 {
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    for number in 3..limit {
        if ![ours.as_raw_fd(), theirs.as_raw_fd()].contains(&number) {
            // SAFETY:
            // - numbers. Nothing of the test itself has a descriptor in a worker.
            unsafe { libc::dup2(theirs.as_raw_fd(), number) };
        }
    }
    // Its end comes with the process's: whatever arrives there until then ends up in the file.
    let reader = move || {
        let (mut ours, mut byte) = (ours, [0]);
        if ours.read(&mut byte).is_ok_and(|bytes| bytes > 0) {
            // The worker's own words went astray: this says so to the test.
            std::process::exit(77);
        }
    };
    std::thread::spawn(reader);
    pid()
}

#[test]
fn a_result_goes_to_the_pool_and_to_no_socket_that_has_the_streams_number() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_stream_closed(&pool, worker, pool.submit(take_all_descriptors, (1024,)).result());
        assert!(pool.shutdown().is_complete());
    });
}

/// A task that comes back twice: in the worker, and in a process that it forks off and that is not to.
fn come_back_twice() -> u32 {
    // SAFETY:
    // - no preconditions: the child goes on as the only thread.
    match unsafe { libc::fork() } {
        0 => 0,
        child => {
            let mut status = 0;
            // SAFETY:
            // - a place to write to.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            pid()
        }
    }
}

#[test]
fn a_fork_that_comes_back_from_its_task_ends_and_says_nothing_of_its_worker() {
    alone(|| {
        let (pool, folder) = (pool_of(1), Folder::new());
        let worker = pool.submit(pid, ()).result().unwrap();
        assert_eq!(pool.submit(come_back_twice, ()).result().unwrap(), worker);
        let task = pool.submit(pass, (folder.path(), 1, open()));
        folder.until_begun(1);
        kill(worker);
        assert_killed(task.result(), worker);
    });
}

/// A task that becomes this program.
fn execute(program: String, argument: String) -> u32 {
    panic!("{}", Command::new(program).arg(argument).exec())
}

#[test]
fn a_task_that_executes_another_program_is_told_so_with_the_program() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let lost = lost(pool.submit(execute, ("sleep".to_owned(), "100".to_owned())).result());
        let WorkerExit::StreamClosed { program: Some(program) } = lost.exit() else { panic!("{lost}") };
        let text = lost.to_string();
        assert!(text.starts_with(&format!("worker process {worker} executed {program} in its place, and was killed")));
        until_gone(worker);
        assert_eq!(pool.submit(echo::<u32>, (7,)).result().unwrap(), 7);
    });
}

/// A task that ends its thread, which is the main one, and not the process.
fn end_main_thread() -> u32 {
    std::thread::spawn(std::thread::park);
    // SAFETY:
    // - the system's call, of this thread only: nothing that it has on its stack is used by another one.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("there is no thread")
}

#[test]
fn a_task_that_ends_the_main_thread_is_told_and_costs_its_worker_only() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        let lost = lost(pool.submit(end_main_thread, ()).result());
        assert_eq!((lost.exit(), lost.pid()), (&WorkerExit::MainThreadEnded, worker), "{lost}");
        until_gone(worker);
        assert_eq!(pool.submit(echo::<u32>, (7,)).result().unwrap(), 7);
        assert!(pool.shutdown().is_complete());
    });
}

/// A task: from now on nothing but SIGKILL ends this process, and its exit takes for ever.
fn never_exit() -> u32 {
    extern "C" fn for_ever() {
        loop {
            std::thread::park();
        }
    }
    // SAFETY:
    // - the set is filled before it is used; a null pointer says that the old one is not wanted; the function stays.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::signal(libc::SIGALRM, libc::SIG_IGN);
        assert_eq!(libc::atexit(for_ever), 0);
    }
    pid()
}

#[test]
fn an_exit_that_takes_for_ever_is_ended_though_all_signals_are_blocked() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(never_exit, ()).result().unwrap();
        assert!(pool.shutdown().is_complete());
        until_gone(worker);
    });
}
