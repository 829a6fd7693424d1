//! A read-write lock is released by whoever releases it, and nobody is accused of a read that he does not have.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bowline::deadlock::{self, Kind};
use bowline::facade::{RawRwLock, Unowned};

use super::{RwLock, abort_if_one_is_accused, held};
use crate::support::{LIMIT, alone, on_another_thread, spawn_named, until_parked, within};

/// The number of reads after which later ones are shown and not counted.
const MANY: usize = 20_000;

fn read(lock: &RwLock) {
    lock.lock_shared(false);
}

fn unread(lock: &RwLock) {
    // SAFETY:
    // - it is read.
    unsafe { lock.unlock_shared() };
}

fn unwrite(lock: &RwLock) {
    // SAFETY:
    // - it is written.
    unsafe { lock.unlock_exclusive() };
}

/// Runs a test with a lock whose readers are counted, and with one whose readers are shown.
fn counted_and_shown(test: impl Fn(&RwLock)) {
    within(LIMIT, || {
        let lock = RwLock::INIT;
        test(&lock);
        let lock = RwLock::INIT;
        for _ in 0..MANY {
            read(&lock);
            unread(&lock);
        }
        test(&lock);
    });
}

#[test]
fn every_way_to_read_and_write_is_listed_and_every_release_ends_that() {
    let soon = || Instant::now() + Duration::from_millis(1);
    let reads: [fn(&RwLock) -> bool; 6] = [
        |lock| lock.try_lock_shared(false),
        |lock| lock.try_lock_shared(true),
        |lock| lock.try_lock_shared_for(false, Duration::from_millis(1)),
        |lock| lock.try_lock_shared_for(true, Duration::from_millis(1)),
        |lock| lock.try_lock_shared_until(false, Instant::now()),
        |lock| lock.try_lock_shared_until(true, Instant::now()),
    ];
    let writes: [fn(&RwLock) -> bool; 3] = [
        |lock| lock.try_lock_exclusive(),
        |lock| lock.try_lock_exclusive_for(Duration::from_millis(1)),
        |lock| lock.try_lock_exclusive_until(Instant::now()),
    ];
    counted_and_shown(|lock| {
        for read in reads {
            assert!(read(lock) && read(lock), "several can read");
            assert_eq!(held().len(), 2);
            assert!(writes.iter().all(|write| !write(lock)) && lock.is_locked() && !lock.is_locked_exclusive());
            unread(lock);
            assert_eq!(held().len(), 1);
            unread(lock);
            assert!(held().is_empty() && !lock.is_locked());
        }
        for write in writes {
            assert!(write(lock) && lock.is_locked_exclusive());
            assert_eq!(held().len(), 1);
            assert!(reads.iter().all(|read| !read(lock)) && !lock.try_lock_upgradable_until(soon()));
            unwrite(lock);
            assert!(held().is_empty() && !lock.is_locked());
        }
    });
}

#[test]
fn an_upgradable_reader_reads_beside_others_and_becomes_the_writer_and_a_reader() {
    counted_and_shown(|lock| {
        lock.lock_upgradable();
        read(lock);
        assert_eq!(held().len(), 2);
        assert!(!lock.try_lock_upgradable() && !lock.try_lock_upgradable_for(Duration::from_millis(1)));
        // SAFETY:
        // - it is held in the way that each asks for, here and below.
        assert!(unsafe { !lock.try_upgrade() && !lock.try_upgrade_for(Duration::from_millis(1)) });
        assert_eq!(held().len(), 2, "it holds what it held");
        unread(lock);
        // SAFETY:
        // - as above.
        unsafe { lock.upgrade() };
        assert_eq!((held().len(), lock.is_locked_exclusive()), (1, true));
        // SAFETY:
        // - as above.
        unsafe { lock.downgrade_to_upgradable() };
        assert!(!lock.is_locked_exclusive() && on_another_thread(|| lock.try_lock_shared(false)));
        on_another_thread(|| unread(lock));
        // SAFETY:
        // - as above.
        assert!(unsafe { lock.try_upgrade_until(Instant::now() + LIMIT) });
        // SAFETY:
        // - as above.
        unsafe { lock.downgrade() };
        assert_eq!((held().len(), lock.is_locked_exclusive()), (1, false));
        unread(lock);
        lock.lock_upgradable();
        // SAFETY:
        // - as above.
        unsafe { lock.downgrade_upgradable() };
        assert!(on_another_thread(|| lock.try_lock_upgradable()));
        // SAFETY:
        // - it is read upgradably.
        unsafe { lock.unlock_upgradable() };
        unread(lock);
        assert!(held().is_empty() && !lock.is_locked());
    });
}

