//! Processes that are forked off the program, or off its workers, and know nothing of that: they have copies of everything, and
//! none of it is theirs.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bowline::process_pool::BlobMut;
use bowline::task::{Rejected, WorkerExit};
use bowline::thread_pool::ShutdownOptions;
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, begin, note, open, pass};
use crate::support::processes::{has_ended, is_stopped, kill, state, until_gone};
use crate::support::workers::{assert_killed, idle_pool, lost, only_worker};
use crate::support::{LIMIT, alone, wait_until, watchdog, within};

/// How long a forked process lives if nobody ends it, in seconds.
const LIFE: u32 = 50;

/// Forks. The child calls `body` and ends, with what that returns; the parent gets the child's number.
fn fork(body: impl FnOnce() -> i32) -> u32 {
    // SAFETY:
    // - the child uses what a thread of its own may use: glibc keeps its allocator usable.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY:
            // - no preconditions; nobody asks for this signal, so that it kills.
            unsafe { libc::alarm(LIFE) };
            let code = body();
            // SAFETY:
            // - no preconditions.
            unsafe { libc::_exit(code) }
        }
        -1 => panic!("{}", std::io::Error::last_os_error()),
        child => child.cast_unsigned(),
    }
}

/// Waits for the end of a child; its status.
fn wait_for_child(child: u32) -> i32 {
    let mut status = 0;
    // SAFETY:
    // - `status` is a place to write to.
    assert_eq!(unsafe { libc::waitpid(child.cast_signed(), &raw mut status, 0) }, child.cast_signed());
    status
}

/// Does nothing, until somebody ends this process.
fn pause() -> ! {
    loop {
        // SAFETY:
        // - no preconditions.
        unsafe { libc::pause() };
    }
}

/// Asserts that what a fork of this process does with a pool, one task of which runs while others wait, is nothing.
#[track_caller]
fn assert_nothing_is_done_by_a_fork(does: impl FnOnce(ProcessPoolExecutor, &[Future<u64>]) -> bool) {
    let (pool, folder) = (idle_pool(1), Folder::new());
    let worker = only_worker(&pool);
    let mut tasks = vec![pool.submit(pass, (folder.path(), 0, open()))];
    folder.until_begun(0);
    // One is sent ahead, the other one is queued.
    tasks.extend([1, 2].map(|number| pool.submit(begin, (folder.path(), number))));
    let handle = pool.clone();
    let status = wait_for_child(fork(|| i32::from(!does(handle, &tasks))));
    let goes_on = !has_ended(worker) && !is_stopped(worker);
    folder.put("open");
    assert_eq!((status, goes_on), (0, true), "what the fork is told, and the worker");
    for (number, task) in (0..).zip(tasks) {
        assert_eq!(task.result().unwrap(), number);
        assert_eq!(folder.begun_by(number), [worker]);
    }
    assert!(pool.shutdown().is_complete());
}

fn is_forked<T>(result: Result<T, TaskError>) -> bool {
    matches!(result, Err(TaskError::Rejected(Rejected::Forked)))
}

#[test]
fn a_fork_of_the_program_is_refused_by_its_pool() {
    alone(|| {
        assert_nothing_is_done_by_a_fork(|pool, _| {
            let one = is_forked(pool.submit(u64::pow, (2, 3)).result());
            one && pool.map(|n: u64| n, 0..3).all(is_forked) && is_forked(pool.submit(u64::pow, (2, 3)).result())
        });
    });
}

#[test]
fn a_fork_of_the_program_cancels_no_task_of_its_pool() {
    alone(|| {
        assert_nothing_is_done_by_a_fork(|_, tasks| !tasks.iter().any(Future::cancel));
    });
}

