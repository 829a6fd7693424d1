//! Limits that are none, and a grace that is taken back.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bowline::ReturnWhen::{AllCompleted, FirstCompleted};
use bowline::deadlock::{self, Kind};
use bowline::sync::RwLockUpgradableReadGuard;
use bowline::{Lock, RLock, RwLock, TaskError, ThreadPoolExecutor, wait};

use crate::support::gate::Gate;
use crate::support::{LIMIT, alone, message, spawn_named, until_waiting, within};

#[track_caller]
fn assert_raises(run: impl FnOnce()) {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).expect_err("a deadlock");
    assert!(message(&*payload).starts_with("deadlock: "), "{}", message(&*payload));
}

#[test]
fn a_wait_whose_limit_is_past_the_clock_unwinds_from_a_deadlock() {
    within(LIMIT, || {
        let lock = Lock::new(0);
        let held = lock.lock();
        assert_raises(|| drop(lock.try_lock_for(Duration::MAX)));
        drop(held);
        assert!(lock.try_lock_for(Duration::MAX).is_some());

        let lock = RwLock::new(0);
        let held = lock.read();
        assert_raises(|| drop(lock.try_write_for(Duration::MAX)));
        let upgradable = lock.upgradable_read();
        assert_raises(|| drop(RwLockUpgradableReadGuard::try_upgrade_for(upgradable, Duration::MAX)));
        drop(held);
        let held = lock.write();
        assert_raises(|| drop(lock.try_read_for(Duration::MAX)));
        assert_raises(|| drop(lock.try_read_recursive_for(Duration::MAX)));
        assert_raises(|| drop(lock.try_upgradable_read_for(Duration::MAX)));
        drop(held);
        assert!(!lock.is_locked());

        let (a, b) = (RLock::new(0), RLock::new(0));
        let gate = Gate::default();
        thread::scope(|s| {
            let held = a.lock();
            let other = spawn_named(s, "waits past the clock", || {
                let _held = b.lock();
                gate.open();
                a.try_lock_for(Duration::MAX).is_some()
            });
            gate.pass();
            until_waiting("waits past the clock");
            assert_raises(|| drop(b.try_lock_for(Duration::MAX)));
            drop(held);
            assert!(other.join().unwrap());
        });
    });
}

#[test]
fn a_wait_for_tasks_whose_limit_is_past_the_clock_is_told_of_a_deadlock() {
    within(LIMIT, || {
        let (one, two) = (ThreadPoolExecutor::new(1), ThreadPoolExecutor::new(1));
        // A task of one pool that waits for what is queued in another, whose worker waits for that task.
        let ask = |what: fn(&mut bowline::Future<u8>) -> Option<TaskError>| {
            let (one, two) = (one.clone(), two.clone());
            let gate = Gate::default();
            let begin = gate.clone();
            let back = one.clone();
            let first = two.submit(move || {
                begin.pass();
                back.submit(|| 1_u8).result()
            });
            let second = two.submit(|| 2_u8);
            let told = one.submit(move || {
                let mut second = second;
                gate.open();
                what(&mut second)
            });
            (first.result().unwrap(), told.result().unwrap())
        };
        let by_result = ask(|future| future.result_timeout(Duration::MAX).err());
        assert!(by_result.0.is_err() != by_result.1.is_some(), "one of the two: {by_result:?}");
        let by_all =
            ask(|future| wait([&*future], AllCompleted, Some(Duration::MAX)).deadlock.map(TaskError::Deadlock));
        assert!(by_all.0.is_err() != by_all.1.is_some(), "one of the two: {by_all:?}");
        let by_first =
            ask(|future| wait([&*future], FirstCompleted, Some(Duration::MAX)).deadlock.map(TaskError::Deadlock));
        assert!(by_first.0.is_err() != by_first.1.is_some(), "one of the two: {by_first:?}");
    });
}

#[test]
fn a_grace_that_is_taken_back_ends_for_those_who_wait_already() {
    alone(|| {
        for long in [Duration::from_secs(3600), Duration::MAX] {
            deadlock::set_grace(long);
            let (a, b) = (Arc::new(Lock::new(0)), Arc::new(Lock::new(0)));
            let nest = |first: &Arc<Lock<i32>>, then: &Arc<Lock<i32>>, mine: &Gate, other: &Gate| {
                let (first, then, mine, other) = (Arc::clone(first), Arc::clone(then), mine.clone(), other.clone());
                thread::spawn(move || {
                    let _first = first.lock();
                    mine.open();
                    other.pass();
                    then.acquire().map(drop)
                })
            };
            let [left, right] = [(); 2].map(|()| Gate::default());
            let threads = [nest(&a, &b, &left, &right), nest(&b, &a, &right, &left)];
            left.pass();
            right.pass();
            // Both have begun to wait, under the long grace: the kernel says that they sleep.
            thread::sleep(Duration::from_millis(20));
            deadlock::set_grace(Duration::ZERO);
            let told = threads.map(|thread| thread.join().unwrap());
            let kinds: Vec<_> = told.iter().filter_map(|told| Some(told.as_ref().err()?.report().kind())).collect();
            assert_eq!(kinds, [Kind::Cycle]);
        }
    });
}
