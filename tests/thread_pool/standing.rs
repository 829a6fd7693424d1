//! Pools behind a deadlock that is left standing under `Policy::Report`.
//!
//! The test has a process of its own: the policy is process-wide.

use std::sync::{Arc, Mutex};
use std::thread;

use bowline::deadlock::{self, Kind};
use bowline::task::AnyFuture;
use bowline::{Lock, ReturnWhen, ThreadPoolExecutor, wait};

use crate::support::gate::Gate;
use crate::support::{LIMIT, in_fresh_process, spawn_named, stderr, until_waiting, wait_until, within};

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

/// A wait that stood in a deadlock, which an intervention has ended, and whose lock is then left behind by a thread that ends.
fn a_deadlock_ends_and_its_lock_is_left_behind() {
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&kinds);
    deadlock::on_deadlock(move |report| seen.lock().unwrap().push(report.kind())).keep();
    let is_seen = |kind| kinds.lock().unwrap().contains(&kind);

    let small = pool("small");
    let lock = Arc::new(Lock::named("left behind", ()));
    let (wanted, free) = (Arc::clone(&lock), Gate::default());
    let begins = free.clone();
    let behind = small.submit(move || {
        begins.pass();
        drop(wanted.lock());
    });
    wait_until(|| behind.running());
    thread::scope(|s| {
        spawn_named(s, "owner", || {
            let held = lock.lock();
            free.open();
            small.scope(|scope| drop(scope.submit(|| ())));
            std::mem::forget(held);
        });
        wait_until(|| is_seen(Kind::Starvation));
        small.set_max_workers(2);
    });
    wait_until(|| is_seen(Kind::Abandoned));
    drop(behind);
    std::process::exit(0);
}

#[test]
fn a_lock_left_behind_is_told_to_who_stood_in_a_deadlock_before() {
    let name = "a_lock_left_behind_is_told_to_who_stood_in_a_deadlock_before";
    let body = || within(LIMIT * 3 / 4, a_deadlock_ends_and_its_lock_is_left_behind);
    if let Some(output) = in_fresh_process(name, &[("BOWLINE_DEADLOCK", "report")], body) {
        assert!(output.status.success(), "{}", stderr(&output));
    }
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