#[test]
fn what_another_thread_has_ended_keeps_nobody_out() {
    counted_and_shown(|lock| {
        lock.lock_exclusive();
        on_another_thread(|| unwrite(lock));
        assert!(held().is_empty() && !lock.is_locked());
        lock.lock_upgradable();
        // SAFETY:
        // - it is read upgradably.
        on_another_thread(|| unsafe { lock.unlock_upgradable() });
        assert!(held().is_empty() && !lock.is_locked());
        on_another_thread(|| read(lock));
        assert!(lock.is_locked());
        unread(lock);
        assert!(!lock.is_locked() && lock.try_lock_exclusive());
        unwrite(lock);
    });
}

#[test]
fn reads_stay_reads_whichever_places_their_holds_have() {
    counted_and_shown(|lock| {
        let others = [const { super::Mutex::INIT }; 16];
        let lock_some = |range: std::ops::Range<usize>| others[range].iter().for_each(super::Mutex::lock);
        // SAFETY:
        // - they are locked.
        let unlock_some =
            |range: std::ops::Range<usize>| others[range].iter().for_each(|other| unsafe { other.unlock() });
        // The read is inline and the turn beyond, then the other way round.
        lock_some(0..3);
        read(lock);
        lock_some(3..15);
        lock.lock_upgradable();
        unlock_some(3..15);
        // SAFETY:
        // - it is read upgradably, here and below.
        unsafe { lock.unlock_upgradable() };
        let another = RwLock::INIT;
        read(&another);
        assert!(!lock.try_lock_exclusive() && lock.is_locked(), "it is read");
        assert_eq!(held().len(), 5);
        unread(&another);
        unread(lock);
        unlock_some(0..3);
        assert!(held().is_empty() && !lock.is_locked());
        lock_some(0..15);
        lock.lock_upgradable();
        read(lock);
        unlock_some(0..15);
        unread(lock);
        assert_eq!(held().len(), 1);
        // SAFETY:
        // - as above.
        unsafe { lock.unlock_upgradable() };
        assert!(held().is_empty() && !lock.is_locked());
    });
}

#[test]
fn a_turn_that_a_task_in_place_goes_on_with_is_its_own() {
    within(LIMIT, || {
        let pool = bowline::ThreadPoolExecutor::new(1);
        for _ in 0..3 {
            let same = pool.clone();
            let outer = pool.submit(move || {
                let lock: &'static RwLock = Box::leak(Box::new(RwLock::INIT));
                lock.lock_exclusive();
                // In place: on this thread, in a context of its own.
                let inner = same.submit(move || {
                    // SAFETY:
                    // - it is held in this way, here and below.
                    unsafe { lock.downgrade_to_upgradable() };
                    // SAFETY:
                    // - as above.
                    unsafe { lock.upgrade() };
                    // SAFETY:
                    // - as above.
                    unsafe { lock.downgrade_to_upgradable() };
                });
                inner.result().unwrap();
                let held_then = held().len();
                // SAFETY:
                // - as above.
                unsafe { lock.unlock_upgradable() };
                (held_then, held().len(), lock.is_locked())
            });
            assert_eq!(outer.result().unwrap(), (1, 0, false));
        }
    });
}

#[test]
fn whoever_has_the_turn_in_place_ends_the_read_of_its_waiter_and_not_the_turn() {
    within(LIMIT, || {
        let pool = bowline::ThreadPoolExecutor::new(1);
        let same = pool.clone();
        let outer = pool.submit(move || {
            let lock: &'static RwLock = Box::leak(Box::new(RwLock::INIT));
            for _ in 0..MANY {
                read(lock);
                unread(lock);
            }
            read(lock);
            let inner = same.submit(move || {
                lock.lock_upgradable();
                unread(lock);
                // SAFETY:
                // - it is read upgradably.
                unsafe { lock.unlock_upgradable() };
            });
            inner.result().unwrap();
            (held().len(), lock.is_locked(), lock.try_lock_exclusive())
        });
        assert_eq!(outer.result().unwrap(), (0, false, true));
    });
}

#[test]
fn readers_end_their_reads_after_another_thread_has_ended_one_too() {
    counted_and_shown(|lock| {
        // Whose read was ended nobody knows.
        read(lock);
        let (both, ended) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|s| {
            s.spawn(|| {
                read(lock);
                both.wait();
                ended.wait();
                unread(lock);
            });
            both.wait();
            on_another_thread(|| unread(lock));
            ended.wait();
        });
        assert!(!lock.is_locked() && lock.try_lock_exclusive(), "two began and two ended");
        unwrite(lock);
        read(lock);
        unread(lock);
        assert!(!lock.is_locked());
    });
}

