//! A correct, heavily contended program beside one that deadlocks all the time and backs off: not one report about the
//! first, and both make progress.
//!
//! The test runs alone, for the grace and the hooks. `BOWLINE_SOAK_SECONDS` says how long it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Report};
use bowline::sync::{LockGuard, RLockGuard, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use bowline::{Lock, RLock, RwLock};

use crate::support::deadlocks::{assert_is_a_proof, names};
use crate::support::{Dice, LIMIT, alone_within, spawn_named};

const ACCOUNTS: usize = 8;
const NODES: usize = 24;
const SHELVES: usize = 6;

fn seconds() -> u64 {
    let asked = std::env::var("BOWLINE_SOAK_SECONDS").ok();
    let asked = asked.map(|seconds| seconds.parse().expect("BOWLINE_SOAK_SECONDS is a number"));
    asked.unwrap_or(if cfg!(debug_assertions) { 5 } else { 20 })
}

/// What the threads of the correct program share, in the order in which they take it.
struct Shared {
    accounts: [Lock<u64>; ACCOUNTS],
    nodes: Vec<Arc<Lock<u64>>>,
    /// Under its lock both numbers of a shelf are the same.
    shelves: [RwLock<[u64; 2]>; SHELVES],
    journal: RLock<AtomicU64>,
    total: AtomicU64,
    written: AtomicU64,
}

/// Takes some of the accounts in their order, each in one of many ways, and tries one or two out of order.
fn in_order(shared: &Shared, dice: &mut Dice) {
    let mut guards = Vec::new();
    let mut took = 0;
    for account in &shared.accounts {
        let guard = match dice.below(9) {
            0 => Some(account.lock()),
            1 => Some(account.acquire().expect("the order is kept")),
            2 => account.try_lock(),
            3 => account.try_lock_for(Duration::from_micros(dice.below(1_500) as u64)),
            _ => None,
        };
        if let Some(mut guard) = guard {
            *guard += 1;
            took += 1;
            guards.push(guard);
        }
    }
    // What does not wait for ever needs no order.
    for _ in 0..2 {
        let account = &shared.accounts[dice.below(ACCOUNTS)];
        let patience = Duration::from_micros(dice.below(300) as u64);
        if let Some(mut guard) = account.try_lock().or_else(|| account.try_lock_for(patience)) {
            *guard += 1;
            took += 1;
        }
    }
    if dice.below(4) == 0 {
        let journal = shared.journal.lock();
        let again = shared.journal.acquire().expect("the owner comes in again");
        again.fetch_add(1, Relaxed);
        drop(journal);
        RLockGuard::unlock_fair(again);
    }
    shared.total.fetch_add(took, Relaxed);
    dice.shuffle(&mut guards);
    while let Some(guard) = guards.pop() {
        match dice.below(4) {
            0 => LockGuard::unlock_fair(guard),
            // Alone, or the way back would break the order.
            1 if guards.is_empty() => drop(LockGuard::unlocked(guard, thread::yield_now)),
            _ => drop(guard),
        }
    }
}

fn look(shelf: &[u64; 2]) -> u64 {
    assert_eq!(shelf[0], shelf[1], "somebody writes");
    shelf[0]
}

fn write(shelf: &mut [u64; 2]) {
    look(shelf);
    shelf.iter_mut().for_each(|number| *number += 1);
}

/// Reads some of the shelves in their order, writes a few, upgrades and downgrades, and overtakes writers.
fn readers_and_writers(shared: &Shared, dice: &mut Dice) {
    let (mut reads, mut written) = (Vec::new(), 0);
    let often = if dice.below(3) == 0 { 12 } else { 60 };
    for shelf in &shared.shelves {
        match dice.below(often) {
            0 => write(&mut shelf.acquire_write().expect("the order is kept")),
            1 => {
                let guard = shelf.upgradable_read();
                let seen = look(&guard);
                let mut guard = RwLockUpgradableReadGuard::acquire_upgrade(guard).expect("all readers leave");
                assert_eq!(look(&guard), seen);
                write(&mut guard);
                reads.push(RwLockWriteGuard::downgrade(guard));
            }
            2 => {
                let patience = Duration::from_micros(dice.below(800) as u64);
                match shelf.try_write_for(patience) {
                    Some(mut guard) => write(&mut guard),
                    None => continue,
                }
            }
            3 => {
                let guard = shelf.upgradable_read();
                let patience = Duration::from_micros(dice.below(400) as u64);
                match RwLockUpgradableReadGuard::try_upgrade_for(guard, patience) {
                    Ok(mut guard) => write(&mut guard),
                    Err(guard) => {
                        reads.push(RwLockUpgradableReadGuard::downgrade(guard));
                        continue;
                    }
                }
            }
            4 => {
                let mut guard = shelf.write();
                write(&mut guard);
                reads.push(RwLockWriteGuard::downgrade(guard));
            }
            kind => {
                let guard = match kind % 4 {
                    0 => Some(shelf.acquire_read().expect("the order is kept")),
                    1 => shelf.try_read_for(Duration::from_micros(dice.below(800) as u64)),
                    2 => shelf.try_read(),
                    _ => Some(shelf.read()),
                };
                reads.extend(guard);
                continue;
            }
        }
        written += 1;
    }
    // Whoever reads already reads again, past any writer; and nobody waits for what is only tried.
    let again: Vec<_> = reads.iter().map(|guard| RwLockReadGuard::lock(guard).acquire_read_recursive()).collect();
    again.into_iter().for_each(|guard| _ = look(&guard.expect("a recursive reader waits for no writer that waits")));
    let shelf = &shared.shelves[dice.below(SHELVES)];
    if let Some(mut guard) = shelf.try_write() {
        write(&mut guard);
        written += 1;
    }
    dice.shuffle(&mut reads);
    while let Some(guard) = reads.pop() {
        look(&guard);
        drop(guard);
    }
    shared.written.fetch_add(written, Relaxed);
}

/// Walks along the nodes, the next one in hand before the last is let go.
fn hand_over_hand(shared: &Shared, dice: &mut Dice) {
    let mut hand = shared.nodes[0].lock_arc();
    *hand += 1;
    for node in &shared.nodes[1..=1 + dice.below(NODES - 1)] {
        hand = node.lock_arc();
        *hand += 1;
    }
}

/// Forgets a guard and puts a new lock in its place, on a thread that is not the last one there.
fn replace_in_place() {
    let mut place = Lock::new(0);
    std::mem::forget(place.lock());
    place = Lock::new(0);
    let place = &place;
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| *place.lock() += 1);
        }
        *place.lock() += 1;
    });
    assert_eq!(*place.lock(), 3);
}

