//! What large arguments take: once in the worker while their function runs, and once where they came from.
//!
//! The allocator counts in workers too: they are this binary.

#![cfg(target_os = "linux")]

use std::thread;

use super::counting::live_bytes;
use crate::support::workers::pool_of;
use crate::support::{LIMIT, alone, wait_until};

const LARGE: usize = 8 << 20;
/// What everything else may take.
const SLACK: usize = 2 << 20;

fn live() -> usize {
    live_bytes().cast_unsigned()
}

/// A task: how much its worker has in memory while it runs.
fn live_beside(text: String) -> usize {
    let live = live();
    drop(text);
    live
}

/// A task: the same, of a chunk.
fn live_beside_item(text: String) -> usize {
    live_beside(text)
}

fn large() -> String {
    "x".repeat(LARGE)
}

#[test]
fn a_large_argument_is_in_its_worker_once_while_the_function_runs() {
    alone(|| {
        let pool = pool_of(1);
        for _ in 0..2 {
            let live = pool.submit(live_beside, (large(),)).result().unwrap();
            assert!((LARGE..LARGE + SLACK).contains(&live), "{live} bytes for {LARGE}");
        }
        let mut map = pool.map(live_beside_item, [large()]);
        let live = map.next().unwrap().unwrap();
        assert!((LARGE..LARGE + SLACK).contains(&live), "{live} bytes for {LARGE}");
    });
}

#[test]
fn a_large_argument_is_kept_once_where_it_came_from_for_as_long_as_its_task_runs() {
    alone(|| {
        let pool = pool_of(1);
        let before = live();
        // A sequence, whose length is not known when its encoding begins.
        let bytes = (0..LARGE + LARGE / 4).map(|at| at as u8).collect::<Vec<u8>>();
        let most = bytes.len() + SLACK;
        let task = pool.submit(|_: Vec<u8>| thread::sleep(LIMIT), (bytes,));
        wait_until(|| task.running());
        let live = live() - before;
        let _ = pool.kill();
        assert!((LARGE..most).contains(&live), "{live} bytes for {LARGE}");
    });
}