#[test]
fn a_writer_is_let_in_when_other_threads_have_ended_all_reads_whosever_they_were() {
    alone(|| {
        abort_if_one_is_accused();
        counted_and_shown(|lock| {
            let own = bowline::Lock::new(());
            let (all_read, ended) = (Barrier::new(4), Barrier::new(4));
            let reads = Barrier::new(2);
            thread::scope(|s| {
                let _own = own.lock();
                for name in ["reader 0", "reader 1", "reader 2"] {
                    _ = spawn_named(s, name, || {
                        read(lock);
                        all_read.wait();
                        ended.wait();
                        // It waits for the writer, and holds nothing of what the writer waits for.
                        drop(own.lock());
                    });
                }
                all_read.wait();
                // Of several readers nobody knows whose read it was.
                (0..3).for_each(|_| unread(lock));
                ended.wait();
                ["reader 0", "reader 1", "reader 2"].into_iter().for_each(until_parked);
                // One that runs is still in, so that the writer has to wait.
                let writer = thread::current().name().expect("a test has a name").to_owned();
                let last = &reads;
                s.spawn(move || {
                    read(lock);
                    last.wait();
                    until_parked(&writer);
                    unread(lock);
                });
                reads.wait();
                lock.lock_exclusive();
                assert!(lock.is_locked_exclusive());
                unwrite(lock);
            });
        });
    });
}

#[test]
fn readers_and_writers_that_wait_for_each_other_are_told_with_both_lines() {
    alone(|| {
        deadlock::set_policy(deadlock::Policy::Panic);
        counted_and_shown(|lock| {
            let other = RwLock::INIT;
            let both_hold = Barrier::new(2);
            let panics = thread::scope(|s| {
                let threads = [(lock, &other), (&other, lock)].map(|(first, second)| {
                    s.spawn(|| {
                        read(first);
                        both_hold.wait();
                        let told = std::panic::catch_unwind(|| second.lock_exclusive());
                        if told.is_ok() {
                            unwrite(second);
                        }
                        unread(first);
                        told.err().map(|panic| crate::support::message(&*panic).to_owned())
                    })
                });
                threads.map(|thread| thread.join().unwrap())
            });
            let [text] = &panics.into_iter().flatten().collect::<Vec<_>>()[..] else { panic!("one is the victim") };
            assert!(text.contains("reads A") && text.contains("waits to write A"), "{text}");
            assert!(!lock.is_locked() && !other.is_locked());
        });
    });
}

#[test]
fn a_second_read_behind_a_writer_is_told_and_a_recursive_one_gets_in() {
    alone(|| {
        deadlock::set_policy(deadlock::Policy::Panic);
        let told = std::sync::Mutex::new(Vec::new());
        let told: &'static _ = Box::leak(Box::new(told));
        deadlock::on_deadlock(|report| told.lock().unwrap().push(report.kind())).keep();
        counted_and_shown(|lock| {
            read(lock);
            thread::scope(|s| {
                let writer = spawn_named(s, "writes", || {
                    lock.lock_exclusive();
                    unwrite(lock);
                });
                until_parked("writes");
                lock.lock_shared(true);
                unread(lock);
                assert!(std::panic::catch_unwind(|| read(lock)).is_err());
                unread(lock);
                writer.join().unwrap();
            });
        });
        assert_eq!(*told.lock().unwrap(), [Kind::Cycle; 2]);
    });
}

#[test]
fn guards_that_move_between_threads_are_nobodys() {
    alone(|| {
        abort_if_one_is_accused();
        let lock = RawRwLock::<Unowned>::INIT;
        for _ in 0..MANY {
            lock.lock_shared(false);
            // SAFETY:
            // - it is read.
            unsafe { lock.unlock_shared() };
        }
        for _ in 0..40 {
            lock.lock_exclusive();
            // SAFETY:
            // - it is written.
            unsafe { lock.unlock_exclusive() };
        }
        lock.lock_shared(false);
        assert!(held().is_empty() && !lock.try_lock_exclusive());
        thread::scope(|s| {
            _ = spawn_named(s, "ends the read", || {
                until_parked("writes what it reads");
                // SAFETY:
                // - it is read.
                unsafe { lock.unlock_shared() };
            });
            _ = spawn_named(s, "writes what it reads", || {
                lock.lock_exclusive();
                // SAFETY:
                // - it is written.
                unsafe { lock.downgrade_to_upgradable() };
                // SAFETY:
                // - it is read upgradably.
                unsafe { lock.unlock_upgradable() };
            });
        });
        assert!(!lock.is_locked());
    });
}
