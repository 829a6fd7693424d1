//! Guards that a task run in place leaves behind: forgotten, or kept by its thread for longer than the task.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread;

use bowline::deadlock::report::StuckThread;
use bowline::deadlock::{Deadlock, Kind};
use bowline::sync::ArcLockGuard;
use bowline::{Lock, RLock, ThreadPoolExecutor};

use crate::support::{LIMIT, spawn_named, until_waiting, wait_until, within};

thread_local! {
    static KEPT: RefCell<Option<ArcLockGuard<u32>>> = const { RefCell::new(None) };
}

/// Runs `then` on a worker, after a task in place that runs `first`.
fn after_a_task_in_place<R: Send + 'static>(
    name: &str,
    first: impl FnOnce() + Send + 'static,
    then: impl FnOnce() -> R + Send + 'static,
) -> R {
    let pool = ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix(name).build();
    let own = pool.clone();
    let task = pool.submit(move || {
        own.submit(first).result().unwrap();
        then()
    });
    task.result().unwrap()
}

fn holds_left_behind(thread: &StuckThread, name: &str) -> bool {
    thread.holds().iter().any(|held| held.is_left_behind() && held.resource().name() == Some(name))
}

#[test]
fn a_thread_that_waits_for_what_its_task_forgot_is_told_so() {
    within(LIMIT, || {
        let lock = Arc::new(Lock::named("forgotten", 0));
        let (first, then) = (Arc::clone(&lock), Arc::clone(&lock));
        let found = after_a_task_in_place(
            "forgetful",
            move || std::mem::forget(first.lock()),
            move || then.acquire().map(drop).expect_err("nobody else can release it"),
        );
        assert_eq!(found.report().kind(), Kind::Relock, "{found}");
        let [thread] = found.report().threads() else { panic!("{found}") };
        assert!(holds_left_behind(thread, "forgotten"), "{found}");
        let text = format!("{found:400}");
        assert!(text.contains("left behind by a task that took it at tests/thread_pool/left_behind.rs"), "{text}");
        assert!(
            text.contains("help: a task that ran on this thread took the lock at tests/thread_pool/left_behind.rs"),
            "{text}"
        );
    });
}

#[test]
fn a_re_entrant_lock_that_a_task_left_behind_is_not_its_waiters() {
    within(LIMIT, || {
        let lock = Arc::new(RLock::named("re-entrant, forgotten", 0));
        let (first, then) = (Arc::clone(&lock), Arc::clone(&lock));
        let found = after_a_task_in_place(
            "forgetful again",
            move || std::mem::forget(first.lock()),
            move || then.acquire().map(drop).expect_err("another task's"),
        );
        assert_eq!((found.report().kind(), found.report().threads().len()), (Kind::Relock, 1), "{found}");
    });
}

#[test]
fn a_circle_through_a_guard_that_a_thread_keeps_for_its_task_is_found() {
    within(LIMIT, || {
        let kept = Arc::new(Lock::named("kept", 0));
        let other = Arc::new(Lock::named("other", 0));
        let worker = {
            let (first, other) = (Arc::clone(&kept), Arc::clone(&other));
            move || {
                after_a_task_in_place(
                    "keeper",
                    move || KEPT.set(Some(first.lock_arc())),
                    move || {
                        let result = other.acquire().map(drop);
                        drop(KEPT.take());
                        result
                    },
                )
            }
        };
        let held = other.lock();
        let (found, told): (Result<(), Deadlock>, Result<(), Deadlock>) = thread::scope(|s| {
            let worker = s.spawn(worker);
            until_waiting("keeper_0");
            let found = kept.acquire().map(drop);
            drop(held);
            (found, worker.join().unwrap())
        });
        let found = found.expect_err("the last to wait finds it");
        told.expect("one victim");
        // The waiting task and this thread.
        assert_eq!((found.report().kind(), found.report().threads().len()), (Kind::Cycle, 2), "{found}");
        let keeper = found.report().threads().iter().find(|thread| thread.name() == Some("keeper_0"));
        assert!(keeper.is_some_and(|keeper| holds_left_behind(keeper, "kept")), "{found}");
        kept.acquire().map(drop).expect("released by the thread that kept it");
    });
}

#[test]
fn a_thread_that_runs_on_is_waited_for_and_drops_what_its_task_left_behind() {
    within(LIMIT, || {
        let kept = Arc::new(Lock::named("kept for a while", 0));
        let (first, gate) = (Arc::clone(&kept), crate::support::gate::Gate::default());
        let opened = gate.clone();
        thread::scope(|s| {
            let worker = s.spawn(move || {
                after_a_task_in_place(
                    "live keeper",
                    move || KEPT.set(Some(first.lock_arc())),
                    move || {
                        gate.pass();
                        drop(KEPT.take());
                    },
                );
            });
            wait_until(|| kept.is_locked());
            let waiter = spawn_named(s, "waits for a keeper", || kept.acquire().map(drop));
            until_waiting("waits for a keeper");
            let keeps = |thread: &StuckThread| {
                thread.name() == Some("live keeper_0") && holds_left_behind(thread, "kept for a while")
            };
            let keeper = crate::support::find_thread_where(keeps).expect("it holds the lock");
            assert!(keeper.waits_for().is_none() && !keeper.is_in_place(), "{keeper:?}");
            opened.open();
            waiter.join().unwrap().expect("it was released");
            worker.join().unwrap();
        });
    });
}

#[test]
fn a_snapshot_shows_what_was_left_behind_with_the_thread_that_waits() {
    within(LIMIT, || {
        let (kept, held) = (Arc::new(Lock::named("kept in view", 0)), Arc::new(Lock::named("held in view", 0)));
        let guard = held.lock();
        let (first, then) = (Arc::clone(&kept), Arc::clone(&held));
        thread::scope(|s| {
            s.spawn(move || {
                after_a_task_in_place("viewed", move || std::mem::forget(first.lock()), move || drop(then.lock()))
            });
            let viewed = until_waiting("viewed_0");
            assert!(holds_left_behind(&viewed, "kept in view"), "{viewed:?}");
            drop(guard);
        });
    });
}
