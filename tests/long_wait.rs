//! Long waits are told once, with who is in the way, and then they go on.
//!
//! Hooks are process-wide: each test tells its own waits by the names of its threads.

mod support;

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, LongWait};
use bowline::{Lock, RLock};
use support::{LIMIT, spawn_named, until_parked, within};

const SHORT: Duration = Duration::from_millis(5);

/// Sends what is told of the thread with this name.
fn told_of(name: &'static str, limit: Duration) -> (deadlock::Hook, mpsc::Receiver<LongWait>) {
    let (tell, told) = mpsc::channel();
    let hook = deadlock::warn_after(limit, move |wait| {
        if wait.waiter().name() == Some(name) {
            tell.send(wait.clone()).expect("the test listens");
        }
    });
    (hook, told)
}

#[test]
fn a_long_wait_is_told_once_with_its_owner_and_their_lines() {
    within(LIMIT, || {
        let (_hook, told) = told_of("long once", SHORT);
        let lock = Lock::named("ledger", ());
        thread::scope(|s| {
            let (guard, taken) = (lock.lock(), line!());
            spawn_named(s, "long once", || drop(lock.lock()));
            let wait = told.recv().unwrap();
            let waits_for = wait.waiter().waits_for().expect("it waits");
            assert_eq!(waits_for.resource().name(), Some("ledger"));
            assert!(waits_for.waited() >= SHORT);
            assert_eq!(waits_for.site().file(), file!());
            let owner = wait.owner().expect("there is one");
            assert_eq!(owner.os_id(), support::this_os_id());
            assert_eq!(owner.holds()[0].site().line(), taken);
            assert!(wait.to_string().starts_with("long wait: thread 'long once' has waited "), "{wait}");

            until_parked("long once");
            assert!(told.recv_timeout(SHORT * 10).is_err(), "once for each wait");
            drop(guard);
        });
    });
}

#[test]
fn a_wait_that_began_before_is_told_when_its_time_comes() {
    within(LIMIT, || {
        let lock = RLock::new(());
        thread::scope(|s| {
            let guard = lock.lock();
            spawn_named(s, "began before", || drop(lock.lock()));
            until_parked("began before");
            let (_hook, told) = told_of("began before", SHORT);
            assert!(told.recv().unwrap().owner().is_some());
            drop(guard);
        });
    });
}

#[test]
fn each_hook_has_a_limit_of_its_own_and_a_dropped_one_is_not_run() {
    within(LIMIT, || {
        let (_first, told_first) = told_of("two limits", SHORT);
        let (_second, told_second) = told_of("two limits", SHORT * 4);
        let (dropped, told_dropped) = told_of("two limits", SHORT);
        drop(dropped);
        let lock = Lock::new(());
        thread::scope(|s| {
            let guard = lock.lock();
            spawn_named(s, "two limits", || drop(lock.lock()));
            let [first, second] = [told_first, told_second].map(|told| told.recv().unwrap());
            let waited = |wait: &LongWait| wait.waiter().waits_for().unwrap().waited();
            assert!(waited(&first) >= SHORT && waited(&second) >= SHORT * 4);
            drop(guard);
        });
        assert!(told_dropped.try_recv().is_err());
    });
}

#[test]
fn a_hook_may_lock_and_panic_and_the_wait_still_ends_well() {
    within(LIMIT, || {
        let (tell, told) = mpsc::channel();
        let log = std::sync::Arc::new(Lock::new(0));
        let _hook = deadlock::warn_after(SHORT, {
            let log = std::sync::Arc::clone(&log);
            move |wait| {
                if wait.waiter().name() == Some("told by a panic") {
                    *log.lock() += 1;
                    tell.send(()).unwrap();
                    panic!("a hook that panics on purpose");
                }
            }
        });
        let lock = Lock::new(0);
        thread::scope(|s| {
            let guard = lock.lock();
            let waiter = spawn_named(s, "told by a panic", || *lock.lock() += 1);
            told.recv().unwrap();
            until_parked("told by a panic");
            drop(guard);
            waiter.join().unwrap();
        });
        assert_eq!((*log.lock(), *lock.lock()), (1, 1));
    });
}

#[test]
fn a_wait_with_a_time_limit_is_told_too_and_keeps_its_limit() {
    within(LIMIT, || {
        let (_hook, told) = told_of("long and limited", SHORT);
        let lock = Lock::new(());
        thread::scope(|s| {
            let guard = lock.lock();
            let waiter = spawn_named(s, "long and limited", || lock.try_lock_for(SHORT * 8).is_none());
            assert!(told.recv().unwrap().waiter().waits_for().unwrap().is_timed());
            assert!(waiter.join().unwrap(), "it timed out");
            drop(guard);
        });
    });
}
