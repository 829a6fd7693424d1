//! What tasks start, and what becomes of it: children and forks end with their worker, workers leave no zombies, and nobody else
//! is sent a signal.
//!
//! Those that look at all children of the process run alone.

#![cfg(target_os = "linux")]

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, Command, Stdio};
use std::thread;

use bowline::task::WorkerExit;
use bowline::{ProcessPoolExecutor, TaskError};

use crate::support::processes::{children, has_ended, is_gone, kill, processes, stat, until_gone};
use crate::support::workers::{exit, lost, pid, pool_of};
use crate::support::{LIMIT, alone, skipped, wait_until, watchdog, within};

fn sleep_command() -> Command {
    let mut command = Command::new("sleep");
    command.arg("300").stdin(Stdio::null());
    command
}

/// A task that starts a child and a child's child, and returns both.
#[expect(clippy::zombie_processes, reason = "it is killed with its parent")]
fn start_children() -> [u32; 2] {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' TERM HUP INT; sleep 300 & echo $!; wait"]).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("a child");
    let mut line = String::new();
    let stdout = shell.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    [shell.id(), line.trim().parse().expect("a number")]
}

/// A task that forks: its copy of the worker goes on, in the worker's group or out of it.
fn fork(leaves: bool) -> u32 {
    // SAFETY:
    // - no preconditions; the child calls what may be called there.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY:
            // - no preconditions: it ends what a test that fails would leave.
            unsafe { libc::alarm(120) };
            if leaves {
                // SAFETY:
                // - no preconditions.
                unsafe { libc::setsid() };
            }
            loop {
                // SAFETY:
                // - no preconditions.
                unsafe { libc::pause() };
            }
        }
        -1 => panic!("{}", std::io::Error::last_os_error()),
        child => child.cast_unsigned(),
    }
}

#[track_caller]
fn assert_no_children() {
    let left: Vec<_> = children().into_iter().map(|child| (child, stat(child))).collect();
    assert!(left.is_empty(), "children are left: {left:?}");
}

#[track_caller]
fn until_ended(children: impl IntoIterator<Item = u32>) {
    // They are killed before the pool goes on; the system takes its time over it.
    children.into_iter().for_each(|child| wait_until(|| has_ended(child)));
}

#[test]
fn the_children_of_tasks_outlive_these_and_are_gone_after_the_shutdown() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let started = pool.submit(start_children, ()).result().unwrap();
        let worker = pool.submit(pid, ()).result().unwrap();
        for child in started {
            let stat = stat(child).expect("a child that lives");
            assert_eq!((stat.group, stat.state == 'Z'), (worker, false));
        }
        assert!(pool.shutdown().is_complete());
        assert!(is_gone(worker), "a worker that is not reaped");
        until_ended(started);
    });
}

#[test]
fn the_children_of_tasks_are_gone_with_a_worker_that_is_killed_or_crashes() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let start = |pool: &ProcessPoolExecutor| pool.submit(start_children, ()).result().unwrap();
        let started = start(&pool);
        assert_eq!(*lost(pool.submit(exit, (7,)).result()).exit(), WorkerExit::Code(7));
        until_ended(started);
        let started = start(&pool);
        kill(pool.worker_pids()[0]);
        until_ended(started);
        let started = start(&pool);
        assert!(pool.kill().is_complete());
        until_ended(started);
        let pool = pool_of(1);
        let started = start(&pool);
        let _ = pool.terminate();
        assert!(pool.shutdown().is_complete());
        until_ended(started);
    });
}

#[test]
fn a_fork_of_a_worker_does_not_hide_its_end() {
    alone(|| {
        /// Lets the worker fork, and waits until the fork has come to its place.
        fn forked(pool: &ProcessPoolExecutor, leaves: bool) -> u32 {
            let forked = pool.submit(fork, (leaves,)).result().unwrap();
            wait_until(|| !leaves || stat(forked).expect("a fork").group == forked);
            forked
        }
        within(LIMIT, || {
            for leaves in [false, true] {
                for captures in [false, true] {
                    let pool = ProcessPoolExecutor::builder().max_workers(1).capture_stderr(captures).build().unwrap();
                    let first = forked(&pool, leaves);
                    assert_eq!(*lost(pool.submit(exit, (7,)).result()).exit(), WorkerExit::Code(7));
                    // The next worker ends by itself, with a fork of it.
                    let second = forked(&pool, leaves);
                    assert!(pool.shutdown().is_complete());
                    for forked in [first, second] {
                        if leaves {
                            // It is of another session, and its own master.
                            assert!(!has_ended(forked));
                            kill(forked);
                        }
                        until_ended([forked]);
                    }
                }
            }
        });
    });
}

