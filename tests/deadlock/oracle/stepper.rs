//! Steps through a program: tells one thread at a time what to do, and asks the model whether what came of it can be.
//!
//! The model may know several moments that explain all that was seen: of several who wait to write one lock it cannot see
//! which is next. What comes later tells.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Node, Report};

use super::answer::Answer;
use super::model::{Hold, Moment};
use super::obey::Obeyer;
use super::script::{Outcome, Script, Sort, Step, THREADS};
use super::tally::Tally;
use super::world::World;
use crate::support::deadlocks::{Reports, assert_is_a_proof};
use crate::support::{LIMIT, wait_until};

/// How often it is looked at least whether nothing more happens.
const MAX_LOOKS: usize = 1_000;

/// The threads of one script, and the model that walks beside them.
struct Stepper<'s> {
    /// What may be the case: at least one of them is.
    moments: Vec<Moment>,
    world: Arc<World>,
    orders: Vec<Sender<Step>>,
    /// The system's numbers of the threads.
    os_ids: Vec<u32>,
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

/// Who sleeps, for what, and how often it began to.
#[derive(PartialEq, Eq)]
struct Sleep {
    thread: usize,
    /// The name of what it waits for, or of the thread that it joins.
    wanted: Option<String>,
    switches: u64,
}

impl Stepper<'_> {
    /// Returns how those who are busy sleep, if all of them are in the graph, and asleep.
    fn asleep(&self) -> Option<Vec<Sleep>> {
        let snapshot = deadlock::snapshot();
        let sleep = |thread: usize| {
            let told = snapshot.graph().node_weights().find_map(|node| match node {
                Node::Thread(told) if told.os_id() == self.os_ids[thread] && !told.is_gone() => Some(told),
                _ => None,
            })?;
            let wait = told.waits_for()?;
            let wanted = wait.joined().map_or_else(|| wait.resource().name(), |joined| joined.name());
            Some(Sleep { thread, wanted: wanted.map(str::to_owned), switches: sleeps(told.os_id())? })
        };
        (0..self.busy.len()).filter(|&thread| self.busy[thread]).map(sleep).collect()
    }

    /// Waits until whoever is busy waits, and nothing more happens. Returns the answers that came meanwhile, and how those
    /// sleep that have given none.
    fn until_quiet(&mut self) -> (Vec<(usize, Answer)>, Vec<Sleep>) {
        let end = Instant::now() + LIMIT / 2;
        let (mut answers, mut looks) = (Vec::new(), 0);
        loop {
            while let Ok((thread, answer)) = self.answers.try_recv() {
                self.busy[thread] = false;
                answers.push((thread, answer));
            }
            // A thread that was woken may sleep for a moment while it waits for the graph itself, which each look lets one of
            // them have. As many looks as there are such threads find them all in their queues.
            let first = self.asleep();
            let is_quiet = first.as_ref().is_some_and(|sleeps| sleeps.iter().all(|_| self.asleep() == first));
            match (self.answers.try_recv(), first) {
                (Ok((thread, answer)), _) => {
                    self.busy[thread] = false;
                    answers.push((thread, answer));
                }
                (Err(_), Some(sleeps)) if is_quiet => return (answers, sleeps),
                (Err(_), _) => {
                    looks += 1;
                    // Not if the whole machine stood still meanwhile.
                    let is_patient = looks < MAX_LOOKS || Instant::now() < end;
                    assert!(
                        is_patient,
                        "somebody neither waits nor answers: {:?}\n{}",
                        self.busy,
                        deadlock::snapshot()
                    );
                    thread::yield_now();
                }
            }
        }
    }

    /// Gives an order, waits until nothing more happens, and asks the model how that came. Returns the answer, if there is one.
    fn order(&mut self, thread: usize, step: Step) -> Option<Answer> {
        self.busy[thread] = true;
        self.orders[thread].send(step).expect("it obeys");
        let begun = self.begun(Some(thread), step);
        if matches!(step, Step::End) {
            let task = format!("/proc/self/task/{}", self.os_ids[thread]);
            wait_until(|| !fs::exists(&task).expect("a place for the threads of this process"));
        }
        let answers = self.settle(begun, Some((thread, step)));
        answers.into_iter().find_map(|(other, answer, _)| (other == thread).then_some(answer))
    }

    /// Gives a signal from outside, waits until nothing more happens, and asks the model how that came.
    fn signal(&mut self, thing: usize, all: bool) {
        let step = Step::Signal(thing, all);
        let begun = self.begun(None, step);
        self.world.signal(thing, all);
        self.settle(begun, None);
    }

    /// What may be the case once a step has begun. Others' limits may have been over before.
    fn begun(&self, thread: Option<usize>, step: Step) -> Vec<Moment> {
        let mut begun = Vec::new();
        for moment in self.moments.iter().flat_map(Moment::with_time_outs) {
            let moment = moment.begin(thread, step);
            if !begun.contains(&moment) {
                begun.push(moment);
            }
        }
        begun
    }

    /// Waits until nothing more happens, and asks the model how that came.
    fn settle(&mut self, begun: Vec<Moment>, order: Option<(usize, Step)>) -> Vec<(usize, Answer, Option<Report>)> {
        let (answers, sleeps) = self.until_quiet();
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
        let is_seen =
            |moment: &Moment| sleeps.iter().all(|sleep| moment.waits_for_name(sleep.thread) == sleep.wanted.as_deref());
        begun.iter().for_each(|moment| moment.explain(None, &answers, &mut found, &mut why));
        found.retain(is_seen);
        if found.is_empty() && order.is_some() {
            // A limit may have come before the order was carried out.
            self.moments.iter().for_each(|moment| moment.explain(order, &answers, &mut found, &mut why));
            found.retain(is_seen);
        }
        assert!(
            !found.is_empty(),
            "nothing explains what came of {order:?}: {answers:#?}\nfrom {:#?}\n{why:#?}\n{}",
            self.moments,
            deadlock::snapshot()
        );
        for (thread, answer, report) in &answers {
            let has_waited = order.is_none_or(|(ordered, _)| ordered != *thread);
            self.tally.count_answer(&begun[0], *thread, has_waited, answer, report.as_ref());
        }
        self.tally.count_rest(&found[0]);
        if found.len() > 1 {
            self.tally.count("moments at which it was not known who is next");
        }
        self.moments = found;
        answers
    }

    /// What a thread holds, in the order of its guards. That is always known.
    fn held(&self, thread: usize) -> &[(usize, Hold)] {
        &self.moments[0].held[thread]
    }

    fn sort(&self, thing: usize) -> Sort {
        self.moments[0].sort(thing)
    }

    fn release_all(&mut self, thread: usize) {
        while let Some(last) = self.held(thread).len().checked_sub(1) {
            self.order(thread, Step::Release(last));
        }
    }

    /// Has a thread let go of everything, and end its initialisers in this way.
    fn back_off(&mut self, thread: usize, outcome: Outcome) {
        self.release_all(thread);
        while !self.moments[0].initialises[thread].is_empty() {
            self.order(thread, Step::EndInitialiser(outcome));
        }
    }

    /// Turns a number into a thing: mostly one that the thread does not have, or there would be relocks above all.
    fn choose(&self, thread: usize, number: usize) -> usize {
        let things = self.world.sorts.len();
        let thing = number % things;
        let mut others = (thing..thing + things).map(|thing| thing % things);
        let initialises = &self.moments[0].initialises[thread];
        let has = |other| initialises.contains(&other) || self.held(thread).iter().any(|&(held, _)| held == other);
        let other = others.find(|&other| !has(other));
        if (number / things).is_multiple_of(8) { thing } else { other.unwrap_or(thing) }
    }

    /// The place of a guard of which this holds, the first from some place on.
    fn guard(&self, thread: usize, at: usize, is_it: impl Fn((usize, Hold)) -> bool) -> Option<usize> {
        let held = self.held(thread);
        (0..held.len()).map(|step| at.wrapping_add(step) % held.len()).find(|&at| is_it(held[at]))
    }

    /// The first thing from some number on of which this holds.
    fn thing(&self, number: usize, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let things = self.world.sorts.len();
        (0..things).map(|step| number.wrapping_add(step) % things).find(|&thing| is_it(thing))
    }

    /// Turns a step of a script into one that the thread can do now, if there is one.
    fn possible(&self, thread: usize, step: Step) -> Option<Step> {
        let now = &self.moments[0];
        let is_condition = |thing| self.sort(thing) == Sort::Condition;
        let to_wait = |at| self.guard(thread, at, |held| now.can_wait_with(thread, held));
        match step {
            Step::Take(ask) => {
                let thing = self.choose(thread, ask.thing);
                let ask = self.sort(thing).ask(thing, ask);
                if !is_condition(thing) {
                    return Some(Step::Take(ask));
                }
                to_wait(ask.count).map(|at| Step::Wait { way: ask.way, condition: thing, at })
            }
            Step::Wait { way, condition, at } => {
                let condition = self.thing(condition, is_condition)?;
                to_wait(at).map(|at| Step::Wait { way, condition, at })
            }
            Step::Signal(number, all) => {
                let thing = self.thing(number, |thing| now.needs_signal(thing));
                let is_set = self.thing(number, |thing| self.sort(thing) == Sort::Event && !now.needs_signal(thing));
                let clear = is_set.filter(|_| !all).map(|event| Step::Signal(event, false));
                clear.or_else(|| thing.map(|thing| Step::Signal(thing, all || self.sort(thing) == Sort::Event)))
            }
            Step::EndInitialiser(_) => (!now.initialises[thread].is_empty()).then_some(step),
            Step::Join(way, number) => {
                let threads = now.handles.len();
                let mut others = (0..threads).map(|step| number.wrapping_add(step) % threads);
                // Mostly another thread.
                let may_be_itself = (number / threads).is_multiple_of(8);
                let other = others.find(|&other| now.handles[other] && (may_be_itself || other != thread))?;
                Some(Step::Join(way, other))
            }
            Step::End => now.initialises[thread].is_empty().then_some(step),
            Step::Upgrade(way, at) => {
                self.guard(thread, at, |(_, hold)| hold == Hold::Upgradable).map(|at| Step::Upgrade(way, at))
            }
            Step::Downgrade(at, to_upgradable) => self
                .guard(thread, at, |(_, hold)| matches!(hold, Hold::Upgradable | Hold::Write))
                .map(|at| Step::Downgrade(at, to_upgradable)),
            Step::Release(at) => self.guard(thread, at, |_| true).map(Step::Release),
            Step::ReleaseAll => Some(step),
        }
    }

    fn step(&mut self, thread: usize, step: Step) {
        let is_idle = !self.busy[thread] && !self.moments[0].ended[thread];
        let Some(step) = self.possible(thread, step) else { return };
        match step {
            // Who waits, or is gone, gives no signals; somebody outside does.
            Step::Signal(thing, all) if !is_idle => return self.signal(thing, all),
            _ if !is_idle => return,
            Step::ReleaseAll | Step::End => self.release_all(thread),
            _ => {}
        }
        if matches!(step, Step::ReleaseAll) {
            return;
        }
        let answer = self.order(thread, step);
        if self.backs_off && answer.is_some_and(|answer| answer.is_deadlock()) {
            self.back_off(thread, Outcome::Panic);
        }
    }

    fn run(&mut self, script: &Script) {
        for &(thread, step) in &script.steps {
            self.step(thread % script.threads, step);
        }
        // Everybody lets go of everything and ends, and so everybody goes on; what comes from outside comes.
        loop {
            let is_idle = |&thread: &usize| !self.busy[thread] && !self.moments[0].ended[thread];
            if let Some(thread) = (0..script.threads).find(is_idle) {
                self.back_off(thread, Outcome::Value);
                self.order(thread, Step::End);
                continue;
            }
            if !self.busy.contains(&true) {
                break;
            }
            let wanted = self.moments[0].signals_wanted().next();
            match wanted {
                Some((_, thing)) => self.signal(thing, true),
                None => {
                    // Those whose time is over.
                    let moments = self.moments.clone();
                    self.settle(moments, None);
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        assert_eq!(self.reports.count(), 0);
    }
}

pub(super) fn step_through(script: &Script, reports: &Reports, tally: &Tally) {
    let world = Arc::new(World::new(&script.things, script.threads));
    let (done, answers) = mpsc::channel();
    let (orders, os_ids) = (0..script.threads).map(|me| Obeyer::spawn(me, &world, &done)).unzip();
    let moments = vec![Moment::first(script.threads, &script.things)];
    let busy = vec![false; script.threads];
    Stepper { moments, world, orders, os_ids, answers, busy, reports, tally, backs_off: script.backs_off }.run(script);
}
