//! Random programs of all primitives on real threads, against a model that knows who holds and waits for what.
//!
//! Stepped: one thread at a time does one thing, so that the model knows every state, and says by brute force who is
//! deadlocked and who is stuck behind. Running free: all at once; a report has to prove itself. Each has a process of
//! its own, for the grace and the hooks.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "programs are stepped through on Linux alone"))]

mod answer;
mod cells;
mod free;
mod locks;
#[cfg(target_os = "linux")]
mod model;
#[cfg(target_os = "linux")]
mod obey;
mod script;
mod signals;
#[cfg(target_os = "linux")]
mod stepper;
#[cfg(target_os = "linux")]
mod tally;
mod world;

use std::cell::Cell;
use std::time::Duration;

use bowline::deadlock;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use free::run_free;
use script::{Script, script};

use crate::support::deadlocks::{Reports, assert_is_a_proof};
use crate::support::{LIMIT, alone_within};

/// What the random scripts are made of.
const SEED: u64 = 17;

/// Runs `check` on random scripts.
fn for_random_scripts(cases: u32, longest: usize, check: impl Fn(&Script)) {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = if cfg!(miri) { 2 } else { cases };
    }
    // The same in every run: what has to happen in all of them together happens. Others: `PROPTEST_RNG_SEED`.
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 500;
    config.max_shrink_time = 20_000;
    let outcome = TestRunner::new(config).run(&script(longest), |script| {
        check(&script);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn deadlocks_are_found_exactly_when_and_where_a_model_says_so() {
    alone_within(LIMIT * 3, || {
        deadlock::set_grace(Duration::ZERO);
        let (reports, tally) = (Reports::about("random "), tally::Tally::default());
        for_random_scripts(400, 100, |script| stepper::step_through(script, &reports, &tally));
        tally.check();
    });
}

#[test]
fn programs_that_run_free_all_end_and_every_report_is_a_proof() {
    alone_within(LIMIT * 3, || {
        let reports = Reports::about("random ");
        let (round, deadlocks) = (Cell::new(0), Cell::new(0));
        for_random_scripts(300, 150, |script| {
            // From all waits in the graph to those alone that have lasted.
            deadlock::set_grace(Duration::from_micros([0, 50, 500][round.get() % 3]));
            round.set(round.get() + 1);
            let victims = run_free(script);
            let taken = reports.take();
            taken.iter().for_each(assert_is_a_proof);
            assert_eq!(taken.len(), victims, "a report each");
            deadlocks.set(deadlocks.get() + victims);
        });
        eprintln!("{} deadlocks", deadlocks.get());
        assert!(deadlocks.get() > 0);
    });
}
