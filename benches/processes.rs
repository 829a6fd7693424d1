//! Criterion's statistics for calls into other processes: `cargo bench -p bowline-benches --bench processes [FILTER]`.
//!
//! Of what is Rust's: Python's numbers are in `process_ratios`.

use std::time::Duration;

use bowline_benches::processes::{self, Bowline, Echo, Maps, ProcessBench, Procspawn};
use bowline_benches::tasks;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};

const FLOOD: u64 = 10_000;
const ITEMS: u64 = 1_000_000;

/// What a queued task of procspawn's takes, and some to spare.
const DESCRIPTORS: u64 = 4 * FLOOD;

fn group<'c>(c: &'c mut Criterion, name: &str, each: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).throughput(Throughput::Elements(each));
    group
}

fn bench<P: ProcessBench>(group: &mut BenchmarkGroup<'_, WallTime>, run: fn(&P, u64) -> Duration, each: u64) {
    let pool = P::new();
    group.bench_function(P::NAME, |b| b.iter_custom(|times| (0..times).map(|_| run(&pool, each)).sum()));
}

fn round_trips_of(c: &mut Criterion, name: &str) {
    fn of<P: ProcessBench>(group: &mut BenchmarkGroup<'_, WallTime>) {
        let pool = P::new();
        group.bench_function(P::NAME, |b| b.iter_custom(|times| processes::round_trip(&pool, times)));
    }
    let mut group = group(c, name, 1);
    of::<Bowline>(&mut group);
    of::<Procspawn>(&mut group);
    of::<Echo>(&mut group);
    group.finish();
}

fn round_trips(c: &mut Criterion) {
    round_trips_of(c, "process round trip");
}

fn on_one_core(c: &mut Criterion) {
    tasks::on_one_core(|| round_trips_of(c, "one core, process round trip"));
}

fn floods(c: &mut Criterion) {
    let allowed = processes::allow_descriptors(DESCRIPTORS);
    let mut group = group(c, "10 k queued process tasks", FLOOD);
    bench(&mut group, processes::flood::<Bowline>, FLOOD);
    if allowed >= DESCRIPTORS {
        bench(&mut group, processes::flood::<Procspawn>, FLOOD);
    } else {
        eprintln!("skipped: procspawn, which needs {DESCRIPTORS} descriptors, of which there are {allowed} here");
    }
    group.finish();
}

fn maps(c: &mut Criterion) {
    fn of<P: Maps>(group: &mut BenchmarkGroup<'_, WallTime>) {
        bench(group, processes::map::<P>, ITEMS);
    }
    let mut group = group(c, "map of 1 M items in processes", ITEMS);
    of::<Bowline>(&mut group);
    of::<Procspawn>(&mut group);
    group.finish();
}

fn start_ups(c: &mut Criterion) {
    fn of<P: ProcessBench>(group: &mut BenchmarkGroup<'_, WallTime>) {
        group.bench_function(P::NAME, |b| b.iter_custom(processes::start_up::<P>));
    }
    let mut group = group(c, "new pool of processes and its first result", 1);
    of::<Bowline>(&mut group);
    of::<Procspawn>(&mut group);
    of::<Echo>(&mut group);
    group.finish();
}

// The descriptors are allowed before the maps need them, too.
criterion_group!(benches, round_trips, on_one_core, floods, maps, start_ups);

fn main() {
    processes::init();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
