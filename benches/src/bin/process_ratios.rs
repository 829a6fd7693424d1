//! Prints the tables of processes in `docs/performance.md`: bowline and its peers taking turns, as ratios to the best peer.
//!
//! - `process_ratios [round-trip] [flood] [map] [start-up] [one-core] [ROUNDS]`: some of the rows, all by default, and how
//!   many rounds.
//! - `process_ratios pinned [ROUNDS]`: round trips, with the process bound to one core before it starts anything.
//! - `process_ratios few-descriptors POOL`: queued tasks with as many descriptors as systems give by default: microseconds each.
//! - `process_ratios once TASKS POOL`: for `syscalls.sh`. Round trips to warm up; the number of the process; when a line
//!   has come in, so many round trips, and a line; the end, when another has come in.

use std::io::{Write, stdin, stdout};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bowline_benches::processes::{self, Bowline, Echo, Maps, ProcessBench, Procspawn, Python};
use bowline_benches::rounds::{Contender, Series, Table, median, take_turns};
use bowline_benches::tasks;

const DEFAULT_ROUNDS: usize = 15;

const ROUND_TRIPS: u64 = 1000;
/// Python's are slower.
const ROUND_TRIPS_IN_PYTHON: u64 = 200;
const FLOOD: u64 = 10_000;
const ITEMS: u64 = 1_000_000;
const START_UPS: u64 = 3;
const WARM_UP: u64 = 1000;

/// What a queued task of procspawn's takes, and some to spare.
const DESCRIPTORS: u64 = 4 * FLOOD;
/// What a process has by default.
const FEW_DESCRIPTORS: u64 = 1024;
/// Far more than a flood takes.
const HUNG: Duration = Duration::from_secs(30);

/// Who is not a peer: ours, and the limit.
const NO_PEERS: [&str; 2] = [Bowline::NAME, Echo::NAME];

fn main() {
    processes::init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["once", tasks, pool] => once(tasks.parse().expect("a number of tasks"), pool),
        ["few-descriptors", pool] => few_descriptors(pool),
        ["pinned"] => pinned(DEFAULT_ROUNDS),
        ["pinned", rounds] => pinned(rounds.parse().expect("a number of rounds")),
        _ => tables(&arguments),
    }
}

fn columns() -> Vec<&'static str> {
    vec![Bowline::NAME, Procspawn::NAME, Python::FORK.name, Python::SPAWN.name, Python::FORKSERVER.name, Echo::NAME]
}

fn tables(arguments: &[String]) {
    let (numbers, rows): (Vec<_>, Vec<_>) = arguments.iter().partition(|word| word.parse::<usize>().is_ok());
    let rounds = numbers.first().and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|name| *name == row);
    let python = python();
    let allowed = processes::allow_descriptors(DESCRIPTORS);
    let mut table = Table::new("two processes: time", "best peer", "µs", 1.0, columns());
    if wanted("round-trip") {
        row(&mut table, "round trip", take_turns(rounds, round_trips(&python)));
    }
    if wanted("flood") {
        table.row_of_words("10 k queued tasks with 1024 descriptors: each, µs", &floods_with_few_descriptors(rounds));
        // What procspawn can do here: three descriptors a task.
        let fewer = FLOOD.min(allowed.saturating_sub(FEW_DESCRIPTORS) / 3);
        let name = if fewer < FLOOD {
            eprintln!(
                "  procspawn: only {fewer} queued tasks, since there may be no more than {allowed} descriptors here"
            );
            format!("10 k queued tasks (procspawn: {fewer}, of {allowed} descriptors): each")
        } else {
            format!("10 k queued tasks with {allowed} descriptors: each")
        };
        row(&mut table, &name, take_turns(rounds, floods(&python, fewer)));
    }
    if wanted("map") {
        row(&mut table, "map of 1 M items, 1000 a task", take_turns(rounds, maps(&python)));
    }
    if wanted("start-up") {
        row(&mut table, "new pool and first result", take_turns(rounds, start_ups(&python)));
    }
    if wanted("round-trip") || wanted("flood") || wanted("map") || wanted("start-up") {
        println!("{}", table.finish());
    }
    if wanted("one-core") {
        let mut command = again(&["pinned", &rounds.to_string()]);
        let status = command.status().expect("the system has processes left");
        assert!(status.success(), "one core: {status}");
    }
}

/// A row of ratios, and the medians themselves beside it, on the standard error.
fn row(table: &mut Table, workload: &str, series: Vec<Series>) {
    table.row_to_best_of(workload, &series, |name| !NO_PEERS.contains(&name));
    let spread = |series: &Series, part: usize| {
        let mut rounds = series.rounds.clone();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() * part / 4]
    };
    for series in &series {
        let (low, high) = (spread(series, 1), spread(series, 3));
        eprintln!("    {}: {:.2} µs, half of the rounds {low:.2} to {high:.2}", series.name, series.median());
    }
}

/// Every context of Python's, if there is one here.
fn python() -> Vec<Python> {
    match Python::version() {
        Some(version) => {
            eprintln!("  {version}");
            vec![Python::FORK, Python::SPAWN, Python::FORKSERVER]
        }
        None => {
            eprintln!("  skipped: Python, since there is no python3 here");
            Vec::new()
        }
    }
}

