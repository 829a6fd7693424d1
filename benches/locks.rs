//! Criterion's statistics for the workloads: `cargo bench -p bowline-benches [FILTER]`.

use std::time::Duration;

use bowline::deadlock;
use bowline_benches::contention::{self, Crowd};
use bowline_benches::lock::{
    self, BenchLock, Bowline, BowlineReentrant, Deloxide, ParkingLot, ParkingLotReentrant, Std, TracingMutex,
};
use bowline_benches::ring;
use bowline_benches::solo::{self, Solo};
use criterion::{Criterion, criterion_group, criterion_main};

fn uncontended(c: &mut Criterion) {
    lock::start_detectors(|| {});
    group(
        c,
        "lock + unlock",
        &[
            (Bowline::NAME, solo::uncontended::<Bowline>),
            (ParkingLot::NAME, solo::uncontended::<ParkingLot>),
            (Std::NAME, solo::uncontended::<Std>),
            (Deloxide::NAME, solo::uncontended::<Deloxide>),
            (TracingMutex::NAME, solo::uncontended::<TracingMutex>),
            (BowlineReentrant::NAME, solo::uncontended::<BowlineReentrant>),
            (ParkingLotReentrant::NAME, solo::uncontended::<ParkingLotReentrant>),
        ],
    );
    group(
        c,
        "2 nested",
        &[
            (Bowline::NAME, solo::nested_2::<Bowline>),
            (ParkingLot::NAME, solo::nested_2::<ParkingLot>),
            (Std::NAME, solo::nested_2::<Std>),
            (Deloxide::NAME, solo::nested_2::<Deloxide>),
            (TracingMutex::NAME, solo::nested_2::<TracingMutex>),
        ],
    );
    group(
        c,
        "4 nested",
        &[
            (Bowline::NAME, solo::nested_4::<Bowline>),
            (ParkingLot::NAME, solo::nested_4::<ParkingLot>),
            (Std::NAME, solo::nested_4::<Std>),
            (Deloxide::NAME, solo::nested_4::<Deloxide>),
            (TracingMutex::NAME, solo::nested_4::<TracingMutex>),
        ],
    );
    group(
        c,
        "lock again",
        &[
            (BowlineReentrant::NAME, solo::relock::<BowlineReentrant>),
            (ParkingLotReentrant::NAME, solo::relock::<ParkingLotReentrant>),
        ],
    );
    group(
        c,
        "new + drop",
        &[
            (Bowline::NAME, solo::new_and_drop::<Bowline>),
            (ParkingLot::NAME, solo::new_and_drop::<ParkingLot>),
            (Std::NAME, solo::new_and_drop::<Std>),
            (Deloxide::NAME, solo::new_and_drop::<Deloxide>),
            (TracingMutex::NAME, solo::new_and_drop::<TracingMutex>),
        ],
    );
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
        for (kind, crowd) in [
            ("short", Crowd::short(threads)),
            ("1 µs inside", Crowd::inside(threads)),
            ("1 µs outside", Crowd::outside(threads)),
        ] {
            let mut group = c.benchmark_group(format!("{threads} threads, {kind}"));
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
