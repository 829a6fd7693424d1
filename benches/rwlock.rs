//! Criterion's statistics for read-write locks: `cargo bench -p bowline-benches --bench rwlock [FILTER]`.

use bowline_benches::lock;
use bowline_benches::rwlock::{self, BenchRwLock, Bowline, Deloxide, Mix, ParkingLot, Std};
use bowline_benches::solo::Solo;
use criterion::{Criterion, criterion_group, criterion_main};

/// Before the groups with many threads: a writer of bowline's lock looks at as many contexts as there were at one time.
fn first_write(c: &mut Criterion) {
    lock::start_detectors(|| {});
    for others in [0, 32] {
        let mut group = c.benchmark_group(format!("first write after many reads, {others} other threads"));
        group.sample_size(20);
        for (name, run) in [
            (Bowline::NAME, rwlock::first_write::<Bowline> as fn(usize, u64) -> _),
            (ParkingLot::NAME, rwlock::first_write::<ParkingLot>),
            (Std::NAME, rwlock::first_write::<Std>),
            (Deloxide::NAME, rwlock::first_write::<Deloxide>),
        ] {
            group.bench_function(name, |b| b.iter_custom(|times| run(others, times)));
        }
        group.finish();
    }
}

fn uncontended(c: &mut Criterion) {
    let contenders: [(_, Solo); 4] = [
        (Bowline::NAME, rwlock::read::<Bowline>),
        (ParkingLot::NAME, rwlock::read::<ParkingLot>),
        (Std::NAME, rwlock::read::<Std>),
        (Deloxide::NAME, rwlock::read::<Deloxide>),
    ];
    group(c, "read + unlock", &contenders);
    let contenders: [(_, Solo); 4] = [
        (Bowline::NAME, rwlock::write::<Bowline>),
        (ParkingLot::NAME, rwlock::write::<ParkingLot>),
        (Std::NAME, rwlock::write::<Std>),
        (Deloxide::NAME, rwlock::write::<Deloxide>),
    ];
    group(c, "write + unlock", &contenders);
}

fn group(c: &mut Criterion, workload: &str, contenders: &[(&str, Solo)]) {
    let mut group = c.benchmark_group(workload);
    for &(name, run) in contenders {
        group.bench_function(name, |b| b.iter_custom(run));
    }
    group.finish();
}

fn contended(c: &mut Criterion) {
    for mix in Mix::ALL {
        let mut group = c.benchmark_group(mix.name());
        group.sample_size(20);
        for (name, run) in [
            (Bowline::NAME, rwlock::mixed::<Bowline> as fn(Mix, u64) -> _),
            (ParkingLot::NAME, rwlock::mixed::<ParkingLot>),
            (Std::NAME, rwlock::mixed::<Std>),
            (Deloxide::NAME, rwlock::mixed::<Deloxide>),
        ] {
            group.bench_function(name, |b| b.iter_custom(|times| run(mix, times)));
        }
        group.finish();
    }
}

criterion_group!(benches, first_write, uncontended, contended);
criterion_main!(benches);
