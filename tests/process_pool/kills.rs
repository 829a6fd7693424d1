//! Workers are killed, stopped and continued at random moments: what the pool says of each task is what happened to it.
//!
//! The seeds are printed; with the same seed the same is done, and it meets other moments.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use bowline::task::Rejected;
use bowline::{Future, ProcessPoolExecutor, TaskError};

use crate::support::folder::{Folder, begin};
use crate::support::processes::{send_if_there, until_gone};
use crate::support::{Dice, LIMIT, wait_until, within};

/// How many workers one run may lose: one that dies young is replaced later each time.
const MOST_KILLS: usize = 12;

/// What a task is like.
struct Plan {
    number: u64,
    args: usize,
    result: usize,
    micros: u64,
}

/// Notes that it has begun, works for so long, and returns so much.
fn work(folder: String, number: u64, args: String, result: usize, micros: u64) -> (u64, usize, String) {
    begin(folder, number);
    thread::sleep(Duration::from_micros(micros));
    (number, args.len(), "r".repeat(result))
}

impl Plan {
    fn random(number: u64, dice: &mut Dice) -> Self {
        // Mostly little, and now and then more than a socket takes.
        let mut length = || if dice.below(8) == 0 { dice.below(600_000) } else { dice.below(100) };
        let (args, result) = (length(), length());
        Self { number, args, result, micros: [0, 0, 100, 2000][dice.below(4)] }
    }

    fn submit(&self, pool: &ProcessPoolExecutor, folder: &Folder) -> Future<(u64, usize, String)> {
        pool.submit(work, (folder.path(), self.number, "a".repeat(self.args), self.result, self.micros))
    }
}

/// How a run ends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Shutdown,
    Kill,
}

/// Sends random signals to random workers until it is told to end. Returns who was killed.
fn torment(pool: &ProcessPoolExecutor, mut dice: Dice, is_over: &AtomicBool) -> Vec<u32> {
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    while !is_over.load(SeqCst) {
        // The moment is random, too.
        thread::sleep(Duration::from_micros(dice.below(4000) as u64));
        let pids = pool.worker_pids();
        if pids.is_empty() {
            continue;
        }
        let pid = pids[dice.below(pids.len())];
        match dice.below(4) {
            0 if send_if_there(pid, libc::SIGSTOP) => stopped.push(pid),
            1 if killed.len() < MOST_KILLS && send_if_there(pid, libc::SIGKILL) => killed.push(pid),
            _ => {}
        }
        if dice.below(2) == 0
            && let Some(pid) = stopped.pop()
            && pool.worker_pids().contains(&pid)
        {
            send_if_there(pid, libc::SIGCONT);
        }
    }
    // Those that are left have to hear the end.
    for pid in stopped {
        if pool.worker_pids().contains(&pid) {
            send_if_there(pid, libc::SIGCONT);
        }
    }
    killed
}

fn run(seed: u64, workers: usize, retries: u32, end: End) {
    println!("seed {seed}: {workers} workers, {retries} retries, {end:?}");
    let (folder, mut dice) = (Folder::new(), Dice::new(seed));
    let pool = ProcessPoolExecutor::builder().max_workers(workers).retries(retries).build().unwrap();
    let is_over = AtomicBool::new(false);
    let plans: Vec<_> = (0..300).map(|number| Plan::random(number, &mut dice)).collect();
    let (tasks, killed) = thread::scope(|s| {
        let tormentor = s.spawn(|| torment(&pool, Dice::new(seed + 1000), &is_over));
        let tasks: Vec<_> = plans
            .iter()
            .map(|plan| {
                let task = plan.submit(&pool, &folder);
                match dice.below(20) {
                    0 => _ = task.cancel(),
                    1 => _ = task.wait(),
                    _ => {}
                }
                task
            })
            .collect();
        match end {
            End::Shutdown => tasks.iter().for_each(|task| task.wait().unwrap()),
            End::Kill => {
                wait_until(|| tasks.iter().filter(|task| task.done()).count() >= 150);
                assert!(pool.kill().is_complete());
            }
        }
        is_over.store(true, SeqCst);
        (tasks, tormentor.join().unwrap())
    });
    assert!(pool.shutdown().is_complete() && pool.worker_count() == 0);

    let mut begun = HashMap::<u64, usize>::new();
    for line in folder.lines("begun") {
        *begun.entry(line.split(' ').next().unwrap().parse().unwrap()).or_default() += 1;
    }
    let mut counts = [0; 4];
    for (task, plan) in tasks.into_iter().zip(&plans) {
        let times = begun.get(&plan.number).copied().unwrap_or(0);
        let most = 1 + retries as usize;
        let (kind, is_right) = match task.result() {
            Ok((number, args, result)) => {
                assert_eq!((number, args, result.len()), (plan.number, plan.args, plan.result));
                (0, (1..=most).contains(&times))
            }
            Err(TaskError::WorkerLost(lost)) => {
                let is_ours = killed.contains(&lost.pid()) || end == End::Kill;
                assert!(is_ours, "seed {seed}: nobody has killed it: {lost}");
                (1, times <= most)
            }
            Err(TaskError::Cancelled) => (2, times == 0),
            // It may have been begun by a worker that was killed before.
            Err(TaskError::Rejected(Rejected::Killed)) if end == End::Kill => (3, times < most),
            Err(error) => panic!("seed {seed}, task {}: {error}", plan.number),
        };
        assert!(is_right, "seed {seed}: task {} began {times} times, outcome {kind}", plan.number);
        counts[kind] += 1;
    }
    println!("seed {seed}: {} killed; done, lost, cancelled, killed with the pool: {counts:?}", killed.len());
    assert!(counts[0] > 0 && !killed.is_empty(), "nothing was tried");
    killed.into_iter().for_each(until_gone);
}

#[test]
fn tasks_begin_once_or_fail_though_workers_are_killed_at_random() {
    within(2 * LIMIT, || {
        for (seed, workers) in [(1, 1), (2, 2), (3, 3), (4, 5)] {
            run(seed, workers, 0, End::Shutdown);
        }
    });
}

#[test]
fn with_retries_tasks_begin_as_often_as_allowed_though_workers_are_killed_at_random() {
    within(2 * LIMIT, || {
        for (seed, workers) in [(11, 1), (12, 3)] {
            run(seed, workers, 2, End::Shutdown);
        }
    });
}

#[test]
fn a_pool_that_is_killed_while_its_workers_are_killed_leaves_no_task_open() {
    within(2 * LIMIT, || {
        for (seed, workers) in [(21, 1), (22, 2), (23, 4)] {
            run(seed, workers, 0, End::Kill);
        }
    });
}
