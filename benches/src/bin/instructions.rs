//! Counts the instructions and the stores of the fast paths under callgrind, and fails where bowline takes more instructions
//! than is written here.
//!
//! Each path is run `FEW` times and `MANY` times, in processes of their own, so that the difference is the path and
//! nothing else: `MANY - FEW` turns of a loop, with the loop's own two or three instructions. Counts do not depend on
//! how busy the machine is; they do depend on the compiler, so a new one may move a pin.
//!
//! A store is an instruction that writes, the atomic read-modify-writes among them. Those wait until all stores before
//! them are in the cache.

use std::cell::Cell;
use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bowline::{Future, Lock, RLock, RwLock, ThreadPoolExecutor};
use bowline_benches::paths;
use bowline_benches::solo::{ReentrantWorkload, Solo, Workload};
use parking_lot::{Mutex, ReentrantMutex};

const FEW: u64 = 1_000;
const MANY: u64 = 101_000;
/// How much more than the pin is let pass: the compiler may place a loop differently.
const SLACK: f64 = 1.0;

/// The folder that cargo puts the build with link-time optimisation into: the profile's name.
const LTO: &str = "thin-lto";

/// One path, and what it may cost in the plain release build and in the one with link-time optimisation; peers are shown
/// for comparison.
struct Path {
    name: &'static str,
    run: Solo,
    pins: Option<[u32; 2]>,
}

impl Path {
    const fn ours(name: &'static str, run: Solo, pins: [u32; 2]) -> Self {
        Self { name, run, pins: Some(pins) }
    }

    const fn peer(name: &'static str, run: Solo) -> Self {
        Self { name, run, pins: None }
    }
}

type Reentrant = RLock<Cell<u64>>;
type PeerReentrant = ReentrantMutex<Cell<u64>>;

const PATHS: [Path; 35] = [
    Path::ours("Lock: lock, unlock", Workload::One.over::<Lock<u64>>(), [41, 41]),
    Path::ours("Lock: acquire, unlock", acquire, [47, 47]),
    Path::ours("Lock: try_lock, unlock", try_lock, [51, 44]),
    Path::ours("Lock: 4 nested", Workload::Nested4.over::<Lock<u64>>(), [201, 199]),
    Path::ours("Lock: hand over hand, each", Workload::HandOverHand.over::<Lock<u64>>(), [53, 53]),
    Path::ours("Lock: new, lock, drop", Workload::NewOnStack.over::<Lock<u64>>(), [46, 46]),
    Path::ours("Lock: new, drop", Workload::New.over::<Lock<u64>>(), [5, 5]),
    Path::ours("RLock: lock, unlock", ReentrantWorkload::Outer.over::<Reentrant>(), [49, 49]),
    Path::ours("RLock: outer and inner", ReentrantWorkload::OuterAndInner.over::<Reentrant>(), [71, 71]),
    Path::ours("RLock: lock again, unlock", ReentrantWorkload::Inner.over::<Reentrant>(), [19, 19]),
    Path::ours("RwLock: read, unlock (shown)", read, [92, 92]),
    Path::ours("RwLock: acquire_read, unlock (shown)", acquire_read, [98, 98]),
    Path::ours("RwLock: read, unlock (counted)", paths::counted_read, [79, 80]),
    Path::ours("RwLock: write, unlock", write, [58, 52]),
    Path::peer("RwLock: write, then a counted read", write_and_read),
    Path::ours("OnceLock: get (initialised)", paths::once_get, [7, 7]),
    Path::ours("Condition: notify_one without waiters", paths::notify_nobody, [33, 28]),
    Path::ours("ThreadPoolExecutor: submit", submit, [480, 403]),
    Path::ours("ThreadPoolExecutor: submit, run", submit_and_run, [845, 731]),
    Path::ours("ThreadPoolExecutor: submit, run, result", submit_run_and_take, [1096, 971]),
    Path::peer("parking_lot Mutex: lock, unlock", Workload::One.over::<Mutex<u64>>()),
    Path::peer("parking_lot Mutex: try_lock, unlock", peer_try_lock),
    Path::peer("parking_lot Mutex: 4 nested", Workload::Nested4.over::<Mutex<u64>>()),
    Path::peer("parking_lot Mutex: hand over hand, each", Workload::HandOverHand.over::<Mutex<u64>>()),
    Path::peer("parking_lot Mutex: new, lock, drop", Workload::NewOnStack.over::<Mutex<u64>>()),
    Path::peer("parking_lot Mutex: new, drop", Workload::New.over::<Mutex<u64>>()),
    Path::peer("parking_lot ReentrantMutex: lock, unlock", ReentrantWorkload::Outer.over::<PeerReentrant>()),
    Path::peer("parking_lot ReentrantMutex: outer and inner", ReentrantWorkload::OuterAndInner.over::<PeerReentrant>()),
    Path::peer("parking_lot ReentrantMutex: lock again, unlock", ReentrantWorkload::Inner.over::<PeerReentrant>()),
    Path::peer("parking_lot RwLock: read, unlock", paths::parking_lot_read),
    Path::peer("parking_lot RwLock: write, unlock", paths::parking_lot_write),
    Path::peer("parking_lot Condvar: notify_one without waiters", paths::parking_lot_notify_nobody),
    Path::peer("std RwLock: read, unlock", paths::std_read),
    Path::peer("std RwLock: write, unlock", paths::std_write),
    Path::peer("std OnceLock: get (initialised)", paths::std_once_get),
];

