//! The judge and the read-write lock: every deadlock found once, and nothing else.
//!
//! A wait for all readers is stuck by one of them, so a cycle needs a reader, a writer, and what the writer holds; a third
//! thread is a reader that is not part of it.

use std::sync::Arc;

use loom::thread;

use super::rwlock::{Shelf, biased, counted, kept, read, write};
use super::{Watched, explore};
use crate::deadlock::Kind;
use crate::primitive::{events, let_pauses_end};
use crate::sync::RwLockUpgradableReadGuard;

/// Reads, and asks to read again. Returns whether that was a deadlock.
fn read_twice(lock: &Shelf) -> bool {
    let _first = read(lock);
    match lock.acquire_read() {
        Ok(second) => {
            drop(kept(second));
            false
        }
        Err(deadlock) => {
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
            assert_eq!(deadlock.report().threads().len(), 2);
            true
        }
    }
}

/// Writes. Returns whether that was a deadlock.
fn try_to_write(lock: &Shelf) -> bool {
    match lock.acquire_write() {
        Ok(guard) => {
            kept(guard).add_one();
            false
        }
        Err(deadlock) => {
            assert_eq!(deadlock.report().kind(), Kind::Cycle);
            true
        }
    }
}

/// One thread reads twice, another writes in between. Returns whether that was a deadlock.
fn a_writer_between_two_reads(lock: Shelf) -> bool {
    let writer = thread::spawn({
        let lock = Arc::clone(&lock);
        move || try_to_write(&lock)
    });
    let reader_failed = read_twice(&lock);
    let_pauses_end();
    let writer_failed = writer.join().unwrap();
    assert!(!(reader_failed && writer_failed), "one deadlock, one victim");
    drop(write(&lock));
    reader_failed || writer_failed
}

#[test]
fn a_second_read_behind_a_writer_is_a_cycle_through_that_writer() {
    explore(3, || a_writer_between_two_reads(counted()));
}

#[test]
fn a_second_read_behind_a_writer_is_a_cycle_if_the_first_shows_itself() {
    explore(3, || a_writer_between_two_reads(biased()));
}

#[test]
fn a_recursive_read_is_on_no_cycle_with_the_writer_that_it_overtakes() {
    explore(3, || {
        let lock = counted();
        let writer = thread::spawn({
            let lock = Arc::clone(&lock);
            move || assert!(!try_to_write(&lock), "a false alarm")
        });
        let first = read(&lock);
        let again = kept(lock.read_recursive());
        drop(first);
        drop(again);
        writer.join().unwrap();
        events().unparks > 0
    });
}

/// One reader of a lock asks for a mutex, whose owner wants to write the lock; another reader leaves it. Returns whether
/// that was a deadlock.
fn one_of_two_readers_is_stuck(lock: &Shelf) -> bool {
    let mutex = Watched::new();
    let bystander = thread::spawn({
        let lock = Arc::clone(lock);
        move || {
            drop(read(&lock));
            let_pauses_end();
        }
    });
    let reader = thread::spawn({
        let (lock, mutex) = (Arc::clone(lock), Arc::clone(&mutex));
        move || {
            let first = read(&lock);
            let failed = mutex.acquire().is_err();
            drop(first);
            // The writer may have begun to wait for this end at the moment at which it came, with the bystander behind it.
            let_pauses_end();
            failed
        }
    });
    let guard = mutex.lock();
    let writer_failed = try_to_write(lock);
    drop(guard);
    let reader_failed = reader.join().unwrap();
    bystander.join().unwrap();
    assert!(!(reader_failed && writer_failed), "one deadlock, one victim");
    drop(write(lock));
    reader_failed || writer_failed
}

#[test]
fn a_writer_is_stuck_as_soon_as_one_of_its_readers_is() {
    explore(2, || one_of_two_readers_is_stuck(&counted()));
}

#[test]
fn full_a_writer_is_stuck_as_soon_as_one_of_its_shown_readers_is() {
    explore(2, || one_of_two_readers_is_stuck(&biased()));
}

#[test]
fn a_read_that_was_granted_and_not_yet_withdrawn_is_on_no_cycle() {
    explore(2, || {
        let (lock, mutex) = (counted(), Watched::new());
        let held = write(&lock);
        let other = thread::spawn({
            let (lock, mutex) = (Arc::clone(&lock), Arc::clone(&mutex));
            move || {
                // Waits to read, is granted it, and stops while the others look.
                drop(read(&lock));
                drop(mutex.lock());
            }
        });
        let third = thread::spawn({
            let (lock, mutex) = (Arc::clone(&lock), Arc::clone(&mutex));
            move || {
                let _mutex = mutex.lock();
                assert!(!try_to_write(&lock), "a false alarm");
            }
        });
        drop(held);
        other.join().unwrap();
        third.join().unwrap();
        events().unparks > 1
    });
}

#[test]
fn writing_what_one_reads_is_reported_at_once() {
    explore(1, || {
        for lock in [counted(), biased()] {
            let guard = read(&lock);
            let relock = lock.acquire_write().err().expect("it is read by this very thread");
            assert_eq!(relock.report().kind(), Kind::Relock);
            drop(guard);
            drop(write(&lock));
        }
        true
    });
}

#[test]
fn an_upgrade_and_a_reader_that_wants_the_turn_close_a_cycle() {
    explore(3, || {
        let lock = counted();
        let reader = thread::spawn({
            let lock = Arc::clone(&lock);
            move || {
                let _read = read(&lock);
                match lock.acquire_upgradable_read() {
                    Ok(guard) => {
                        drop(kept(guard));
                        false
                    }
                    Err(_) => true,
                }
            }
        });
        let guard = lock.acquire_upgradable_read().expect("it holds nothing");
        let upgrade_failed = match RwLockUpgradableReadGuard::acquire_upgrade(guard) {
            Ok(guard) => {
                drop(kept(guard));
                false
            }
            Err(error) => {
                drop(kept(error.into_guard()));
                true
            }
        };
        let reader_failed = reader.join().unwrap();
        assert!(!(upgrade_failed && reader_failed), "one deadlock, one victim");
        drop(write(&lock));
        upgrade_failed || reader_failed
    });
}
