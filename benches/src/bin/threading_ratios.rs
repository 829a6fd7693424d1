//! Prints tables of read-write locks and of the rest of threading: bowline and its peers taking turns in one process, as ratios.
//!
//! `threading_ratios [first-write] [rwlock] [mixed] [once] [condition] [semaphore] [barrier] [thread] [ROUNDS]`: some of the
//! rows, all by default, and how many rounds.

use std::time::Duration;

use bowline_benches::lock;
use bowline_benches::rounds::{Contender, Table, take_turns};
use bowline_benches::rwlock::{self, BenchRwLock, Bowline, Deloxide, Mix, ParkingLot, Std};
use bowline_benches::threading::{
    self, BenchSemaphore, BowlineCondition, BowlineLazy, BowlineOnce, ByHand, ParkingLotCondition, StdCondition,
    StdLazy, StdOnce,
};

const DEFAULT_ROUNDS: usize = 31;
/// The writes of one turn, each after thousands of reads.
const FIRST_WRITES: u64 = 20;
/// The operations of one turn of a mix.
const MIXED: u64 = 400_000;

const BOWLINE: &str = "bowline";

fn main() {
    let (numbers, rows): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| word.parse::<usize>().is_ok());
    let rounds = numbers.first().and_then(|word| word.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let wanted = |row: &str| rows.is_empty() || rows.iter().any(|name| name == row);
    lock::start_detectors(|| {});
    println!("{}\n", read_write_locks(rounds, wanted));
    println!("{}\n", others(rounds, wanted));
}

/// What `$measure` makes of each read-write lock, the base first.
macro_rules! all_locks {
    ($measure:ident $(, $argument:expr)*) => {
        vec![
            $measure::<ParkingLot>($($argument),*),
            $measure::<Bowline>($($argument),*),
            $measure::<Std>($($argument),*),
            $measure::<Deloxide>($($argument),*),
        ]
    };
}

/// First the writes: a writer of bowline's lock looks at as many contexts as there were at one time.
fn read_write_locks(rounds: usize, wanted: impl Fn(&str) -> bool) -> String {
    let columns = vec![Bowline::NAME, Std::NAME, Deloxide::NAME];
    let mut table = Table::new("read-write locks: time", ParkingLot::NAME, "ns", 1.0, columns);
    if wanted("first-write") {
        for others in [0, 32] {
            let name = format!("first write after many reads, {others} other threads");
            table.row(&name, &take_turns(rounds, all_locks!(first_write, others)));
        }
    }
    if wanted("rwlock") {
        table.row("read + unlock", &take_turns(rounds, all_locks!(read)));
        table.row("write + unlock", &take_turns(rounds, all_locks!(write)));
    }
    if wanted("mixed") {
        for mix in Mix::ALL {
            table.row(&mix.name(), &take_turns(rounds, all_locks!(mixed, mix)));
        }
    }
    table.finish()
}

fn first_write<L: BenchRwLock>(others: usize) -> Contender<'static> {
    Contender::new(L::NAME, move || each(rwlock::first_write::<L>(others, FIRST_WRITES), FIRST_WRITES))
}

fn read<L: BenchRwLock>() -> Contender<'static> {
    Contender::timed(L::NAME, rwlock::read::<L>)
}

fn write<L: BenchRwLock>() -> Contender<'static> {
    Contender::timed(L::NAME, rwlock::write::<L>)
}

fn mixed<L: BenchRwLock>(mix: Mix) -> Contender<'static> {
    Contender::new(L::NAME, move || each(rwlock::mixed::<L>(mix, MIXED), MIXED))
}

/// Nanoseconds an operation.
fn each(duration: Duration, times: u64) -> f64 {
    duration.as_nanos() as f64 / times as f64
}

/// The base is the best peer.
fn others(rounds: usize, wanted: impl Fn(&str) -> bool) -> String {
    let columns = vec![BOWLINE, "std", "parking_lot", ByHand::NAME];
    let mut table = Table::new("time", "best peer", "ns", 1.0, columns);
    let mut row = |name: &str, contenders| table.row_to_best(name, &take_turns(rounds, contenders));
    if wanted("once") {
        row(
            "OnceLock: initialised",
            vec![
                Contender::timed(BOWLINE, threading::hit::<BowlineOnce>),
                Contender::timed("std", threading::hit::<StdOnce>),
            ],
        );
        row(
            "LazyLock: initialised",
            vec![
                Contender::timed(BOWLINE, threading::hit::<BowlineLazy>),
                Contender::timed("std", threading::hit::<StdLazy>),
            ],
        );
    }
    if wanted("condition") {
        row(
            "condition: round trip",
            vec![
                Contender::timed(BOWLINE, threading::ping_pong::<BowlineCondition>),
                Contender::timed("parking_lot", threading::ping_pong::<ParkingLotCondition>),
                Contender::timed("std", threading::ping_pong::<StdCondition>),
            ],
        );
    }
    if wanted("semaphore") {
        row(
            "semaphore: acquire + release",
            vec![
                Contender::timed(BOWLINE, threading::permits::<bowline::Semaphore>),
                Contender::timed(ByHand::NAME, threading::permits::<ByHand>),
            ],
        );
    }
    if wanted("barrier") {
        row(
            "barrier of 2",
            vec![
                Contender::timed(BOWLINE, threading::meetings::<bowline::Barrier>),
                Contender::timed("std", threading::meetings::<std::sync::Barrier>),
            ],
        );
    }
    if wanted("thread") {
        row(
            "thread: spawn + join",
            vec![
                Contender::timed(BOWLINE, threading::bowline_threads),
                Contender::timed("std", threading::std_threads),
            ],
        );
    }
    table.finish()
}
