//! Conditions and the wait-for graph: what is told of those that wait for a notification, and the lock that they take again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bowline::deadlock::{self, Kind, report::LongWait};
use bowline::sync::{LockGuard, RLockWaitError};
use bowline::{Condition, Lock, RLock};

use crate::support::deadlocks::{Gate, assert_is_a_proof, held_names, names, wanted};
use crate::support::{
    LIMIT, alone, find_thread, in_fresh_process, message, spawn_named, stderr, until_parked, until_thread_where,
    until_waiting, within,
};

/// Longer than the grace.
const SHORT: Duration = Duration::from_millis(2);

#[test]
fn a_waiter_is_in_the_graph_without_its_lock_and_holds_it_again_from_the_line_of_the_wait() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::named("released", ()), Condition::named("changed"));
        let (tell, told) = mpsc::channel();
        let go_on = Gate::new();
        thread::scope(|s| {
            let (lock, changed, go_on) = (&lock, &changed, &go_on);
            spawn_named(s, "sleeps on it", move || {
                let mut guard = lock.lock();
                let line = line!() + 1;
                changed.wait(&mut guard);
                tell.send(line).unwrap();
                go_on.pass();
            });
            let waiter = until_waiting("sleeps on it");
            let wait = waiter.waits_for().unwrap();
            assert_eq!((wanted(&waiter).primitive(), wanted(&waiter).name()), ("Condition", Some("changed")));
            assert!(waiter.holds().is_empty() && !wait.is_timed() && waiter.suspicions().is_empty());
            assert_eq!(wait.site().file(), file!());
            let text = deadlock::snapshot().to_string();
            assert!(text.contains("thread 'sleeps on it' waits for "), "{text}");
            drop(lock.lock());
            changed.notify_one();
            let line = told.recv_timeout(LIMIT).unwrap();
            assert_eq!(wait.site().line(), line);
            let holder = find_thread("sleeps on it").unwrap();
            assert!(holder.waits_for().is_none());
            let [held] = holder.holds() else { panic!("{holder:?}") };
            assert_eq!((held.resource().name(), held.site().line()), (Some("released"), line));
            go_on.open();
        });
    });
}

