//! Programs that run free: all threads do their steps at once, whatever the others do.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bowline::thread;

use super::locks::AnyGuard;
use super::script::{Outcome, Script, Sort, Step, THREADS};
use super::world::{Actor, World};
use crate::support::LIMIT;

/// What a thread has to do yet.
type Steps = std::vec::IntoIter<(usize, Step)>;

/// One thread of a program that runs free.
struct Runner {
    threads: usize,
    backs_off: bool,
    victims: Arc<AtomicUsize>,
}

impl Runner {
    /// Runs until an initialiser is to end, or there is nothing more to do.
    fn run(&self, actor: &mut Actor<'_>, steps: &mut Steps) -> Outcome {
        while let Some((salt, step)) = steps.next() {
            if let Step::EndInitialiser(outcome) = step {
                return outcome;
            }
            let Some(step) = self.possible(actor, step) else {
                thread::yield_now();
                continue;
            };
            let patience = Duration::from_micros((salt % 2_000) as u64);
            let mut is_over = None;
            let answer = actor.perform(step, patience, &mut |actor| {
                let outcome = self.run(actor, steps);
                is_over = Some(outcome);
                outcome
            });
            if answer.is_deadlock() {
                self.victims.fetch_add(1, SeqCst);
                actor.guards.clear();
                if self.backs_off {
                    return Outcome::Panic;
                }
            }
        }
        Outcome::Value
    }

    /// Turns a step of a script into one that the thread can do now, if there is one.
    fn possible(&self, actor: &Actor<'_>, step: Step) -> Option<Step> {
        let Actor { world, guards } = actor;
        let things = world.sorts.len();
        let first = |number: usize, is_it: &dyn Fn(Sort) -> bool| {
            (0..things).map(|step| number.wrapping_add(step) % things).find(|&thing| is_it(world.sorts[thing]))
        };
        match step {
            Step::Take(ask) => {
                let thing = ask.thing % things;
                let ask = world.sorts[thing].ask(thing, ask);
                (world.sorts[thing] != Sort::Condition).then_some(Step::Take(ask))
            }
            Step::Wait { way, condition, .. } => {
                let condition = first(condition, &|sort| sort == Sort::Condition)?;
                let at = guards.iter().position(AnyGuard::is_whole)?;
                Some(Step::Wait { way, condition, at })
            }
            Step::Signal(number, all) => first(number, &Sort::is_signal).map(|thing| Step::Signal(thing, all)),
            Step::Join(way, thread) => Some(Step::Join(way, thread % self.threads)),
            Step::Upgrade(way, _) => guards.iter().position(AnyGuard::is_upgradable).map(|at| Step::Upgrade(way, at)),
            Step::Downgrade(_, to_upgradable) => {
                guards.iter().position(AnyGuard::can_downgrade).map(|at| Step::Downgrade(at, to_upgradable))
            }
            Step::Release(at) => at.checked_rem(guards.len()).map(Step::Release),
            Step::ReleaseAll => Some(step),
            // The script of a thread is its own.
            Step::End | Step::EndInitialiser(_) => None,
        }
    }
}

/// All threads run their steps at once; a victim lets go of everything and goes on. Returns how many there were.
pub(super) fn run_free(script: &Script) -> usize {
    let world = Arc::new(World::new(&script.things, script.threads));
    let start = Arc::new(Barrier::new(script.threads + 1));
    let (running, victims) = (Arc::new(AtomicUsize::new(script.threads)), Arc::new(AtomicUsize::new(0)));
    for (me, name) in THREADS.iter().enumerate().take(script.threads) {
        let (theirs, start, running) = (Arc::clone(&world), Arc::clone(&start), Arc::clone(&running));
        let runner = Runner { threads: script.threads, backs_off: script.backs_off, victims: Arc::clone(&victims) };
        let steps: Vec<_> = script.steps.iter().filter(|(thread, _)| thread % script.threads == me).copied().collect();
        let body = move || {
            let mut actor = Actor::new(&theirs);
            start.wait();
            let mut steps = steps.into_iter();
            while steps.len() > 0 {
                runner.run(&mut actor, &mut steps);
            }
            drop(actor);
            running.fetch_sub(1, SeqCst);
        };
        let handle = thread::Builder::new().name((*name).to_owned()).spawn(body).expect("a thread");
        world.put_handle(me, handle);
    }
    start.wait();
    help(&world, &running);
    victims.load(SeqCst)
}

/// Gives all signals now and again until nobody runs any more, so that no wait for one lasts for ever.
fn help(world: &Arc<World>, running: &AtomicUsize) {
    let (begin, mut round) = (Instant::now(), 0);
    let mut completers = Vec::new();
    while running.load(SeqCst) > 0 {
        assert!(begin.elapsed() < LIMIT, "{}", bowline::deadlock::snapshot());
        thread::sleep(Duration::from_micros(300));
        round += 1;
        for (thing, sort) in world.sorts.iter().enumerate() {
            if sort.is_signal() {
                world.signal(thing, round % 3 != 0);
            }
            // That waits while somebody initialises it; so each has a thread.
            if sort.is_cell() && round == 10 {
                let world = Arc::clone(world);
                let completer = thread::Builder::new().name("random completer".to_owned());
                completers.push(completer.spawn(move || world.signal(thing, true)).expect("a thread"));
            }
        }
    }
    completers.into_iter().for_each(|completer| completer.join().expect("it holds nothing"));
}
