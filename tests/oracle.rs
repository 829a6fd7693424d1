//! Random lock scripts on real threads, against an oracle that looks at the whole graph by brute force.
//!
//! One script steps its threads one operation at a time, so that the oracle knows the only possible outcome: granted,
//! parked, or a deadlock with exactly these members and exactly these bystanders. The other lets threads run freely
//! and asks each report for its proof.

mod support;

use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Deadlock, Kind};
use bowline::{Lock, LockGuard};
use petgraph::algo::{has_path_connecting, is_cyclic_directed, tarjan_scc};
use petgraph::graph::{DiGraph, NodeIndex};
use proptest::prelude::{Strategy, prop, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use support::deadlocks::{Reports, assert_is_a_proof};
use support::{Dice, LIMIT, spawn_named, until_waiting, within};

const THREADS: usize = 5;
const LOCKS: usize = 4;
const NAMES: [&str; THREADS] = ["oracle 0", "oracle 1", "oracle 2", "oracle 3", "oracle 4"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Acquire(usize),
    Try(usize),
    /// Releases one of the held locks: this one, counted round.
    Release(usize),
}

enum Reply {
    Granted,
    Deadlock(Deadlock),
    Tried(bool),
    Released,
}

/// Carries out what it is told, one operation at a time.
fn worker<'l>(me: usize, locks: &'l [Lock<()>], commands: &Receiver<Op>, replies: &Sender<(usize, Reply)>) {
    let mut held: Vec<(usize, LockGuard<'l, ()>)> = Vec::new();
    for command in commands {
        let reply = match command {
            Op::Acquire(lock) => match locks[lock].acquire() {
                Ok(guard) => {
                    held.push((lock, guard));
                    Reply::Granted
                }
                Err(deadlock) => Reply::Deadlock(deadlock),
            },
            Op::Try(lock) => {
                let guard = locks[lock].try_lock();
                let taken = guard.is_some();
                held.extend(guard.map(|guard| (lock, guard)));
                Reply::Tried(taken)
            }
            Op::Release(lock) => {
                let at = held.iter().position(|&(other, _)| other == lock).expect("the oracle knows what is held");
                drop(held.swap_remove(at));
                Reply::Released
            }
        };
        replies.send((me, reply)).expect("the oracle listens");
    }
}

/// What the threads hold and wait for.
#[derive(Default)]
struct Oracle {
    owner: [Option<usize>; LOCKS],
    waits: [Option<usize>; THREADS],
}

impl Oracle {
    /// Who waits for whom, if `me` asks for `lock` now; and the members and bystanders of the deadlock that this makes.
    fn deadlock(&self, me: usize, lock: usize) -> Option<(BTreeSet<usize>, BTreeSet<usize>)> {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<NodeIndex> = (0..THREADS).map(|_| graph.add_node(())).collect();
        let mut waits = self.waits;
        waits[me] = Some(lock);
        for (thread, lock) in waits.iter().enumerate().filter_map(|(thread, wait)| Some((thread, (*wait)?))) {
            if let Some(owner) = self.owner[lock] {
                graph.add_edge(nodes[thread], nodes[owner], ());
            }
        }
        if !is_cyclic_directed(&graph) {
            return None;
        }
        let core = tarjan_scc(&graph).into_iter().find(|core| core.contains(&nodes[me])).expect("everybody is in one");
        assert!(core.len() > 1 || graph.contains_edge(nodes[me], nodes[me]), "an older deadlock still stands");
        let core: BTreeSet<_> = core.iter().map(|node| node.index()).collect();
        let stuck = |thread: &usize| has_path_connecting(&graph, nodes[*thread], nodes[me], None);
        let bystanders = (0..THREADS).filter(stuck).filter(|thread| !core.contains(thread)).collect();
        Some((core, bystanders))
    }

    fn held_by(&self, me: usize) -> Vec<usize> {
        (0..LOCKS).filter(|&lock| self.owner[lock] == Some(me)).collect()
    }
}

/// A script on its way.
struct Run<'r> {
    oracle: Oracle,
    commands: &'r [Sender<Op>],
    replies: &'r Receiver<(usize, Reply)>,
    deadlocks: usize,
    parked: usize,
}

