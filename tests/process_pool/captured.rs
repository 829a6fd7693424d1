//! Standard error of workers that the pool captures: whoever else has it keeps nothing of the program, and whoever reads it from
//! the program can go.

#![cfg(target_os = "linux")]

use std::fs::{File, read_dir};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use bowline::ProcessPoolExecutor;
use bowline::task::WorkerExit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::folder::Folder;
use crate::support::processes::{has_ended, kill};
use crate::support::workers::{exit, lost, pid};
use crate::support::{LIMIT, alone, wait_until, within};

fn captured() -> ProcessPoolExecutor {
    ProcessPoolExecutor::builder().max_workers(1).capture_stderr(true).build().expect("a pool")
}

fn descriptors() -> usize {
    read_dir("/proc/self/fd").expect("Linux").count()
}

fn threads() -> usize {
    read_dir("/proc/self/task").expect("Linux").count()
}

/// A task that starts a process which leaves the worker's group, and keeps its standard error.
fn start_daemon(floods: bool) -> u32 {
    let script = if floods { "exec yes a line of a daemon >&2" } else { "exec sleep 100" };
    let mut daemon = Command::new("sh");
    daemon.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY:
    // - the function may be called after a fork.
    unsafe {
        daemon.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    eprintln!("the worker's own line");
    daemon.spawn().expect("a daemon").id()
}

#[test]
fn a_daemon_that_keeps_a_lost_workers_standard_error_keeps_no_thread_and_no_descriptor_of_the_program() {
    alone(|| {
        for floods in [false, true] {
            let before = (descriptors(), threads());
            let pool = captured();
            let mut daemons = Vec::new();
            for _ in 0..3 {
                daemons.push(pool.submit(start_daemon, (floods,)).result().unwrap());
                let lost = lost(pool.submit(exit, (7,)).result());
                assert_eq!(lost.exit(), &WorkerExit::Code(7));
                assert!(floods || lost.stderr().contains(&"the worker's own line".to_owned()), "{lost}");
            }
            assert!(pool.shutdown().is_complete());
            drop(pool);
            wait_until(|| (descriptors(), threads()) == before);
            for daemon in daemons {
                // Nobody reads what it writes any more: SIGPIPE ends the one that does.
                if floods {
                    wait_until(|| has_ended(daemon));
                } else {
                    assert!(!has_ended(daemon));
                    kill(daemon);
                }
            }
        }
    });
}

/// A task that writes so much to standard error, and ends its worker.
fn shout(lines: u32) -> u8 {
    (0..lines).for_each(|line| eprintln!("line {line}"));
    exit(7)
}

#[test]
fn what_a_worker_wrote_last_is_there_however_much_it_was() {
    within(LIMIT, || {
        let lost = lost(captured().submit(shout, (3000,)).result());
        assert_eq!(lost.stderr().last().map(String::as_str), Some("line 2999"), "{lost}");
    });
}

/// Has this process write its standard error here, and lets a write that can't be end it.
fn redirect(file: OwnedFd) {
    // SAFETY:
    // - numbers, and default actions.
    unsafe {
        assert_eq!(libc::dup2(file.as_raw_fd(), 2), 2);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
    }
}

fn fail() -> Result<(), String> {
    Err("it was to fail".to_owned())
}

/// Everything that the library writes in this process.
fn write_lines() {
    let pool = captured();
    let worker = pool.submit(pid, ()).result().unwrap();
    let lost = lost(pool.submit(shout, (30,)).result());
    assert_eq!((lost.pid(), lost.stderr().len()), (worker, 20), "{lost}");
    assert_ne!(pool.submit(pid, ()).result().unwrap(), worker);
    assert!(pool.shutdown().is_complete());
    let broken = ProcessPoolExecutor::builder().max_workers(1).initializer(fail, ()).build().unwrap();
    broken.submit(pid, ()).result().unwrap_err();
    bowline::deadlock::dump();
}

#[test]
fn a_program_whose_standard_error_nobody_reads_goes_on() {
    alone(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        redirect(writer.into());
        write_lines();
    });
}

#[test]
fn a_program_whose_standard_error_is_a_file_at_its_limit_goes_on() {
    alone(|| {
        const LENGTH: u64 = 1 << 20;
        let folder = Folder::new();
        let mut file = File::create(folder.file("stderr")).unwrap();
        file.write_all(&vec![b'\n'; LENGTH as usize]).unwrap();
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: Some(LENGTH), maximum }).unwrap();
        redirect(file.try_clone().unwrap().into());
        write_lines();
        assert_eq!(file.metadata().unwrap().len(), LENGTH);
    });
}
