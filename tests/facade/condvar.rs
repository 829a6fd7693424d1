//! A condition variable counts whom it wakes, and locks again.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use bowline::facade::RawCondvar;

use super::{Mutex, held};
use crate::support::{LIMIT, spawn_named, until_parked, wait_until, within};

const NAMES: [&str; 4] = ["waiter 0", "waiter 1", "waiter 2", "waiter 3"];

fn unlock(mutex: &Mutex) {
    // SAFETY:
    // - it is locked by this thread.
    unsafe { mutex.unlock() };
}

#[test]
fn a_notification_says_how_many_it_has_woken() {
    within(LIMIT, || {
        let (mutex, condvar, woken) = (Mutex::INIT, RawCondvar::new(), AtomicUsize::new(0));
        assert_eq!([condvar.notify(1), condvar.notify(usize::MAX)], [0, 0]);
        thread::scope(|s| {
            for name in NAMES {
                _ = spawn_named(s, name, || {
                    mutex.lock();
                    // SAFETY:
                    // - it is locked.
                    assert_eq!(unsafe { condvar.wait(&mutex) }, Some(true));
                    assert_eq!(held().len(), 1);
                    woken.fetch_add(1, Relaxed);
                    unlock(&mutex);
                });
                until_parked(name);
            }
            assert_eq!([condvar.notify(1), condvar.notify(2)], [1, 2]);
            wait_until(|| woken.load(Relaxed) == 3);
            assert_eq!([condvar.notify(usize::MAX), condvar.notify(usize::MAX)], [1, 0]);
        });
        assert!(!mutex.is_locked());
    });
}

#[test]
fn a_wait_that_times_out_locks_again() {
    within(LIMIT, || {
        let (mutex, condvar) = (Mutex::INIT, RawCondvar::new());
        mutex.lock();
        // SAFETY:
        // - it is locked, here and below.
        assert_eq!(unsafe { condvar.wait_for(&mutex, Duration::from_millis(1)) }, Some(false));
        // SAFETY:
        // - as above.
        assert_eq!(unsafe { condvar.wait_until(&mutex, Instant::now()) }, Some(false));
        assert_eq!((mutex.is_locked(), held().len()), (true, 1));
        unlock(&mutex);
    });
}

#[test]
fn a_wait_with_another_mutex_is_refused_and_nothing_is_unlocked() {
    within(LIMIT, || {
        let (mutex, other, condvar) = (Mutex::INIT, Mutex::INIT, RawCondvar::new());
        thread::scope(|s| {
            _ = spawn_named(s, "waits with one", || {
                mutex.lock();
                // SAFETY:
                // - it is locked.
                assert_eq!(unsafe { condvar.wait(&mutex) }, Some(true));
                unlock(&mutex);
            });
            until_parked("waits with one");
            other.lock();
            // SAFETY:
            // - it is locked.
            assert_eq!(unsafe { condvar.wait(&other) }, None);
            assert!(other.is_locked());
            assert_eq!(condvar.notify(1), 1);
        });
        // Nobody waits any more: any mutex will do.
        // SAFETY:
        // - it is locked.
        assert_eq!(unsafe { condvar.wait_for(&other, Duration::from_millis(1)) }, Some(false));
        unlock(&other);
    });
}
