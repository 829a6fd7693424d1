//! Tasks that take their process down, each in another way, between tasks that do not: each crash costs its own task, is
//! told by name, and everything else gets done.
//!
//! Some lines on standard error are from dying workers. They get there as ever, and into the error of the task as well.
//!
//! `cargo run --example crash_proof`

use std::error::Error;
use std::hint::black_box;

use bowline::task::{WorkerExit, WorkerLost};
use bowline::{Future, ProcessPoolExecutor, TaskError};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};

/// So many good tasks follow each bad one.
const GOOD: u64 = 20;

fn square(n: u64) -> u64 {
    n * n
}

fn abort() {
    eprintln!("the invariant does not hold");
    std::process::abort()
}

fn exit() {
    std::process::exit(3)
}

fn be_killed() {
    // As the system does when there is no memory left.
    kill_process(getpid(), Signal::KILL).expect("everybody may kill itself");
}

fn overflow_the_stack() {
    fn depth(n: u64) -> u64 {
        if n == 0 { 0 } else { black_box(depth(black_box(n - 1))) + 1 }
    }
    black_box(depth(u64::MAX));
}

fn use_up_the_memory() {
    // Of this worker, and nobody else's. The pages are never touched.
    let gibibyte = Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
    setrlimit(Resource::As, gibibyte).expect("everybody may have less");
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(Vec::<u8>::with_capacity(64 << 20)));
    }
}

fn panic() {
    panic!("out of rope")
}

/// What became of a task, in the words of the pool.
fn outcome(error: &TaskError) -> String {
    match error {
        TaskError::WorkerLost(lost) => lost.exit().to_string(),
        error => error.to_string(),
    }
}

/// The worker that was lost with the task.
fn lost(error: &TaskError) -> &WorkerLost {
    let TaskError::WorkerLost(lost) = error else { panic!("no worker was lost: {error}") };
    lost
}

fn is_signal(error: &TaskError, name: &str) -> bool {
    lost(error).exit().signal_name() == Some(name)
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = ProcessPoolExecutor::builder().max_workers(2).name("crash_proof").capture_stderr(true).build()?;

    let mut good: Vec<Future<u64>> = Vec::new();
    let mut bad: Vec<(&'static str, Future<()>)> = Vec::new();
    let mut and_good_ones = |name, crash: Future<()>| {
        bad.push((name, crash));
        good.extend((0..GOOD).map(|n| pool.submit_named("square", square, (n,))));
    };
    and_good_ones("abort", pool.submit_named("abort", abort, ()));
    and_good_ones("exit", pool.submit_named("exit", exit, ()));
    and_good_ones("be killed", pool.submit_named("be killed", be_killed, ()));
    and_good_ones("overflow", pool.submit_named("overflow", overflow_the_stack, ()));
    and_good_ones("memory", pool.submit_named("memory", use_up_the_memory, ()));
    and_good_ones("panic", pool.submit_named("panic", panic, ()));

    let mut errors = Vec::new();
    println!("{:<10} {:>8}  {:<60} what it wrote", "task", "process", "outcome");
    for (name, task) in bad {
        let error = task.result().expect_err("each of them fails");
        let (pid, wrote) = match &error {
            TaskError::WorkerLost(lost) => (Some(lost.pid()), lost.stderr().first()),
            TaskError::Panicked(panic) => (panic.process(), None),
            _ => (None, None),
        };
        let pid = pid.map_or_else(String::new, |pid| pid.to_string());
        let wrote = wrote.map_or("", String::as_str);
        println!("{name:<10} {pid:>8}  {:<60} {wrote}", outcome(&error));
        errors.push(error);
    }
    let [abort, exit, be_killed, overflow, memory, panic] = &errors[..] else { unreachable!("there are six of them") };

    let squares = good.into_iter().map(Future::result).collect::<Result<Vec<_>, _>>()?;
    println!("\nand {} good tasks between them, all done, on {} workers", squares.len(), pool.max_workers());
    println!("\na whole error, as it is printed:\n\n{abort}");

    assert!(is_signal(abort, "SIGABRT") && is_signal(memory, "SIGABRT") && is_signal(be_killed, "SIGKILL"));
    assert_eq!(lost(exit).exit(), &WorkerExit::Code(3));
    assert_eq!(lost(overflow).exit(), &WorkerExit::StackOverflow);
    assert_eq!(lost(abort).task(), "abort");
    assert_eq!(lost(abort).stderr(), ["the invariant does not hold"]);
    // That an allocation failed; with `RUST_BACKTRACE=1` the end of a backtrace.
    assert!(!lost(memory).stderr().is_empty());
    assert!(matches!(panic, TaskError::Panicked(panic) if panic.message() == "out of rope"));

    assert!(squares.iter().enumerate().all(|(n, &square)| square == (n as u64 % GOOD).pow(2)));
    // A panic is no crash: the worker replied.
    assert_eq!(pool.completed(), squares.len() as u64 + 1);
    assert!(pool.shutdown().is_complete());
    Ok(())
}