#[test]
fn a_fork_of_the_program_that_ends_its_pool_ends_nobody() {
    alone(|| {
        let cancels = ShutdownOptions::new().cancel_pending(true);
        let in_time = ShutdownOptions::new().timeout(Duration::from_millis(1));
        assert_nothing_is_done_by_a_fork(|pool, _| pool.shutdown().is_complete());
        assert_nothing_is_done_by_a_fork(|pool, _| pool.shutdown_with(cancels).is_complete());
        assert_nothing_is_done_by_a_fork(|pool, _| pool.shutdown_with(in_time).is_complete());
        assert_nothing_is_done_by_a_fork(|pool, _| pool.kill().is_complete());
        assert_nothing_is_done_by_a_fork(|pool, _| pool.terminate().is_complete());
        assert_nothing_is_done_by_a_fork(|pool, tasks| {
            drop(pool);
            // The last of all handles: what the tasks have, and the test.
            tasks.len() == 3
        });
    });
}

#[test]
fn a_fork_of_the_program_has_pools_of_its_own() {
    alone(|| {
        assert_nothing_is_done_by_a_fork(|_, _| {
            let _watchdog = watchdog(LIMIT / 2);
            let pool = ProcessPoolExecutor::new(1).expect("a pool");
            pool.submit(u64::pow, (2, 3)).result().expect("a task") == 8 && pool.shutdown().is_complete()
        });
    });
}

/// Whether this is the number of an open file.
fn is_open(number: RawFd) -> bool {
    // SAFETY:
    // - it takes numbers.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// A task: whether a file that a fork of the worker opens is there in a fork of the fork, if it got the number of the stream.
fn opens_a_file_in_a_fork() -> bool {
    let is_socket = |number: &RawFd| {
        std::fs::read_link(format!("/proc/self/fd/{number}"))
            .is_ok_and(|path| path.to_string_lossy().starts_with("socket:"))
    };
    let stream = (3..1024).find(is_socket).expect("the stream");
    let fork_of_a_fork = || {
        assert!(!is_open(stream), "the stream is closed in a fork");
        let file = File::open("/dev/null").expect("a file");
        // SAFETY:
        // - numbers, of a file that is open and of none.
        assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), stream) }, stream);
        i32::from(wait_for_child(fork(|| i32::from(!is_open(stream)))) != 0)
    };
    wait_for_child(fork(fork_of_a_fork)) == 0
}

#[test]
fn a_fork_of_the_program_neither_reads_nor_writes_memory_that_is_not_sealed_yet() {
    alone(|| {
        let mut memory = BlobMut::new(1 << 16).unwrap();
        let child = fork(|| {
            let is_read = catch_unwind(AssertUnwindSafe(|| memory[0])).is_ok();
            let is_written = catch_unwind(AssertUnwindSafe(|| memory[0] = 1)).is_ok();
            i32::from(is_read || is_written)
        });
        assert_eq!(wait_for_child(child), 0, "it panics instead");
        memory[0] = 7;
        assert_eq!(memory.seal().unwrap()[0], 7);
    });
}

#[test]
fn a_fork_of_a_fork_of_a_worker_keeps_every_file_that_is_open() {
    alone(|| {
        within(LIMIT, || assert!(idle_pool(1).submit(opens_a_file_in_a_fork, ()).result().unwrap()));
    });
}

/// A task: leaves a copy of the worker behind that has its stream, and is not in its group.
fn clone_raw(folder: String) {
    // SAFETY:
    // - as `fork`, but nobody is told of it: the child uses nothing but system calls.
    let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY:
        // - no preconditions.
        unsafe { (libc::setsid(), libc::alarm(LIFE)) };
        pause();
    }
    // SAFETY:
    // - it takes a number.
    while unsafe { libc::getsid(child as i32) } != child as i32 {}
    note(&folder, "copy", &child.to_string());
    pause();
}

/// The number that a task noted.
fn noted(folder: &Folder, file: &str) -> u32 {
    wait_until(|| !folder.lines(file).is_empty());
    folder.lines(file)[0].parse().expect("a number")
}

