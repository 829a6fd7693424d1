//! Random programs of locks on real threads, against a model that knows who holds and waits for what.
//!
//! Stepped: one thread at a time does one thing, so that the model knows every state, and says by brute force who is
//! deadlocked and who is stuck behind. Running free: all at once; a report has to prove itself. Each has a process of
//! its own, for the grace and the hooks.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Barrier, atomic::AtomicUsize, atomic::Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{self, Deadlock, Kind, Report};
use bowline::sync::{LockGuard, RLockGuard};
use bowline::{Lock, RLock};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::support::deadlocks::{Reports, assert_is_a_proof, held_names, names, wanted};
use crate::support::{LIMIT, alone_within, find_thread, message, spawn_named};

const THREADS: [&str; 6] = ["random 0", "random 1", "random 2", "random 3", "random 4", "random 5"];
const LOCKS: [&str; 7] = ["lock 0", "lock 1", "lock 2", "lock 3", "lock 4", "lock 5", "lock 6"];

/// How long a wait with a time limit lasts.
const PATIENCE: Duration = Duration::from_millis(15);

/// How a lock is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Lock,
    Acquire,
    Try,
    Timed,
}

/// What one thread does next. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(Way, usize),
    /// Releases one of the guards.
    Release(usize),
    ReleaseAll,
}

/// A program.
#[derive(Clone, Debug)]
struct Script {
    threads: usize,
    /// Which of the locks are re-entrant.
    locks: Vec<bool>,
    /// Who does what, in this order. Who waits does nothing.
    steps: Vec<(usize, Step)>,
    /// Whether a victim releases everything at once, or does what comes next.
    backs_off: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let way = prop_oneof![3 => Just(Way::Lock), 6 => Just(Way::Acquire), 2 => Just(Way::Try), 1 => Just(Way::Timed)];
    prop_oneof![
        7 => (way, any::<usize>()).prop_map(|(way, lock)| Step::Take(way, lock)),
        2 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::ReleaseAll),
    ]
}

fn script(longest: usize) -> impl Strategy<Value = Script> {
    let steps = prop::collection::vec((any::<usize>(), step()), 4..longest);
    let locks = prop::collection::vec(prop::bool::weighted(0.25), 2..=LOCKS.len());
    (3..=THREADS.len(), locks, steps, any::<bool>()).prop_map(|(threads, locks, steps, backs_off)| Script {
        threads,
        locks,
        steps,
        backs_off,
    })
}

/// A lock of either kind.
enum AnyLock {
    Plain(Lock<()>),
    Again(RLock<()>),
}

/// A guard of either kind.
#[expect(dead_code, reason = "guards are kept to be dropped")]
enum AnyGuard<'a> {
    Plain(LockGuard<'a, ()>),
    Again(RLockGuard<'a, ()>),
}

/// What became of asking for a lock.
#[derive(Debug)]
enum Answer {
    Granted,
    /// It is held, or was for too long.
    Refused,
    /// By `acquire`.
    Value(Deadlock),
    /// By `lock`: the message of the panic.
    Panic(String),
}

impl AnyLock {
    fn new(at: usize, is_reentrant: bool) -> Self {
        match is_reentrant {
            true => Self::Again(RLock::named(LOCKS[at], ())),
            false => Self::Plain(Lock::named(LOCKS[at], ())),
        }
    }

    fn take(&self, way: Way, patience: Duration) -> Result<AnyGuard<'_>, Answer> {
        let caught = catch_unwind(AssertUnwindSafe(|| match self {
            Self::Plain(lock) => match way {
                Way::Lock => Ok(lock.lock()),
                Way::Acquire => lock.acquire().map_err(Answer::Value),
                Way::Try => lock.try_lock().ok_or(Answer::Refused),
                Way::Timed => lock.try_lock_for(patience).ok_or(Answer::Refused),
            }
            .map(AnyGuard::Plain),
            Self::Again(lock) => match way {
                Way::Lock => Ok(lock.lock()),
                Way::Acquire => lock.acquire().map_err(Answer::Value),
                Way::Try => lock.try_lock().ok_or(Answer::Refused),
                Way::Timed => lock.try_lock_for(patience).ok_or(Answer::Refused),
            }
            .map(AnyGuard::Again),
        }));
        caught.unwrap_or_else(|payload| Err(Answer::Panic(message(&*payload).to_owned())))
    }
}

