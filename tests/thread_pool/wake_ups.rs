//! What a task costs a pool that has little to do, and one that is busy: wake-ups and time.
//!
//! Every test has a process of its own, whose system calls or time are counted.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use bowline::{Future, ThreadPoolExecutor};

use crate::support::alone::{arguments, this_test};
use crate::support::gate::Busy;
use crate::support::{LIMIT, alone, skipped, this_os_id, until_asleep, wait_until, within};

/// Names the file into which the system calls of this process are written.
const TRACE: &str = "BOWLINE_TEST_TRACE";

/// Runs the test `name` in a process whose calls are written down, and returns those; `None` in that process, which has
/// run `body` then, or when there is nothing that could write them down.
fn traced(name: &str, body: impl FnOnce()) -> Option<String> {
    if std::env::var_os(TRACE).is_some() {
        within(LIMIT / 2, body);
        return None;
    }
    let file = std::env::temp_dir().join(format!("bowline-{name}-{}", std::process::id()));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=futex,write", "-o"]).arg(&file);
    command.arg(std::env::current_exe().unwrap());
    command.args(arguments(&this_test())).env(TRACE, &file);
    let status = command.output().map(|output| output.status);
    let calls = std::fs::read_to_string(&file);
    let _ = std::fs::remove_file(&file);
    match (status, calls) {
        // It ran.
        (status, Ok(calls)) if calls.contains("running 1 test") => {
            assert!(status.as_ref().is_ok_and(ExitStatus::success), "{status:?}: {calls}");
            Some(calls)
        }
        other => {
            skipped(format_args!("strace does not work here: {other:?}"));
            None
        }
    }
}

const BEGIN: &str = "counted from here";
const END: &str = "counted to here";

/// The thread that made this call.
fn thread_of(call: &str) -> &str {
    call.split_whitespace().next().unwrap()
}

/// The address that this call is about, if it is a futex's.
fn address(call: &str) -> Option<&str> {
    call.split_once("futex(")?.1.split(',').next()
}

/// What the thread that said [`BEGIN`] and [`END`] woke others at in between, each time.
fn wakes(calls: &str) -> impl Iterator<Item = &str> {
    let mut calls = calls.lines().skip_while(|call| !call.contains(BEGIN));
    let thread = thread_of(calls.next().unwrap());
    let own = calls.filter(move |call| thread_of(call) == thread);
    own.take_while(|call| !call.contains(END)).filter(|call| call.contains("FUTEX_WAKE")).filter_map(address)
}

/// Where threads slept when one of them said [`BEGIN`].
fn sleeping_places(calls: &str) -> Vec<&str> {
    let mut places = HashMap::new();
    for call in calls.lines().take_while(|call| !call.contains(BEGIN)) {
        let sleeps = call.contains("FUTEX_WAIT") && call.ends_with("<unfinished ...>");
        places.insert(thread_of(call), if sleeps { address(call) } else { None });
    }
    places.into_values().flatten().collect()
}

const TASKS: usize = 50;

#[test]
fn a_task_wakes_one_worker_of_those_that_sleep() {
    let body = || {
        let pool = ThreadPoolExecutor::new(3);
        let barrier = Arc::new(Barrier::new(3));
        let meet = |_| {
            let barrier = Arc::clone(&barrier);
            pool.submit(move || {
                barrier.wait();
                this_os_id()
            })
        };
        let tasks: Vec<_> = (0..3).map(meet).collect();
        let workers: Vec<_> = tasks.into_iter().map(|task| task.result().unwrap()).collect();
        let all_asleep = || workers.iter().copied().for_each(until_asleep);
        all_asleep();
        eprintln!("{BEGIN}");
        for _ in 0..TASKS {
            let task = pool.submit(|| ());
            wait_until(|| task.done());
            all_asleep();
        }
        eprintln!("{END}");
    };
    let Some(calls) = traced("a_task_wakes_one_worker_of_those_that_sleep", body) else { return };
    // Who was woken may wait for the channel's mutex for a moment, and be woken once more.
    let places = sleeping_places(&calls);
    assert_eq!(wakes(&calls).filter(|place| places.contains(place)).count(), TASKS, "{calls}");
}

#[test]
fn a_task_wakes_nobody_while_all_workers_are_busy() {
    let body = || {
        let pool = ThreadPoolExecutor::new(3);
        let busy = Busy::keep(&pool, 3);
        eprintln!("{BEGIN}");
        let tasks: Vec<_> = (0..TASKS).map(|_| pool.submit(|| ())).collect();
        eprintln!("{END}");
        busy.release();
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
    };
    let Some(calls) = traced("a_task_wakes_nobody_while_all_workers_are_busy", body) else { return };
    assert_eq!(wakes(&calls).count(), 0, "{calls}");
}

/// The time that this process has used of any core.
fn time_used() -> Duration {
    // SAFETY:
    // - all bytes zero are a value of this type.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY:
    // - `usage` is a place to write to.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    let time = |time: libc::timeval| {
        let micros = time.tv_sec * 1_000_000 + time.tv_usec;
        Duration::from_micros(micros.try_into().unwrap())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[test]
fn a_trickle_of_small_tasks_takes_little_time_of_any_core() {
    alone(|| {
        let pool = ThreadPoolExecutor::new(4);
        Busy::keep(&pool, 4).release();
        let (start, before) = (Instant::now(), time_used());
        let tasks: Vec<Future<()>> = (0..1000)
            .map(|_| {
                thread::sleep(Duration::from_millis(1));
                pool.submit(|| ())
            })
            .collect();
        let (lasted, used) = (start.elapsed(), time_used() - before);
        assert!(tasks.into_iter().all(|task| task.result().is_ok()));
        eprintln!("{used:?} of {lasted:?}");
        assert!(used < lasted / 2, "{used:?} of {lasted:?}");
    });
}
