//! Threads that have ended leave nothing behind: those of this crate, and those that others start.

use std::sync::Arc;
use std::time::Duration;

use bowline::{Lock, Timer, deadlock, thread};

use super::counting::live_bytes;
use crate::support::alone;

/// Less than one word for each round: what the system's last threads have yet to free.
const SLACK: isize = 4 << 10;

/// How many bytes more there are after many rounds than after a few. For a process of its own.
fn growth(mut round: impl FnMut()) -> isize {
    deadlock::set_grace(Duration::ZERO);
    (0..50).for_each(|_| round());
    let before = live_bytes();
    (0..500).for_each(|_| round());
    live_bytes() - before
}

#[track_caller]
fn assert_no_growth(what: &str, round: impl FnMut()) {
    let grown = growth(round);
    assert!(grown.abs() < SLACK, "{what}: {grown} bytes");
}

#[test]
fn threads_that_have_ended_leave_nothing_behind() {
    alone(|| {
        let lock = Arc::new(Lock::new(0));
        assert_no_growth("joined", || {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.lock() += 1).join().unwrap();
        });
        assert_no_growth("joined within a limit", || {
            let handle = thread::spawn(|| vec![7; 100]);
            assert_eq!(handle.join_timeout(Duration::MAX).unwrap().unwrap().len(), 100);
        });
        assert_no_growth("in a scope", || {
            thread::scope(|s| {
                drop(s.spawn(|| vec![*lock.lock(); 100]));
                s.spawn(|| *lock.lock() += 1).join().unwrap();
            });
        });
        assert_no_growth("a timer that is cancelled", || {
            let timer = Timer::after(Duration::from_secs(3600), || unreachable!());
            timer.cancel();
            timer.join().unwrap();
        });
        assert_no_growth("a thread that is not this crate's", || {
            let lock = Arc::clone(&lock);
            std::thread::spawn(move || *lock.lock() += 1).join().unwrap();
        });
        assert_no_growth("a panic", || {
            assert!(thread::spawn(|| std::panic::resume_unwind(Box::new(7))).join().is_err());
        });
    });
}
