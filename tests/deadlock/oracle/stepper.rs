//! Steps through a program: tells one thread at a time what to do, and asks the model whether what came of it can be.
//!
//! The model may know several moments that explain all that was seen: of several who wait to write one lock it cannot see
//! which is next. What comes later tells.

use std::cell::Cell;
use std::fs;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Node, Report};

use super::locks::{Answer, AnyGuard, AnyLock};
use super::model::{Hold, Moment, Want};
use super::script::{Script, Step, THREADS, Way};
use crate::support::deadlocks::{Reports, assert_is_a_proof};
use crate::support::{LIMIT, spawn_named};

/// How long a wait with a time limit lasts.
const PATIENCE: Duration = Duration::from_millis(15);

/// A thread that does what it is told, one step at a time, and says when it is done.
fn obey(me: usize, locks: &[AnyLock], orders: &Receiver<Step>, done: &Sender<(usize, Answer)>) {
    let mut guards: Vec<AnyGuard<'_>> = Vec::new();
    while let Ok(step) = orders.recv() {
        let answer = match step {
            Step::Take(way, mode, lock) => match locks[lock].take(way, mode, PATIENCE) {
                Ok(guard) => {
                    guards.push(guard);
                    Answer::Granted
                }
                Err(answer) => answer,
            },
            Step::Upgrade(way, at) => match guards.remove(at).upgrade(way, PATIENCE) {
                Ok(guard) => {
                    guards.insert(at, guard);
                    Answer::Granted
                }
                Err((guard, answer)) => {
                    guard.into_iter().for_each(|guard| guards.insert(at, guard));
                    answer
                }
            },
            Step::Downgrade(at, to_upgradable) => {
                let guard = guards.remove(at).downgrade(to_upgradable);
                guards.insert(at, guard);
                Answer::Done
            }
            Step::Release(at) => {
                drop(guards.remove(at));
                Answer::Done
            }
            Step::ReleaseAll => {
                guards.clear();
                Answer::Done
            }
        };
        if done.send((me, answer)).is_err() {
            return;
        }
    }
}

/// How often the interesting things happened, over all scripts: a test that never meets them checks nothing.
#[derive(Default)]
pub(super) struct Tally {
    relocks: Cell<u32>,
    cycles: Cell<u32>,
    long_cycles: Cell<u32>,
    forked: Cell<u32>,
    bystanders: Cell<u32>,
    reads_that_failed: Cell<u32>,
    writes_that_failed: Cell<u32>,
    upgrades_that_failed: Cell<u32>,
    upgrades: Cell<u32>,
    timed_out: Cell<u32>,
    timed_granted: Cell<u32>,
    unknown: Cell<u32>,
}

fn count(what: &Cell<u32>) {
    what.set(what.get() + 1);
}

impl Tally {
    /// Says what happened, and panics if anything never did.
    pub(super) fn check(&self) {
        for (what, count) in [
            ("relocks", &self.relocks),
            ("cycles of two", &self.cycles),
            ("longer cycles", &self.long_cycles),
            ("deadlocks that are more than a ring", &self.forked),
            ("reports with bystanders", &self.bystanders),
            ("waits to read that failed", &self.reads_that_failed),
            ("waits to write that failed", &self.writes_that_failed),
            ("upgrades that failed", &self.upgrades_that_failed),
            ("upgrades", &self.upgrades),
            ("waits that timed out", &self.timed_out),
            ("waits with a limit that were granted", &self.timed_granted),
            ("moments at which it was not known who is next", &self.unknown),
        ] {
            eprintln!("{}: {what}", count.get());
            assert!(count.get() > 0, "no {what}");
        }
    }

    fn count(&self, before: &Moment, thread: usize, answer: &Answer, report: Option<&Report>) {
        let Some(wait) = before.waiting[thread] else { return };
        match answer {
            Answer::Granted if matches!(wait.want, Want::Upgrade(_)) => count(&self.upgrades),
            Answer::Granted if wait.way == Way::Timed => count(&self.timed_granted),
            Answer::Refused if wait.way == Way::Timed => count(&self.timed_out),
            _ => {}
        }
        let Some(report) = report else { return };
        match report.threads().len() {
            1 => count(&self.relocks),
            2 => count(&self.cycles),
            _ => count(&self.long_cycles),
        }
        if !report.bystanders().is_empty() {
            count(&self.bystanders);
        }
        if before.is_forked(thread) {
            count(&self.forked);
        }
        match wait.want {
            Want::Read(_) => count(&self.reads_that_failed),
            Want::Write => count(&self.writes_that_failed),
            Want::Upgrade(_) => count(&self.upgrades_that_failed),
            Want::Whole | Want::Upgradable => {}
        }
    }
}

