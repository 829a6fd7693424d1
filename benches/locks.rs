//! Criterion's statistics for the workloads: `cargo bench -p bowline-benches [FILTER]`.

use std::time::Duration;

use bowline::deadlock;
use bowline_benches::contention::{self, Crowd, Section};
use bowline_benches::lock::{
    self, BenchLock, Bowline, BowlineReentrant, Deloxide, ParkingLot, ParkingLotReentrant, Std, TracingMutex,
};
use bowline_benches::ring;
use bowline_benches::solo::{ReentrantWorkload, Solo, Workload};
use criterion::{Criterion, criterion_group, criterion_main};

fn uncontended(c: &mut Criterion) {
    lock::start_detectors(|| {});
    for workload in Workload::ALL {
        let contenders = [
            (Bowline::NAME, workload.over::<Bowline>()),
            (ParkingLot::NAME, workload.over::<ParkingLot>()),
            (Std::NAME, workload.over::<Std>()),
            (Deloxide::NAME, workload.over::<Deloxide>()),
            (TracingMutex::NAME, workload.over::<TracingMutex>()),
        ];
        group(c, workload.name(), &contenders);
    }
    for workload in ReentrantWorkload::ALL {
        let contenders = [
            (BowlineReentrant::NAME, workload.over::<BowlineReentrant>()),
            (ParkingLotReentrant::NAME, workload.over::<ParkingLotReentrant>()),
        ];
        group(c, workload.name(), &contenders);
    }
}

fn group(c: &mut Criterion, workload: &str, contenders: &[(&str, Solo)]) {
    let mut group = c.benchmark_group(workload);
    for &(name, run) in contenders {
        group.bench_function(name, |b| b.iter_custom(run));
    }
    group.finish();
}

fn contended(c: &mut Criterion) {
    for threads in [2, 8, 32] {
        for section in Section::ALL {
            let crowd = section.of(threads);
            let mut group = c.benchmark_group(format!("{threads} threads, {}", section.name()));
            group.sample_size(20);
            for (name, throughput) in [
                (Bowline::NAME, contention::throughput::<Bowline> as fn(Crowd, Duration) -> f64),
                (ParkingLot::NAME, contention::throughput::<ParkingLot>),
                (Std::NAME, contention::throughput::<Std>),
                (Deloxide::NAME, contention::throughput::<Deloxide>),
                (TracingMutex::NAME, contention::throughput::<TracingMutex>),
            ] {
                // However often the lock is to be taken: one window, scaled.
                let run = |times| {
                    Duration::from_secs_f64(times as f64 / throughput(crowd, Duration::from_millis(20)).max(1.0))
                };
                group.bench_function(name, |b| b.iter_custom(run));
            }
            group.finish();
        }
    }
}

fn closing(c: &mut Criterion) {
    let mut group = c.benchmark_group("closing a ring");
    group.sample_size(10);
    for (grace, duration) in [("no grace", Duration::ZERO), ("grace of 500 µs", Duration::from_micros(500))] {
        for threads in [2, 3, 10, 100, 1000] {
            group.bench_function(format!("{threads} threads, {grace}"), |b| {
                deadlock::set_grace(duration);
                b.iter_custom(|times| (0..times).map(|_| ring::close(threads)).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, uncontended, contended, closing);
criterion_main!(benches);
