//! Pools in workers of pools: they work, end with each other, and have a limit that no program gets around.

#![cfg(target_os = "linux")]

use std::process;
use std::sync::OnceLock;

use bowline::process_pool::ProcessPoolError;
use bowline::{ProcessPoolExecutor, ThreadPoolExecutor};

use crate::support::processes::{has_ended, processes};
use crate::support::programs::{Program, say};
use crate::support::workers::pool_of;
use crate::support::{LIMIT, wait_until, watchdog, within};

/// How deep pools may be.
const MOST: u32 = 3;

/// Has a static initialiser make a pool: of this program, and of each of its workers.
const BEFORE_MAIN: &str = "BOWLINE_TEST_BEFORE_MAIN";

/// What came of that in this process.
static POOL_BEFORE_MAIN: OnceLock<String> = OnceLock::new();

/// Of the kind that runs before the pool's own part of life before `main`.
#[ctor::ctor(unsafe)]
fn pool_before_main() {
    if std::env::var_os(BEFORE_MAIN).is_some() {
        // A worker that made workers here would have no end.
        let made = ProcessPoolExecutor::new(1).map(|pool| pool.submit(what_came_of_it, ()).result());
        let _ = POOL_BEFORE_MAIN.set(match made {
            Ok(result) => format!("a worker: {}", result.unwrap_or_else(|error| error.to_string())),
            Err(error) => format!("{error:?}"),
        });
    }
}

fn what_came_of_it() -> String {
    POOL_BEFORE_MAIN.get().cloned().unwrap_or_else(|| "nothing".to_owned())
}

/// The processes of a pool in a pool and so on, down to the one that may have none, and what that says.
fn descend(path: Vec<u32>) -> (Vec<u32>, String) {
    let mut path = path;
    path.push(process::id());
    match ProcessPoolExecutor::new(1) {
        Ok(pool) => pool.submit(descend, (path,)).result().expect("a result"),
        Err(error @ ProcessPoolError::TooDeep { depth, max }) => (path, format!("{depth} of {max}: {error}")),
        Err(error) => (path, error.to_string()),
    }
}

#[test]
fn pools_in_workers_work_down_to_a_limit_that_says_so() {
    within(LIMIT, || {
        let (path, error) = descend(Vec::new());
        assert_eq!(path.len(), 1 + MOST as usize, "{path:?}");
        assert_eq!(path[0], process::id());
        let mut different = path.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), path.len(), "each is a process of its own");
        assert!(error.starts_with("4 of 3: ") && error.contains("too deep"), "{error}");
        // They have all ended with the tasks that made them.
        path[1..].iter().for_each(|&worker| wait_until(|| has_ended(worker)));
    });
}

#[test]
fn a_worker_has_pools_of_threads_and_of_processes_side_by_side() {
    fn count(n: u64) -> u64 {
        let threads = ThreadPoolExecutor::new(2);
        let processes = ProcessPoolExecutor::new(2).expect("a pool");
        let sums = (0..n).map(|i| (threads.submit(move || i), processes.submit(u64::wrapping_mul, (i, i))));
        let sums: Vec<_> = sums.collect();
        sums.into_iter().map(|(i, square)| i.result().expect("a number") + square.result().expect("a square")).sum()
    }
    within(LIMIT, || {
        assert_eq!(pool_of(1).submit(count, (10,)).result().unwrap(), 45 + 285);
    });
}

/// Keeps a pool of a worker for as long as that lives.
fn keep_a_pool() -> u32 {
    static KEPT: OnceLock<ProcessPoolExecutor> = OnceLock::new();
    KEPT.get_or_init(|| pool_of(1)).submit(process::id, ()).result().expect("a worker's worker")
}

#[test]
fn a_pool_that_a_worker_keeps_in_a_static_ends_with_the_worker() {
    within(LIMIT, || {
        for end in ["shutdown", "kill", "crash"] {
            let pool = pool_of(1);
            let inner = pool.submit(keep_a_pool, ()).result().unwrap();
            assert_eq!(pool.submit(keep_a_pool, ()).result().unwrap(), inner);
            assert!(!has_ended(inner));
            match end {
                "shutdown" => drop(pool.shutdown()),
                "kill" => drop(pool.kill()),
                _ => drop(pool.submit(|| -> () { process::abort() }, ()).result().unwrap_err()),
            }
            wait_until(|| has_ended(inner));
        }
    });
}

#[test]
fn a_pool_of_a_static_initialiser_works_in_the_program_and_is_refused_in_its_workers() {
    let test = "a_pool_of_a_static_initialiser_works_in_the_program_and_is_refused_in_its_workers";
    if Program::is_this(test) {
        let _watchdog = watchdog(LIMIT / 2);
        say(&format!("before main: {}", what_came_of_it()));
        let pool = ProcessPoolExecutor::new(2).expect("a pool");
        say(&format!("in a worker: {}", pool.submit(what_came_of_it, ()).result().expect("a worker")));
        // No more than the workers of this pool: not theirs, nor any of the pool before.
        assert_eq!(processes(|stat| stat.parent == process::id()).len(), 1);
        let workers = pool.worker_pids();
        assert_eq!(processes(|stat| workers.contains(&stat.parent)), [0; 0]);
        return;
    }
    within(LIMIT, || {
        let mut command = Program::command(test);
        command.env(BEFORE_MAIN, "1");
        let mut program = Program::start(command);
        assert_eq!(program.until("before main:"), "a worker: InWorkerStartup");
        assert_eq!(program.until("in a worker:"), "InWorkerStartup");
        program.until_ended_well();
    });
}