fn acquire(times: u64) -> Duration {
    let lock = Lock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Ok(mut guard) = lock.acquire() {
            *guard += 1;
        }
    }
    Duration::ZERO
}

fn try_lock(times: u64) -> Duration {
    let lock = Lock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Some(mut guard) = lock.try_lock() {
            *guard += 1;
        }
    }
    Duration::ZERO
}

/// All but the first few hundred readers show themselves.
fn read(times: u64) -> Duration {
    let lock = RwLock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        black_box(*lock.read());
    }
    Duration::ZERO
}

fn acquire_read(times: u64) -> Duration {
    let lock = RwLock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Ok(guard) = lock.acquire_read() {
            black_box(*guard);
        }
    }
    Duration::ZERO
}

fn write(times: u64) -> Duration {
    let lock = RwLock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        *lock.write() += 1;
    }
    Duration::ZERO
}

/// After a write a reader is counted: it does not show itself.
fn write_and_read(times: u64) -> Duration {
    let lock = RwLock::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        *lock.write() += 1;
        black_box(*lock.read());
    }
    Duration::ZERO
}

fn peer_try_lock(times: u64) -> Duration {
    let lock = Mutex::new(0u64);
    let lock = black_box(&lock);
    for _ in 0..times {
        if let Some(mut guard) = lock.try_lock() {
            *guard += 1;
        }
    }
    Duration::ZERO
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

fn submit(times: u64) -> Duration {
    let _queued = ManuallyDrop::new(black_box(queued_tasks(times)));
    Duration::ZERO
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

fn submit_and_run(times: u64) -> Duration {
    let _done = ManuallyDrop::new(black_box(run_tasks(times)));
    Duration::ZERO
}

fn submit_run_and_take(times: u64) -> Duration {
    for future in run_tasks(times) {
        black_box(future.result().expect("the task does not panic"));
    }
    Duration::ZERO
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [path, times] = arguments.as_slice() {
        let path: usize = path.parse().expect("the position of a path");
        (PATHS[path].run)(times.parse().expect("a number of times"));
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let this = std::env::current_exe().expect("the path of this program");
    let has_lto = this.parent().is_some_and(|folder| folder.ends_with(LTO));
    let mut within = true;
    println!("{:<48} {:>12} {:>6} {:>7}", "path", "instructions", "pinned", "stores");
    for (position, path) in PATHS.iter().enumerate() {
        let (few, many) = (count(position, FEW), count(position, MANY));
        let each = |of: fn(&Counts) -> u64| (of(&many) - of(&few)) as f64 / (MANY - FEW) as f64;
        let instructions = each(|counts| counts.instructions);
        let pin = path.pins.map(|pins| pins[usize::from(has_lto)]);
        let pinned = pin.map_or_else(|| "-".to_owned(), |pin| pin.to_string());
        let more = pin.is_some_and(|pin| instructions > f64::from(pin) + SLACK);
        within &= !more;
        let stores = each(|counts| counts.stores);
        println!(
            "{:<48} {instructions:>12.1} {pinned:>6} {stores:>7.1}{}",
            path.name,
            if more { "  MORE" } else { "" }
        );
    }
    if within {
        return ExitCode::SUCCESS;
    }
    println!(
        "a fast path takes more instructions than before: make it shorter, or say why in the commit that moves its pin"
    );
    ExitCode::FAILURE
}

/// What a process did.
struct Counts {
    instructions: u64,
    stores: u64,
}

/// Counts what a process does that does nothing else.
fn count(path: usize, times: u64) -> Counts {
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([path.to_string(), times.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // ==123== Events    : Ir Dr Dw ...
    // ==123== Collected : 1234567 234567 134567 ...
    let collected = said.lines().find_map(|line| {
        let mut numbers = line.split_once("Collected :")?.1.split_whitespace().map(|number| number.parse().ok());
        let (instructions, _loads, stores) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Counts { instructions, stores })
    });
    collected.unwrap_or_else(|| panic!("callgrind did not say how much it collected:\n{said}"))
}