impl Run<'_> {
    fn tell(&self, me: usize, op: Op) {
        self.commands[me].send(op).expect("the worker is there");
    }

    fn reply_of(&self, me: usize) -> Reply {
        let (who, reply) = self.replies.recv().expect("the worker is there");
        assert_eq!(who, me, "somebody else moved");
        reply
    }

    fn step(&mut self, me: usize, op: Op) {
        if self.oracle.waits[me].is_some() {
            return;
        }
        match op {
            Op::Acquire(lock) => self.acquire(me, lock),
            Op::Try(lock) => {
                self.tell(me, op);
                let free = self.oracle.owner[lock].is_none();
                assert!(matches!(self.reply_of(me), Reply::Tried(taken) if taken == free));
                if free {
                    self.oracle.owner[lock] = Some(me);
                }
            }
            Op::Release(at) => {
                let held = self.oracle.held_by(me);
                if !held.is_empty() {
                    self.release(me, held[at % held.len()]);
                }
            }
        }
    }

    fn acquire(&mut self, me: usize, lock: usize) {
        self.tell(me, Op::Acquire(lock));
        if self.oracle.owner[lock].is_none() {
            assert!(matches!(self.reply_of(me), Reply::Granted), "it is free");
            self.oracle.owner[lock] = Some(me);
        } else if let Some((core, bystanders)) = self.oracle.deadlock(me, lock) {
            let Reply::Deadlock(deadlock) = self.reply_of(me) else { panic!("a deadlock was missed") };
            let report = deadlock.report();
            let numbers = |threads: &[deadlock::StuckThread]| -> BTreeSet<usize> {
                let number =
                    |thread: &deadlock::StuckThread| NAMES.iter().position(|&name| thread.name() == Some(name));
                threads.iter().map(|thread| number(thread).expect("a thread of this script")).collect()
            };
            assert_eq!(report.kind(), if core.len() == 1 { Kind::Relock } else { Kind::Cycle });
            assert_eq!(numbers(report.threads()), core, "{report}");
            assert_eq!(numbers(report.bystanders()), bystanders, "{report}");
            assert_is_a_proof(report);
            self.deadlocks += 1;
        } else {
            until_waiting(NAMES[me]);
            self.oracle.waits[me] = Some(lock);
            self.parked += 1;
        }
    }

    fn release(&mut self, me: usize, lock: usize) {
        self.tell(me, Op::Release(lock));
        self.oracle.owner[lock] = None;
        // The release itself, and one grant if anybody waits, in whatever order they are told.
        let waiting = self.oracle.waits.contains(&Some(lock));
        for _ in 0..1 + usize::from(waiting) {
            match self.replies.recv().expect("the workers are there") {
                (who, Reply::Released) => assert_eq!(who, me),
                (who, Reply::Granted) => {
                    assert_eq!(self.oracle.waits[who].take(), Some(lock), "it did not wait for this");
                    self.oracle.owner[lock] = Some(who);
                }
                _ => panic!("a false alarm: whoever waits was judged before"),
            }
        }
        assert_eq!(self.oracle.owner[lock].is_some(), waiting, "one of those who wait gets it");
    }

    /// Whoever can move releases what it holds, until nobody holds anything: with every deadlock broken that must end.
    fn wind_up(&mut self) {
        while let Some(lock) =
            (0..LOCKS).find(|&lock| self.oracle.owner[lock].is_some_and(|owner| self.oracle.waits[owner].is_none()))
        {
            self.release(self.oracle.owner[lock].expect("it has an owner"), lock);
        }
        assert!(self.oracle.owner.iter().all(Option::is_none), "somebody is stuck, and was not told");
        assert!(self.oracle.waits.iter().all(Option::is_none));
    }
}

/// Runs one script; how many deadlocks and how many plain waits it met.
fn run(script: &[(usize, Op)]) -> (usize, usize) {
    let locks: [Lock<()>; LOCKS] = std::array::from_fn(|_| Lock::new(()));
    let (reply, replies) = mpsc::channel();
    thread::scope(|s| {
        let (commands, mailboxes): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::channel()).unzip();
        for (me, mailbox) in mailboxes.into_iter().enumerate() {
            let (locks, reply) = (&locks, reply.clone());
            spawn_named(s, NAMES[me], move || worker(me, locks, &mailbox, &reply));
        }
        let mut run =
            Run { oracle: Oracle::default(), commands: &commands, replies: &replies, deadlocks: 0, parked: 0 };
        for &(me, op) in script {
            run.step(me, op);
        }
        run.wind_up();
        (run.deadlocks, run.parked)
    })
}

#[test]
fn what_is_reported_is_what_the_oracle_finds_and_nothing_else() {
    within(LIMIT * 3, || {
        deadlock::set_grace(Duration::ZERO);
        let op = prop_oneof![
            6 => (0..LOCKS).prop_map(Op::Acquire),
            1 => (0..LOCKS).prop_map(Op::Try),
            2 => (0..LOCKS).prop_map(Op::Release),
        ];
        let script = prop::collection::vec((0..THREADS, op), 5..60);
        let config = Config { cases: 120, failure_persistence: None, ..Config::default() };
        let met = std::cell::Cell::new((0, 0));
        let result = TestRunner::new(config).run(&script, |script| {
            let (deadlocks, parked) = run(&script);
            met.set((met.get().0 + deadlocks, met.get().1 + parked));
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{failure}"));
        let (deadlocks, parked) = met.get();
        assert!(deadlocks > 50 && parked > 50, "the scripts met only {deadlocks} deadlocks and {parked} waits");
    });
}

#[test]
fn whatever_order_threads_run_in_each_report_proves_itself_and_everybody_finishes() {
    within(LIMIT * 3, || {
        let reports = Reports::about("free ");
        for seed in 0..20 {
            let locks: [Lock<u64>; LOCKS] = std::array::from_fn(|_| Lock::new(0));
            thread::scope(|s| {
                for me in 0..THREADS {
                    let locks = &locks;
                    spawn_named(s, &format!("free {me}"), move || {
                        let mut dice = Dice::new((seed * THREADS + me) as u64 + 1);
                        for _ in 0..100 {
                            let mut held: Vec<LockGuard<'_, u64>> = Vec::new();
                            for _ in 0..1 + dice.below(3) {
                                match locks[dice.below(LOCKS)].acquire() {
                                    Ok(mut guard) => {
                                        *guard += 1;
                                        held.push(guard);
                                    }
                                    Err(_) => break, // a deadlock or a relock: back off
                                }
                                if dice.below(3) == 0 {
                                    thread::yield_now();
                                }
                            }
                            dice.shuffle(&mut held);
                        }
                    });
                }
            });
        }
        let reports = reports.take();
        reports.iter().for_each(assert_is_a_proof);
        assert!(reports.iter().any(|report| report.kind() == Kind::Cycle), "the threads never met");
    });
}
