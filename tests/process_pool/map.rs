//! A function applied to many items by worker processes: in order, lazily, and no further ahead than asked for.
//!
//! What pools of threads and of processes have in common is in `support/contract.rs`.

#![cfg(target_os = "linux")]

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use bowline::TaskError;
use bowline::task::{Rejected, WorkerExit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::folder::{Folder, begin, open, pass};
use crate::support::workers::{Held, echo, lost, pool_of};
use crate::support::{LIMIT, wait_until, within};

fn square(n: u64) -> u64 {
    n.pow(2)
}

fn power((base, power): (u64, u32)) -> u64 {
    base.pow(power)
}

fn die_at_four(n: u64) -> u64 {
    if n == 4 { std::process::abort() } else { n }
}

#[test]
fn a_crash_costs_the_items_of_one_chunk() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for (chunk, costs) in [(1, 4..5), (3, 3..6), (12, 0..12)] {
            let results: Vec<_> = pool.map(die_at_four, 0..12).chunk_size(chunk).collect();
            assert_eq!(results.len(), 12);
            let mut pids = Vec::new();
            for (n, result) in (0..).zip(results) {
                if costs.contains(&n) {
                    let lost = lost(result);
                    assert!(matches!(lost.exit(), WorkerExit::Signal { number: libc::SIGABRT, .. }), "{lost}");
                    pids.push(lost.pid());
                } else {
                    assert_eq!(result.unwrap(), n);
                }
            }
            pids.dedup();
            assert_eq!(pids.len(), 1, "one worker was lost");
        }
    });
}

fn fail_at_one(n: u64) -> Result<u64, String> {
    if n == 1 { Err("the task was not done in time".to_owned()) } else { Ok(n) }
}

#[test]
fn an_error_of_a_call_is_not_the_time_out_of_the_map() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for with_timeout in [false, true] {
            let map = pool.map(fail_at_one, 0..3);
            let mut map = if with_timeout { map.timeout(LIMIT) } else { map };
            assert_eq!(map.next().unwrap().unwrap(), Ok(0));
            assert!(map.next().unwrap().unwrap().is_err());
            assert_eq!(map.next().unwrap().unwrap(), Ok(2), "the map has not ended");
            assert!(map.next().is_none());
        }
    });
}

/// Notes the item; the one with the number 2 waits.
fn wait_at_two((folder, n): (String, u64)) -> u64 {
    if n == 2 { pass(folder, n, open()) } else { begin(folder, n) }
}

/// Items for [`wait_at_two`].
fn items(folder: &Folder, n: u64) -> impl Iterator<Item = (String, u64)> + use<> {
    let path = folder.path();
    (0..n).map(move |n| (path.clone(), n))
}

#[test]
fn a_map_that_times_out_cancels_the_rest() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let mut map = pool.map(wait_at_two, items(&folder, 6)).start();
        folder.until_begun(2);
        // The third may have begun before this process has read the first two results.
        assert_eq!([map.next().unwrap().unwrap(), map.next().unwrap().unwrap()], [0, 1]);
        map = map.timeout(Duration::ZERO);
        assert!(matches!(map.next(), Some(Err(TaskError::Timeout))));
        assert!(map.next().is_none() && map.next().is_none(), "exhausted for good");
        assert_eq!(map.size_hint(), (0, Some(0)));
        assert_eq!(pool.queued(), 0, "the one that was sent ahead, too");
        folder.put("open");
        drop(pool);
        assert_eq!(folder.begun(), [0, 1, 2], "no other call began");
    });
}

fn note_item((folder, n): (String, u64)) -> u64 {
    begin(folder, n)
}

#[test]
fn a_dropped_map_cancels_what_nobody_has_begun() {
    within(LIMIT, || {
        for chunk in [1, 4] {
            let pool = pool_of(1);
            let folder = Folder::new();
            let mut map = pool.map(wait_at_two, items(&folder, 16)).chunk_size(chunk).start();
            folder.until_begun(2);
            if chunk == 1 {
                assert_eq!(map.next().unwrap().unwrap(), 0);
            }
            drop(map);
            // One that has begun counts as queued until the reply to the one before is there.
            wait_until(|| pool.queued() == 0);
            folder.put("open");
            drop(pool);
            let begun: &[u64] = if chunk == 1 { &[0, 1, 2] } else { &[0, 1, 2, 3] };
            assert_eq!(folder.begun(), begun, "and the rest of the chunk that was begun");
        }
    });
}

#[test]
fn a_map_whose_results_nobody_wants_does_not_hold_a_shutdown_up() {
    within(LIMIT, || {
        for round in 0..10 {
            let pool = pool_of(2);
            let folder = Folder::new();
            let map = pool.map(note_item, items(&folder, 40)).buffer_size(40).start();
            if round % 2 == 0 {
                drop(map);
                assert!(pool.shutdown().is_complete());
            } else {
                assert!(pool.shutdown().is_complete());
                assert_eq!(folder.begun().len(), 40, "a map that was started runs");
                drop(map);
            }
        }
    });
}

#[test]
fn a_map_over_an_input_without_end_is_lazy() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for chunk in [1, 3] {
            let mut map = pool.map(square, 0..).chunk_size(chunk).buffer_size(6);
            for n in 0..20 {
                assert_eq!(map.next().unwrap().unwrap(), n * n);
            }
            let mut zipped = pool.map(power, (2..).zip([2, 3].into_iter().cycle())).chunk_size(chunk);
            assert_eq!([zipped.next().unwrap().unwrap(), zipped.next().unwrap().unwrap()], [4, 27]);
        }
    });
}

