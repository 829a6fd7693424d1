//! Pools behind a deadlock that is left standing under `Policy::Report`.
//!
//! The test has a process of its own: the policy is process-wide.

mod support;

use std::sync::Arc;
use std::thread;

use bowline::{AnyFuture, Lock, ReturnWhen, ThreadPoolExecutor, wait};
use support::gate::Gate;
use support::{LIMIT, in_fresh_process, spawn_named, stderr, until_waiting, wait_until, within};

fn pool(name: &str) -> ThreadPoolExecutor {
    ThreadPoolExecutor::builder().max_workers(1).thread_name_prefix(name).build()
}

/// A wait is stuck behind a standing deadlock, is live for a while since its pool has one more worker, and is stuck again when
/// that worker leaves: whoever had it for an alternative then is told.
fn a_wait_comes_and_goes() {
    let lock = Arc::new(Lock::named("standing", ()));
    let (owner, busy) = (Arc::clone(&lock), Gate::default());
    thread::Builder::new()
        .name("stands".to_owned())
        .spawn(move || {
            let _held = owner.lock();
            drop(owner.lock());
        })
        .unwrap();
    until_waiting("stands");

    let changing = pool("changing");
    let stuck = Arc::clone(&lock);
    let behind = changing.submit(move || drop(stuck.lock()));
    until_waiting("changing_0");
    let long = busy.clone();
    let long = changing.submit(move || long.pass());
    let queued = changing.submit(|| ());
    let (first, second) = (pool("first"), pool("second"));
    let first_task = first.submit(move || queued.wait().is_ok());
    until_waiting("first_0");
    changing.set_max_workers(2);
    wait_until(|| long.running());

    let wanted = Arc::new(Lock::named("wanted", ()));
    thread::scope(|s| {
        let told = spawn_named(s, "has alternatives", || {
            let held = wanted.lock();
            let want = Arc::clone(&wanted);
            let second_task = second.submit(move || drop(want.lock()));
            until_waiting("second_0");
            let set =
                wait([&first_task as &dyn AnyFuture, &second_task as &dyn AnyFuture], ReturnWhen::FirstCompleted, None);
            let told = set.deadlock.is_some();
            drop(held);
            told
        });
        until_waiting("has alternatives");
        // The second worker ends after its task, and what is queued stays queued.
        changing.set_max_workers(1);
        busy.open();
        assert!(told.join().unwrap());
    });
    drop(behind);
    // What stands, stands for ever.
    std::process::exit(0);
}

#[test]
fn a_wait_that_was_live_meanwhile_is_stuck_anew() {
    let output =
        in_fresh_process("a_wait_that_was_live_meanwhile_is_stuck_anew", &[("BOWLINE_DEADLOCK", "report")], || {
            within(LIMIT * 3 / 4, a_wait_comes_and_goes)
        });
    if let Some(output) = output {
        assert!(output.status.success(), "{}", stderr(&output));
    }
}
