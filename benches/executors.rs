//! Criterion's statistics for the pools: `cargo bench -p bowline-benches --bench executors [FILTER]`.

use std::time::Duration;

use bowline_benches::pool::{
    BenchPool, Bowline, Crossbeam, Futures, Nests, Rayon, RustyPool, ThreadPool, Tokio, TokioBlocking,
};
use bowline_benches::tasks;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};

const DEPTH: u32 = 9;
const ITEMS: u64 = 1_000_000;

/// A workload over every pool; the number is how much one iteration does.
macro_rules! over_all {
    ($c:ident, $name:literal, $workload:ident, $each:expr) => {
        let mut group = group($c, $name, $each);
        bench(&mut group, tasks::$workload::<Bowline>, $each);
        bench(&mut group, tasks::$workload::<Crossbeam>, $each);
        bench(&mut group, tasks::$workload::<ThreadPool>, $each);
        bench(&mut group, tasks::$workload::<RustyPool>, $each);
        bench(&mut group, tasks::$workload::<Rayon>, $each);
        bench(&mut group, tasks::$workload::<Futures>, $each);
        bench(&mut group, tasks::$workload::<Tokio>, $each);
        bench(&mut group, tasks::$workload::<TokioBlocking>, $each);
        group.finish();
    };
}

fn group<'c>(c: &'c mut Criterion, name: &str, each: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(20).throughput(Throughput::Elements(each));
    group
}

fn bench<P: BenchPool>(group: &mut BenchmarkGroup<'_, WallTime>, run: fn(&P, u64) -> Duration, each: u64) {
    let pool = P::new();
    group.bench_function(P::NAME, |b| b.iter_custom(|times| (0..times).map(|_| run(&pool, each)).sum()));
}

fn floods(c: &mut Criterion) {
    over_all!(c, "100 k tasks", flood, 100_000);
}

fn as_they_are_done(c: &mut Criterion) {
    let mut group = group(c, "100 k tasks as they are done", 100_000);
    let mut bench = |name, run: fn(&Bowline, u64) -> Duration| {
        let pool = Bowline::new();
        group.bench_function(name, |b| b.iter_custom(|times| (0..times).map(|_| run(&pool, 100_000)).sum()));
    };
    bench("as_completed", tasks::as_completed);
    bench("as_completed, with keys", tasks::as_completed_with_keys);
    bench("a channel by hand", tasks::as_completed_by_hand);
    group.finish();
}

fn round_trips(c: &mut Criterion) {
    over_all!(c, "round trip", round_trip, 1);
}

fn fans(c: &mut Criterion) {
    over_all!(c, "batch of 64", fan, 1);
}

fn nested(c: &mut Criterion) {
    fn tree<P: Nests>(pool: &P, trees: u64) -> Duration {
        tasks::trees(pool, DEPTH, trees)
    }
    let mut group = group(c, "tree of 1023 tasks", 1);
    bench(&mut group, tree::<Bowline>, 1);
    bench(&mut group, tree::<Rayon>, 1);
    bench(&mut group, tree::<Futures>, 1);
    bench(&mut group, tree::<Tokio>, 1);
    group.finish();
}

fn maps(c: &mut Criterion) {
    over_all!(c, "map of 1 M items by tasks of 1000", map_by_hand, ITEMS);
    let mut group = group(c, "map of 1 M items", ITEMS);
    bench(&mut group, tasks::map_by_bowline, ITEMS);
    bench(&mut group, tasks::map_by_rayon, ITEMS);
    group.finish();
}

/// Processor time, not time.
fn trickles(c: &mut Criterion) {
    over_all!(c, "processor time of a task a millisecond", trickle, 10);
}

fn joins(c: &mut Criterion) {
    let mut group = group(c, "batch of 64 that nobody takes", 1);
    let pool = Bowline::new();
    group.bench_function("join", |b| b.iter_custom(|times| tasks::join(&pool, times)));
    group.bench_function("wait group by hand", |b| b.iter_custom(|times| tasks::wait_group(&pool, times)));
    group.finish();
}

fn on_one_core(c: &mut Criterion) {
    tasks::on_one_core(|| {
        over_all!(c, "one core, 100 k tasks", flood, 100_000);
        over_all!(c, "one core, round trip", round_trip, 1);
    });
}

criterion_group!(benches, floods, as_they_are_done, round_trips, fans, nested, maps, joins, trickles, on_one_core);
criterion_main!(benches);
