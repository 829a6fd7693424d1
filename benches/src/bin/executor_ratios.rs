//! Prints the table of pools in `docs/performance.md`: bowline and its peers taking turns in one process, as ratios to the best peer.
//!
//! `executor_ratios [flood] [round-trip] [fan] [nested] [map] [trickle] [one-core] [as-completed] [ROUNDS]`: some of the rows,
//! all by default, and how many rounds.

use std::time::Duration;

use bowline_benches::pool::{
    BenchPool, Bowline, Crossbeam, Futures, Nests, Rayon, RustyPool, ThreadPool, Tokio, TokioBlocking,
};
use bowline_benches::rounds::{Contender, Table, take_turns};
use bowline_benches::tasks;

const DEFAULT_ROUNDS: usize = 31;

const FLOOD: u64 = 100_000;
const ROUND_TRIPS: u64 = 1000;
const BATCHES: u64 = 100;
const DEPTH: u32 = 9;
const TREES: u64 = 10;
const ITEMS: u64 = 1_000_000;
const TRICKLE: u64 = 100;

const BY_RAYON: &str = "rayon par_iter";
const BY_HAND: &str = "a channel by hand";

fn main() {
    let (numbers, rows): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.parse::<usize>().is_ok());
    let rounds = numbers.first().and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|name| name == row);
    let columns = vec![
        Bowline::NAME,
        Crossbeam::NAME,
        ThreadPool::NAME,
        RustyPool::NAME,
        Rayon::NAME,
        BY_RAYON,
        Futures::NAME,
        Tokio::NAME,
        TokioBlocking::NAME,
    ];
    let mut table = Table::new("two threads: time", "best peer", "µs", 1.0, columns);
    if wanted("flood") {
        table.row_to_best("100 k tasks: each", &take_turns(rounds, flood()));
    }
    if wanted("round-trip") {
        table.row_to_best("round trip", &take_turns(rounds, round_trips()));
    }
    if wanted("fan") {
        table.row_to_best("batch of 64", &take_turns(rounds, batches()));
    }
    if wanted("nested") {
        table.row_to_best("tree of 1023 tasks", &take_turns(rounds, trees()));
    }
    if wanted("map") {
        table.row_to_best("map of 1 M items, 1000 a task", &take_turns(rounds, maps()));
    }
    if wanted("trickle") {
        table.row_to_best("a task a millisecond: processor time of each", &take_turns(rounds, trickles()));
        let nothing = microseconds(tasks::trickle_of_nothing(TRICKLE * 10)) / (TRICKLE * 10) as f64;
        eprintln!("  of which the sleep: {nothing:.2} µs");
    }
    if wanted("one-core") {
        let on_one_core = tasks::on_one_core(|| [take_turns(rounds, flood()), take_turns(rounds, round_trips())]);
        match on_one_core {
            Some([flood, round_trips]) => {
                table.row_to_best("one core, 100 k tasks: each", &flood);
                table.row_to_best("one core, round trip", &round_trips);
            }
            None => eprintln!("  skipped: one core, which this system cannot be asked for"),
        }
    }
    let is_only_that = !rows.is_empty() && rows.iter().all(|name| name == "as-completed");
    if !is_only_that {
        println!("{}", table.finish());
    }
    if wanted("as-completed") {
        let mut table =
            Table::new("two threads: time", BY_HAND, "µs", 1.0, vec!["as_completed", "as_completed, with keys"]);
        table.row("100 k tasks as they are done: each", &take_turns(rounds, as_they_are_done()));
        println!("{}", table.finish());
    }
}

/// What [`contender`] says of one pool, of all pools, ours first.
macro_rules! all_pools {
    ($workload:ident, $times:expr, $each:expr) => {
        vec![
            contender(tasks::$workload::<Bowline>, $times, $each),
            contender(tasks::$workload::<Crossbeam>, $times, $each),
            contender(tasks::$workload::<ThreadPool>, $times, $each),
            contender(tasks::$workload::<RustyPool>, $times, $each),
            contender(tasks::$workload::<Rayon>, $times, $each),
            contender(tasks::$workload::<Futures>, $times, $each),
            contender(tasks::$workload::<Tokio>, $times, $each),
            contender(tasks::$workload::<TokioBlocking>, $times, $each),
        ]
    };
}

/// A pool of its own, and a workload: microseconds for each of `each`.
fn contender<P: BenchPool + 'static>(run: fn(&P, u64) -> Duration, times: u64, each: u64) -> Contender<'static> {
    let pool = P::new();
    Contender::new(P::NAME, move || microseconds(run(&pool, times)) / each as f64)
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn flood() -> Vec<Contender<'static>> {
    all_pools!(flood, FLOOD, FLOOD)
}

fn round_trips() -> Vec<Contender<'static>> {
    all_pools!(round_trip, ROUND_TRIPS, ROUND_TRIPS)
}

fn batches() -> Vec<Contender<'static>> {
    all_pools!(fan, BATCHES, BATCHES)
}

/// Of those whose tasks can wait for each other.
fn trees() -> Vec<Contender<'static>> {
    fn nested<P: Nests>(pool: &P, trees: u64) -> Duration {
        tasks::trees(pool, DEPTH, trees)
    }
    vec![
        contender(nested::<Bowline>, TREES, TREES),
        contender(nested::<Rayon>, TREES, TREES),
        contender(nested::<Futures>, TREES, TREES),
        contender(nested::<Tokio>, TREES, TREES),
    ]
}

/// Ours has a function for it, as rayon has; the others are given tasks of 1000 items by hand.
fn maps() -> Vec<Contender<'static>> {
    let mut contenders = all_pools!(map_by_hand, ITEMS, 1);
    contenders[0] = contender(tasks::map_by_bowline, ITEMS, 1);
    contenders.push(Contender { name: BY_RAYON, ..contender(tasks::map_by_rayon, ITEMS, 1) });
    contenders
}

/// Ours alone.
fn as_they_are_done() -> Vec<Contender<'static>> {
    let ours = |name, run| Contender { name, ..contender(run, FLOOD, FLOOD) };
    vec![
        ours(BY_HAND, tasks::as_completed_by_hand),
        ours("as_completed", tasks::as_completed),
        ours("as_completed, with keys", tasks::as_completed_with_keys),
    ]
}

fn trickles() -> Vec<Contender<'static>> {
    all_pools!(trickle, TRICKLE, TRICKLE)
}
