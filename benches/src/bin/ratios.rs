//! Prints the tables of `docs/performance.md`: bowline and its peers taking turns in one process, as ratios to parking_lot.
//!
//! `ratios [solo] [contended] [crowd] [ring] [ROUNDS]`: some of the tables, all by default, and how many rounds.

use std::time::Duration;

use bowline::deadlock;
use bowline_benches::contention::{self, Crowd, Section};
use bowline_benches::lock::{
    self, Apart, BenchLock, Bowline, BowlineReentrant, Deloxide, ParkingLot, ParkingLotReentrant, Std, TracingMutex,
};
use bowline_benches::ring::{self, DeloxideRings};
use bowline_benches::rounds::{Contender, Table, median, take_turns};
use bowline_benches::solo::{ReentrantWorkload, Workload};

const DEFAULT_ROUNDS: usize = 31;
const DEFAULT_GRACE: Duration = Duration::from_micros(500);

fn main() {
    let (numbers, tables): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.parse::<usize>().is_ok());
    let rounds = numbers.first().and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let wanted = |table: &str| tables.is_empty() || tables.iter().any(|name| name == table);
    let (deloxide_rings, deloxide_found) = DeloxideRings::new();
    lock::start_detectors(deloxide_found);
    if wanted("solo") {
        println!("{}\n", solo(rounds));
    }
    if wanted("contended") {
        println!("{}\n", contended(rounds));
    }
    if wanted("crowd") {
        println!("{}\n", crowd(rounds));
    }
    if wanted("ring") {
        println!("{}\n", rings(rounds, &deloxide_rings));
    }
}

/// One thread alone: nanoseconds an operation.
fn solo(rounds: usize) -> String {
    let columns = vec![Bowline::NAME, Std::NAME, Deloxide::NAME, TracingMutex::NAME];
    let mut table = Table::new("one thread, free locks: time", "parking_lot", "ns", 1.0, columns);
    for workload in Workload::ALL {
        table.row(workload.name(), &take_turns(rounds, side_by_side(workload)));
        if workload.has_several() {
            table.row(&format!("{}, apart", workload.name()), &take_turns(rounds, apart(workload)));
        }
    }
    for workload in ReentrantWorkload::ALL {
        let contenders = vec![
            Contender::timed(ParkingLotReentrant::NAME, workload.over::<ParkingLotReentrant>()),
            Contender::timed(Bowline::NAME, workload.over::<BowlineReentrant>()),
        ];
        table.row(workload.name(), &take_turns(rounds, contenders));
    }
    table.finish()
}

fn side_by_side(workload: Workload) -> Vec<Contender<'static>> {
    vec![
        Contender::timed(ParkingLot::NAME, workload.over::<ParkingLot>()),
        Contender::timed(Bowline::NAME, workload.over::<Bowline>()),
        Contender::timed(Std::NAME, workload.over::<Std>()),
        Contender::timed(Deloxide::NAME, workload.over::<Deloxide>()),
        Contender::timed(TracingMutex::NAME, workload.over::<TracingMutex>()),
    ]
}

fn apart(workload: Workload) -> Vec<Contender<'static>> {
    vec![
        Contender::timed(ParkingLot::NAME, workload.over::<Apart<ParkingLot>>()),
        Contender::timed(Bowline::NAME, workload.over::<Apart<Bowline>>()),
        Contender::timed(Std::NAME, workload.over::<Apart<Std>>()),
        Contender::timed(Deloxide::NAME, workload.over::<Apart<Deloxide>>()),
        Contender::timed(TracingMutex::NAME, workload.over::<Apart<TracingMutex>>()),
    ]
}

/// Two to 32 threads, one lock: operations a second.
fn contended(rounds: usize) -> String {
    let columns = vec![Bowline::NAME, Std::NAME, Deloxide::NAME, TracingMutex::NAME];
    let mut table = Table::new("one lock: throughput", "parking_lot", "M/s", 1e6, columns);
    let window = Duration::from_millis(40);
    for section in Section::ALL {
        for threads in [2, 8, 32] {
            let crowd = section.of(threads);
            let series = take_turns(
                rounds,
                vec![
                    crowded::<ParkingLot>(crowd, window),
                    crowded::<Bowline>(crowd, window),
                    crowded::<Std>(crowd, window),
                    crowded::<Deloxide>(crowd, window),
                    crowded::<TracingMutex>(crowd, window),
                ],
            );
            table.row(&format!("{threads} threads, {}", section.name()), &series);
        }
    }
    table.finish()
}

/// Two thousand threads: many waits outlast the grace and enter the graph. Operations a second.
fn crowd(rounds: usize) -> String {
    let mut table = Table::new("2000 threads: throughput", "parking_lot", "k/s", 1e3, vec![Bowline::NAME, Std::NAME]);
    let window = Duration::from_millis(200);
    for locks in [1, 10, 100, 1000] {
        let crowd = Crowd { locks, ..Section::Inside.of(2000) };
        let contenders = vec![
            crowded::<ParkingLot>(crowd, window),
            crowded::<Bowline>(crowd, window),
            crowded::<Std>(crowd, window),
        ];
        table.row(&format!("{locks} locks, 1 µs inside"), &take_turns(rounds, contenders));
    }
    table.finish()
}

fn crowded<L: BenchLock>(crowd: Crowd, window: Duration) -> Contender<'static> {
    Contender::new(L::NAME, move || contention::throughput::<L>(crowd, window))
}

/// From the closing wait to the `Deadlock`: microseconds.
fn rings(rounds: usize, deloxide: &DeloxideRings) -> String {
    let mut lines = vec![
        "| ring of | no grace: median, µs | p90 | grace of 500 µs: median less the grace, µs | p90 | deloxide: median, µs | p90 |".to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for threads in [2, 3, 10, 100, 1000] {
        let mut contenders = vec![
            Contender::new("no grace", || {
                deadlock::set_grace(Duration::ZERO);
                ring::close(threads).as_secs_f64() * 1e6
            }),
            Contender::new("grace", || {
                deadlock::set_grace(DEFAULT_GRACE);
                (ring::close(threads).as_secs_f64() - DEFAULT_GRACE.as_secs_f64()) * 1e6
            }),
        ];
        // Its rings stay for ever, with their threads.
        if threads <= 10 {
            contenders.push(Contender::new("deloxide", || deloxide.close(threads).as_secs_f64() * 1e6));
        }
        let mut line = format!("| {threads} |");
        let series = take_turns(rounds, contenders);
        for series in &series {
            line += &format!(" {:.1} | {:.1} |", series.median(), p90(&series.rounds));
        }
        line += &" – |".repeat(2 * (3 - series.len()));
        eprintln!("  ring of {threads}: done");
        lines.push(line);
    }
    eprintln!(
        "  skipped: deloxide's larger rings, whose threads never end; parking_lot, which only reports when polled"
    );
    deadlock::set_grace(DEFAULT_GRACE);
    lines.join("\n")
}

fn p90(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * 9 / 10).copied().unwrap_or_else(|| median(sorted))
}
