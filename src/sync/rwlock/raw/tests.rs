//! When readers show themselves, and when they are counted.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use super::*;
use crate::deadlock::graph::visible::quiet_reads;
use crate::deadlock::resource::{HoldMode, ResourceType};

fn reading() -> Request {
    Request::new(|| ResourceType { mode: HoldMode::Read, ..ResourceType::exclusive::<()>("RwLock") })
}

fn upgradably_reading() -> Request {
    Request::new(|| ResourceType { mode: HoldMode::UpgradableRead, ..ResourceType::exclusive::<()>("RwLock") })
}

fn writing() -> Request {
    Request::new(|| ResourceType { mode: HoldMode::Write, ..ResourceType::exclusive::<()>("RwLock") })
}

/// Reads, and returns what the state is meanwhile.
fn while_reading(lock: &RawRwLock) -> State {
    let guard = lock.read(reading(), false);
    let state = lock.load();
    // SAFETY:
    // - the guard is of this lock.
    unsafe { lock.stop_reading(guard) };
    state
}

fn write(lock: &RawRwLock) {
    let guard = lock.write(writing());
    // SAFETY:
    // - the guard is of this lock.
    unsafe { lock.stop_writing(guard) };
}

/// Reads until the lock is biased. Returns how many reads that took.
fn bias(lock: &RawRwLock) -> u64 {
    // Other tests of the process may start threads meanwhile.
    (1..=4 * quiet_reads() + 100_000).find(|_| while_reading(lock).is_biased()).expect("it is not written")
}

fn is_shown(lock: &RawRwLock) -> bool {
    let state = while_reading(lock);
    state.is_biased() && state.readers() == 0
}

#[test]
fn readers_show_themselves_after_many_reads_and_are_counted_after_a_write() {
    let lock = RawRwLock::new(None);
    for _ in 0..3 {
        let least = quiet_reads();
        assert_eq!(while_reading(&lock).readers(), 1);
        assert!(bias(&lock) + 1 >= least, "the first of them are counted");
        assert!(is_shown(&lock));
        write(&lock);
        assert!(!lock.load().is_biased() && !is_shown(&lock));
    }
}

#[test]
fn as_many_reads_of_a_context_show_themselves_as_there_are_entries() {
    let lock = RawRwLock::new(None);
    bias(&lock);
    let mut guards: Vec<_> = (0..20).map(|_| lock.read(reading(), false)).collect();
    assert_eq!(lock.load().readers(), 20 - 8);
    // In any order: what was shown ends there, and what was counted here.
    for step in (0..guards.len()).rev() {
        assert!(lock.is_locked());
        let guard = guards.swap_remove(step * 7 % guards.len());
        // SAFETY:
        // - the guard is of this lock.
        unsafe { lock.stop_reading(guard) };
    }
    assert!(!lock.is_locked() && lock.load().readers() == 0);
    write(&lock);
}

#[test]
fn a_writer_that_gives_up_leaves_the_readers_where_they_are() {
    let lock = RawRwLock::new(None);
    bias(&lock);
    let guard = lock.read(reading(), false);
    assert!(lock.try_write(writing()).is_none());
    let soon = || Limit::after(Duration::from_millis(5));
    assert!(lock.write_within(writing(), soon).is_none());
    assert!(lock.acquire_write(writing()).is_err());
    // The reader is still shown, and a writer still looks for it.
    assert!(lock.load().is_biased() && lock.load().readers() == 0);
    assert!(lock.is_locked() && lock.try_write(writing()).is_none());
    assert!(is_shown(&lock), "and so is the next");
    // SAFETY:
    // - the guard is of this lock.
    unsafe { lock.stop_reading(guard) };
    write(&lock);
    assert!(!lock.load().is_biased());
}

#[test]
fn a_recursive_reader_is_counted_and_an_upgrade_ends_the_bias() {
    let lock = RawRwLock::new(None);
    bias(&lock);
    let recursive = lock.read(reading(), true);
    assert_eq!(lock.load().readers(), 1);
    let upgradable = lock.upgradable_read(upgradably_reading());
    assert!(is_shown(&lock) || lock.load().readers() == 1, "others read on");
    // SAFETY:
    // - the guards are of this lock.
    let upgradable = unsafe {
        lock.stop_reading(recursive);
        lock.try_upgrade(upgradable, writing())
    };
    let Ok(writing) = upgradable else { panic!("nobody else reads") };
    assert!(!lock.load().is_biased());
    // SAFETY:
    // - the guard is of this lock.
    unsafe { lock.stop_writing(writing) };
    assert!(!is_shown(&lock));
}

#[test]
fn readers_that_read_all_the_time_let_a_writer_in_and_show_themselves_again_afterwards() {
    const READERS: usize = 8;
    let lock = RawRwLock::new(None);
    bias(&lock);
    let (is_over, start) = (AtomicBool::new(false), Barrier::new(READERS + 1));
    thread::scope(|s| {
        for _ in 0..READERS {
            s.spawn(|| {
                start.wait();
                while !is_over.load(Relaxed) {
                    while_reading(&lock);
                }
            });
        }
        start.wait();
        for _ in 0..20 {
            write(&lock);
            // Nobody else writes: sooner or later they are enough.
            while !lock.load().is_biased() {
                thread::yield_now();
            }
        }
        is_over.store(true, Relaxed);
    });
    assert!(is_shown(&lock) && !lock.is_locked());
}

#[test]
fn more_readers_than_are_let_in_are_refused_in_whichever_way_they_come() {
    let refused = |ask: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask)).unwrap_err();
    let lock = RawRwLock::new(None);
    // As if there were all but one.
    let others = ((1 << 23) - 1) << 8;
    lock.state.fetch_add(others, Relaxed);
    let last = lock.read(reading(), false);
    let full = lock.load();
    assert!(full.is_full());
    refused(&|| _ = lock.read(reading(), false));
    refused(&|| _ = lock.read(reading(), true));
    refused(&|| _ = lock.try_read::<true>(reading(), false));
    refused(&|| {
        let guard = lock.upgradable_read(upgradably_reading());
        // SAFETY:
        // - the guard is of this lock.
        _ = unsafe { lock.downgrade_upgradable(guard, reading()) };
    });
    assert_eq!(lock.load(), full, "and nothing is left of them");
    assert!(lock.try_write(writing()).is_none());
    lock.state.fetch_sub(others, Relaxed);
    // SAFETY:
    // - the guard is of this lock.
    unsafe { lock.stop_reading(last) };
    write(&lock);
}
