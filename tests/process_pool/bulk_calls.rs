//! Long arguments and results: from the second on they go through memory, and not through the stream.
//!
//! The bytes of the stream are counted by this binary, in the test `rogue` of `blob_descriptors`.

#![cfg(target_os = "linux")]

use bowline::{Future, ProcessPoolExecutor};
use serde_bytes::ByteBuf;

use crate::support::folder::{Folder, pass};
use crate::support::processes::{kill, open_descriptors, until_gone};
use crate::support::workers::{echo, idle_pool, pid, quick_pool};
use crate::support::{LIMIT, alone, wait_until, within};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Around the lengths at which the way changes: first one that brings up the region, and what fits into it or does not.
const LENGTHS: [usize; 13] = [
    3 * MIB,
    3 * MIB,
    16 * KIB,
    32 * KIB - 20,
    32 * KIB,
    100 * KIB,
    32 * MIB - 100,
    32 * MIB + 1,
    40 * MIB,
    77 * MIB + 5,
    3 * MIB,
    10,
    5 * MIB,
];

/// Bytes of which none is like its neighbours, and which no other seed makes.
fn pattern(len: usize, seed: u8) -> ByteBuf {
    // A prime number of bytes, over and over: parts of another length that are mixed up are seen.
    let period: Vec<_> = (0..65521.min(len)).map(|at| (at * 31 + at / 251) as u8 ^ seed).collect();
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&period[..period.len().min(len - bytes.len())]);
    }
    ByteBuf::from(bytes)
}

/// A task: whether these are the bytes. Returns the worker.
fn check(bytes: ByteBuf, seed: u8) -> u32 {
    assert!(bytes == pattern(bytes.len(), seed), "the bytes are others");
    pid()
}

/// Submits a bulk call.
fn submit(pool: &ProcessPoolExecutor, len: usize, seed: u8) -> Future<u32> {
    pool.submit(check, (pattern(len, seed), seed))
}

#[test]
fn long_arguments_arrive_as_they_were_whatever_their_length_and_order() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let worker = pool.submit(pid, ()).result().unwrap();
        for len in LENGTHS {
            assert_eq!(submit(&pool, len, len as u8).result().unwrap(), worker, "{len}");
        }
        // And many at once: some lie behind others.
        let tasks: Vec<_> = (0..30_u8).map(|n| submit(&pool, 3 * MIB - 50 * usize::from(n), n)).collect();
        tasks.into_iter().for_each(|task| assert_eq!(task.result().unwrap(), worker));
        // Of all lengths, those that go in parts among them.
        let tasks: Vec<_> =
            (0..30).map(|n| submit(&pool, [50, 300, 9 * KIB, 34 * KIB][n % 4] * KIB, n as u8)).collect();
        tasks.into_iter().for_each(|task| assert_eq!(task.result().unwrap(), worker));
    });
}

#[test]
fn long_results_arrive_as_they_were_whatever_their_length_and_order() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let submit = |len: usize, seed: u8| pool.submit(pattern, (len, seed));
        for len in LENGTHS {
            assert!(submit(len, len as u8).result().unwrap() == pattern(len, len as u8), "{len}");
        }
        // Many at once: the worker goes on while a result is taken.
        let tasks: Vec<_> = (0..30_u8).map(|n| submit(3 * MIB - 50 * usize::from(n), n)).collect();
        for (n, task) in (0..30).zip(tasks) {
            assert!(task.result().unwrap() == pattern(3 * MIB - 50 * usize::from(n), n), "{n}");
        }
        // Both ways.
        for seed in 0..4 {
            let sent = pattern(20 * MIB * usize::from(seed), seed);
            assert!(pool.submit(echo::<ByteBuf>, (sent.clone(),)).result().unwrap() == sent);
        }
    });
}

#[test]
fn a_bulk_call_that_is_taken_back_gives_the_memory_to_the_next() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let folder = Folder::new();
        submit(&pool, 3 * MIB, 0).result().unwrap();
        for round in 0..10 {
            (0..20).for_each(|_| assert!(pool.submit(pid, ()).result().is_ok()));
            let gate = format!("open {round}");
            let held = pool.submit(pass, (folder.path(), round, gate.clone()));
            let ahead = submit(&pool, 3 * MIB, 1);
            let behind = submit(&pool, 4 * MIB, 2);
            assert!(ahead.cancel());
            folder.put(&gate);
            held.result().unwrap();
            behind.result().unwrap();
            submit(&pool, 3 * MIB, 3).result().unwrap();
        }
    });
}

#[test]
fn a_call_that_is_taken_back_or_loses_its_worker_while_it_goes_in_parts_leaves_the_way_free() {
    within(LIMIT, || {
        let pool = quick_pool(1);
        let folder = Folder::new();
        submit(&pool, 3 * MIB, 0).result().unwrap();
        for round in 0..5 {
            (0..20).for_each(|_| assert!(pool.submit(pid, ()).result().is_ok()));
            let gate = format!("open {round}");
            let held = pool.submit(pass, (folder.path(), round, gate.clone()));
            let ahead = submit(&pool, 50 * MIB, 1);
            let behind = submit(&pool, 40 * MIB, 2);
            assert!(ahead.cancel());
            folder.put(&gate);
            held.result().unwrap();
            behind.result().unwrap();
            // The worker may be anywhere in it, and another one begins again if it had not begun.
            let parts = submit(&pool, 60 * MIB, 3);
            kill(pool.worker_pids()[0]);
            let next = submit(&pool, 35 * MIB, 4);
            drop(parts.result());
            drop(next.result());
            submit(&pool, 3 * MIB, 0).result().unwrap();
        }
    });
}

#[test]
fn workers_that_die_with_bulk_calls_leave_nothing_and_others_run_what_they_had() {
    alone(|| {
        let before = open_descriptors();
        {
            let pool = idle_pool(2);
            for seed in 0..5_u8 {
                submit(&pool, 3 * MIB, seed).result().unwrap();
                assert_eq!(pool.submit(pattern, (3 * MIB, seed)).result().unwrap().len(), 3 * MIB);
                let tasks: Vec<_> = (0..6).map(|n| submit(&pool, 3 * MIB + n, seed)).collect();
                drop(pool.submit(pattern, (3 * MIB, seed)));
                pool.worker_pids().into_iter().for_each(|worker| {
                    kill(worker);
                    until_gone(worker);
                });
                let ends: Vec<_> = tasks.into_iter().map(Future::result).collect();
                assert!(ends.iter().filter(|end| end.is_err()).count() <= 4, "{ends:?}");
            }
        }
        wait_until(|| open_descriptors() == before);
    });
}