/// A waiter that holds 'orders' and waits for a notification; a notifier that wants 'orders' first. Calls `look` with the
/// lines of the three, then ends it.
fn lost_notification(names: [&'static str; 2], look: impl FnOnce([u32; 3])) {
    let (orders, lock, arrived) = (Lock::named("orders", ()), Lock::new(false), Condition::named("arrived"));
    let (tell, told) = mpsc::channel();
    thread::scope(|s| {
        let (orders, lock, arrived) = (&orders, &lock, &arrived);
        let tell_line = tell.clone();
        spawn_named(s, names[0], move || {
            let (_orders, taken) = (orders.lock(), line!());
            let mut guard = lock.lock();
            tell_line.send([taken, line!() + 1]).unwrap();
            arrived.wait_while(&mut guard, |arrived| !*arrived);
        });
        let [taken, waits] = told.recv_timeout(LIMIT).unwrap();
        until_waiting(names[0]);
        spawn_named(s, names[1], move || {
            tell.send([line!() + 1, 0]).unwrap();
            let _orders = orders.lock();
            *lock.lock() = true;
            arrived.notify_one();
        });
        let [wants, _] = told.recv_timeout(LIMIT).unwrap();
        until_waiting(names[1]);
        look([taken, waits, wants]);
        *lock.lock() = true;
        assert!(arrived.notify_one(), "it waited until now");
    });
}

#[test]
fn a_waiter_that_holds_what_the_notifier_wants_is_told_as_a_suspicion_and_never_as_a_deadlock() {
    alone(|| {
        lost_notification(["consumer", "notifier"], |[taken, waits, wants]| {
            let waiter = find_thread("consumer").unwrap();
            assert_eq!(held_names(&waiter), ["orders"]);
            let [suspicion] = waiter.suspicions() else { panic!("{waiter:?}") };
            let (held, notifier) = (suspicion.held(), suspicion.waiter());
            assert_eq!((held.resource().name(), held.site().line()), (Some("orders"), taken));
            assert_eq!((notifier.name(), suspicion.others()), (Some("notifier"), 0));
            assert_eq!(notifier.waits_for().unwrap().site().line(), wants);
            assert_eq!(waiter.waits_for().unwrap().site().line(), waits);
            assert!(find_thread("notifier").unwrap().suspicions().is_empty());
            let text = format!("{:1000}", deadlock::snapshot());
            let [taken, wants] = [taken, wants].map(|line| format!("{}:{line}:", file!()));
            let told = text.lines().find(|line| line.trim_start().starts_with("suspicion: it holds ")).expect(&text);
            assert!(told.contains("'orders'") && told.contains("thread 'notifier' waits for"), "{told}");
            let at = [taken, wants].map(|place| told.find(&place).expect(told));
            assert!(at[0] < at[1] && told.ends_with(": a notification may have to come from there"), "{told}");
            let json = serde_json::to_value(deadlock::snapshot()).unwrap();
            let nodes = json["nodes"].as_array().unwrap();
            let node = nodes.iter().find(|node| node["name"] == "consumer").unwrap();
            assert_eq!(node["suspicions"][0]["waiter"]["name"], "notifier");
            assert_eq!(node["suspicions"][0]["held"]["resource"]["name"], "orders");
        });
    });
}

/// Returns what a new hook is told of the wait of the thread with this name. Others wait for that thread alone.
fn next_long_wait_of(name: &str) -> LongWait {
    let (tell, told) = mpsc::channel::<LongWait>();
    let _hook = deadlock::warn_after(SHORT, move |wait| _ = tell.send(wait.clone()));
    loop {
        let wait = told.recv_timeout(LIMIT).unwrap();
        if wait.waiter().name() == Some(name) {
            return wait;
        }
        assert_eq!(wait.owner().unwrap().name(), Some(name));
    }
}

#[test]
fn a_long_wait_for_a_notification_tells_the_suspicion_with_both_lines() {
    alone(|| {
        lost_notification(["consumer", "notifier"], |[taken, waits, wants]| {
            let wait = loop {
                let wait = next_long_wait_of("consumer");
                assert!(wait.owner().is_none(), "nobody in particular can end it");
                // While the notifier runs its own hook it does not wait.
                if !wait.waiter().suspicions().is_empty() {
                    break wait;
                }
            };
            let [suspicion] = wait.waiter().suspicions() else { panic!("{wait:?}") };
            assert_eq!(suspicion.waiter().name(), Some("notifier"));
            let text = format!("{wait:1000}");
            for line in [taken, waits, wants] {
                assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
            }
            assert!(text.contains("which thread 'notifier' waits for"), "{text}");
        });
        // Without anything that others want, there is nothing to suspect.
        let (lock, changed) = (Lock::new(()), Condition::new());
        let (tell, told) = mpsc::channel::<LongWait>();
        let _hook = deadlock::warn_after(SHORT, move |wait| tell.send(wait.clone()).unwrap());
        thread::scope(|s| {
            s.spawn(|| changed.wait(&mut lock.lock()));
            let wait = told.recv_timeout(LIMIT).unwrap();
            assert!(wait.owner().is_none() && wait.waiter().suspicions().is_empty());
            assert!(wait.to_string().ends_with("\na notification may come from any thread"), "{wait}");
            changed.notify_one();
        });
    });
}

#[test]
fn a_dump_tells_the_suspicion() {
    let dumps = || lost_notification(["consumer", "notifier"], |_| deadlock::dump());
    let test = "a_dump_tells_the_suspicion";
    let Some(output) = in_fresh_process(test, &[], dumps) else { return };
    let text = stderr(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(output.status.success() && text.contains("suspicion: it holds "), "{text}");
    assert!(text.contains("a notification may have to come from there") && text.contains("no deadlock"), "{text}");
}

#[test]
fn a_notification_that_comes_while_a_hook_runs_between_two_sleeps_is_not_lost() {
    alone(|| {
        let (in_hook, go_on) = (Arc::new(Gate::new()), Arc::new(Gate::new()));
        let (lock, changed) = (Lock::new(()), Condition::new());
        thread::scope(|s| {
            spawn_named(s, "hooked", || changed.wait(&mut lock.lock()));
            until_parked("hooked");
            let gates = (Arc::clone(&in_hook), Arc::clone(&go_on));
            let hook = deadlock::warn_after(SHORT, move |_| {
                gates.0.open();
                gates.1.pass();
            });
            in_hook.pass();
            // It neither sleeps nor is in the graph.
            assert!(find_thread("hooked").is_none());
            assert_eq!((changed.notify_all(), changed.notify_all()), (1, 0));
            go_on.open();
            drop(hook);
        });
    });
}

/// A waiter, which holds `held`, takes its lock again and closes a cycle, or is waited for: the owner of the lock wants
/// `held`. Returns what `waits` and the owner's wait returned.
fn cycle_through_the_lock<W: Send, O: Send>(
    [waiter, owner]: [&'static str; 2],
    owner_waits_first: bool,
    waits: impl FnOnce(&Condition, LockGuard<'_, ()>) -> W + Send,
    owner_waits: impl FnOnce(&Lock<()>) -> O + Send,
) -> (W, O) {
    let (held, lock, changed) = (Lock::named("held", ()), Lock::named("lock", ()), Condition::new());
    thread::scope(|s| {
        let (held, lock, changed) = (&held, &lock, &changed);
        let waiting_thread = spawn_named(s, waiter, move || {
            let _held = held.lock();
            waits(changed, lock.lock())
        });
        until_waiting(waiter);
        let owning_thread = spawn_named(s, owner, move || {
            let _lock = lock.lock();
            if owner_waits_first {
                return owner_waits(held);
            }
            assert!(changed.notify_one());
            until_thread_where(|thread| {
                thread.name() == Some(waiter)
                    && thread.waits_for().is_some_and(|wait| wait.resource().primitive() == "Lock")
            });
            owner_waits(held)
        });
        if owner_waits_first {
            until_parked(owner);
            assert!(changed.notify_one());
        }
        (waiting_thread.join().unwrap(), owning_thread.join().unwrap())
    })
}

#[test]
fn a_guard_by_reference_has_the_lock_again_whoever_closes_the_cycle() {
    within(LIMIT, || {
        for (names_of, owner_waits_first) in [(["&mut waits", "owner 1"], false), (["&mut closes", "owner 2"], true)] {
            let waits = |changed: &Condition, mut guard: LockGuard<'_, ()>| {
                changed.wait(&mut guard);
                LockGuard::lock(&guard).is_locked()
            };
            let owner_waits = |held: &Lock<()>| held.acquire().map(drop);
            let (is_locked, end) = cycle_through_the_lock(names_of, owner_waits_first, waits, owner_waits);
            let deadlock = end.expect_err("the waiter cannot be the victim");
            assert!(is_locked);
            let report = deadlock.report();
            assert_eq!(report.kind(), Kind::Cycle);
            assert_is_a_proof(report);
            let mut expected = names_of;
            expected.sort_unstable();
            assert_eq!(names(report.threads()), expected);
        }
    });
}

#[test]
fn a_guard_by_reference_has_the_lock_again_when_the_other_unwinds() {
    within(LIMIT, || {
        let waits = |changed: &Condition, mut guard: LockGuard<'_, ()>| changed.wait(&mut guard);
        let owner_waits = |held: &Lock<()>| {
            let panic = catch_unwind(AssertUnwindSafe(|| drop(held.lock()))).unwrap_err();
            message(&*panic).to_owned()
        };
        let ((), text) = cycle_through_the_lock(["stays", "unwinds"], true, waits, owner_waits);
        assert!(text.starts_with("deadlock: ") && text.contains("thread 'stays'"), "{text}");
    });
}

#[test]
fn a_guard_by_value_is_gone_when_locking_again_closes_a_cycle() {
    within(LIMIT, || {
        let waits = |changed: &Condition, guard: LockGuard<'_, ()>| {
            let lock = LockGuard::lock(&guard);
            let line = line!() + 1;
            let deadlock = changed.acquire_wait(guard).map(drop).expect_err("it closes the cycle");
            let report = deadlock.report();
            assert_is_a_proof(report);
            let me = &report.threads()[0];
            assert_eq!((me.name(), wanted(me).name(), held_names(me)), (Some("by value"), Some("lock"), vec!["held"]));
            assert_eq!(me.waits_for().unwrap().site().line(), line);
            assert!(lock.is_locked(), "by the other");
        };
        let ((), got) = cycle_through_the_lock(["by value", "gets it"], true, waits, |held| held.acquire().map(drop));
        got.expect("the waiter's lock is free by now");
    });
}

/// Another thread takes the lock that is to be taken again, notifies, and ends with it.
#[cfg(target_os = "linux")]
fn abandoned<'l>(lock: &'l Lock<()>, changed: &Condition, waits: impl FnOnce(LockGuard<'l, ()>)) {
    thread::scope(|s| {
        let guard = lock.lock();
        spawn_named(s, "leaves it locked", || {
            let guard = lock.lock();
            changed.notify_one();
            std::mem::forget(guard);
        });
        waits(guard);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_that_is_left_behind_meanwhile_is_an_error_by_value() {
    within(LIMIT, || {
        let (lock, changed) = (Lock::new(()), Condition::new());
        abandoned(&lock, &changed, |guard| {
            let deadlock = changed.acquire_wait(guard).map(drop).unwrap_err();
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
        });
        let (rlock, changed) = (RLock::new(()), Condition::new());
        thread::scope(|s| {
            let guard = rlock.lock();
            s.spawn(|| {
                std::mem::forget(rlock.lock());
                changed.notify_one();
            });
            let error = changed.acquire_wait(guard).map(drop).unwrap_err();
            let RLockWaitError::Deadlock(deadlock) = &error else { panic!("{error}") };
            assert_eq!(deadlock.report().kind(), Kind::Abandoned);
            assert!(std::error::Error::source(&error).is_some());
        });
    });
}

#[test]
#[cfg(all(target_os = "linux", not(miri)))]
fn where_no_wait_can_fail_the_process_ends_with_the_report() {
    let test = "where_no_wait_can_fail_the_process_ends_with_the_report";
    let waits = || {
        let (lock, changed) = (Lock::named("left behind", ()), Condition::new());
        abandoned(&lock, &changed, |mut guard| changed.wait(&mut guard));
    };
    let Some(output) = in_fresh_process(test, &[], waits) else { return };
    let text = stderr(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("deadlock: ") && text.contains("'left behind'"), "{text}");
}
