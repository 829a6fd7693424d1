//! Counts the instructions of the fast paths under callgrind, and fails where bowline takes more than is written here.
//!
//! Each path is run `FEW` times and `MANY` times, in processes of their own, so that the difference is the path and
//! nothing else: `MANY - FEW` turns of a loop, with the loop's own two or three instructions. Counts do not depend on
//! how busy the machine is; they do depend on the compiler, so a new one may move a pin.

use std::cell::Cell;
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Sender, channel};

use bowline::{Future, Lock, RLock, ThreadPoolExecutor};
use bowline_benches::lock::BenchLock;
use parking_lot::{Mutex, ReentrantMutex};

const FEW: u64 = 1_000;
const MANY: u64 = 101_000;
/// How much more than the pin is let pass: the compiler may place a loop differently.
const SLACK: f64 = 1.0;

/// One path: its name, how to take it so many times, and what it may cost; peers are shown for comparison.
type Path = (&'static str, fn(u64), Option<u32>);

const PATHS: [Path; 13] = [
    ("Lock: lock, unlock", lock::<Lock<u64>>, Some(51)),
    ("Lock: acquire, unlock", acquire, Some(58)),
    ("Lock: try_lock, unlock", try_lock, Some(61)),
    ("Lock: new, drop", new::<Lock<u64>>, Some(5)),
    ("RLock: lock, unlock", lock::<RLock<Cell<u64>>>, Some(85)),
    ("RLock: lock again, unlock", again::<RLock<Cell<u64>>>, Some(44)),
    ("ThreadPoolExecutor: submit", submit, Some(470)),
    ("ThreadPoolExecutor: submit, run", submit_and_run, Some(826)),
    ("ThreadPoolExecutor: submit, run, result", submit_run_and_take, Some(1095)),
    ("parking_lot Mutex: lock, unlock", lock::<Mutex<u64>>, None),
    ("parking_lot Mutex: try_lock, unlock", peer_try_lock, None),
    ("parking_lot ReentrantMutex: lock, unlock", lock::<ReentrantMutex<Cell<u64>>>, None),
    ("parking_lot ReentrantMutex: lock again, unlock", again::<ReentrantMutex<Cell<u64>>>, None),
];

fn lock<L: BenchLock>(times: u64) {
    let lock = L::new();
    let lock = black_box(&lock);
    for _ in 0..times {
        L::add(&mut lock.lock());
    }
}

fn again<L: BenchLock>(times: u64) {
    let outer = L::new();
    let outer = black_box(&outer);
    let _held = outer.lock();
    for _ in 0..times {
        L::add(&mut outer.lock());
    }
}

fn acquire(times: u64) {
    let lock = Lock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Ok(mut guard) = lock.acquire() {
            *guard += 1;
        }
    }
}

fn try_lock(times: u64) {
    let lock = Lock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Some(mut guard) = lock.try_lock() {
            *guard += 1;
        }
    }
}

fn peer_try_lock(times: u64) {
    let lock = Mutex::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Some(mut guard) = lock.try_lock() {
            *guard += 1;
        }
    }
}

fn new<L: BenchLock>(times: u64) {
    for _ in 0..times {
        drop(black_box(L::new()));
    }
}

// ------------------------------------------------------------------------------------------------ tasks
//
// Each path contains the one before it. About a third of them is the system's allocator.

/// So many tasks in the queue of one worker, which is busy until the returned sender is dropped.
fn queued_tasks(times: u64) -> (Vec<Future<u64>>, ThreadPoolExecutor, Sender<()>) {
    let pool = ThreadPoolExecutor::new(1);
    let (gate, opened) = channel();
    drop(pool.submit(move || opened.recv()));
    let mut futures = Vec::with_capacity(usize::try_from(times).expect("fits into memory"));
    futures.extend((0..times).map(|number| pool.submit(move || number)));
    (futures, pool, gate)
}

fn submit(times: u64) {
    let _queued = ManuallyDrop::new(black_box(queued_tasks(times)));
}

/// The main thread sleeps until the worker has run them all: one of the two is counted at a time.
fn run_tasks(times: u64) -> Vec<Future<u64>> {
    let (futures, pool, gate) = queued_tasks(times);
    let (last, ended) = channel();
    drop(pool.submit(move || last.send(())));
    drop(gate);
    let _pool = ManuallyDrop::new(pool);
    ended.recv().expect("the last task runs");
    futures
}

fn submit_and_run(times: u64) {
    let _done = ManuallyDrop::new(black_box(run_tasks(times)));
}

fn submit_run_and_take(times: u64) {
    for future in run_tasks(times) {
        black_box(future.result().expect("the task does not panic"));
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [path, times] = arguments.as_slice() {
        let path: usize = path.parse().expect("the position of a path");
        PATHS[path].1(times.parse().expect("a number of times"));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let mut within = true;
    println!("{:<48} {:>12} {:>6}", "path", "instructions", "pinned");
    for (position, (name, _, pin)) in PATHS.iter().enumerate() {
        let each = (count(position, MANY) - count(position, FEW)) as f64 / (MANY - FEW) as f64;
        let pinned = pin.map_or_else(|| "-".to_owned(), |pin| pin.to_string());
        let more = pin.is_some_and(|pin| each > f64::from(pin) + SLACK);
        within &= !more;
        println!("{name:<48} {each:>12.1} {pinned:>6}{}", if more { "  MORE" } else { "" });
    }
    if within {
        return ExitCode::SUCCESS;
    }
    println!(
        "a fast path takes more instructions than before: make it shorter, or say why in the commit that moves its pin"
    );
    ExitCode::FAILURE
}

/// The instructions that a process takes which does nothing else.
fn count(path: usize, times: u64) -> u64 {
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([path.to_string(), times.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // ==123== Collected : 1234567
    let collected = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind did not say how much it collected:\n{said}"))
}