/// Takes three locks in any order, and lets go of everything when that is a deadlock.
fn carelessly(locks: &[Lock<u64>; 3], shelves: &[RwLock<u64>; 3], dice: &mut Dice) -> bool {
    if dice.below(2) == 0 {
        return read_and_write_carelessly(shelves, dice);
    }
    let mut guards = Vec::new();
    let mut order = [0, 1, 2];
    dice.shuffle(&mut order);
    for at in order {
        match locks[at].acquire() {
            Ok(guard) => guards.push(guard),
            Err(_) => return false,
        }
        // The others get one too, and the other program gets the processors.
        thread::sleep(Duration::from_micros(20));
    }
    guards.iter_mut().for_each(|guard| **guard += 1);
    true
}

/// Reads three locks and writes one of them, or what comes first, in any order. What was written is rolled back where that is
/// a deadlock.
fn read_and_write_carelessly(shelves: &[RwLock<u64>; 3], dice: &mut Dice) -> bool {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    let mut order = [0, 1, 2, dice.below(3)];
    dice.shuffle(&mut order);
    let mut is_done = true;
    for (nth, at) in order.into_iter().enumerate() {
        let shelf = &shelves[at];
        let asked = match dice.below(4) {
            0 if nth > 0 => shelf.acquire_write().map(|guard| writes.push(guard)),
            1 => shelf.acquire_upgradable_read().and_then(|guard| {
                let upgraded = RwLockUpgradableReadGuard::acquire_upgrade(guard);
                upgraded.map(|guard| writes.push(guard)).map_err(|error| error.into_deadlock())
            }),
            _ => shelf.acquire_read().map(|guard| reads.push(guard)),
        };
        if asked.is_err() {
            is_done = false;
            break;
        }
        // The others get one too, and the other program gets the processors.
        thread::sleep(Duration::from_micros(20));
    }
    if is_done {
        writes.iter_mut().for_each(|guard| **guard += 1);
    }
    is_done
}

