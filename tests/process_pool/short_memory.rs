//! Messages that there is no memory for: an error of the task, and no end of the program or of its other tasks.
//!
//! Each in a process of its own, whose address space is limited.

#![cfg(target_os = "linux")]

use std::fs::{read_dir, read_to_string};

use bowline::TaskError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::workers::{echo, idle_pool, pid, pool_of};
use crate::support::{alone, this_os_id, until_asleep};

const MIB: usize = 1 << 20;

/// From now on this process may take so much more memory. Its other threads have what they need: one that begins takes a
/// stack, and an allocator's arena.
fn leave(bytes: usize) {
    for thread in read_dir("/proc/self/task").expect("Linux") {
        let id = thread.expect("a thread").file_name().to_str().and_then(|id| id.parse().ok()).expect("a number");
        if id != this_os_id() {
            until_asleep(id);
        }
    }
    let text = read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').next().unwrap().parse().unwrap();
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some((pages << 12) + bytes as u64), maximum }).unwrap();
}

/// A task with a result of so many bytes.
fn make(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn results_that_there_is_no_memory_for_are_errors_and_the_pool_goes_on() {
    alone(|| {
        // The workers are up before: the limit is this process's.
        let pool = idle_pool(4);
        let workers = pool.worker_pids();
        leave(100 * MIB);
        let check = |result: Result<String, TaskError>| match result {
            Ok(text) => text.len() / MIB,
            Err(TaskError::Decode(error)) => {
                assert!(error.to_string().contains("there is no memory for "), "{error}");
                0
            }
            Err(error) => panic!("{error}"),
        };
        // One fits; of several at once it depends on who comes first.
        assert_eq!(check(pool.submit(make, (10 * MIB,)).result()), 10);
        let tasks: Vec<_> = (0..4).map(|_| pool.submit(make, (10 * MIB,))).collect();
        tasks.into_iter().for_each(|task| assert!([0, 10].contains(&check(task.result()))));
        // The message fits, and not what it is decoded to; and not even the message.
        for long in [80, 120] {
            assert_eq!(check(pool.submit(make, (long * MIB,)).result()), 0);
            assert_eq!(check(pool.submit(make, (MIB,)).result()), 1);
        }
        assert_eq!(pool.worker_pids(), workers, "none was lost");
    });
}

/// A task: from now on its worker may take so much more memory.
fn leave_in_worker(bytes: usize) -> u32 {
    leave(bytes);
    pid()
}

#[test]
fn arguments_that_a_worker_has_no_memory_for_are_an_error_and_the_worker_goes_on() {
    alone(|| {
        let pool = pool_of(1);
        let worker = pool.submit(leave_in_worker, (12 * MIB,)).result().unwrap();
        let length = |text: String| text.len();
        for _ in 0..2 {
            match pool.submit(length, (make(30 * MIB),)).result() {
                // Not even for the message; or for that, where a thread that was ending has given its own back since.
                Err(TaskError::Decode(error)) => {
                    assert!(error.to_string().contains("there is no memory for "), "{error}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(pool.submit(echo::<String>, (make(MIB),)).result().unwrap().len(), MIB);
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}

#[test]
fn arguments_in_parts_that_a_worker_has_no_memory_for_are_an_error_and_the_worker_goes_on() {
    alone(|| {
        let pool = pool_of(1);
        let length = |text: String| text.len() / MIB;
        // The worker's region comes with the first of them.
        (0..2).for_each(|_| assert_eq!(pool.submit(length, ("x".repeat(MIB),)).result().unwrap(), 1));
        let worker = pool.submit(leave_in_worker, (20 * MIB,)).result().unwrap();
        for _ in 0..2 {
            let Err(TaskError::Decode(error)) = pool.submit(length, ("x".repeat(50 * MIB),)).result() else {
                panic!("there is memory")
            };
            assert!(error.to_string().contains("there is no memory for "), "{error}");
            assert_eq!(pool.submit(length, ("x".repeat(MIB),)).result().unwrap(), 1);
        }
        assert_eq!(pool.submit(pid, ()).result().unwrap(), worker);
    });
}