/// This program, with other arguments.
fn again(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the program is there"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A pool of its own, and a workload: microseconds for each of `each`.
fn contender<P: ProcessBench + 'static>(run: fn(&P, u64) -> Duration, times: u64, each: u64) -> Contender<'static> {
    let pool = P::new();
    Contender::new(P::NAME, move || microseconds(run(&pool, times)) / each as f64)
}

/// A workload of Python's in those contexts: microseconds for each of `each`.
fn of_python<'p>(
    contexts: &'p [Python],
    workload: &'static str,
    times: u64,
    each: u64,
) -> impl Iterator<Item = Contender<'p>> {
    let contender = move |python: &'p Python| move || microseconds(python.measure(workload, times)) / each as f64;
    contexts.iter().map(move |python| Contender::new(python.name, contender(python)))
}

fn round_trips(python: &[Python]) -> Vec<Contender<'_>> {
    let mut contenders = vec![
        contender(processes::round_trip::<Bowline>, ROUND_TRIPS, ROUND_TRIPS),
        contender(processes::round_trip::<Procspawn>, ROUND_TRIPS, ROUND_TRIPS),
        contender(processes::round_trip::<Echo>, ROUND_TRIPS, ROUND_TRIPS),
    ];
    contenders.extend(of_python(python, "round-trip", ROUND_TRIPS_IN_PYTHON, ROUND_TRIPS_IN_PYTHON));
    contenders
}

/// Of 10 k tasks, or of fewer by procspawn.
fn floods(python: &[Python], fewer: u64) -> Vec<Contender<'_>> {
    let mut contenders = vec![
        contender(processes::flood::<Bowline>, FLOOD, FLOOD),
        contender(processes::flood::<Procspawn>, fewer, fewer),
    ];
    contenders.extend(of_python(python, "flood", FLOOD, FLOOD));
    contenders
}

fn maps(python: &[Python]) -> Vec<Contender<'_>> {
    fn of<P: Maps + 'static>() -> Contender<'static> {
        contender(processes::map::<P>, ITEMS, 1)
    }
    let mut contenders = vec![of::<Bowline>(), of::<Procspawn>()];
    contenders.extend(of_python(python, "map", ITEMS, 1));
    contenders
}

fn start_ups(python: &[Python]) -> Vec<Contender<'_>> {
    fn of<P: ProcessBench>() -> Contender<'static> {
        Contender::new(P::NAME, || microseconds(processes::start_up::<P>(START_UPS)) / START_UPS as f64)
    }
    let mut contenders = vec![of::<Bowline>(), of::<Procspawn>(), of::<Echo>()];
    contenders.extend(of_python(python, "start-up", START_UPS, START_UPS));
    contenders
}

fn pinned(rounds: usize) {
    let done = tasks::on_one_core(|| {
        let python = python();
        let mut table = Table::new("two processes on one core: time", "best peer", "µs", 1.0, columns());
        row(&mut table, "round trip", take_turns(rounds, round_trips(&python)));
        println!("{}", table.finish());
    });
    if done.is_none() {
        eprintln!("  skipped: one core, which this system cannot be asked for");
    }
}

/// What each pool has to say of a flood with as many descriptors as there usually are: each in processes of its own,
/// since it may be the end of them.
fn floods_with_few_descriptors(rounds: usize) -> Vec<(&'static str, String)> {
    let pools = [Bowline::NAME, Procspawn::NAME];
    let say = |pool| {
        let measured: Result<Vec<_>, _> = (0..rounds).map(|_| with_few_descriptors(pool)).collect();
        measured.map_or_else(|what| what, |measured| format!("{:.2}", median(measured)))
    };
    pools.into_iter().map(|pool| (pool, say(pool))).collect()
}

/// Microseconds a task, or what became of the process.
fn with_few_descriptors(pool: &str) -> Result<f64, String> {
    let mut command = again(&["few-descriptors", pool]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the system has processes left");
    let started = Instant::now();
    while process.try_wait().expect("nobody else waits for it").is_none() {
        if started.elapsed() > HUNG {
            process.kill().expect("it has not been waited for");
            process.wait().expect("nobody else waits for it");
            return Err("hangs".to_owned());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = process.wait_with_output().expect("its output can be read");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match out.trim().parse() {
        Ok(microseconds) if output.status.success() => Ok(microseconds),
        // As the error of the system, or as its number.
        _ if err.contains("Too many open files") || err.contains("EMFILE") => Err("EMFILE".to_owned()),
        _ => Err(err.lines().next().unwrap_or("ends").to_owned()),
    }
}

fn few_descriptors(pool: &str) {
    fn of<P: ProcessBench>() {
        let pool = P::new();
        processes::round_trip(&pool, WARM_UP);
        println!("{}", microseconds(processes::flood(&pool, FLOOD)) / FLOOD as f64);
    }
    processes::allow_descriptors(FEW_DESCRIPTORS);
    // A pool that has run out of descriptors may not come to an end by itself.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::exit(1);
    }));
    match pool {
        Bowline::NAME => of::<Bowline>(),
        Procspawn::NAME => of::<Procspawn>(),
        _ => panic!("no such pool: {pool}"),
    }
}

fn once(tasks: u64, pool: &str) {
    fn of<P: ProcessBench>(tasks: u64) {
        let pool = P::new();
        processes::round_trip(&pool, WARM_UP);
        say(&std::process::id().to_string());
        processes::round_trip(&pool, tasks);
        say("done");
    }
    fn say(line: &str) {
        println!("{line}");
        stdout().flush().expect("somebody reads it");
        stdin().read_line(&mut String::new()).expect("it can be read");
    }
    match pool {
        Bowline::NAME => of::<Bowline>(tasks),
        Procspawn::NAME => of::<Procspawn>(tasks),
        Echo::NAME => of::<Echo>(tasks),
        _ => {
            eprintln!("no such pool: {pool}");
            std::process::exit(2);
        }
    }
}