/// The threads of one script, and the model that walks beside them.
struct Stepper<'s> {
    /// What may be the case: at least one of them is.
    moments: Vec<Moment>,
    orders: Vec<Sender<Step>>,
    answers: Receiver<(usize, Answer)>,
    /// Who has an order and no answer yet.
    busy: Vec<bool>,
    reports: &'s Reports,
    tally: &'s Tally,
    backs_off: bool,
}

/// What the system says of a thread: whether it sleeps, and how often it began to.
fn sleeps(os_id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/self/task/{os_id}/status")).ok()?;
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let switches = of("voluntary_ctxt_switches:")?.parse().ok();
    switches.filter(|_| of("State:").is_some_and(|state| state.starts_with('S')))
}

impl Stepper<'_> {
    /// Returns how often those who are busy have gone to sleep, if all of them are in the graph, and asleep.
    fn asleep(&self) -> Option<Vec<u64>> {
        let snapshot = deadlock::snapshot();
        let waits = |name: &str| {
            snapshot.graph().node_weights().find_map(|node| match node {
                Node::Thread(thread) if thread.name() == Some(name) && !thread.is_gone() => {
                    thread.waits_for().map(|_| thread.os_id())
                }
                _ => None,
            })
        };
        let busy = THREADS.iter().zip(&self.busy).filter(|(_, is_busy)| **is_busy);
        busy.map(|(name, _)| sleeps(waits(name)?)).collect()
    }

    /// Waits until whoever is busy waits, and nothing more happens. Returns the answers that came meanwhile.
    fn until_quiet(&mut self) -> Vec<(usize, Answer)> {
        let end = Instant::now() + LIMIT / 2;
        let mut answers = Vec::new();
        loop {
            while let Ok((thread, answer)) = self.answers.try_recv() {
                self.busy[thread] = false;
                answers.push((thread, answer));
            }
            // A thread that was woken may sleep for a moment while it waits for the graph itself, which each look lets one of
            // them have. As many looks as there are threads find them all in their queues.
            let first = self.asleep();
            let is_quiet = first.is_some() && (0..self.busy.len()).all(|_| self.asleep() == first);
            match self.answers.try_recv() {
                Ok((thread, answer)) => {
                    self.busy[thread] = false;
                    answers.push((thread, answer));
                }
                Err(_) if is_quiet => return answers,
                Err(_) => {
                    assert!(Instant::now() < end, "somebody neither waits nor answers: {:?}", self.busy);
                    thread::yield_now();
                }
            }
        }
    }

    /// Gives an order, waits until nothing more happens, and asks the model how that came. Returns the answer, if there is one.
    fn order(&mut self, thread: usize, step: Step) -> Option<Answer> {
        self.busy[thread] = true;
        self.orders[thread].send(step).expect("it obeys");
        let begun: Vec<_> = self.moments.iter().map(|moment| moment.begin(thread, step)).collect();
        self.settle(begun, Some((thread, step)))
            .into_iter()
            .find_map(|(other, answer, _)| (other == thread).then_some(answer))
    }

    /// Waits until nothing more happens, and asks the model how that came.
    fn settle(&mut self, begun: Vec<Moment>, order: Option<(usize, Step)>) -> Vec<(usize, Answer, Option<Report>)> {
        let answers = self.until_quiet();
        let mut reports = self.reports.take();
        reports.iter().for_each(assert_is_a_proof);
        let mut told = |thread: usize, answer: &Answer| {
            let is_its = |report: &Report| report.threads()[0].name() == Some(THREADS[thread]);
            let at = reports.iter().position(is_its).filter(|_| answer.is_deadlock())?;
            Some(reports.remove(at))
        };
        let answers: Vec<_> = answers
            .into_iter()
            .map(|(thread, answer)| {
                let report = told(thread, &answer);
                match (&answer, &report) {
                    (Answer::Value(deadlock), Some(report)) => {
                        assert_eq!(deadlock.report().to_string(), report.to_string(), "the error and the hook");
                    }
                    (Answer::Panic(text), _) => assert!(text.starts_with("deadlock: "), "{text}"),
                    _ => {}
                }
                (thread, answer, report)
            })
            .collect();
        assert!(reports.is_empty(), "reported, and nobody was told: {reports:#?}");
        let (mut found, mut why) = (Vec::new(), Vec::new());
        begun.iter().for_each(|moment| moment.explain(&answers, &mut found, &mut why));
        assert!(
            !found.is_empty(),
            "nothing explains what came of {order:?}: {answers:#?}\nfrom {:#?}\n{why:#?}\n{}",
            self.moments,
            deadlock::snapshot()
        );
        for (thread, answer, report) in &answers {
            self.tally.count(&begun[0], *thread, answer, report.as_ref());
        }
        if found.len() > 1 {
            count(&self.tally.unknown);
        }
        self.moments = found;
        answers
    }

    /// What a thread holds, in the order of its guards. That is always known.
    fn held(&self, thread: usize) -> &[(usize, Hold)] {
        &self.moments[0].held[thread]
    }

    fn release_all(&mut self, thread: usize) {
        while let Some(last) = self.held(thread).len().checked_sub(1) {
            self.order(thread, Step::Release(last));
        }
    }

    /// Turns a number into a lock: mostly one that the thread does not hold, or there would be relocks above all.
    fn choose(&self, thread: usize, number: usize, locks: usize) -> usize {
        let lock = number % locks;
        let mut others = (lock..lock + locks).map(|lock| lock % locks);
        let other = others.find(|other| !self.held(thread).iter().any(|(held, _)| held == other));
        if (number / locks).is_multiple_of(8) { lock } else { other.unwrap_or(lock) }
    }

    /// The place of a guard of which this holds, the first from some place on.
    fn guard(&self, thread: usize, at: usize, is_it: impl Fn(Hold) -> bool) -> Option<usize> {
        let held = self.held(thread);
        (0..held.len()).map(|step| at.wrapping_add(step) % held.len()).find(|&at| is_it(held[at].1))
    }

    fn step(&mut self, thread: usize, step: Step, locks: usize) {
        let step = match step {
            Step::Take(way, mode, number) => Some(Step::Take(way, mode, self.choose(thread, number, locks))),
            Step::Upgrade(way, at) => {
                self.guard(thread, at, |hold| hold == Hold::Upgradable).map(|at| Step::Upgrade(way, at))
            }
            Step::Downgrade(at, to_upgradable) => self
                .guard(thread, at, |hold| matches!(hold, Hold::Upgradable | Hold::Write))
                .map(|at| Step::Downgrade(at, to_upgradable)),
            Step::Release(at) => self.guard(thread, at, |_| true).map(Step::Release),
            Step::ReleaseAll => return self.release_all(thread),
        };
        let Some(step) = step else { return };
        let answer = self.order(thread, step);
        if self.backs_off && answer.is_some_and(|answer| answer.is_deadlock()) {
            self.release_all(thread);
        }
    }

    fn run(&mut self, script: &Script) {
        for &(thread, step) in &script.steps {
            let thread = thread % script.threads;
            if !self.busy[thread] {
                self.step(thread, step, script.locks.len());
            }
        }
        // Everybody lets go of everything, and so everybody goes on.
        loop {
            let busy = self.busy.clone();
            match (0..script.threads).find(|&thread| !busy[thread] && !self.held(thread).is_empty()) {
                Some(thread) => self.release_all(thread),
                None if busy.contains(&true) => {
                    let moments = self.moments.clone();
                    // Those whose time is over.
                    self.settle(moments, None);
                    thread::sleep(Duration::from_millis(1));
                }
                None => break,
            }
        }
        assert_eq!(self.reports.count(), 0);
    }
}

pub(super) fn step_through(script: &Script, reports: &Reports, tally: &Tally) {
    let locks: Vec<_> = script.locks.iter().enumerate().map(|(at, &sort)| AnyLock::new(at, sort)).collect();
    thread::scope(|s| {
        let (done, answers) = mpsc::channel();
        let obeys = |me: usize| {
            let (order, orders) = mpsc::channel();
            let (locks, done) = (&locks, done.clone());
            spawn_named(s, THREADS[me], move || obey(me, locks, &orders, &done));
            order
        };
        let orders = (0..script.threads).map(obeys).collect();
        let moments = vec![Moment::first(script.threads, &script.locks)];
        let busy = vec![false; script.threads];
        Stepper { moments, orders, answers, busy, reports, tally, backs_off: script.backs_off }.run(script);
    });
}
