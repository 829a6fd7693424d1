//! A system that refuses what tells of a thread's end: locks work, and nobody is ever declared gone.
//!
//! Each test runs alone.

#![cfg(target_os = "linux")]

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use bowline::Lock;
use bowline::deadlock::Kind;
use bowline::sync::LockGuard;

use super::calls::{LIFELINES, REFUSED};
use crate::support::deadlocks::{Reports, close_ring};
use crate::support::{alone, find_thread, on_another_thread, spawn_named, until_parked};

#[test]
fn locks_work_and_deadlocks_are_found_without_lifelines() {
    alone(|| {
        LIFELINES.store(false, SeqCst);
        let lock = Lock::new(0);
        for _ in 0..10 {
            thread::scope(|s| (0..4).for_each(|_| drop(s.spawn(|| *lock.lock() += 1))));
        }
        assert_eq!(*lock.lock(), 40);
        assert_eq!(close_ring("ring without lifelines", 3).iter().filter(|ending| ending.is_err()).count(), 1);
        assert!(REFUSED.load(SeqCst) > 0, "the system was never asked");
    });
}

#[test]
fn nobody_is_declared_gone_without_a_lifeline() {
    alone(|| {
        LIFELINES.store(false, SeqCst);
        let reports = Reports::about("waits in vain");
        let lock: &Lock<()> = Box::leak(Box::new(Lock::named("left", ())));
        thread::scope(|s| spawn_named(s, "leaves it", || LockGuard::leak(lock.lock())).join().unwrap());
        // For ever: part of no scope.
        thread::Builder::new().name("waits in vain".to_owned()).spawn(|| drop(lock.lock())).unwrap();
        until_parked("waits in vain");
        // Longer than the longest pause after which it asks again.
        thread::sleep(Duration::from_millis(60));
        assert!(find_thread("waits in vain").is_some_and(|thread| thread.waits_for().is_some()));
        assert!(!find_thread("leaves it").unwrap().is_gone());
        assert_eq!(reports.count(), 0);
        let own = Lock::new(());
        let kind = on_another_thread(|| {
            let _guard = own.lock();
            own.acquire().map(drop).unwrap_err().report().kind()
        });
        assert_eq!(kind, Kind::Relock);
    });
}
