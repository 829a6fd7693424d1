//! Criterion's statistics for what is initialised once, conditions, semaphores, barriers and threads:
//! `cargo bench -p bowline-benches --bench threading [FILTER]`.

use bowline_benches::solo::Solo;
use bowline_benches::threading::{
    self, BenchBarrier, BenchCondition, BenchOnce, BenchSemaphore, BowlineCondition, BowlineLazy, BowlineOnce, ByHand,
    ParkingLotCondition, StdCondition, StdLazy, StdOnce,
};
use criterion::{Criterion, criterion_group, criterion_main};

fn group(c: &mut Criterion, workload: &str, contenders: &[(&str, Solo)]) {
    let mut group = c.benchmark_group(workload);
    for &(name, run) in contenders {
        group.bench_function(name, |b| b.iter_custom(run));
    }
    group.finish();
}

fn once(c: &mut Criterion) {
    group(
        c,
        "OnceLock: initialised",
        &[(BowlineOnce::NAME, threading::hit::<BowlineOnce>), (StdOnce::NAME, threading::hit::<StdOnce>)],
    );
    group(
        c,
        "LazyLock: initialised",
        &[(BowlineLazy::NAME, threading::hit::<BowlineLazy>), (StdLazy::NAME, threading::hit::<StdLazy>)],
    );
}

fn conditions(c: &mut Criterion) {
    group(
        c,
        "condition: round trip",
        &[
            (BowlineCondition::NAME, threading::ping_pong::<BowlineCondition>),
            (ParkingLotCondition::NAME, threading::ping_pong::<ParkingLotCondition>),
            (StdCondition::NAME, threading::ping_pong::<StdCondition>),
        ],
    );
}

fn semaphores(c: &mut Criterion) {
    type Bowline = bowline::Semaphore;
    group(
        c,
        "semaphore: acquire + release",
        &[
            (<Bowline as BenchSemaphore>::NAME, threading::permits::<Bowline>),
            (ByHand::NAME, threading::permits::<ByHand>),
        ],
    );
}

fn barriers(c: &mut Criterion) {
    type Bowline = bowline::Barrier;
    type Std = std::sync::Barrier;
    group(
        c,
        "barrier of 2",
        &[
            (<Bowline as BenchBarrier>::NAME, threading::meetings::<Bowline>),
            (<Std as BenchBarrier>::NAME, threading::meetings::<Std>),
        ],
    );
}

fn threads(c: &mut Criterion) {
    group(c, "thread: spawn + join", &[("bowline", threading::bowline_threads), ("std", threading::std_threads)]);
}

criterion_group!(benches, once, conditions, semaphores, barriers, threads);
criterion_main!(benches);