#[test]
fn a_kill_of_the_pool_ends_though_somebody_else_has_the_stream_of_a_worker() {
    alone(|| {
        for is_dead in [false, true] {
            let (pool, folder) = (idle_pool(1), Folder::new());
            let worker = only_worker(&pool);
            let task = pool.submit(clone_raw, (folder.path(),));
            let copy = noted(&folder, "copy");
            if is_dead {
                kill(worker);
                wait_until(|| state(worker) == Some('Z'));
            }
            assert!(pool.kill().is_complete());
            assert_killed(task.result(), worker);
            assert!(!has_ended(copy), "it had the stream to the end");
            kill(copy);
        }
    });
}

/// Uses more stack than there is.
fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { descend(depth + 1) + std::hint::black_box(frame)[7] }
}

/// A task: a fork of the worker dies of an overflow. The signal by which it does.
fn overflow_in_a_fork() -> i32 {
    libc::WTERMSIG(wait_for_child(fork(|| {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY:
        // - it reads the limit, which is there.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        i32::from(std::hint::black_box(descend(0)) == 1)
    })))
}

#[test]
fn a_worker_that_is_killed_after_a_fork_of_it_overflowed_its_stack_is_told_as_killed() {
    alone(|| {
        let (pool, folder) = (idle_pool(1), Folder::new());
        assert_eq!(pool.submit(overflow_in_a_fork, ()).result().unwrap(), libc::SIGSEGV);
        let task = pool.submit(pass, (folder.path(), 0, open()));
        let worker = folder.until_begun(0);
        kill(worker);
        assert_killed(task.result(), worker);
        assert_ne!(only_worker(&until_idle(pool)), worker);
    });
}

/// A pool of one worker, once that is up.
fn until_idle(pool: ProcessPoolExecutor) -> ProcessPoolExecutor {
    pool.submit(u64::pow, (2, 3)).result().expect("a task");
    pool
}

/// A task: the worker goes to another group, and a child of it stays in the one that it had.
fn leave_the_group(folder: String) {
    let child = fork(|| pause());
    // SAFETY:
    // - they take numbers.
    let left = unsafe { libc::setpgid(0, libc::getpgid(libc::getppid())) };
    assert_eq!(left, 0, "{}", std::io::Error::last_os_error());
    note(&folder, "child", &child.to_string());
    pause();
}

#[test]
fn a_kill_of_the_pool_ends_a_worker_that_has_left_its_group_and_the_child_that_stayed() {
    alone(|| {
        let (pool, folder) = (idle_pool(1), Folder::new());
        let worker = only_worker(&pool);
        let task = pool.submit(leave_the_group, (folder.path(),));
        let child = noted(&folder, "child");
        assert!(pool.kill().is_complete());
        assert_killed(task.result(), worker);
        until_gone(child);
    });
}

#[test]
fn a_worker_that_has_left_its_group_and_talks_nonsense_is_killed_with_the_child_that_stayed() {
    alone(|| {
        /// A task: says what no worker says, to everybody who may listen.
        fn leave_and_talk(folder: String) {
            let child = fork(|| pause());
            // SAFETY:
            // - they take numbers.
            assert_eq!(unsafe { libc::setpgid(0, libc::getpgid(libc::getppid())) }, 0);
            note(&folder, "child", &child.to_string());
            let nonsense = [b'?'; 64];
            for stream in 3..1024 {
                // SAFETY:
                // - so many bytes are there. What is no socket refuses them.
                unsafe { libc::send(stream, nonsense.as_ptr().cast(), nonsense.len(), libc::MSG_NOSIGNAL) };
            }
            pause();
        }
        within(LIMIT, || {
            let (pool, folder) = (idle_pool(1), Folder::new());
            let task = pool.submit(leave_and_talk, (folder.path(),));
            let child = noted(&folder, "child");
            assert!(matches!(lost(task.result()).exit(), WorkerExit::Protocol(_)));
            until_gone(child);
            assert!(pool.shutdown().is_complete());
        });
    });
}