#[test]
fn a_correct_program_is_never_accused_and_all_make_progress() {
    let length = Duration::from_secs(seconds());
    alone_within(length + LIMIT, || {
        let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
        let theirs = Arc::clone(&reports);
        let hook = deadlock::on_deadlock(move |report| {
            assert_is_a_proof(report);
            let is_innocent = |name: &&str| !name.starts_with("careless");
            if names(report.threads()).iter().chain(&names(report.bystanders())).any(is_innocent) {
                theirs.lock().unwrap().push(report.clone());
            }
        });
        let shared = Shared {
            accounts: std::array::from_fn(|_| Lock::new(0)),
            nodes: (0..NODES).map(|_| Arc::new(Lock::new(0))).collect(),
            journal: RLock::new(AtomicU64::new(0)),
            total: AtomicU64::new(0),
            shelves: std::array::from_fn(|_| RwLock::new([0; 2])),
            written: AtomicU64::new(0),
        };
        let locks = [(); 3].map(|()| Lock::new(0));
        let shelves = [(); 3].map(|()| RwLock::new(0));
        let stop = AtomicBool::new(false);
        let [walks, done, backed_off] = [const { AtomicU64::new(0) }; 3];

        thread::scope(|s| {
            let (shared, locks, shelves, stop) = (&shared, &locks, &shelves, &stop);
            let (walks, done, backed_off) = (&walks, &done, &backed_off);
            let correct = |me: usize| {
                spawn_named(s, &format!("correct {me}"), move || {
                    let mut dice = Dice::new(me as u64);
                    let mut rounds = 0;
                    while !stop.load(Relaxed) {
                        match dice.below(20) {
                            // Not without end: what a thread forgets stays on its list for as long as it lives.
                            0 if rounds < 500 => replace_in_place(),
                            // A thread that lives for one round: its number is not used again, its memory is.
                            1 => thread::scope(|s| s.spawn(|| in_order(shared, &mut dice)).join().unwrap()),
                            2..5 => {
                                hand_over_hand(shared, &mut dice);
                                walks.fetch_add(1, Relaxed);
                            }
                            5..10 => {
                                for _ in 0..20 {
                                    readers_and_writers(shared, &mut dice);
                                }
                            }
                            _ => in_order(shared, &mut dice),
                        }
                        rounds += 1;
                    }
                    rounds
                })
            };
            let careless = |me: usize| {
                spawn_named(s, &format!("careless {me}"), move || {
                    let mut dice = Dice::new(me as u64 + 100);
                    let mut rounds = 0;
                    while !stop.load(Relaxed) {
                        let outcome = if carelessly(locks, shelves, &mut dice) { done } else { backed_off };
                        outcome.fetch_add(1, Relaxed);
                        rounds += 1;
                    }
                    rounds
                })
            };
            let workers: Vec<_> = (0..6).map(correct).chain((0..4).map(careless)).collect();

            // Meanwhile the grace changes, pictures are taken, and hooks for long waits come and go.
            let (end, mut dice) = (Instant::now() + length, Dice::new(7));
            while Instant::now() < end {
                deadlock::set_grace(Duration::from_micros([0, 20, 100, 500][dice.below(4)]));
                let hook = deadlock::warn_after(Duration::from_micros(500), |wait| drop(wait.to_string()));
                let _ = deadlock::snapshot();
                thread::sleep(Duration::from_millis(5));
                drop(hook);
            }
            stop.store(true, Relaxed);
            for worker in workers {
                assert!(worker.join().unwrap() > 0, "every thread gets on");
            }
        });
        drop(hook);

        let reports = reports.lock().unwrap();
        assert!(reports.is_empty(), "{} reports about the correct program, the first:\n{}", reports.len(), reports[0]);
        let sum: u64 = shared.accounts.into_iter().map(Lock::into_inner).sum();
        assert_eq!(sum, shared.total.into_inner(), "no update is lost");
        assert_eq!(*shared.nodes[0].lock(), walks.into_inner());
        let (done, backed_off) = (done.into_inner(), backed_off.into_inner());
        let [first, second, third] = locks.map(Lock::into_inner);
        assert!(first == second && second == third && first <= done, "each takes all of them, or none");
        let shelved: u64 = shared.shelves.into_iter().map(|shelf| look(&shelf.into_inner())).sum();
        assert_eq!(shelved, shared.written.into_inner(), "no write is lost");
        assert!(done > 0 && backed_off > 0, "{done} done, {backed_off} backed off");
        assert!(!deadlock::snapshot().to_string().contains(" waits for "), "nobody is left behind");
        println!("{sum} updates, {shelved} writes, {done} careless ones, {backed_off} deadlocks");
    });
}