/// A thread that does what it is told, one step at a time, and says when it is done.
fn obey(me: usize, locks: &[AnyLock], orders: &Receiver<Step>, done: &Sender<(usize, Answer)>) {
    let mut guards = Vec::new();
    while let Ok(step) = orders.recv() {
        let answer = match step {
            Step::Take(way, lock) => match locks[lock].take(way, PATIENCE) {
                Ok(guard) => {
                    guards.push(guard);
                    Answer::Granted
                }
                Err(answer) => answer,
            },
            Step::Release(at) => {
                drop(guards.remove(at));
                Answer::Granted
            }
            Step::ReleaseAll => {
                guards.clear();
                Answer::Granted
            }
        };
        if done.send((me, answer)).is_err() {
            return;
        }
    }
}

/// How often the interesting things happened, over all scripts: a test that never meets them checks nothing.
#[derive(Default)]
struct Tally {
    relocks: Cell<u32>,
    cycles: Cell<u32>,
    long_cycles: Cell<u32>,
    bystanders: Cell<u32>,
    timed_out: Cell<u32>,
    timed_granted: Cell<u32>,
}

fn count(what: &Cell<u32>) {
    what.set(what.get() + 1);
}

/// Who holds and waits for what, by the rules of locks alone.
struct Model<'t> {
    reentrant: Vec<bool>,
    owner: Vec<Option<usize>>,
    /// What each thread holds, one entry a guard, in the order of its guards.
    held: Vec<Vec<usize>>,
    /// What each thread waits for, and whether that wait has a limit.
    waiting: Vec<Option<(usize, bool)>>,
    tally: &'t Tally,
}

/// What the detector has to say of a deadlock.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// From the one that closed it, each waiting for the next.
    members: Vec<usize>,
    bystanders: BTreeSet<usize>,
}

