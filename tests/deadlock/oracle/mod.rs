//! Random programs of locks on real threads, against a model that knows who holds and waits for what.
//!
//! Stepped: one thread at a time does one thing, so that the model knows every state, and says by brute force who is
//! deadlocked and who is stuck behind. Running free: all at once; a report has to prove itself. Each has a process of
//! its own, for the grace and the hooks.

mod locks;
mod model;
mod script;
#[cfg(target_os = "linux")]
mod stepper;

use std::cell::Cell;
use std::sync::{Barrier, atomic::AtomicUsize, atomic::Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::deadlock;
use proptest::test_runner::{Config, TestRunner};

use locks::{Answer, AnyGuard, AnyLock};
use script::{Script, Step, THREADS, script};

use crate::support::deadlocks::{Reports, assert_is_a_proof};
use crate::support::{LIMIT, alone_within, spawn_named};

/// Runs `check` on random scripts.
fn for_random_scripts(cases: u32, longest: usize, check: impl Fn(&Script)) {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = if cfg!(miri) { 2 } else { cases };
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 500;
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
        let (reports, tally) = (Reports::about("random "), stepper::Tally::default());
        for_random_scripts(400, 80, |script| stepper::step_through(script, &reports, &tally));
        tally.check();
    });
}

/// All threads run their steps at once; a victim lets go of everything and goes on. Returns how many there were.
fn run_free(script: &Script) -> usize {
    let locks: Vec<_> = script.locks.iter().enumerate().map(|(at, &sort)| AnyLock::new(at, sort)).collect();
    let (start, victims) = (Barrier::new(script.threads), AtomicUsize::new(0));
    thread::scope(|s| {
        for (me, name) in THREADS.iter().enumerate().take(script.threads) {
            let (locks, start, victims) = (&locks, &start, &victims);
            let steps = script.steps.iter().filter(move |(thread, _)| thread % script.threads == me);
            spawn_named(s, name, move || {
                let mut guards = Vec::new();
                start.wait();
                for &(salt, step) in steps {
                    if run_step(locks, salt, step, &mut guards).is_some_and(|answer| answer.is_deadlock()) {
                        victims.fetch_add(1, SeqCst);
                        guards.clear();
                    }
                }
            });
        }
    });
    victims.into_inner()
}

/// Does one thing, whatever the others do. Returns the answer if nothing was granted.
fn run_step<'l>(locks: &'l [AnyLock], salt: usize, step: Step, guards: &mut Vec<AnyGuard<'l>>) -> Option<Answer> {
    let patience = Duration::from_micros((salt % 2_000) as u64);
    match step {
        Step::Take(way, mode, lock) => {
            let taken = locks[lock % locks.len()].take(way, mode, patience);
            return taken.map(|guard| guards.push(guard)).err();
        }
        Step::Upgrade(way, _) => {
            let at = guards.iter().position(AnyGuard::is_upgradable)?;
            let (guard, answer) = match guards.swap_remove(at).upgrade(way, patience) {
                Ok(guard) => (Some(guard), None),
                Err((guard, answer)) => (guard, Some(answer)),
            };
            guards.extend(guard);
            return answer;
        }
        Step::Downgrade(_, to_upgradable) => {
            let at = guards.iter().position(AnyGuard::can_downgrade)?;
            let guard = guards.swap_remove(at).downgrade(to_upgradable);
            guards.push(guard);
        }
        Step::Release(_) if guards.is_empty() => thread::yield_now(),
        Step::Release(at) => drop(guards.remove(at % guards.len())),
        Step::ReleaseAll => guards.clear(),
    }
    None
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