#[test]
fn a_fork_of_the_program_does_not_keep_its_workers() {
    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = pool_of(2);
        let tasks = [(); 2].map(|()| pool.submit(start_children, ()));
        let started = tasks.map(|task| task.result().unwrap());
        wait_until(|| pool.worker_pids().len() == 2);
        // It has the program's ends of the sockets of both.
        let forked = fork(true);
        let workers = pool.worker_pids();
        lost(pool.submit(exit, (7,)).result());
        assert!(pool.shutdown().is_complete());
        assert!(workers.iter().all(|&worker| is_gone(worker)));
        until_ended(started.into_iter().flatten());
        kill(forked);
        // SAFETY:
        // - a null pointer says that the status is not wanted.
        assert_eq!(unsafe { libc::waitpid(forked.cast_signed(), std::ptr::null_mut(), 0) }, forked.cast_signed());
    });
}

#[test]
fn no_worker_is_left_as_a_zombie_however_it_ended() {
    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        let pool = pool_of(2);
        for code in 0..5 {
            lost(pool.submit(exit, (code,)).result());
            // Reaped before its task is told of it.
            assert!(processes(|stat| stat.parent == process::id() && stat.state == 'Z').is_empty());
        }
        pool.submit(pid, ()).result().unwrap();
        let idle = pool.worker_pids();
        idle.iter().for_each(|&worker| kill(worker));
        idle.iter().for_each(|&worker| until_gone(worker));
        drop(pool);
        assert_no_children();

        let pool = pool_of(2);
        let tasks: Vec<_> = (0..10).map(|_| pool.submit(thread::park, ())).collect();
        wait_until(|| pool.worker_pids().len() == 2);
        let _ = pool.kill();
        assert_no_children();
        assert!(tasks.into_iter().all(|task| task.result().is_err()));

        let pool = pool_of(2);
        drop(pool.submit(thread::park, ()));
        wait_until(|| pool.active_count() == 1 && !pool.worker_pids().is_empty());
        let _ = pool.terminate();
        let _ = pool.shutdown();
        assert_no_children();

        // A worker that is no worker.
        let pool = ProcessPoolExecutor::builder().max_workers(1).worker_exe("/bin/false").build().unwrap();
        assert!(pool.submit(pid, ()).result().is_err());
        drop(pool);
        assert_no_children();
    });
}

/// Starts a process that leads a group, with this number. `None` if the system lets nobody choose, or somebody else has it.
fn process_with_number(number: u32) -> Option<Child> {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    for _ in 0..100 {
        // A process that another test starts at the same time may take the number. The counter is put back, so that later processes
        // do not get numbers that other tests have just seen end.
        let last = std::fs::read_to_string(LAST).ok()?;
        std::fs::write(LAST, (number - 1).to_string()).ok()?;
        let mut child = sleep_command().process_group(0).spawn().expect("a process");
        std::fs::write(LAST, last.trim()).expect("as before");
        if child.id() == number {
            return Some(child);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    None
}

#[test]
fn a_process_that_has_the_number_of_a_worker_that_ended_is_sent_no_signal() {
    alone(|| {
        let _watchdog = watchdog(LIMIT / 2);
        let ended_pool = || {
            let pool = pool_of(1);
            let worker = pool.submit(pid, ()).result().unwrap();
            (pool, worker)
        };
        // One worker that ended in a shutdown, one that was lost while the pool goes on, one that was killed with its pool.
        let shut = ended_pool();
        let _ = shut.0.shutdown();
        let going_on = ended_pool();
        lost(going_on.0.submit(exit, (1,)).result());
        let killed = ended_pool();
        let _ = killed.0.kill();
        let pools = [shut, going_on, killed];
        let others = pools.each_ref().map(|(_, worker)| process_with_number(*worker));
        if others.iter().any(Option::is_none) {
            skipped("the numbers of processes can't be chosen here");
        }
        for (pool, _) in &pools {
            for _ in 0..2 {
                let _ = pool.terminate();
                let _ = pool.kill();
                let _ = pool.shutdown();
            }
        }
        drop(pools);
        for mut other in others.into_iter().flatten() {
            assert!(other.try_wait().unwrap().is_none(), "a stranger was sent a signal");
            other.kill().unwrap();
            assert_eq!(other.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    });
}

#[test]
fn a_pool_can_be_killed_and_terminated_any_number_of_times_in_any_order() {
    within(LIMIT, || {
        for order in [["kill", "terminate"], ["terminate", "kill"], ["kill", "kill"], ["terminate", "terminate"]] {
            let pool = pool_of(2);
            let tasks = [(); 3].map(|()| pool.submit(thread::park, ()));
            wait_until(|| pool.worker_pids().len() == 2);
            for how in order {
                let _ = if how == "kill" { pool.kill() } else { pool.terminate() };
            }
            assert!(pool.shutdown().is_complete());
            for task in tasks {
                let error = task.result().unwrap_err();
                assert!(matches!(error, TaskError::WorkerLost(_) | TaskError::Rejected(_)), "{error:?}");
            }
            assert_eq!((pool.worker_count(), pool.worker_pids().len()), (0, 0));
            assert!(pool.kill().is_complete());
            let _ = pool.terminate();
        }
    });
}