impl Model<'_> {
    fn is_free_for(&self, thread: usize, lock: usize) -> bool {
        self.owner[lock].is_none_or(|owner| owner == thread && self.reentrant[lock])
    }

    fn grant(&mut self, thread: usize, lock: usize) {
        assert!(self.is_free_for(thread, lock), "{} was granted while held", LOCKS[lock]);
        self.owner[lock] = Some(thread);
        self.held[thread].push(lock);
        self.waiting[thread] = None;
    }

    /// Forgets one guard; returns its lock if that is free now.
    fn release(&mut self, thread: usize, at: usize) -> Option<usize> {
        let lock = self.held[thread].remove(at);
        if self.held[thread].contains(&lock) {
            return None;
        }
        self.owner[lock] = None;
        Some(lock)
    }

    /// Whether a wait of `closer` for `lock` makes a deadlock, found by closing the whole relation.
    fn verdict(&self, closer: usize, lock: usize) -> Option<Verdict> {
        let threads = 0..self.held.len();
        let next = |thread: usize| match self.waiting[thread] {
            _ if thread == closer => self.owner[lock],
            Some((lock, false)) => self.owner[lock],
            Some((_, true)) | None => None,
        };
        let mut reaches: Vec<Vec<bool>> =
            threads.clone().map(|from| threads.clone().map(|to| next(from) == Some(to)).collect()).collect();
        for through in threads.clone() {
            for from in threads.clone() {
                for to in threads.clone() {
                    reaches[from][to] |= reaches[from][through] && reaches[through][to];
                }
            }
        }
        if !reaches[closer][closer] {
            return None;
        }
        let is_member = |thread: &usize| reaches[closer][*thread] && reaches[*thread][closer];
        let mut members = vec![closer];
        while let Some(member) = next(members[members.len() - 1]).filter(|&member| member != closer) {
            members.push(member);
        }
        assert_eq!(members.iter().copied().collect::<BTreeSet<_>>(), threads.clone().filter(is_member).collect());
        let bystanders = threads.filter(|thread| !is_member(thread) && reaches[*thread][closer]).collect();
        Some(Verdict { members, bystanders })
    }

    /// Checks all that a report says of one thread.
    fn check_thread(&self, told: &StuckThread, thread: usize, lock: usize) {
        assert_eq!(told.name(), Some(THREADS[thread]));
        assert_eq!(wanted(told).name(), Some(LOCKS[lock]));
        let held: BTreeSet<_> = self.held[thread].iter().map(|&lock| LOCKS[lock]).collect();
        assert_eq!(held_names(told), held.into_iter().collect::<Vec<_>>(), "of {}", THREADS[thread]);
    }

    fn check_report(&self, report: &Report, verdict: &Verdict, lock: usize) {
        assert_is_a_proof(report);
        let is_relock = verdict.members.len() == 1;
        assert_eq!(report.kind(), if is_relock { Kind::Relock } else { Kind::Cycle });
        let members: Vec<_> = verdict.members.iter().map(|&member| THREADS[member]).collect();
        let told: Vec<_> = report.threads().iter().map(|thread| thread.name().unwrap()).collect();
        assert_eq!(told, members);
        let bystanders: Vec<_> = verdict.bystanders.iter().map(|&thread| THREADS[thread]).collect();
        assert_eq!(names(report.bystanders()), bystanders);
        let waits_for = |thread: usize| self.waiting[thread].map_or(lock, |(lock, _)| lock);
        for (told, &member) in report.threads().iter().zip(&verdict.members) {
            self.check_thread(told, member, waits_for(member));
        }
        for told in report.bystanders() {
            let thread = THREADS.iter().position(|&name| Some(name) == told.name()).unwrap();
            self.check_thread(told, thread, waits_for(thread));
        }
        match verdict.members.len() {
            1 => count(&self.tally.relocks),
            2 => count(&self.tally.cycles),
            _ => count(&self.tally.long_cycles),
        }
        if !verdict.bystanders.is_empty() {
            count(&self.tally.bystanders);
        }
    }
}

/// The threads of one script, and the model that walks beside them.
struct Stepper<'s> {
    model: Model<'s>,
    orders: Vec<Sender<Step>>,
    answers: Receiver<(usize, Answer)>,
    reports: &'s Reports,
    backs_off: bool,
}