#[test]
fn no_more_is_taken_from_the_input_than_the_buffer_holds() {
    within(LIMIT, || {
        let pool = pool_of(2);
        for buffer in [1, 2, 5] {
            let taken = Cell::new(0);
            let input = || {
                std::iter::repeat_with(|| {
                    taken.set(taken.get() + 1);
                    7
                })
            };
            let mut map = pool.map(echo::<u64>, input()).buffer_size(buffer);
            assert_eq!(taken.get(), 0, "nothing before the first result is asked for");
            for yielded in 0..10 {
                map.next().unwrap().unwrap();
                assert!((yielded + 1..=yielded + buffer).contains(&taken.get()));
            }
            drop(map);
            let before = taken.get();
            drop(pool.map(echo::<u64>, input()).chunk_size(3).buffer_size(7).start());
            assert_eq!(taken.get() - before, 6, "whole chunks");
        }
    });
}

/// An item that does not want to be encoded if its number can be divided by 5, nor decoded if by 7.
struct Stubborn(u64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(5) { Err(serde::ser::Error::custom("not me")) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            n if n % 7 == 0 => Err(serde::de::Error::custom("not here")),
            n => Ok(Self(n)),
        }
    }
}

fn soften(item: Stubborn) -> u64 {
    item.0
}

fn harden(n: u64) -> Stubborn {
    Stubborn(n)
}

#[test]
fn an_item_that_cannot_be_encoded_or_decoded_costs_its_chunk() {
    within(LIMIT, || {
        let pool = pool_of(2);
        // In chunks of three: 1 2 3, 4 5 6, 7 8 9, 11 12 13.
        let numbers = || (1..=9).chain(11..=13);
        let check = |results: Vec<Result<u64, TaskError>>| {
            assert_eq!(results.len(), 12);
            for (n, result) in numbers().zip(results) {
                match (n, result) {
                    (4..=6, Err(TaskError::Encode(_))) | (7..=9, Err(TaskError::Decode(_))) => {}
                    (1..=3 | 11..=13, Ok(value)) => assert_eq!(value, n),
                    (n, other) => panic!("{n}: {other:?}"),
                }
            }
        };
        check(pool.map(soften, numbers().map(Stubborn)).chunk_size(3).collect());
        // The results, on their way back.
        let hardened = pool.map(harden, numbers()).chunk_size(3);
        check(hardened.map(|result| result.map(|item| item.0)).collect());
        assert_eq!(pool.submit(echo::<u64>, (1,)).result().unwrap(), 1);
    });
}

/// Counts its copies in this process.
#[derive(Serialize, Deserialize)]
struct Counted(u64, #[serde(skip)] Option<Arc<AtomicU64>>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(dropped) = &self.1 {
            dropped.fetch_add(1, SeqCst);
        }
    }
}

fn number(item: Counted) -> u64 {
    item.0
}

#[test]
fn an_item_is_dropped_as_soon_as_it_is_encoded() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let held = Held::keep(&pool, 1);
        for chunk in [1, 3] {
            let dropped = Arc::new(AtomicU64::new(0));
            let items = (0..6).map(|n| Counted(n, Some(Arc::clone(&dropped))));
            let map = pool.map(number, items).chunk_size(chunk).buffer_size(6).start();
            assert_eq!(dropped.load(SeqCst), 6, "though no call has begun");
            drop(map);
        }
        held.release();
    });
}

#[test]
fn a_map_goes_on_after_its_pool_was_shut_down_or_killed_and_says_so_of_each_item() {
    within(LIMIT, || {
        for kills in [false, true] {
            let pool = pool_of(1);
            let mut map = pool.map(echo::<u64>, 0..5).buffer_size(2).start();
            wait_until(|| pool.completed() == 2);
            let report = if kills { pool.kill() } else { pool.shutdown() };
            assert!(report.is_complete());
            assert_eq!([map.next().unwrap().unwrap(), map.next().unwrap().unwrap()], [0, 1]);
            let rest: Vec<_> = map.collect();
            assert_eq!(rest.len(), 3);
            for result in rest {
                let Err(TaskError::Rejected(reason)) = result else { panic!("{result:?}") };
                assert_eq!(matches!(reason, Rejected::Killed), kills);
                assert_eq!(matches!(reason, Rejected::Shutdown), !kills);
            }
        }
    });
}

#[test]
fn a_map_whose_pool_is_killed_in_the_middle_ends() {
    within(LIMIT, || {
        let pool = pool_of(1);
        let folder = Folder::new();
        let mut map = pool.map(wait_at_two, items(&folder, 6)).start();
        folder.until_begun(2);
        assert!(pool.kill().is_complete());
        assert_eq!([map.next().unwrap().unwrap(), map.next().unwrap().unwrap()], [0, 1]);
        assert_eq!(lost(map.next().unwrap()).exit(), &WorkerExit::Signal { number: 9, core_dumped: false });
        let rest: Vec<_> = map.collect();
        assert_eq!(rest.len(), 3);
        assert!(rest.iter().all(|result| matches!(result, Err(TaskError::Rejected(Rejected::Killed)))), "{rest:?}");
    });
}

#[test]
fn several_maps_share_the_workers_of_one_pool() {
    within(LIMIT, || {
        let pool = pool_of(2);
        let mut maps: Vec<_> =
            (0..4).map(|m| pool.map(echo::<u64>, m * 100..m * 100 + 50).chunk_size(7).start()).collect();
        for n in 0..50 {
            for (m, map) in (0..).zip(&mut maps) {
                assert_eq!(map.next().unwrap().unwrap(), m * 100 + n);
            }
        }
        assert!(maps.iter_mut().all(|map| map.next().is_none()));
    });
}
