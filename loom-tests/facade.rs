//! Locks that are released without a guard, by other threads than those that hold them.
//!
//! A release by another thread is about three: the one that holds, the one that releases, and one that waits. So two threads
//! besides the model's own are enough.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use loom::sync::atomic::AtomicBool;
use loom::thread;

use super::{Watched, explore};
use crate::deadlock::door::{Failure, Limit, WaitError};
use crate::deadlock::resource::{HoldMode, ResourceType};
use crate::deadlock::{Deadlock, registry};
use crate::facade::{Anonymous, RawMutex, RawRwLock};
use crate::primitive::{Ingredient, let_pauses_end, remove};
use crate::sync::request::Request;

/// A read-write lock whose words loom has made, before it is shared.
fn shared() -> Arc<RawRwLock<Anonymous>> {
    let lock = Arc::new(RawRwLock::INIT);
    lock.lock_exclusive();
    // SAFETY:
    // - it is written.
    unsafe { lock.unlock_exclusive() };
    lock
}

/// Returns how many holds the calling context lists.
fn listed() -> usize {
    let mut count = 0;
    registry::current().holds.for_each(|_| count += 1);
    count
}

fn unread(lock: &RawRwLock<Anonymous>) {
    // SAFETY:
    // - it is read.
    unsafe { lock.unlock_shared() };
    let_pauses_end();
}

/// Writes for a moment; a deadlock is a value.
fn write(lock: &RawRwLock<Anonymous>) -> Result<(), Deadlock> {
    let request = Request::new(|| ResourceType { mode: HoldMode::Write, ..ResourceType::exclusive::<()>("RwLock") });
    lock.raw().write_slow(request, Limit::None, Failure::Value).map(drop).map_err(WaitError::deadlock)?;
    // SAFETY:
    // - it is written.
    unsafe { lock.unlock_exclusive() };
    Ok(())
}

/// A thread reads and waits for a lock whose owner waits to write. Another one ends that read, and reads for a moment itself. Returns
/// whether the writer began to wait after the end, and nobody was told of a deadlock.
fn a_read_is_ended_by_another_thread(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let (lock, wanted, ended) = (shared(), Watched::new(), Arc::new(AtomicBool::new(false)));
    let guard = wanted.lock();
    let reads = thread::spawn({
        let (lock, wanted, ended) = (Arc::clone(&lock), Arc::clone(&wanted), Arc::clone(&ended));
        move || {
            lock.lock_shared(false);
            let ends = thread::spawn({
                let (lock, ended) = (Arc::clone(&lock), Arc::clone(&ended));
                move || {
                    unread(&lock);
                    // So that the writer has somebody to wait for.
                    lock.lock_shared(false);
                    ended.store(true, Release);
                    unread(&lock);
                }
            });
            let told = wanted.acquire().is_err();
            ends.join().unwrap();
            told
        }
    });
    let had_ended = ended.load(Acquire);
    let told = write(&lock).is_err();
    assert!(!(told && had_ended), "the reader has nothing that this thread waits for");
    drop(guard);
    let reader_told = reads.join().unwrap();
    assert!(!(told && reader_told), "one deadlock, one victim");
    assert!(!lock.is_locked());
    had_ended && !told && !reader_told
}

#[test]
fn a_read_that_another_thread_has_ended_accuses_nobody() {
    explore(2, || a_read_is_ended_by_another_thread(None));
}

#[test]
#[should_panic(expected = "has nothing that")]
fn without_the_mark_a_read_that_another_thread_has_ended_accuses_its_reader() {
    explore(2, || a_read_is_ended_by_another_thread(Some(Ingredient::UnlistedMark)));
}

/// The calling thread's two reads are ended by another one, which cannot know whose they were. A third one reads. Returns whether the
/// first had to wait for that.
fn reads_of_nobody_known_are_ended(removed: Option<Ingredient>) -> bool {
    removed.into_iter().for_each(remove);
    let lock = shared();
    lock.lock_shared(false);
    lock.lock_shared(false);
    let ends = thread::spawn({
        let lock = Arc::clone(&lock);
        move || (0..2).for_each(|_| unread(&lock))
    });
    ends.join().unwrap();
    assert!(!lock.is_locked());
    let is_in = Arc::new(AtomicBool::new(false));
    let reads = thread::spawn({
        let (lock, is_in) = (Arc::clone(&lock), Arc::clone(&is_in));
        move || {
            lock.lock_shared(false);
            is_in.store(true, Release);
            is_in.store(false, Release);
            unread(&lock);
        }
    });
    let had_to_wait = is_in.load(Acquire);
    assert!(write(&lock).is_ok(), "it waits for a reader that runs");
    reads.join().unwrap();
    had_to_wait
}

#[test]
fn a_read_that_somebody_ended_is_no_part_of_a_deadlock() {
    explore(3, || reads_of_nobody_known_are_ended(None));
}

#[test]
#[should_panic(expected = "it waits for a reader that runs")]
fn without_the_mark_a_read_that_somebody_ended_is_part_of_a_deadlock() {
    explore(3, || reads_of_nobody_known_are_ended(Some(Ingredient::UnlistedMark)));
}

/// A thread holds a mutex that another one releases and takes in turn. Returns whether somebody had to wait.
#[test]
fn a_release_by_another_thread_lets_the_next_owner_in_alone() {
    explore(2, || {
        let (mutex, value) = (Arc::new(RawMutex::<Anonymous>::INIT), Arc::new(loom::cell::UnsafeCell::new(0)));
        assert!(!mutex.is_locked());
        mutex.lock();
        // SAFETY:
        // - the mutex is locked, here and below: loom checks that.
        let add_one = |value: &loom::cell::UnsafeCell<u32>| value.with_mut(|value| unsafe { *value += 1 });
        add_one(&value);
        let next = thread::spawn({
            let (mutex, value) = (Arc::clone(&mutex), Arc::clone(&value));
            move || {
                mutex.lock();
                add_one(&value);
                // SAFETY:
                // - it is locked.
                unsafe { mutex.unlock() };
            }
        });
        let releases = thread::spawn({
            let mutex = Arc::clone(&mutex);
            // SAFETY:
            // - it is locked by the model's own thread, which does not use it any more.
            move || unsafe { mutex.unlock() }
        });
        releases.join().unwrap();
        let had_to_wait = mutex.is_locked();
        mutex.lock();
        add_one(&value);
        assert_eq!(listed(), 1);
        // SAFETY:
        // - it is locked.
        unsafe { mutex.unlock() };
        next.join().unwrap();
        assert!(!mutex.is_locked() && listed() == 0);
        had_to_wait
    });
}