impl Stepper<'_> {
    fn next_answer(&self) -> (usize, Answer) {
        self.answers.recv_timeout(LIMIT / 2).expect("somebody goes on")
    }

    /// Takes note of a wait that ended.
    fn ended(&mut self, thread: usize, answer: &Answer) {
        let Some((lock, timed)) = self.model.waiting[thread] else {
            panic!("{} does not wait: {answer:?}", THREADS[thread])
        };
        match answer {
            Answer::Granted => {
                self.model.grant(thread, lock);
                if timed {
                    count(&self.model.tally.timed_granted);
                }
            }
            Answer::Refused if timed => {
                self.model.waiting[thread] = None;
                count(&self.model.tally.timed_out);
            }
            answer => panic!("{} waited for {}: {answer:?}", THREADS[thread], LOCKS[lock]),
        }
    }

    /// Gives an order that is carried out at once, and waits until it is.
    fn order(&mut self, thread: usize, step: Step) -> Answer {
        self.orders[thread].send(step).unwrap();
        loop {
            match self.next_answer() {
                (other, answer) if other == thread => return answer,
                // Somebody's time is over.
                (other, answer) => self.ended(other, &answer),
            }
        }
    }

    /// Waits until a lock that was released is held by one of those who wait for it, if anybody does.
    fn settle(&mut self, lock: usize) {
        let waits = |wait: &Option<(usize, bool)>| wait.is_some_and(|(other, _)| other == lock);
        while self.model.owner[lock].is_none() && self.model.waiting.iter().any(waits) {
            let (thread, answer) = self.next_answer();
            self.ended(thread, &answer);
        }
    }

    fn release(&mut self, thread: usize, at: usize) {
        // First what the model knows: somebody may be granted the lock before its release is confirmed.
        self.orders[thread].send(Step::Release(at)).unwrap();
        let freed = self.model.release(thread, at);
        let mut is_confirmed = false;
        while !is_confirmed {
            match self.next_answer() {
                (other, _) if other == thread => is_confirmed = true,
                (other, answer) => self.ended(other, &answer),
            }
        }
        if let Some(lock) = freed {
            self.settle(lock);
        }
    }

    fn release_all(&mut self, thread: usize) {
        while let Some(last) = self.model.held[thread].len().checked_sub(1) {
            self.release(thread, last);
        }
    }

    fn take(&mut self, thread: usize, way: Way, lock: usize) {
        let step = Step::Take(way, lock);
        if way == Way::Try || self.model.is_free_for(thread, lock) {
            let is_free = self.model.is_free_for(thread, lock);
            match self.order(thread, step) {
                Answer::Granted if is_free => self.model.grant(thread, lock),
                Answer::Refused if !is_free && way == Way::Try => {}
                answer => panic!("{way:?} {} (free: {is_free}): {answer:?}", LOCKS[lock]),
            }
            return;
        }
        let verdict = if way == Way::Timed { None } else { self.model.verdict(thread, lock) };
        self.orders[thread].send(step).unwrap();
        let Some(verdict) = verdict else {
            self.model.waiting[thread] = Some((lock, way == Way::Timed));
            self.until_registered(thread, lock);
            assert_eq!(self.reports.count(), 0, "there is no deadlock");
            return;
        };
        let answer = loop {
            match self.next_answer() {
                (other, answer) if other == thread => break answer,
                (other, answer) => self.ended(other, &answer),
            }
        };
        let reports = self.reports.take();
        let [report] = &reports[..] else { panic!("{} reports of {verdict:?}", reports.len()) };
        self.model.check_report(report, &verdict, lock);
        match (way, answer) {
            (Way::Acquire, Answer::Value(deadlock)) => self.model.check_report(deadlock.report(), &verdict, lock),
            (Way::Lock, Answer::Panic(text)) => assert!(text.starts_with("deadlock: "), "{text}"),
            (way, answer) => panic!("{way:?}: {answer:?}"),
        }
        if self.backs_off {
            self.release_all(thread);
        }
    }

    /// Waits until a wait that is no deadlock is in the graph, or was in it and is over.
    fn until_registered(&mut self, thread: usize, lock: usize) {
        let end = Instant::now() + LIMIT / 2;
        loop {
            while let Ok((other, answer)) = self.answers.try_recv() {
                self.ended(other, &answer);
            }
            let Some((_, timed)) = self.model.waiting[thread] else { return };
            let waits = find_thread(THREADS[thread]).and_then(|told| told.waits_for().cloned());
            if let Some(wait) = waits {
                assert_eq!((wait.resource().name(), wait.is_timed()), (Some(LOCKS[lock]), timed));
                return;
            }
            assert!(Instant::now() < end, "{} is not in the graph", THREADS[thread]);
            thread::yield_now();
        }
    }

    /// Turns a number into a lock: mostly one that the thread does not hold, or there would be relocks above all.
    fn choose(&self, thread: usize, number: usize) -> usize {
        let count = self.model.owner.len();
        let lock = number % count;
        let mut others = (lock..lock + count).map(|lock| lock % count);
        let other = others.find(|other| !self.model.held[thread].contains(other));
        if (number / count).is_multiple_of(8) { lock } else { other.unwrap_or(lock) }
    }

    fn run(&mut self, script: &Script) {
        for &(thread, step) in &script.steps {
            while let Ok((other, answer)) = self.answers.try_recv() {
                self.ended(other, &answer);
            }
            let thread = thread % script.threads;
            if self.model.waiting[thread].is_some() {
                continue;
            }
            match step {
                Step::Take(way, lock) => self.take(thread, way, self.choose(thread, lock)),
                Step::Release(_) if self.model.held[thread].is_empty() => {}
                Step::Release(at) => self.release(thread, at % self.model.held[thread].len()),
                Step::ReleaseAll => self.release_all(thread),
            }
        }
        // Everybody lets go of everything, and so everybody goes on.
        loop {
            let waits = |thread: usize| self.model.waiting[thread].is_some();
            let busy = (0..script.threads).find(|&thread| !waits(thread) && !self.model.held[thread].is_empty());
            match busy {
                Some(thread) => self.release_all(thread),
                None if (0..script.threads).any(waits) => {
                    let (thread, answer) = self.next_answer();
                    self.ended(thread, &answer);
                }
                None => break,
            }
        }
        assert_eq!(self.reports.count(), 0);
    }
}

fn step_through(script: &Script, reports: &Reports, tally: &Tally) {
    let locks: Vec<_> = script.locks.iter().enumerate().map(|(at, &again)| AnyLock::new(at, again)).collect();
    thread::scope(|s| {
        let (done, answers) = mpsc::channel();
        let obeys = |me: usize| {
            let (order, orders) = mpsc::channel();
            let (locks, done) = (&locks, done.clone());
            spawn_named(s, THREADS[me], move || obey(me, locks, &orders, &done));
            order
        };
        let orders = (0..script.threads).map(obeys).collect();
        let model = Model {
            reentrant: script.locks.clone(),
            owner: vec![None; locks.len()],
            held: vec![Vec::new(); script.threads],
            waiting: vec![None; script.threads],
            tally,
        };
        Stepper { model, orders, answers, reports, backs_off: script.backs_off }.run(script);
    });
}

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
fn deadlocks_are_found_exactly_when_and_where_a_model_says_so() {
    alone_within(LIMIT * 3, || {
        deadlock::set_grace(Duration::ZERO);
        let (reports, tally) = (Reports::about("random "), Tally::default());
        for_random_scripts(500, 80, |script| step_through(script, &reports, &tally));
        let Tally { relocks, cycles, long_cycles, bystanders, timed_out, timed_granted } = &tally;
        for (what, count) in [
            ("relocks", relocks),
            ("cycles of two", cycles),
            ("longer cycles", long_cycles),
            ("reports with bystanders", bystanders),
            ("waits that timed out", timed_out),
            ("waits with a limit that were granted", timed_granted),
        ] {
            eprintln!("{}: {what}", count.get());
            assert!(count.get() > 0, "no {what}");
        }
    });
}

/// All threads run their steps at once; a victim lets go of everything and goes on. Returns how many there were.
fn run_free(script: &Script) -> usize {
    let locks: Vec<_> = script.locks.iter().enumerate().map(|(at, &again)| AnyLock::new(at, again)).collect();
    let (start, victims) = (Barrier::new(script.threads), AtomicUsize::new(0));
    thread::scope(|s| {
        for (me, name) in THREADS.iter().enumerate().take(script.threads) {
            let (locks, start, victims) = (&locks, &start, &victims);
            let steps = script.steps.iter().filter(move |(thread, _)| thread % script.threads == me);
            spawn_named(s, name, move || {
                let mut guards = Vec::new();
                start.wait();
                for (salt, step) in steps {
                    match *step {
                        Step::Take(way, lock) => {
                            let patience = Duration::from_micros((salt % 2_000) as u64);
                            match locks[lock % locks.len()].take(way, patience) {
                                Ok(guard) => guards.push(guard),
                                Err(Answer::Value(_) | Answer::Panic(_)) => {
                                    victims.fetch_add(1, SeqCst);
                                    guards.clear();
                                }
                                Err(_) => {}
                            }
                        }
                        Step::Release(_) if guards.is_empty() => thread::yield_now(),
                        Step::Release(at) => drop(guards.remove(at % guards.len())),
                        Step::ReleaseAll => guards.clear(),
                    }
                }
            });
        }
    });
    victims.into_inner()
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
